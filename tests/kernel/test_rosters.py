"""Binned sums cut a hundred at a time, and panes that begin with the keys of the pane before: the same bits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from test_aligned import FEW, kernels, machine_of, rows

from eventide.kernel.aggregates import binned_plain
from eventide.kernel.compiled import have_compiler
from eventide.kernel.window import roster
from eventide.model.machine import LATE, Step
from eventide.model.time import EVENT_TIME, MAX_TIME
from eventide.model.window import Sliding, Tumbling

needs_compiler = pytest.mark.skipif(not have_compiler(), reason="numba is not installed, or switched off")
NO_MASK = np.empty(0, np.bool_)


def drawn(kind, rng, n):
    """Values of a kind: one magnitude, few, nearly all there are, whole numbers, powers of two."""
    if kind == "unit":
        return rng.random(n)
    if kind == "spread":
        return rng.normal(0, 1, n) * 10.0 ** rng.integers(-12, 12, n)
    if kind == "wild":
        return rng.normal(0, 1, n) * 10.0 ** rng.integers(-320, 300, n)
    if kind == "whole":
        return rng.integers(-3, 4, n).astype(np.float64)
    return np.ldexp(1.0, rng.integers(-70, 70, n))


@needs_compiler
@pytest.mark.parametrize("kind", ["unit", "spread", "wild", "whole", "powers"])
@pytest.mark.parametrize("order", [1, 2])
def test_many_values_at_a_time_leave_the_same_bits(kind, order):
    from eventide.kernel.aggregates.binned_loops import update_moments

    rng = np.random.default_rng(len(kind) + order)
    for odd in (False, True) * 8:
        n, slots = int(rng.integers(1, 900)), int(rng.integers(1, 60))
        values = drawn(kind, rng, n)
        if odd:
            values[rng.integers(0, n, 3)] = [np.nan, np.inf, -0.0]
        valid = rng.random(n) < 0.8 if odd else NO_MASK
        into = rng.integers(-1, slots, n).astype(np.int32)
        ours = np.zeros((slots, 7 if order == 1 else 13), np.int64)
        plain = ours.copy()
        for part in (slice(0, n // 3), slice(n // 3, n)):
            mask = valid[part] if valid.size else NO_MASK
            update_moments(into[part], values[part], mask, order, ours, ours.view(np.float64))
            with np.errstate(all="ignore"):
                binned_plain.update_moments(into[part], values[part], mask, order, plain, plain.view(np.float64))
        assert (ours == plain).all()


def stream(rng, *, n, keys):
    """Events in order but for a little disorder; the keys come and go."""
    times = np.arange(n) * 10 - rng.integers(0, 300, n)
    present = keys(np.arange(n))
    return pa.record_batch(
        {
            "t": pa.array(times).cast(EVENT_TIME),
            "k": pa.array(present + rng.integers(0, 40, n), mask=rng.random(n) < 0.0005),
            "y": pa.array(rng.random(n), mask=rng.random(n) < 0.0005),
        }
    )


CHANGES = {
    "the same": np.zeros_like,
    "a few new ones": lambda i: i // 4_000,
    "others": lambda i: i // 2_000 * 30,
    "gone and back": lambda i: i // 5_000 % 2 * 20,
}


def output(batch, window, cut):
    machine = machine_of(window, ("k",), batch.schema, aggregates=FEW)
    times = batch["t"].view(pa.int64()).to_numpy()
    main = []
    for at in range(0, batch.num_rows, cut):
        mark = int(times[: at + cut].max()) - 300
        for emit in machine.push(Step(0, 0, batch.slice(at, cut), mark)):
            assert emit.port != LATE
            main.append(emit.batch)
    main += [e.batch for e in machine.push(Step(0, 0, None, MAX_TIME, end=True))]
    return rows(main)


@needs_compiler
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("window", [Tumbling(2_000), Sliding(10_000, 2_000), Sliding(9_000, 4_000)])
def test_panes_that_begin_with_known_keys_give_the_same_rows(change, window):
    batch = stream(np.random.default_rng(7), n=15_000, keys=CHANGES[change])
    with kernels(False):
        expected = output(batch, window, 4_000)
    for cut in (500, 3_000, 15_000):
        assert output(batch, window, cut) == expected


@needs_compiler
def test_rosters_are_in_use_while_the_keys_stay(monkeypatch):
    made = []
    monkeypatch.setattr(
        "eventide.kernel.window.blocks.roster_of", lambda *a: made.append(roster.roster_of(*a)) or made[-1]
    )
    batch = stream(np.random.default_rng(7), n=15_000, keys=CHANGES["the same"])
    batch = batch.filter(batch["k"].is_valid())
    output(batch, Sliding(10_000, 2_000), 500)
    assert len(made) <= 3  # the first pane is incomplete
    assert made[-1].size >= 35

"""State of windows for checkpoints: what has not changed is the same table, and any kernel reads what another wrote."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_aligned import FEW, kernels, machine_of, rows

import eventide as ev
from eventide.kernel.aggregates import narrow
from eventide.kernel.aggregates.binned import Moments
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys import KeyIndex
from eventide.kernel.recycled import Recycled
from eventide.kernel.window import general_state, saved
from eventide.kernel.window.build import window_machine
from eventide.model.graph import Read, Ref, Window
from eventide.model.machine import Step
from eventide.model.state import merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME
from eventide.model.window import CountWindow, Sliding, Tumbling

SECOND = 10**9
BOTH = {have_compiler(), False}


def events(times, keys, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "t": pa.array(np.asarray(times)).cast(EVENT_TIME),
        "k": pa.array(keys),
        "y": pa.array(rng.random(len(keys))),
    }
    return pa.record_batch(columns)


def pushed(window, batches, *, text=False, groups=range(256)):
    machine = machine_of(window, ("k",), batches[0].schema, groups, aggregates=FEW)
    for batch in batches:
        machine.push(Step(0, 0, batch, 0))
    return machine


def end(machines):
    return sorted(r for m in machines for r in rows([e.batch for e in m.push(Step(9, 0, None, MAX_TIME, end=True))]))


@pytest.mark.parametrize("compiled", BOTH)
@pytest.mark.parametrize("large", [1, 4096])
def test_a_pane_that_has_not_changed_is_the_same_table(compiled, large, monkeypatch):
    monkeypatch.setattr(saved, "LARGE", large)
    monkeypatch.setattr(saved, "_TOGETHER", 1)
    with kernels(compiled):
        old = events(np.full(50, 1 * SECOND), np.arange(50))
        new = events(np.full(50, 3 * SECOND), np.arange(50))
        machine = pushed(Sliding(10 * SECOND, 2 * SECOND), [old, new])
        first = machine.snapshot()
        again = machine.snapshot()
        assert [n for n in first if n != "time"] == [n for n in again if n != "time"]
        assert all(first[n] is again[n] for n in first if n != "time")
        copies = {n: t.to_pydict() for n, t in first.items()}
        machine.push(Step(1, 0, new, 0))
        third = machine.snapshot()
        same = [n for n in first if first[n] is third[n]]
        assert len(same) == 1
        assert third[same[0]].num_rows == 50
        assert {n: t.to_pydict() for n, t in first.items()} == copies


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_many_groups_written_by_some_lanes_are_read_by_others(text, lanes):
    names = np.arange(40_000)
    keys = [f"key {n}" for n in names] if text else names
    batch = events(np.random.default_rng(1).integers(0, 20 * SECOND, names.size), keys)
    window = Tumbling(10 * SECOND)
    expected = end([pushed(window, [batch])])
    edges = [256 * i // lanes for i in range(lanes + 1)]
    shares = [range(a, b) for a, b in itertools.pairwise(edges)]
    state = merge_states(pushed(window, [batch], groups=g).snapshot() for g in shares)
    assert sum(name.startswith("pane/") for name in state) == 2 * lanes
    for others in ([range(256)], [range(100), range(100, 256)]):
        machines = [machine_of(window, ("k",), batch.schema, g, aggregates=FEW) for g in others]
        for machine in machines:
            machine.restore(state)
        assert end(machines) == expected


@pytest.mark.parametrize("writes", BOTH)
@pytest.mark.parametrize("reads", BOTH)
def test_what_one_kernel_wrote_another_reads(writes, reads, monkeypatch):
    monkeypatch.setattr(saved, "LARGE", 1)
    batch = events(np.random.default_rng(1).integers(0, 20 * SECOND, 500), np.arange(500) % 60)
    batch = batch.set_column(1, "k", pa.array([None if k == 7 else k for k in batch["k"].to_pylist()], pa.int64()))
    with kernels(writes):
        machine = pushed(Tumbling(10 * SECOND), [batch])
        state = machine.snapshot()
        expected = end([machine])
    with kernels(reads):
        other = machine_of(Tumbling(10 * SECOND), ("k",), batch.schema, aggregates=FEW)
        other.restore(state)
        assert end([other]) == expected


@given(
    st.lists(st.floats() | st.floats(-1e3, 1e3) | st.sampled_from([1e300, 5e-324]), max_size=60),
    st.sampled_from([1, 2]),
    st.integers(1, 9),
)
def test_narrow_columns_hold_all_bits(values, order, slots):
    batch = pa.record_batch({"v": pa.array(values, pa.float64())})
    moments = Moments("v", batch.schema, order=order)
    moments.resize(slots)
    with np.errstate(all="ignore"):
        moments.update(np.arange(len(values), dtype=np.int32) % slots, batch, np.zeros(len(values), np.int64))
    wide = moments.snapshot(np.arange(slots, dtype=np.int32))
    written = []
    for compiled in BOTH:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(narrow, "have_compiler", lambda compiled=compiled: compiled)
            columns = moments.compact(np.arange(slots, dtype=np.int32), Recycled())
            written.append({name: (str(c.type), c.to_pylist()) for name, c in columns.items()})
            other = Moments("v", batch.schema, order=order)
            other.resize(slots + 1)
            other.restore(np.arange(1, slots + 1, dtype=np.int32), columns)
            back = other.snapshot(np.arange(1, slots + 1, dtype=np.int32))
        assert {n: c.to_pylist() for n, c in back.items()} == {n: c.to_pylist() for n, c in wide.items()}
    assert all(one == written[0] for one in written)


@pytest.mark.parametrize("compiled", BOTH)
@pytest.mark.parametrize("kind", ["numbers", "text", "pairs"])
@pytest.mark.parametrize("owned", [range(256), range(50, 200)])
def test_an_index_that_was_loaded_is_like_one_that_was_filled(compiled, kind, owned):
    values = {
        "numbers": {"k": pa.array([*range(-500, 500), None], pa.int64())},
        "text": {"k": pa.array([*(f"key {i}" for i in range(1000)), "", None])},
        "pairs": {"a": pa.array([1, 1, None, None] * 250), "b": pa.array([f"{i}" for i in range(1000)])},
    }[kind]
    batch = pa.record_batch(values)
    with kernels(compiled):
        filled, loaded = (KeyIndex(batch.schema, tuple(values), owned) for _ in range(2))
        slots = filled.slots(batch)
        assert loaded.load(values, batch.num_rows).tolist() == slots.tolist()
        more = {n: pa.concat_arrays([pa.array(c.slice(0, 3).to_pylist(), c.type), c]) for n, c in values.items()}
        assert loaded.slots(pa.record_batch(more)).tolist() == filled.slots(pa.record_batch(more)).tolist()
        kept = slots[slots >= 0]
        assert [c.to_pylist() for c in loaded.key_columns(kept)] == [c.to_pylist() for c in filled.key_columns(kept)]
        loaded.release(kept[:5])
        assert loaded.lookup(batch).tolist().count(-1) == slots.tolist().count(-1) + 5


@pytest.mark.parametrize("kind", ["session", "triggered", "count"])
def test_many_windows_of_any_kind_are_written_narrow_and_read_by_other_lanes(kind, monkeypatch):
    windows = {"session": ev.session("2s"), "triggered": ev.tumbling("10s"), "count": CountWindow(3, 3)}
    late = 0 if kind == "count" else SECOND
    node = Window(Ref(Read("log://a")), windows[kind], FEW, allowed_lateness=late)
    rng = np.random.default_rng(1)
    batch = events(np.sort(rng.integers(0, 20 * SECOND, 3_000)), rng.integers(0, 400, 3_000))
    expected = None
    for large in (10**9, 1):
        monkeypatch.setattr(general_state, "LARGE", large)

        def lanes(edges):
            shares = [range(a, b) for a, b in itertools.pairwise(edges)]
            return [window_machine(node, batch.schema, ("k",), event_time="t", groups=g) for g in shares]

        first, others = lanes([0, 100, 256]), lanes([0, 50, 150, 256])
        out = [e.batch for m in first for e in m.push(Step(0, 0, batch, 5 * SECOND))]
        state = merge_states(m.snapshot() for m in first)
        assert sum(name.startswith("windows/") for name in state) == (2 if large == 1 else 0)
        for machine in others:
            machine.restore(state)
        result = sorted(rows(out)), end(others)
        expected = result if expected is None else expected
        assert result == expected

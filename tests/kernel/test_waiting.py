"""Panes of a restored state that wait: whenever they are read, the results are those of a machine that never stopped."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_aligned import FEW, cases, kernels, machine_of, rows, run, steps_of

from eventide.kernel.compiled import have_compiler
from eventide.kernel.window import saved, waiting
from eventide.model.batch import concat
from eventide.model.machine import LATE, MAIN, Step
from eventide.model.state import merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME
from eventide.model.window import Tumbling

SECOND = 10**9
WHOLE = [range(256)]


@given(
    cases(),
    st.booleans(),
    st.integers(1, 5),
    st.lists(st.sampled_from([None, WHOLE, [range(90), range(90, 256)]]), min_size=45, max_size=45),
)
def test_restored_again_and_again_it_gives_the_same(case, compiled, part, stops):
    window, names, batch, marks, lateness, cuts = case
    steps = steps_of(batch, marks, lateness, sorted({*cuts, *range(0, batch.num_rows, 3)}))
    with kernels(compiled and have_compiler()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved, "LARGE", 1)
        patch.setattr(waiting, "WAITS", 1)
        patch.setattr(waiting, "PART_ROWS", part)
        main, late = run(machine_of(window, names, batch.schema), steps)
        machines = [machine_of(window, names, batch.schema)]
        found, too_late = [], []
        for step, shares in itertools.zip_longest(steps, stops[: len(steps)]):
            for machine in machines:
                for emit in machine.push(step):
                    {MAIN: found, LATE: too_late}[emit.port].append(emit.batch)
            if shares is not None:
                state = merge_states([m.snapshot() for m in machines])
                machines = [machine_of(window, names, batch.schema, groups) for groups in shares]
                for machine in machines:
                    machine.restore(state)
        assert sorted(rows(found)) == sorted(rows(main)) and sorted(rows(too_late)) == sorted(rows(late))
        assert all(machine.nbytes == 0 for machine in machines)


def events(keys, time):
    columns = {"t": pa.array(np.full(len(keys), time)).cast(EVENT_TIME), "k": keys, "y": np.arange(len(keys)) / 7}
    return pa.record_batch(columns)


def test_a_large_pane_is_read_in_parts_and_is_the_same_table_until_then():
    many = waiting.WAITS * 2
    first, more = events(np.arange(many), SECOND), events(np.arange(many - 10, many + 10), 2 * SECOND)
    machine = machine_of(Tumbling(10 * SECOND), ("k",), first.schema, aggregates=FEW)
    machine.push(Step(0, 0, first, 0))
    state = machine.snapshot()
    name = next(n for n in state if n.startswith("pane/"))
    again = machine_of(Tumbling(10 * SECOND), ("k",), first.schema, aggregates=FEW)
    again.restore(state)
    assert again.snapshot()[f"{name}/rest"] is state[name]
    again.push(Step(1, 0, more, 0))
    assert again.snapshot()[f"{name}/rest"] is state[name]  # the first step is not kept waiting
    left = []
    while any(n.endswith("/rest") for n in again.snapshot()):
        again.push(Step(2, 0, None, 0))
        left.append(sum(t.num_rows for n, t in again.snapshot().items() if n.endswith("/rest")))
    assert left == [many - waiting.PART_ROWS * i for i in range(1, 5)]
    machine.push(Step(1, 0, more, 0))
    ends = [concat([e.batch for e in m.push(Step(9, 0, None, MAX_TIME, end=True))]) for m in (machine, again)]
    assert ends[0].num_rows == many + 10 and ends[0].equals(ends[1])


def test_a_table_of_other_lanes_does_not_wait():
    many = waiting.WAITS * 3
    batch = events(np.arange(many), SECOND)
    machine = machine_of(Tumbling(10 * SECOND), ("k",), batch.schema, aggregates=FEW)
    machine.push(Step(0, 0, batch, 0))
    state = machine.snapshot()
    half = machine_of(Tumbling(10 * SECOND), ("k",), batch.schema, range(128), aggregates=FEW)
    half.restore(state)
    assert not any(n.endswith("/rest") for n in half.snapshot())

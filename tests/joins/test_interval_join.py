from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from join_scripts import (
    LEFT,
    columns,
    join,
    machines,
    marked,
    on,
    query,
    run_script,
    scripts,
    step_of,
    tuples,
)

from eventide.model.graph import IntervalJoin
from eventide.model.machine import Step
from eventide.model.time import MAX_TIME

intervals = st.builds(lambda low, length: IntervalJoin(low, low + length), st.integers(-15, 15), st.integers(0, 15))


@given(scripts(), intervals, st.sampled_from(["inner", "left"]), st.sampled_from([1, 2, 3]))
def test_any_order_split_and_restart_gives_the_table_of_the_batch_join(script, spec, how, keys):
    out = run_script(join(spec, how), script, keys=keys)
    sql = f"""select {columns(keys)} from l {how} join r on {on(keys)}
              and r.t >= l.t + {spec.lower} and r.t <= l.t + {spec.upper}"""
    assert out["main"] == query(sql, script)
    assert out["late"] == out["late_right"] == []


def push(machine, port, rows, watermark, number=0):
    return machine.push(step_of(number, (port, rows, watermark)))


def test_pairs_come_out_at_once_and_lonely_rows_when_no_partner_can_come():
    [machine] = machines(join(IntervalJoin(-2, 5), "left"), 1)
    assert push(machine, 0, [(1, 10, 7, "a"), (2, 11, 8, "b")], 10) == []
    [emit] = push(machine, 1, [(15, "r", 7, 5, "z")], 14)
    assert tuples(emit.batch) == [(7, 1, 10, "a", 15, "r", 5, "z")]
    assert machine.watermark == 9
    assert push(machine, 1, None, 16) == []
    [emit] = push(machine, 1, None, 17)
    assert tuples(emit.batch) == [(8, 2, 11, "b", None, None, None, None)]
    assert machine.watermark == 10


def test_rows_are_kept_exactly_as_long_as_a_partner_may_come():
    [machine] = machines(join(IntervalJoin(-2, 5)), 1)
    push(machine, 0, [(1, 10, 7, "a"), (2, 20, 7, "a")], 10)
    push(machine, 1, [(5, "r", 7, 5, "z"), (8, "r", 7, 5, "z"), (30, "r", 7, 5, "z")], 15)
    state = machine.snapshot()
    assert state["left"].num_rows == 2
    assert state["right"].column("t").cast(pa.int64()).to_pylist() == [8, 30]
    push(machine, 1, None, 16)
    assert machine.snapshot()["left"].column("x").to_pylist() == [2]


def test_late_rows_go_to_their_ports_whatever_the_other_side_does():
    [machine] = machines(join(IntervalJoin(-2, 5), "left"), 1)
    push(machine, 0, None, 100)
    out = push(machine, 0, [(1, 99, 7, "a"), (2, 100, 7, "a")], 100)
    assert [(e.port, tuples(e.batch)) for e in out] == [("late", [(1, 99, 7, "a")])]
    push(machine, 1, None, 50)
    out = push(machine, 1, [(49, "r", 7, 5, "z")], 50)
    assert [(e.port, e.batch.num_rows) for e in out] == [("late_right", 1)]


def test_lateness_is_judged_by_the_watermark_each_row_met():
    rows = [(0, 5, 7, "a"), (1, 31, 7, "a"), (2, 4, 7, "a"), (3, 22, 7, "a")]
    [machine] = machines(join(IntervalJoin(0, 5)), 1)
    out = machine.push(Step(0, 0, marked(rows, LEFT, [-9, -5, 21, 21]), 21))
    assert [(e.port, tuples(e.batch)) for e in out] == [("late", [rows[2]])]


def test_null_keys_of_a_left_join_come_out_alone_at_once():
    [machine] = machines(join(IntervalJoin(0, 5), "left"), 1)
    push(machine, 1, [(10, "r", None, 5, "z")], 0)
    [emit] = push(machine, 0, [(1, 10, None, "a")], 0)
    assert tuples(emit.batch) == [(None, 1, 10, "a", None, None, None, None)]
    assert machine.snapshot()["right"].num_rows == 0


@given(scripts(max_rows=40), intervals, st.sampled_from(["inner", "left"]), st.data())
def test_a_restart_changes_no_bit_of_the_output(script, spec, how, data):
    node = join(spec, how)
    at = data.draw(st.integers(0, len(script.steps)))
    outputs = []
    for restart in (False, True):
        [machine] = machines(node, 1)
        out = []
        for number, step in enumerate(script.steps):
            if restart and number == at:
                state = machine.snapshot()
                [machine] = machines(node, 1)
                machine.restore(state)
            out += [(number, e.port, tuples(e.batch)) for e in machine.push(step_of(number, step))]
        outputs.append(out)
    assert outputs[0] == outputs[1]


def test_many_pairs_leave_in_several_batches(monkeypatch):
    monkeypatch.setattr("eventide.kernel.joins.interval._PAIRS_AT_ONCE", 50)
    [machine] = machines(join(IntervalJoin(-100, 100)), 1)
    push(machine, 1, [(n, "r", n % 2, n, "z") for n in range(40)], 0)
    out = push(machine, 0, [(n, n, n % 2, "a") for n in range(30)], 0)
    rows = [r for e in out for r in tuples(e.batch)]
    assert len(out) > 5 and max(e.batch.num_rows for e in out) <= 70
    assert len(rows) == 30 * 20
    assert [r[1] for r in rows] == sorted(r[1] for r in rows)


def test_state_of_many_batches_stays_small():
    [machine] = machines(join(IntervalJoin(0, 50), "left"), 1)
    for at in range(0, 20_000, 100):
        push(machine, 0, [(n, n, n, "a") for n in range(at, at + 100)], at + 100, at)
        push(machine, 1, [(n, "r", n, n, "z") for n in range(at, at + 100)], at + 100, at)
        assert all(runs.count <= 400 for runs in machine._runs)
    assert machine._slots._index.size <= 2048
    push(machine, 0, None, MAX_TIME)
    push(machine, 1, None, MAX_TIME)
    assert all(runs.count == 0 for runs in machine._runs)

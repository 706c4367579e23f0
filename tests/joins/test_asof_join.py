from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from join_scripts import LEFT, columns, join, machines, marked, on, query, run_script, scripts, step_of, tuples

from eventide.kernel.joins.compare import greater_rows
from eventide.model.graph import AsofJoin
from eventide.model.machine import Step
from eventide.model.time import EVENT_TIME, MAX_TIME

directions = st.sampled_from(["backward", "forward", "nearest"])
specs = st.builds(AsofJoin, st.sampled_from([0, 0, 1, 4, 12]), directions)

BEST = "row_number() over (partition by {part} order by {order}) = 1"
VALUES = "r.rs desc nulls last, r.rk desc nulls last, r.y desc nulls last, r.z desc nulls last"


def window_oracle(script, spec, how, keys):
    """Any direction, by ranking all pairs."""
    side = {"backward": "r.t <= l.t", "forward": "r.t >= l.t", "nearest": "true"}[spec.direction]
    near = f"and abs(r.t - l.t) <= {spec.tolerance}" if spec.tolerance else ""
    best = BEST.format(part="l.i", order=f"abs(r.t - l.t), r.t, {VALUES}")
    sql = f"""with l as (select *, row_number() over () as i from lrows)
              select {columns(keys)} from l {how} join r on {on(keys)} and {side} {near} qualify {best}"""
    return query(sql.replace("lrows", "numbered"), script, numbered=numbered(script))


def numbered(script):
    names = [*LEFT.names, "i"]
    rows = [[*row, i] for i, row in enumerate(script.left)]
    types = [*(pa.int64() if f.type == EVENT_TIME else f.type for f in LEFT), pa.int64()]
    return pa.table([pa.array([r[c] for r in rows], types[c]) for c in range(len(names))], names=names)


def asof_oracle(script, spec, how, keys):
    """DuckDB's own as-of join, of right rows that are unique by key and time."""
    own = ["rs", "rk"] if keys == 2 else ["rk"] if keys == 1 else ["rs"]
    part = ", ".join(f"r.{k}" for k in own)
    sign = ">=" if spec.direction == "backward" else "<="
    sql = f"""with u as (select * from r qualify {BEST.format(part=part + ", r.t", order=VALUES)})
              select {columns(keys)} from l asof {how} join u as r on {on(keys)} and l.t {sign} r.t"""
    return query(sql, script)


@given(scripts(), specs, st.sampled_from(["inner", "left"]), st.sampled_from([1, 2, 3]))
def test_any_order_split_and_restart_gives_the_table_of_the_batch_join(script, spec, how, keys):
    out = run_script(join(spec, how), script, keys=keys)
    assert out["main"] == window_oracle(script, spec, how, keys)
    assert out["late"] == out["late_right"] == []


@given(scripts(), st.sampled_from(["backward", "forward"]), st.sampled_from(["inner", "left"]), st.sampled_from([1, 2]))
def test_equals_the_asof_join_of_duckdb(script, direction, how, keys):
    spec = AsofJoin(0, direction)
    assert run_script(join(spec, how), script, keys=keys)["main"] == asof_oracle(script, spec, how, keys)


def push(machine, port, rows, watermark, number=0):
    return machine.push(step_of(number, (port, rows, watermark)))


def found(emits):
    """Return (x, right time) of results on the main port."""
    return [(r[1], r[4]) for e in emits if e.port == "main" for r in tuples(e.batch)]


def right(*times):
    return [(t, "r", 7, t % 3, "z") for t in times]


def test_backward_answers_once_the_right_watermark_is_beyond_the_left_time():
    [machine] = machines(join(AsofJoin(0)), 1)
    push(machine, 1, right(5, 10), 10)
    assert push(machine, 0, [(1, 10, 7, "a")], 12) == []
    assert machine.watermark == 10
    assert found(push(machine, 1, None, 11)) == [(1, 10)]
    assert machine.watermark == 12


def test_forward_answers_once_what_it_found_is_the_first():
    [machine] = machines(join(AsofJoin(20, "forward"), "left"), 1)
    push(machine, 0, [(1, 10, 7, "a"), (2, 11, 8, "a")], 12)
    assert push(machine, 1, right(15), 15) == []
    assert found(push(machine, 1, None, 16)) == [(1, 15)]
    assert push(machine, 1, None, 31) == []
    assert found(push(machine, 1, None, 32)) == [(2, None)]


def test_nearest_answers_once_nothing_closer_can_come():
    [machine] = machines(join(AsofJoin(0, "nearest")), 1)
    push(machine, 1, right(7), 8)
    push(machine, 0, [(1, 10, 7, "a"), (2, 5, 7, "a")], 20)
    assert push(machine, 1, None, 12) == []
    assert found(push(machine, 1, None, 13)) == [(1, 7)]


def test_nearest_prefers_the_earlier_of_two_equally_near():
    [machine] = machines(join(AsofJoin(0, "nearest")), 1)
    push(machine, 1, right(7, 13), 100)
    assert found(push(machine, 0, [(1, 10, 7, "a"), (2, 11, 7, "a")], 20)) == [(1, 7), (2, 13)]


def test_without_tolerance_a_row_with_nothing_ahead_waits_for_the_end_and_holds_the_watermark():
    [machine] = machines(join(AsofJoin(0, "forward"), "left"), 1)
    push(machine, 0, [(1, 10, 7, "a")], 500)
    assert push(machine, 1, None, 1000) == []
    assert machine.watermark == 10
    assert found(push(machine, 1, None, MAX_TIME)) == [(1, None)]
    assert machine.watermark == 500


def kept(machine):
    return sorted(machine.snapshot()["right"].column("t").cast(pa.int64()).to_pylist())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (AsofJoin(0), [20, 25, 40]),
        (AsofJoin(3), [25, 40]),
        (AsofJoin(0, "forward"), [25, 40]),
        (AsofJoin(5, "nearest"), [20, 25, 40]),
        (AsofJoin(2, "nearest"), [25, 40]),
    ],
)
def test_right_rows_are_kept_only_while_a_left_row_may_need_them(spec, expected):
    [machine] = machines(join(spec), 1)
    push(machine, 1, right(5, 10, 20, 25, 40), 30)
    push(machine, 0, None, 25)
    assert kept(machine) == ([25, 40] if expected == [20, 25, 40] else expected)
    [machine] = machines(join(spec), 1)
    push(machine, 1, right(5, 10, 20, 25, 40), 30)
    push(machine, 0, None, 24)
    assert kept(machine) == expected


def test_among_rows_of_one_time_the_greatest_counts():
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        rows = [(5, "r", 7, 1, "z"), (5, "s", 7, 0, None), (5, "s", 7, None, "b"), (5, "s", 7, 0, "a")]
        [machine] = machines(join(AsofJoin(0)), 1)
        for i in order:
            push(machine, 1, [rows[i]], 0)
        push(machine, 0, [(1, 6, 7, "q")], 0)
        [emit] = push(machine, 1, None, 100)
        assert tuples(emit.batch)[0][4:] == (5, "s", 0, "a")


def test_the_order_of_rows_has_nulls_lowest_and_nan_highest():
    nan = float("nan")
    values = [None, -1.0, 0.0, 2.0, nan]
    table = pa.record_batch({"a": pa.array([v for v in values for _ in values], pa.float64())})
    other = pa.record_batch({"a": pa.array([v for _ in values for v in values], pa.float64())})
    expected = [i > j for i in range(5) for j in range(5)]
    assert greater_rows(table, other).tolist() == expected
    lists = pa.record_batch({"a": [[1], None, [2]]}), pa.record_batch({"a": [[0], [1], [2]]})
    assert greater_rows(*lists).tolist() == [True, False, False]


def test_late_rows_go_to_their_ports():
    [machine] = machines(join(AsofJoin(0), "left"), 1)
    push(machine, 0, None, 100)
    out = push(machine, 0, [(1, 99, 7, "a"), (2, 100, 7, "a")], 100)
    assert [(e.port, tuples(e.batch)) for e in out] == [("late", [(1, 99, 7, "a")])]
    push(machine, 1, None, 50)
    out = push(machine, 1, right(49), 50)
    assert [(e.port, e.batch.num_rows) for e in out] == [("late_right", 1)]
    out = machine.push(Step(9, 0, marked([(0, 105, 7, "a"), (1, 104, 7, "a")], LEFT, [100, 105]), 105))
    assert [(e.port, tuples(e.batch)) for e in out] == [("late", [(1, 104, 7, "a")])]


@given(scripts(max_rows=40), specs, st.sampled_from(["inner", "left"]), st.data())
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


def test_state_of_many_batches_stays_small():
    [machine] = machines(join(AsofJoin(50)), 1)
    for at in range(0, 40_000, 200):
        push(machine, 1, [(n, "r", n, n, "z") for n in range(at, at + 200)], at + 200, at)
        push(machine, 0, [(n, n, n, "a") for n in range(at, at + 200)], at + 200, at)
    assert machine._right.count <= 6000
    assert not machine._waiting

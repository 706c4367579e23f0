from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from join_scripts import LEFT, RIGHT, columns, join, machines, marked, on, query, run_script, scripts, step_of, tuples

from eventide.model.graph import WindowJoin
from eventide.model.machine import Step
from eventide.model.time import MAX_TIME
from eventide.model.window import Sliding, Tumbling

windows = st.one_of(
    st.builds(Tumbling, size=st.integers(1, 20), offset=st.integers(0, 5), closed=st.sampled_from(["left", "right"])),
    st.builds(
        lambda slide, more, offset, closed: Sliding(slide + more, slide, offset, closed),
        st.integers(1, 8),
        st.integers(0, 15),
        st.integers(0, 5),
        st.sampled_from(["left", "right"]),
    ),
)


def oracle(script, window, how, keys):
    slide = window.slide if isinstance(window, Sliding) else window.size
    starts = [window.offset + i * slide for i in range(-80, 80)]
    table = pa.table({"a": starts, "b": [s + window.size for s in starts]})

    def inside(t):
        return f"{t} > w.a and {t} <= w.b" if window.closed == "right" else f"{t} >= w.a and {t} < w.b"

    sql = f"""select {columns(keys)}, w.a, w.b from l join w on {inside("l.t")}
              {how} join r on {on(keys)} and {inside("r.t")}"""
    return query(sql, script, w=table)


@given(scripts(), windows, st.sampled_from(["inner", "left"]), st.sampled_from([1, 2, 3]))
def test_any_order_split_and_restart_gives_the_table_of_the_batch_join(script, window, how, keys):
    out = run_script(join(WindowJoin(window), how), script, keys=keys)
    assert out["main"] == oracle(script, window, how, keys)
    assert out["late"] == out["late_right"] == []


def push(machine, port, rows, watermark, number=0):
    return machine.push(step_of(number, (port, rows, watermark)))


def test_windows_close_at_the_lower_watermark():
    [machine] = machines(join(WindowJoin(Tumbling(10))), 1)
    assert push(machine, 0, [(1, 3, 7, "a"), (2, 12, 7, "a")], 30) == []
    assert push(machine, 1, [(4, "r", 7, 5, "z")], 9) == []
    assert machine.watermark == 0
    [emit] = push(machine, 1, None, 10)
    assert tuples(emit.batch) == [(7, 1, 3, "a", 4, "r", 5, "z", 0, 10)]
    assert emit.batch.schema.names == ["k", "x", "t", "s", "t_right", "rs", "y", "z", "window_start", "window_end"]
    assert machine.watermark == 10


def test_windows_closed_on_the_right_close_one_later():
    [machine] = machines(join(WindowJoin(Tumbling(10, closed="right"))), 1)
    push(machine, 0, [(1, 10, 7, "a")], 30)
    push(machine, 1, [(1, "r", 7, 5, "z")], 10)
    assert machine.watermark == 1
    assert push(machine, 1, [(10, "r", 7, 6, "z")], 10) == []
    [emit] = push(machine, 1, None, 11)
    assert emit.batch.num_rows == 2


def test_a_row_is_late_when_its_window_has_closed_and_only_then():
    [machine] = machines(join(WindowJoin(Tumbling(10))), 1)
    push(machine, 0, [(1, 25, 7, "a")], 25)
    # The left watermark is beyond the window, the right one is not: the window is open.
    assert push(machine, 0, [(2, 3, 7, "a")], 25) == []
    push(machine, 1, [(5, "r", 7, 5, "z")], 9)
    [emit] = push(machine, 1, None, 20)
    assert [r[1] for r in tuples(emit.batch)] == [2]
    out = push(machine, 0, [(3, 4, 7, "a"), (4, 26, 7, "a")], 25)
    assert [(e.port, [r[0] for r in tuples(e.batch)]) for e in out] == [("late", [3])]
    assert out[0].batch.schema == LEFT
    out = push(machine, 1, [(5, "r", 7, 5, "z")], 25)
    assert [(e.port, e.batch.schema) for e in out] == [("late_right", RIGHT)]


def one_by_one(rows, marks, *, together, window=None, how="inner"):
    """Run left rows with marks as one step or as a step each, and return all output."""
    [machine] = machines(join(WindowJoin(window or Tumbling(10)), how), 1)
    out = machine.push(step_of(0, (1, [(t, "r", 7, t, "z") for t in range(60)], 60)))
    if together:
        out += machine.push(Step(1, 0, marked(rows, LEFT, marks), 40))
    else:
        for number, row in enumerate(rows):
            after = marks[number + 1] if number + 1 < len(rows) else 40
            out += machine.push(step_of(number + 1, (0, [row], after)))
    out += machine.push(Step(99, 0, None, MAX_TIME, end=True)) + machine.push(Step(99, 1, None, MAX_TIME, end=True))
    return sorted((e.port, r) for e in out for r in tuples(e.batch))


@pytest.mark.parametrize("window", [Tumbling(10), Sliding(12, 5), Sliding(10, 2)])
def test_lateness_is_judged_by_the_watermark_each_row_met_not_by_the_batch(window):
    rows = [(n, t, 7, "a") for n, t in enumerate([5, 31, 4, 22, 19, 40, 29, 20, 33])]
    marks = [-9, 0, 21, 21, 21, 21, 30, 30, 30]
    apart = one_by_one(rows, marks, together=False, window=window)
    assert apart == one_by_one(rows, marks, together=True, window=window)
    assert "late" in {port for port, _ in apart}


def test_rows_behind_the_watermark_keep_to_their_open_windows_across_a_restart():
    rows = [(n, t, 7, "a") for n, t in enumerate([5, 31, 14, 15, 40])]
    node = join(WindowJoin(Sliding(10, 2)), "left")
    [whole], [first], [second] = machines(node, 1), machines(node, 1), machines(node, 1)
    step = Step(1, 0, marked(rows, LEFT, [-9, 0, 21, 21, 21]), 21)
    head = step_of(0, (1, [(t, "r", 7, t, "z") for t in range(60)], 18))
    end = [Step(2, 1, None, MAX_TIME, end=True), Step(3, 0, None, MAX_TIME, end=True)]
    for machine in (whole, first):
        machine.push(head)
        machine.push(step)
    second.restore(first.snapshot())
    expected = [e for s in end for e in whole.push(s)]
    found = [e for s in end for e in second.push(s)]
    assert [e.batch for e in expected] == [e.batch for e in found]
    held = [r[-2] for e in expected for r in tuples(e.batch) if r[1] == 2]
    assert min(held) == 10


def test_output_is_bit_for_bit_the_same_for_any_cutting_into_batches():
    left = [(n, n // 3, n % 5, "a") for n in range(120)]
    right = [(n // 3, "r", n % 4, n, "z") for n in range(120)]
    node = join(WindowJoin(Tumbling(7)), "left")
    results = []
    for size in (1, 7, 120):
        [machine] = machines(node, 1)
        out = []
        for port, rows, column in ((0, left, 1), (1, right, 0)):
            for at in range(0, len(rows), size):
                part = rows[at : at + size]
                out += machine.push(step_of(at, (port, part, part[-1][column])))
        for port in (0, 1):
            out += machine.push(Step(999, port, None, MAX_TIME, end=True))
        results.append([r for e in out for r in tuples(e.batch)])
    assert results[0] == results[1] == results[2]

"""Inputs large enough for radix sorts, merged runs and several batches of output, against DuckDB."""

from __future__ import annotations

import random

import pytest
from join_scripts import Script, columns, join, on, query, run_script

from eventide.model.graph import AsofJoin, IntervalJoin, WindowJoin
from eventide.model.time import MAX_TIME
from eventide.model.window import Sliding

ROWS, LATENESS, BATCH = 3000, 400, 300


def big_script(seed):
    random.seed(seed)

    def arrive(rows, column):
        return sorted(rows, key=lambda r: r[column] + random.randint(0, LATENESS))

    left = [(i, i // 2, random.randint(0, 60), random.choice("abc")) for i in range(ROWS)]
    right = [(i // 2, random.choice("xyz"), random.randint(0, 60), i, "z") for i in range(ROWS)]
    sides = [(0, arrive(left, 1), 1), (1, arrive(right, 0), 0)]
    steps, newest = [], {0: 0, 1: 0}
    for at in range(0, ROWS, BATCH):
        for port, rows, column in random.sample(sides, 2):
            part = rows[at : at + BATCH]
            newest[port] = max(newest[port], *(r[column] for r in part))
            steps.append((port, part, newest[port] - LATENESS))
    steps += [(1, None, MAX_TIME), (0, None, MAX_TIME)]
    return Script(left, right, steps, {7: 3, 12: 2})


@pytest.mark.parametrize("how", ["inner", "left"])
def test_window_join(how):
    script = big_script(1)
    sql = f"""select {columns(1)}, w.a, w.a + 60 from l
              join (select range * 25 as a from range(-10, 100)) w on l.t >= w.a and l.t < w.a + 60
              {how} join r on {on(1)} and r.t >= w.a and r.t < w.a + 60"""
    assert run_script(join(WindowJoin(Sliding(60, 25)), how), script)["main"] == query(sql, script)


@pytest.mark.parametrize("how", ["inner", "left"])
def test_interval_join(how):
    script = big_script(2)
    sql = f"select {columns(1)} from l {how} join r on {on(1)} and r.t >= l.t - 30 and r.t <= l.t + 60"
    assert run_script(join(IntervalJoin(-30, 60), how), script)["main"] == query(sql, script)


@pytest.mark.parametrize("how", ["inner", "left"])
@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
@pytest.mark.parametrize("tolerance", [0, 25])
def test_asof_join(how, direction, tolerance):
    script = big_script(3)
    side = {"backward": "r.t <= l.t", "forward": "r.t >= l.t", "nearest": "true"}[direction]
    near = f"and abs(r.t - l.t) <= {tolerance}" if tolerance else ""
    sql = f"""select {columns(1)} from l {how} join r on {on(1)} and {side} {near}
              qualify row_number() over (partition by l.x order by abs(r.t - l.t), r.t, r.rs desc, r.y desc) = 1"""
    assert run_script(join(AsofJoin(tolerance, direction), how), script)["main"] == query(sql, script)

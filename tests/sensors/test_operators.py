"""Alarm suppression and incidents against naive models, for any batch split and any resume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.sensors.operators import Alarms, Incidents, Runs
from eventide.errors import UsageError
from eventide.model.time import MAX_TIME, MIN_TIME

anomalies = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.floats(1, 9)), max_size=60)
cuts_of = st.lists(st.integers(0, 60), max_size=5)


def columns(rows: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    times = np.cumsum(np.array([step for _, step, _ in rows], np.int64))
    return np.array([slot for slot, _, _ in rows], np.int64), times, np.array([score for *_, score in rows], np.float64)


def parts(rows: list[tuple[int, int, float]], cuts: list[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise([0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]))


@given(rows=anomalies, cuts=cuts_of, hold=st.integers(1, 60))
def test_alarms_are_held_back_as_a_naive_model_does(rows, cuts, hold):
    slots, times, _ = columns(rows)
    last: dict[int, int] = {}
    held: dict[int, int] = {}
    expected = []
    for slot, time in zip(slots.tolist(), times.tolist(), strict=True):
        passes = slot not in last or time - last[slot] >= hold
        if passes:
            last[slot], held[slot] = time, 0
        else:
            held[slot] += 1
        expected.append(passes)
    alarms, found = Alarms(hold), []
    for start, stop in parts(rows, cuts):
        table = alarms.snapshot()
        alarms = Alarms(hold)
        alarms.restore(table)
        found += alarms.update(slots[start:stop], times[start:stop]).tolist()
    assert found == expected
    counts = alarms.held()
    assert {slot: int(counts[slot]) for slot in held} == held


@given(rows=anomalies, cuts=cuts_of, gap=st.integers(1, 60), watermarks=st.booleans())
def test_incidents_are_grouped_as_a_naive_model_does(rows, cuts, gap, watermarks):
    slots, times, scores = columns(rows)
    expected: list[tuple[int, int, int, int, float]] = []
    for slot in set(slots.tolist()):
        run: list[tuple[int, float]] = []
        for at in np.flatnonzero(slots == slot):
            if run and times[at] - run[-1][0] >= gap:
                expected.append((slot, run[0][0], run[-1][0], len(run), max(score for _, score in run)))
                run = []
            run.append((int(times[at]), float(scores[at])))
        expected.append((slot, run[0][0], run[-1][0], len(run), max(score for _, score in run)))
    incidents, found = Incidents(gap), []
    for start, stop in parts(rows, cuts):
        table = incidents.snapshot()
        incidents = Incidents(gap)
        incidents.restore(table)
        found.append(incidents.update(slots[start:stop], times[start:stop], scores[start:stop]))
        if watermarks and stop > start:
            found.append(incidents.advance(int(times[stop - 1])))
    found.append(incidents.finish())
    flat = [row for runs in found for row in zip(*(column.tolist() for column in runs), strict=True)]
    assert sorted(flat) == sorted(expected)
    assert incidents.finish().n.tolist() == []


def test_the_watermark_closes_an_incident_when_nothing_can_join_it():
    incidents = Incidents(gap=10)
    incidents.update(np.array([0]), np.array([100]), np.array([2.0]))
    assert incidents.advance(MIN_TIME).n.tolist() == []
    assert incidents.advance(109).n.tolist() == []
    assert incidents.advance(110).n.tolist() == [1]
    assert incidents.advance(MAX_TIME).n.tolist() == []


def test_runs_can_be_joined_and_selected():
    incidents = Incidents(gap=10)
    one = incidents.update(np.array([0, 0]), np.array([0, 50]), np.array([2.0, 3.0]))
    both = Runs.joined(one, incidents.finish())
    assert both.select(np.array([False, True])).start.tolist() == [50]


@pytest.mark.parametrize("kind", [Alarms, Incidents])
def test_durations_are_positive(kind):
    with pytest.raises(UsageError, match="more than zero"):
        kind(0)

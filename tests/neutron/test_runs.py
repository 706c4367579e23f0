"""Runs from their beginnings and ends, in any order and with contradictions."""

from __future__ import annotations

import itertools
from importlib import import_module

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.neutron.runs import NO_RUN, Run, Runs
from eventide.formats import pl72
from eventide.formats.pl72 import RunStart, RunStop

MS = 1_000_000


def intervals(runs):
    return [(run.name, run.start // MS, None if run.stop is None else run.stop // MS) for run in runs]


def begin(runs, name, start, *, stop=0, job="", now=0, **more):
    return runs.begin(RunStart(run_name=name, job_id=job, start_time=start, stop_time=stop, **more), now=now * MS)


def test_begin_and_end():
    runs = Runs()
    assert begin(runs, "1", 10, n_periods=3, instrument_name="SANS2D")
    assert intervals(runs) == [("1", 10, None)]
    assert runs.current(10**12).periods == 3
    assert runs.end(RunStop(run_name="1", stop_time=20), now=0)
    assert runs.current(20 * MS) is None
    assert runs.current(20 * MS - 1) == Run(name="1", instrument="SANS2D", start=10 * MS, stop=20 * MS, periods=3)


def test_repeated_messages_change_nothing():
    runs = Runs()
    assert [begin(runs, "1", 10, job="a") for _ in range(2)] == [True, False]
    stop = RunStop(job_id="a", stop_time=20)
    assert [runs.end(stop, now=0) for _ in range(2)] == [True, False]
    assert not begin(runs, "1", 10, job="a")
    assert intervals(runs) == [("1", 10, 20)]


def test_an_end_that_is_now():
    runs = Runs()
    begin(runs, "1", 10)
    assert [runs.end(RunStop(run_name="1"), now=t * MS) for t in (15, 16)] == [True, False]
    assert intervals(runs) == [("1", 10, 15)]


def test_a_planned_end_can_be_moved():
    runs = Runs()
    begin(runs, "1", 10, stop=100)
    assert runs.end(RunStop(run_name="1", stop_time=50), now=0)
    assert runs.end(RunStop(run_name="1", stop_time=70), now=0)
    assert runs.end(RunStop(run_name="1"), now=60 * MS)
    assert intervals(runs) == [("1", 10, 60)]


def test_the_next_run_ends_the_one_before():
    runs = Runs()
    begin(runs, "1", 10)
    begin(runs, "2", 20)
    assert intervals(runs) == [("1", 10, 20), ("2", 20, None)]
    assert not runs.end(RunStop(run_name="1", stop_time=30), now=0)


def test_a_run_told_of_late():
    runs = Runs()
    begin(runs, "2", 20)
    begin(runs, "1", 10)
    begin(runs, "0", 1, stop=5)
    assert intervals(runs) == [("0", 1, 5), ("1", 10, 20), ("2", 20, None)]


def test_nonsense():
    runs = Runs()
    assert not begin(runs, "1", 10, stop=10)
    assert not runs.end(RunStop(run_name="9", stop_time=3), now=0)
    assert not runs.end(RunStop(), now=0)
    begin(runs, "1", 10)
    assert not begin(runs, "2", 10)
    assert not runs.end(RunStop(run_name="1", stop_time=5), now=0)
    assert runs.end(RunStop(), now=20 * MS)  # names no run: the one that is open
    assert intervals(runs) == [("1", 10, 20)]


def test_a_beginning_without_a_time_and_the_same_name_again():
    runs = Runs()
    assert begin(runs, "1", 0, now=7)
    assert not begin(runs, "1", 0, now=8)
    runs.end(RunStop(run_name="1"), now=9 * MS)
    assert begin(runs, "1", 20)  # a streamer that plays a file over and over may do that
    runs.end(RunStop(run_name="1", stop_time=30), now=0)
    assert intervals(runs) == [("1", 7, 9), ("1", 20, 30)]
    assert runs.forget(15 * MS) == 1
    assert (len(runs), runs[0].start) == (1, 20 * MS)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 20), st.integers(0, 20), st.integers(1, 20)),
        max_size=30,
    )
)
def test_runs_never_overlap(messages):
    runs = Runs()
    for is_start, name, start, stop, now in messages:
        if is_start:
            begin(runs, str(name), start, stop=stop, now=now)
        else:
            runs.end(RunStop(run_name=str(name), stop_time=stop), now=now * MS)
        made = list(runs)
        for one, after in itertools.pairwise(made):
            assert one.stop is not None
            assert one.start < one.stop <= after.start
    times = np.arange(25) * MS
    expected = [next((n for n, run in enumerate(runs) if run.holds(int(t))), NO_RUN) for t in times]
    assert runs.of(times).tolist() == expected


def test_the_run_of_the_recording(data_dir):
    table = pq.read_table(data_dir / "neutron" / "sans2d" / "sans2d_stream.parquet").to_pylist()
    runs = Runs()
    for row in table:
        if row["schema"] == "pl72":
            assert runs.begin(pl72.read(row["value"]), now=row["timestamp_ms"] * MS)
    stops = [import_module("eventide.formats.6s4t").read(row["value"]) for row in table if row["schema"] == "6s4t"]
    assert [runs.end(stop, now=0) for stop in stops] == [True]
    pulses = np.load(data_dir / "neutron" / "sans2d" / "golden.npz")["pulse_time_ns"].astype(np.int64)
    assert set(runs.of(pulses).tolist()) == {0}
    assert runs[0].periods >= 1

"""Runs in a pipeline: which run it is when, counts of each run by themselves; periods; vetoes by proton charge."""

from __future__ import annotations

import random
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

import eventide as ev
from eventide import registry
from eventide.apps.neutron.instruments import AMOR
from eventide.apps.neutron.pipeline import pipeline, reduce
from eventide.apps.neutron.run_changes import CHANGES, run_changes
from eventide.apps.neutron.run_messages import RUNS, decode_runs
from eventide.apps.neutron.schema import MESSAGES
from eventide.apps.neutron.simulate import simulate
from eventide.connectors.memory import MemorySource
from eventide.errors import ConfigError, PipelineError
from eventide.formats import pl72
from eventide.formats.pl72 import RunStart, RunStop
from eventide.model.time import EVENT_TIME
from eventide.testing.operators import OperatorSuite
from eventide.testing.strategies import SECOND

START = 1_767_225_600 * 10**9  # 2026-01-01
stop_format = registry.resolve("format", "6s4t")


def naive(rows):
    """Changes of rows (time, begins, run, job, stop): one step after the other, planned ends put in where they lie."""
    waiting = sorted(rows, key=lambda r: (r[0], r[1], r[3], r[2], r[4] or 0))
    current, out = None, []
    while waiting:
        time, begins, run, job, stop = waiting.pop(0)
        if begins and (run, job) != current:
            current = (run, job)
            out.append((time, run or job))
            if stop is not None and stop > time:
                waiting.append((stop, False, run, job, None))
                waiting.sort(key=lambda r: (r[0], r[1], r[3], r[2], r[4] or 0))
        elif not begins and current and (job == current[1] if job else run in ("", current[0])):
            current = None
            out.append((time, None))
    return out


class TestRunChanges(OperatorSuite):
    keys = ()
    forgets = False  # the run that is on stays known

    def events(self):
        one = st.tuples(
            st.integers(0, 60), st.booleans(), st.sampled_from("ab"), st.sampled_from(["", "j1", "j2"]),
            st.none() | st.integers(0, 80),
        )  # fmt: skip

        def table(drawn):
            rows = [(t * SECOND, b, r, j, None if s is None or not b else s * SECOND) for t, b, r, j, s in drawn]
            rows.sort(key=lambda row: row[0])
            fields = zip(["time", *RUNS.names[1:]], RUNS, strict=True)
            return pa.table({n: pa.array([r[at] for r in rows], f.type) for at, (n, f) in enumerate(fields)})

        return st.lists(one, max_size=15).map(table)

    def apply(self, stream):
        def plain(batch):
            return batch.rename_columns(RUNS.names)

        return run_changes(stream.map_batches(plain, schema=RUNS).event_time("event_time", lateness="40s"))

    def reference(self, events):
        columns = [
            c.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(c.type) else c.to_pylist() for c in events.columns
        ]
        changes = naive(list(zip(*columns, strict=True)))
        return pa.table({f.name: pa.array([c[at] for c in changes], f.type) for at, f in enumerate(CHANGES)})


def messages(*told):
    values = [pl72.write(t) if isinstance(t, RunStart) else stop_format.write(t) for t in told]
    stamps = pa.array([START] * len(values)).cast(EVENT_TIME)
    return pa.table({"timestamp": stamps, "value": pa.array(values, pa.large_binary())}, schema=MESSAGES)


MS = START // 10**6
TOLD = messages(
    RunStart(run_name="1", job_id="a", start_time=MS + 500),
    RunStop(run_name="1", job_id="a", stop_time=MS + 1700),
    RunStop(run_name="9", job_id="z", stop_time=MS + 2000),  # of no run that is known
    RunStart(run_name="2", job_id="b", start_time=MS + 2200, stop_time=MS + 9000),
    RunStart(run_name="2", job_id="b", start_time=MS + 2200, stop_time=MS + 9000),  # told twice
    RunStart(run_name="3", job_id="c", start_time=MS + 3500),  # ends the one before
    RunStop(job_id="c", stop_time=MS + 4600),
)
SPANS = {"1": (500, 1700), "2": (2200, 3500), "3": (3500, 4600)}


def run_of(time):
    at = (time - START) / 10**6
    return next((name for name, (low, high) in SPANS.items() if low <= at < high), None)


def totals(pulses, source):
    out = {}
    times = pulses["event_time"].cast(pa.int64()).to_pylist()
    for time, name, flights in zip(
        times, pulses["source"].to_pylist(), pulses["time_of_flight"].to_pylist(), strict=True
    ):
        if name == source:
            out.setdefault(run_of(time), []).append(len(flights))
    return {name: (sum(n), len(n)) for name, n in out.items()}


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_each_run(seed, tmp_path):
    rng = random.Random(seed)
    pulses = simulate("amor", seconds=6, rate=2000, seed=seed)
    order = sorted(range(pulses.num_rows), key=lambda at: at // 2 * 71_428_571 + rng.random() * 9e8)
    made = pulses.take(pa.array(order)).combine_chunks().to_batches(max_chunksize=rng.randint(1, 30))
    told = [
        decode_runs(b)
        for b in TOLD.take(pa.array(rng.sample(range(7), 7))).combine_chunks().to_batches(max_chunksize=2)
    ]
    live = reduce(
        ev.read(MemorySource(made)), AMOR, per="run", runs=ev.read(MemorySource(told)), every="1s", lateness="10s"
    )
    found = ev.fetch(live.histograms)
    for table, source in ((found, "amor_detector"), (ev.fetch(live.monitors), "amor_monitor")):
        spectra = table.filter(pa.compute.equal(table["product"], "time_of_flight")).sort_by("until")
        last = {}
        for name, events, counts in zip(*(spectra[n].to_pylist() for n in ("run", "events", "counts")), strict=True):
            if name is not None:  # between runs counting begins anew each time
                last[name] = events
                assert sum(counts) <= events
        expected = totals(pulses, source)
        assert last == {name: expected[name][0] for name in SPANS}
    between = found.filter(pa.compute.is_null(found["run"]))
    assert between.num_rows
    firsts = found.filter(pa.compute.equal(found["run"], "2"))
    assert firsts["sequence"].to_pylist()[0] == 0


def test_stopped_in_the_middle_it_goes_on(tmp_path):
    pulses = simulate("amor", seconds=6, rate=2000, seed=5)
    results = []
    for stops in ((), (40, 100)):
        place = str(tmp_path / f"log-{len(stops)}")
        ev.run(ev.from_table(TOLD).write("log://runs", log=place))
        done = 0
        for end in (*stops, pulses.num_rows):
            ev.run(ev.from_table(pulses.slice(done, end - done)).write("log://pulses", log=place))
            done = end
            follow(place, tmp_path / f"state-{len(stops)}", seconds=2.0)
        table = ev.fetch(ev.read("log://histograms", log=place, follow=False))
        results.append(table.sort_by([("until", "ascending"), ("product", "ascending"), ("first", "ascending")]))
    assert results[0].num_rows > 15 and results[0].equals(results[1])


def follow(log, checkpoint, *, seconds):
    """Follow the topics for a while, and stop."""
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    job = pipeline(instrument="amor", per="run", lateness="500ms", log=log, follow="true")
    registry.resolve("engine", "local").run(job, stop=stop, checkpoint=str(checkpoint))
    timer.join()


def test_periods_and_vetoes():
    pulses = simulate("amor", seconds=2, rate=2000, seed=1)
    periods = np.arange(pulses.num_rows) // 2 % 3 + 1
    charges = np.where(np.arange(pulses.num_rows) % 8 < 2, 0.1, 1.0).astype(np.float32)
    told = pulses.set_column(6, pulses.schema.field("period"), pa.array(periods))
    told = told.set_column(8, pulses.schema.field("proton_charge"), pa.array(charges))
    live = reduce(ev.from_table(told), AMOR, per="period", least_charge=0.5)
    found = ev.fetch(live.histograms)
    spectra = found.filter(pa.compute.equal(found["product"], "time_of_flight")).sort_by("until")
    last = {
        p: (e, v) for p, e, v in zip(*(spectra[n].to_pylist() for n in ("period", "events", "vetoed")), strict=True)
    }
    counts = np.array([len(f) for f in pulses["time_of_flight"].to_pylist()])
    banks = np.array(pulses["source"].to_pylist()) == "amor_detector"
    for period in (1, 2, 3):
        mine = banks & (periods == period)
        assert last[period] == (counts[mine].sum(), counts[mine & (charges < 0.5)].sum())
    monitors = ev.fetch(live.monitors)
    assert set(monitors["period"].to_pylist()) == {1, 2, 3} and set(monitors["source"].to_pylist()) == {"amor_monitor"}


def test_messages_of_runs():
    found = decode_runs(TOLD.combine_chunks().to_batches()[0])
    assert found.schema == RUNS and found.num_rows == 7
    now = messages(RunStop(run_name="1"), RunStart(run_name="2"), RunStart(run_name="3", start_time=10, stop_time=5))
    found = decode_runs(now.combine_chunks().to_batches()[0])
    assert found["event_time"].cast(pa.int64()).to_pylist() == [START, START]
    broken = pa.record_batch({"value": pa.array([b"", None, b"....pl72????", b"....6s4t"], pa.large_binary())})
    assert decode_runs(broken).num_rows == 0


def test_what_is_asked_for():
    stream = ev.read("log://pulses")
    with pytest.raises(ConfigError, match="per 'run'"):
        reduce(stream, AMOR, per="run")
    with pytest.raises(ConfigError, match="per 'bank'"):
        reduce(stream, AMOR, per="bank")
    with pytest.raises(ConfigError, match="one by one"):
        pipeline(form="events", per="run")
    with pytest.raises(ConfigError, match="least_charge='much' is no number"):
        pipeline(least_charge="much")
    with pytest.raises(PipelineError, match="event time"):
        run_changes(stream)

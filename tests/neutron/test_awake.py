"""Rare messages beside pulses that go on: counts come although nothing is said of runs for long."""

from __future__ import annotations

import threading
import time

import pyarrow as pa

import eventide as ev
from eventide import registry
from eventide.apps.neutron.awake import AwakeSource
from eventide.apps.neutron.pipeline import pipeline
from eventide.apps.neutron.schema import MESSAGES
from eventide.apps.neutron.simulate import simulate
from eventide.errors import EventideError
from eventide.formats import pl72
from eventide.formats.pl72 import RunStart
from eventide.model.time import EVENT_TIME, MIN_TIME

NOW = 1_800_000_000 * 10**9


def topic_of_runs(log, start):
    value = pl72.write(RunStart(run_name="7", start_time=start // 10**6))
    row = pa.table({"timestamp": pa.array([start]).cast(EVENT_TIME), "value": pa.array([value], pa.large_binary())})
    ev.run(ev.from_table(row.cast(MESSAGES)).write("log://runs", log=log))


def test_nothing_is_promised_while_messages_come(tmp_path):
    log = str(tmp_path / "log")
    topic_of_runs(log, NOW)
    source = AwakeSource("log://runs", {"log": log, "follow": True}, behind=10**9, clock=lambda: NOW)
    reader = source.open({})
    (first,) = reader.read(max_rows=10, timeout=0)
    assert (first.batch.num_rows, first.heartbeat) == (1, MIN_TIME)
    (promise,) = reader.read(max_rows=10, timeout=0)
    assert (promise.batch.num_rows, promise.heartbeat, promise.position) == (0, NOW - 10**9, first.position)
    reader.close()
    again = source.open({"0": first.position})
    assert again.read(max_rows=10, timeout=0)[0].position == first.position
    again.close()


def test_counts_of_a_run_come_while_it_goes_on(tmp_path):
    log, stop, found = str(tmp_path / "log"), threading.Event(), {}
    start = (time.time_ns() - 5 * 10**9) // 10**9 * 10**9
    topic_of_runs(log, start)
    pulses = simulate("amor", seconds=4, rate=1000).combine_chunks()
    shift = start - pulses["event_time"][0].value
    times = pa.array(pulses["event_time"].cast(pa.int64()).to_numpy() + shift).cast(EVENT_TIME)
    ev.run(ev.from_table(pulses.set_column(0, pulses.schema.field(0), times)).write("log://pulses", log=log))

    def run(silent):
        job = pipeline(instrument="amor", per="run", silent=silent, lateness="100ms", log=log, follow="true")
        registry.resolve("engine", "local").run(
            job.named(f"live-{silent}"), stop=stop, quarantine=log, checkpoint=str(tmp_path / "state")
        )

    thread = threading.Thread(target=run, args=("1s",))
    thread.start()
    until = time.monotonic() + 40
    while time.monotonic() < until and not found:
        time.sleep(0.5)
        try:
            table = ev.fetch(ev.read("log://histograms", log=log, follow=False))
        except EventideError:  # no topic yet
            continue
        if table.num_rows >= 12:
            found = set(table["run"].to_pylist())
    stop.set()
    thread.join(60)
    assert found == {"7"}

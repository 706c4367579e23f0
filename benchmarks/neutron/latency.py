"""From the last event of a pulse to its published histograms, at the rate of an instrument, fsync on, two processes.

    python benchmarks/neutron/latency.py [--instrument sans2d] [--rate 1e7] [--seconds 30] [--fsync each]

One process plays a simulator: every 1/14 s it appends a pulse of all banks to the durable log, synced; the clock of a
pulse starts when it is handed to `append`, so the last event is the latest. The other process runs the application's
pipeline on that topic, with histograms for every pulse, and tells when a publication is handed to its sink. A pulse is
published when time has passed its interval. Whoever has sent all of a pulse knows that, and says so: a row without
events, of the time where the interval ends, comes with the pulse. The median and the 99th percentile are over
all pulses after the first second. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import eventide as ev
from eventide.apps.neutron.instruments import instrument
from eventide.apps.neutron.pipeline import read_in, reduce
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import Beam
from eventide.log import Log
from eventide.model.batch import concat

PERIOD = 71_428_572
"""Of the intervals, ns: a pulse each, whose times are multiples of this."""

TOPIC = "pulses"
FLOOR = 100.0


def play(root: str, name: str, rate: float, seconds: int, start: int, told: Any) -> None:
    """Append pulses at their time; tell when each was handed over."""
    sent, synced, fsync = told
    beam = Beam(instrument(name), rate=rate, seed=3)
    rows = len(beam.sources)
    made = beam.second(0)
    pulses = [ended(made.slice(k, rows)) for k in range(0, made.num_rows - rows + 1, rows)]
    with Log(root, fsync=fsync) as log:
        for number in range(seconds * 14):
            pulse = pulses[number % len(pulses)]
            due = start + number * PERIOD
            wait = (due - time.time_ns()) / 1e9
            if wait > 0:
                time.sleep(wait)
            begin = time.time_ns()
            log.append(TOPIC, timed(pulse, due))
            sent[number], synced[number] = begin, time.time_ns()


def ended(pulse: pa.RecordBatch) -> pa.RecordBatch:
    """Return a pulse and a row without events."""
    last, none = pulse.slice(0, 1), pa.ListArray.from_arrays(pa.array([0, 0], pa.int32()), pa.array([], pa.int32()))
    for column in ("time_of_flight", "pixel_id"):
        last = last.set_column(PULSES.get_field_index(column), PULSES.field(column), none)
    return concat([pulse, last])


def timed(pulse: pa.RecordBatch, when: int) -> pa.RecordBatch:
    """Return a pulse of another time."""
    times = np.full(pulse.num_rows, when)
    times[-1] += PERIOD
    return pulse.set_column(0, PULSES.field(0), pa.array(times).cast(PULSES.field(0).type))


def count(root: str, name: str, start: int, pulses: int, seen: Any) -> None:
    """Run the pipeline, and tell when what has a pulse in it was published."""
    source = ev.read(f"log://{TOPIC}", log=root)
    live = reduce(
        read_in(source).pulses,
        instrument(name),
        every=f"{PERIOD}ns",
        volume_every=f"{PERIOD * 14 * 3600}ns",
        lateness="0s",
    )

    def publish(batch: pa.RecordBatch) -> pa.RecordBatch:
        now = time.time_ns()
        for until in set(batch.column("until").cast(pa.int64()).to_pylist()):
            number = (until - start) // PERIOD - 1
            if 0 <= number < pulses:
                seen[number] = now
        return batch.select(["until", "product"])

    out = live.histograms.map_batches(publish, name="publish").write("memory://latency")
    monitors = live.monitors.select("until").write("memory://monitors")
    ev.run(out, monitors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instrument", default="sans2d")
    parser.add_argument("--rate", type=float, default=1e7)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--fsync", default="each", choices=("each", "group", "os"), help="of the log that is written")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    pulses = options.seconds * 14
    context = multiprocessing.get_context("spawn")
    sent, synced, seen = (context.Array("q", pulses, lock=False) for _ in range(3))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = str(Path(folder, "log"))
        with Log(root) as log:
            log.create_topic(TOPIC, PULSES, event_time="event_time")
        start = (time.time_ns() // PERIOD + 14 * 15) * PERIOD  # both have started by then
        reader = context.Process(target=count, args=(root, options.instrument, start, pulses, seen), daemon=True)
        writer = context.Process(
            target=play,
            args=(root, options.instrument, options.rate, options.seconds, start, (sent, synced, options.fsync)),
            daemon=True,
        )
        reader.start()
        writer.start()
        writer.join()
        until = time.monotonic() + 30
        while not all(seen) and time.monotonic() < until:
            time.sleep(0.05)
        reader.terminate()
        reader.join()
    before, after = np.array(sent[14:]), np.array(seen[14:])
    missing = int(np.count_nonzero(after == 0))
    assert not missing, f"{missing} pulses were not published"
    ms = (after - before) / 1e6
    told = {
        "id": "neutron-latency",
        "unit": "ms",
        "instrument": options.instrument,
        "fsync": options.fsync,
        "events_per_second": options.rate,
        "p50_ms": round(float(np.percentile(ms, 50)), 2),
        "p99_ms": round(float(np.percentile(ms, 99)), 2),
        "append_p50_ms": round(float(np.percentile((np.array(synced[14:]) - before) / 1e6, 50)), 2),
        "worst_ms": round(float(ms.max()), 2),
        "floors": {"p99_ms": FLOOR},
        "ok": bool(np.percentile(ms, 99) <= FLOOR),
        "n": len(ms),
        "load": os.getloadavg(),
        "machine": platform.machine(),
    }
    print(json.dumps(told))
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

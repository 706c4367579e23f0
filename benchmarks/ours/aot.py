"""The sensor network's day: 172,800 events as text on the wire, in the log, to anomalies and incidents in the log.

One core: the process is bound to one processor, with one lane and one Polars thread.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["POLARS_MAX_THREADS"] = "1"

import pyarrow as pa
from benchmarks import data
from benchmarks.ours.events import versions
from benchmarks.worker import Figures, Job, NotRunnableError, main_figures

import eventide as ev
from eventide.apps.sensors.pipeline import pipeline
from eventide.apps.sensors.simulate import simulate, wire_a
from eventide.errors import EventideError
from eventide.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

STREAMS = 40


def prepare(job: Job) -> Callable[[], Figures]:
    """Simulate the day; the first run, with everything cold, is kept as a figure of its own."""
    payloads = pa.array(wire_a(simulate(STREAMS, seed=1).readings))
    batch = pa.record_batch({"payload": payloads})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    def measure() -> Figures:
        data.FOLDER.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="aot-", dir=data.FOLDER))
        try:
            with Log(folder) as log:
                log.create_topic("readings", batch.schema)
                for start in range(0, batch.num_rows, job.batch):
                    log.append("readings", batch.slice(start, job.batch))
            started = time.perf_counter()
            found = ev.run(pipeline(form="a", log=str(folder)), lanes=1)
            seconds = time.perf_counter() - started
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {"seconds_a_day": seconds, "events": found.rows_in, "alerts": found.rows_out}

    try:
        first = measure()["seconds_a_day"]
    except (ImportError, EventideError) as error:
        msg = f"eventide cannot run the sensor network's day: {error}"
        raise NotRunnableError(msg) from error
    return lambda: {**measure(), "first_seconds": first}


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("aot",))

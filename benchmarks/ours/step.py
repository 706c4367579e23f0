"""One stateful step of W2: bytes of a frame in, decoded, into the windows, results out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from benchmarks.ours.events import TOPIC, versions
from benchmarks.ours.steps import drive, machine_of, messages, state_rows
from benchmarks.worker import Figures, Job, NotRunnableError, main_figures

import eventide as ev

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(job: Job) -> Callable[[], Figures]:
    """Make the frames; one drive over all of them warms up."""
    parts = messages(job.rows, keys=job.keys, batch=job.batch)
    keyed = ev.read(f"log://{TOPIC}").event_time("ts", lateness="2s").key_by("key").window(ev.tumbling("10s"))
    stream = keyed.aggregate(n=ev.count(), mean=ev.mean("value"), std=ev.std("value"))

    def measure() -> Figures:
        machine = machine_of(stream)
        seconds, results = drive(machine, parts)
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
        return {
            "rate": job.rows / float(seconds.sum()),
            "seconds": float(seconds.sum()),
            "p50_us": float(p50),
            "p99_us": float(p99),
            "max_us": float(seconds.max()) * 1e6,
            "result_rows": results,
            "state_rows_at_end": state_rows(machine),
        }

    try:
        measure()
    except ImportError as error:
        msg = f"eventide has no machine for windows: {error}"
        raise NotRunnableError(msg) from error
    return measure


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("step",))

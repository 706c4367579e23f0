"""Drive the machine of a window directly, as an engine does, and time every step from bytes to results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from benchmarks.ours.events import SCHEMA, batches

from eventide.kernel.build import build_machine
from eventide.kernel.window.order import time_span
from eventide.model.batch import event_times
from eventide.model.machine import Step
from eventide.model.time import MAX_TIME

if TYPE_CHECKING:
    from benchmarks.worker import Job

    from eventide.model.machine import Machine
    from eventide.model.stream import Stream

LATENESS_NS = 2_000_000_000


def messages(rows: int, *, keys: int, batch: int) -> list[pa.Buffer]:
    """The events as serialised record batches, as frames of the log hold them."""
    return [part.serialize() for part in batches(0, rows, keys=keys, rows=batch)]


def drive(machine: Machine, parts: list[pa.Buffer]) -> tuple[np.ndarray, int]:
    """Push everything, then the end: seconds of every step with events (decode, watermark, push), and result rows.

    Each message is copied first, as whoever receives one from a socket or a file has just done; that is not timed.
    """
    seconds, newest, results = np.empty(len(parts)), 0, 0
    clock = time.perf_counter
    for number, part in enumerate(parts):
        message = pa.py_buffer(bytes(part))
        started = clock()
        batch = pa.ipc.read_record_batch(message, SCHEMA)
        span = time_span(event_times(batch, "ts"))
        newest = max(newest, span[1])
        made = machine.push(Step(number, 0, batch, newest - LATENESS_NS, span=span))
        seconds[number] = clock() - started
        results += sum(emit.batch.num_rows for emit in made)
    made = machine.push(Step(len(parts), 0, None, MAX_TIME, end=True))
    return seconds, results + sum(emit.batch.num_rows for emit in made)


def state_rows(machine: Machine) -> int:
    """Rows of keyed state: all but the watermark."""
    return sum(table.num_rows for name, table in machine.snapshot().items() if name != "time")


def machine_of(stream: Stream) -> Machine:
    """The machine of the window that a stream ends in."""
    return build_machine(stream.ref.node, (SCHEMA,))


def close_figures(stream: Stream, job: Job) -> dict[str, float]:
    """Longest step over the whole input, and the keyed state that is left at its end."""
    machine = machine_of(stream)
    seconds, _ = drive(machine, messages(job.rows, keys=job.keys, batch=job.batch or 10_000))
    return {
        "max_step_ms": float(seconds.max()) * 1e3,
        "p99_step_ms": float(np.percentile(seconds, 99)) * 1e3,
        "state_rows_at_end": state_rows(machine),
    }

"""The durable log: appends of 10,000 rows with an fsync each, beside bare write + fdatasync of the same bytes; reads.

Appends and bare writes take turns in blocks of 20, so that both meet the same disk, and write the same 20 batches over
and over, so that both find them in the same caches. The bytes of a bare write are those of the serialised batch, ready
in memory; it only writes them at the end of a file and waits for fdatasync.

The first read after the writing (``first_read_rate``) pays for mapping pages that nobody has touched since, which on a
virtual machine costs several times the reading; ``read_rate`` and ``scan_rate`` are those of a second read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks import data
from benchmarks.ours.events import SCHEMA, TOPIC, batches, versions
from benchmarks.worker import Figures, Job, main_figures

from eventide.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

BLOCK = 20
READ_ROWS = 1 << 20


def append_times(folder: Path, parts: list[pa.RecordBatch], appends: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of every append to the log and of every bare write of `parts`, in turn."""
    payloads = [part.serialize() for part in parts]
    ours, bare = np.empty(appends), np.empty(appends)
    clock = time.perf_counter
    descriptor = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Log(folder / "log", fsync="each") as log:
        log.create_topic(TOPIC, SCHEMA, event_time="ts")
        writer = log.writer(TOPIC)
        for block in range(0, appends, len(parts)):
            numbers = range(block, min(block + len(parts), appends))
            for number in numbers:
                part = parts[number % len(parts)]
                started = clock()
                writer.append(part)
                ours[number] = clock() - started
            for number in numbers:
                payload = payloads[number % len(payloads)]
                started = clock()
                os.write(descriptor, payload)
                os.fdatasync(descriptor)
                bare[number] = clock() - started
    os.close(descriptor)
    return ours, bare


def read_seconds(folder: Path, rows: int, *, scan: bool) -> float:
    """Seconds to read all frames through the memory map; with `scan` every value of one column is added up."""
    found, total = 0, 0.0
    started = time.perf_counter()
    with Log(folder / "log", create=False) as log, log.reader(TOPIC) as reader:
        while found < rows:
            for frame in reader.read(READ_ROWS):
                found += frame.batch.num_rows
                values = frame.batch.column(2).to_numpy()
                total += float(values.sum()) if scan else float(values[0]) + float(values[-1])
    seconds = time.perf_counter() - started
    if found != rows or total <= 0:
        msg = f"read {found} rows with a sum of {total}, {rows} were written"
        raise AssertionError(msg)
    return seconds


def prepare(job: Job) -> Callable[[], Figures]:
    """Make the batches; a short round warms up."""
    data.FOLDER.mkdir(parents=True, exist_ok=True)
    parts = list(batches(0, BLOCK * job.batch, keys=job.keys, rows=job.batch))

    def measure(rows: int = job.rows) -> Figures:
        folder = Path(tempfile.mkdtemp(prefix="log-", dir=data.FOLDER))
        try:
            ours, bare = append_times(folder, parts, rows // job.batch)
            first = read_seconds(folder, rows, scan=False)
            read = read_seconds(folder, rows, scan=False)
            scan = read_seconds(folder, rows, scan=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        byte_count = sum(part.nbytes for part in parts) * len(ours) / len(parts)
        p50, p99 = np.percentile(ours, [50, 99]) * 1e3
        bare_p50, bare_p99 = np.percentile(bare, [50, 99]) * 1e3
        return {
            "rate": rows / float(ours.sum()),
            "seconds": float(ours.sum()),
            "append_mb_per_s": byte_count / float(ours.sum()) / 1e6,
            "append_p50_ms": float(p50),
            "append_p99_ms": float(p99),
            "rate_over_bare": float(bare.sum() / ours.sum()),
            "bare_rate": rows / float(bare.sum()),
            "bare_p50_ms": float(bare_p50),
            "bare_p99_ms": float(bare_p99),
            "p99_over_bare": float(p99 / bare_p99),
            "first_read_rate": rows / first,
            "read_rate": rows / read,
            "scan_rate": rows / scan,
        }

    measure(5 * BLOCK * job.batch)
    return measure


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("log",))

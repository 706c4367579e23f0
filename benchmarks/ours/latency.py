"""From the append in one process to the result in another.

A second process appends a batch every 10 ms with an fsync each (``producer.py``); a pipeline in this process follows
the log and computes count, mean and std of 1,000 keys in windows of 10 ms of event time. Batch ``k + 1`` closes window
``k``: the latency is from the moment before the append of batch ``k + 1`` until the sink has the last result of
window ``k``; it includes the encoding, the write, the fsync, the notice, the computation and the hand-over.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks import data
from benchmarks.ours.events import SCHEMA, TOPIC, CountingSink, versions
from benchmarks.ours.producer import TICK_NS
from benchmarks.process import ROOT
from benchmarks.worker import Figures, Job, NotRunnableError, main_figures

import eventide as ev
from eventide.errors import EventideError
from eventide.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

WARM_TICKS = 100
SETTLE_SECONDS = 0.3


class TimingSink(CountingSink):
    """Notes when each window's last result came, by the number of the window."""

    def __init__(self, ticks: int) -> None:
        super().__init__()
        self.moments = np.zeros(ticks, np.int64)

    def write(self, batch: pa.RecordBatch) -> None:
        """Note the time for every window in the batch."""
        starts = batch.column("window_start").to_numpy(zero_copy_only=False).astype("datetime64[ns]").view(np.int64)
        self.moments[np.unique((starts - data.EPOCH_MS * 1_000_000) // TICK_NS)] = time.monotonic_ns()
        self.rows += batch.num_rows


def follow(folder: Path, ticks: int, rows: int) -> Figures:
    """Run the pipeline beside a producer until the producer is done."""
    with Log(folder, fsync="each") as log:
        log.create_topic(TOPIC, SCHEMA, event_time="ts")
    sink, stop = TimingSink(ticks), threading.Event()
    keyed = ev.read(f"log://{TOPIC}", log=str(folder), follow=True).event_time("ts").key_by("key")
    results = keyed.window(ev.tumbling("10ms")).aggregate(n=ev.count(), mean=ev.mean("value"), std=ev.std("value"))
    produced: list[str] = []
    used = [0.0, 0.0]

    def produce() -> None:
        command = [sys.executable, "-m", "benchmarks.ours.producer", str(folder), "--rows", str(rows)]
        used[0] = -time.process_time()
        try:
            done = subprocess.run([*command, "--ticks", str(ticks)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
            produced.append(done.stdout.decode())
            used[0] += time.process_time()
            time.sleep(SETTLE_SECONDS)
        finally:
            stop.set()

    thread = threading.Thread(target=produce)
    thread.start()
    ev.run(results.write(sink), stop=stop)
    thread.join()
    return _figures(np.array(json.loads(produced[0])), sink.moments, cpu_seconds=used[0])


def _figures(appended: np.ndarray, seen: np.ndarray, *, cpu_seconds: float) -> Figures:
    ticks = len(appended)
    windows = np.arange(WARM_TICKS, ticks - 1)
    if np.any(seen[windows] == 0):
        msg = f"{np.sum(seen[windows] == 0)} of {len(windows)} windows gave no result"
        raise AssertionError(msg)
    latency = (seen[windows] - appended[windows + 1, 0]) / 1e6
    appends = (appended[:, 1] - appended[:, 0]) / 1e6
    return {
        "p50_ms": float(np.percentile(latency, 50)),
        "p99_ms": float(np.percentile(latency, 99)),
        "max_ms": float(latency.max()),
        "append_p50_ms": float(np.percentile(appends, 50)),
        "append_p99_ms": float(np.percentile(appends, 99)),
        "core_share": cpu_seconds / (ticks * TICK_NS / 1e9),
    }


def prepare(job: Job) -> Callable[[], Figures]:
    """A first round warms up."""

    def measure(ticks: int = job.rows) -> Figures:
        data.FOLDER.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="latency-", dir=data.FOLDER))
        try:
            return follow(folder, ticks, job.batch)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    try:
        measure(2 * WARM_TICKS)
    except (ImportError, EventideError) as error:
        msg = f"eventide cannot follow a log: {error}"
        raise NotRunnableError(msg) from error
    return measure


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("latency",))

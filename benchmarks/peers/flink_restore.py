"""Flink SQL: kill a job with windows of a million keys, restore it from its last checkpoint, wait for a new result.

The same two windows as ours over the same events, which the JVM computes; state in memory, checkpoints each second in a
local folder, results printed. The job is a Python program as a PyFlink user has; no Python runs inside it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import data
from benchmarks.peers.flink import SETTINGS, add_events, tables
from benchmarks.worker import Figures, Job, NotRunnableError, main_figures
from pyflink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS_PER_KEY = 4
FILLED = 0.9
CHILD = "--restored"


def settings(folder: Path, restore: str) -> dict[str, str]:
    """Settings of a job with checkpoints."""
    found = {
        **SETTINGS,
        "execution.checkpointing.interval": "1s",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": f"file://{folder / 'checkpoints'}",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "2",
        "state.backend.type": "hashmap",
        "jobmanager.memory.heap.size": "1g",
        "taskmanager.memory.task.heap.size": "4g",
    }
    return {**found, "execution.state-recovery.path": f"file://{restore}"} if restore else found


def child(folder: str, keys: str, restore: str) -> None:
    """Run the job until killed."""
    stream, table = tables(settings(Path(folder), restore))
    # More rows than are ever reached, so that the windows stay open; the formula needs them even.
    add_events(stream, table, "events", rows=ROWS_PER_KEY * int(keys) * 10, keys=int(keys), seed=0)
    seconds = ROWS_PER_KEY * int(keys) // (1000 * data.EVENTS_PER_MS)
    large = f"TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '{seconds}' SECOND(6))"
    small = "TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND)"
    table.execute_sql("CREATE TEMPORARY TABLE results (what STRING, t TIMESTAMP(3)) WITH ('connector' = 'print')")
    table.execute_sql(
        "CREATE TEMPORARY TABLE many (window_start TIMESTAMP(3), `key` BIGINT, n BIGINT, `mean` DOUBLE, `std` DOUBLE) "
        "WITH ('connector' = 'blackhole')"
    )
    both = table.create_statement_set()
    both.add_insert_sql(
        "INSERT INTO many SELECT window_start, `key`, COUNT(*), AVG(`value`), STDDEV_SAMP(`value`) "
        f"FROM TABLE({large}) GROUP BY window_start, window_end, `key`"
    )
    both.add_insert_sql(
        "INSERT INTO results SELECT 'out ' || CAST(COUNT(*) AS STRING), window_start "
        f"FROM TABLE({small}) GROUP BY window_start, window_end"
    )
    both.execute().wait()


def start(folder: Path, keys: int, restore: str = "") -> subprocess.Popen[str]:
    """Start the job as a process of its own, with its JVM in the same group."""
    command = [sys.executable, "-m", "benchmarks.peers.flink_restore", CHILD, str(folder), str(keys), restore]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it and its JVM."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def results(process: subprocess.Popen[str]) -> str:
    """Wait for the next result that is printed."""
    assert process.stdout is not None
    for line in process.stdout:
        if "out " in line:
            return line
    msg = f"the job ended with {process.wait()}"
    raise NotRunnableError(msg)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    found = sorted(folder.glob("checkpoints/*/chk-*/_metadata"), key=lambda p: int(p.parent.name[4:]))
    return found[-1].parent if found else None


def prepare(job: Job) -> Callable[[], Figures]:
    """Run the job until its windows are almost full, keep its last checkpoint, and kill it."""
    folder = Path(tempfile.mkdtemp(prefix="flink-restore-"))
    first = start(folder, job.keys)
    wanted = FILLED * ROWS_PER_KEY * job.keys / (1000 * data.EVENTS_PER_MS)
    seen = 0
    while seen < wanted:  # one line a second of event time
        results(first)
        seen += 1
    before = newest(folder)
    while newest(folder) in (None, before):
        results(first)
    kill(first)  # before the copy: a job that runs drops its older checkpoints
    found = newest(folder)
    assert found is not None
    kept = folder / "kept"
    # State files of the checkpoint are in its own folder and in those beside it.
    shutil.copytree(found.parent, kept, ignore_dangling_symlinks=True)

    def measure() -> Figures:
        started = time.perf_counter()
        process = start(folder, job.keys, str(kept / found.name))
        results(process)
        seconds = time.perf_counter() - started
        kill(process)
        return {"rate": job.keys / seconds, "seconds": seconds}

    measure()
    return measure


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(*sys.argv[2:])
    else:
        main_figures(prepare, versions=lambda: {"flink": __version__}, jobs=("recovery",))

"""What a micro-batch costs on Spark: W2 through eventide beside Spark's own operators, in one session, taking turns.

Both get micro-batches of as many events (a Parquet file's for Spark, as many bytes of the log for us). A run over many
and one over few: the difference of their seconds by that of their micro-batches is what one takes, without the start.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyspark
from benchmarks import data
from benchmarks.ours.events import CountingSink
from benchmarks.ours.events import versions as common
from benchmarks.ours.windows import stream
from benchmarks.peers import spark as native
from benchmarks.worker import Figures, Job, main_figures

import eventide as ev

ROW_BYTES = 24
FEW = 4


def prepare(job: Job) -> Callable[[], Figures]:
    """Make the input, start Spark, and run both once."""
    many = job.rows // data.FILE_ROWS
    job = Job("w2", job.rows, job.keys, job.batch, job.engine)
    spark = native.session()
    native.FILES_PER_BATCH = 1

    def theirs(batches: int) -> tuple[float, int]:
        folder = Path(tempfile.mkdtemp(prefix="batches-"))
        frame = native.query(spark, job, batches * data.FILE_ROWS)
        started = time.perf_counter()
        native.execute(frame, sink="noop", folder=folder)
        seconds = time.perf_counter() - started
        made = len(list((folder / "checkpoint" / "commits").glob("[0-9]*")))
        shutil.rmtree(folder, ignore_errors=True)
        return seconds, made

    def ours(batches: int) -> tuple[float, int]:
        rows = batches * data.FILE_ROWS
        written = stream(job, rows).write(CountingSink())
        started = time.perf_counter()
        found = ev.run(written, engine=job.engine, batch_bytes=data.FILE_ROWS * ROW_BYTES)
        seconds = time.perf_counter() - started
        if found.rows_in != rows:
            msg = f"{found.rows_in} events were read, {rows} were there"
            raise AssertionError(msg)
        return seconds, found.checkpoint

    def each(run: Callable[[int], tuple[float, int]]) -> tuple[float, int]:
        (long, more), (short, less) = run(many), run(FEW)
        return 1e3 * (long - short) / (more - less), more

    def measure() -> Figures:
        (mine, batches), (plain, others) = each(ours), each(theirs)
        return {
            "rate": data.FILE_ROWS * 1e3 / mine,
            "batch_ms": mine,
            "native_batch_ms": plain,
            "above_native_ms": mine - plain,
            "batches": batches,
            "native_batches": others,
        }

    measure()
    return measure


def versions() -> dict[str, str]:
    """Those of our side and of Spark."""
    return {**common(), "spark": pyspark.__version__}


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("batches",))

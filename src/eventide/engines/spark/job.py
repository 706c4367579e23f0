"""One run on Spark: a streaming query, and the sinks beside it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventide.engines._failure import error_in
from eventide.engines.dataflow import Dataflow, Output
from eventide.engines.dataflow.outlet import Outlet
from eventide.engines.local.result import Progress, RunResult
from eventide.engines.spark.options import SparkOptions
from eventide.engines.spark.session import session
from eventide.engines.spark.source import NAME, data_source
from eventide.errors import CheckpointError, ConfigError
from eventide.logs import RunLog
from eventide.model.pipeline import Pipeline

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["run_job"]

_POLL, _TELL = 0.05, 0.2  # seconds


def run_job(
    pipeline: Pipeline,
    options: SparkOptions,
    *,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> RunResult:
    """Run the query until the input ends, it is stopped, or a part of it fails.

    Raises
    ------
    EventideError
        A part of it failed. What was committed stays; a run with the same checkpoint folder goes on from there.
    """
    more: dict[str, Any] = {"batch_rows": options.batch_rows} if options.batch_rows else {}
    place = str(options.quarantine) if options.quarantine is not None else None
    flow = Dataflow(pipeline, buckets=options.buckets, tick=options.tick, clock=options.clock, quarantine=place, **more)
    with ExitStack() as stack:
        folder = _folder(pipeline, options, stack)
        outlet = flow.outlet(folder / "sinks")
        failed = True
        stack.callback(lambda: outlet.close(failed=failed))
        resumed = outlet.ended
        if resumed:
            told = f"{pipeline.name} has ended before, as {folder} says, and is not run again; resume=False begins anew"
            RunLog({"pipeline": pipeline.name}).tell("resumed", told)
        else:
            spark = session(options, pipeline.name)
            _distant(spark, options)
            query = _Query(spark, flow, outlet, folder=folder, batch_bytes=options.batch_bytes)
            query.run(stop, on_progress)
        result = outlet.result(stopped=not outlet.ended)
        failed = False
        # The counts of an earlier run are in the ledger; this one has read nothing.
        return replace(result, rows_in=0, rows_out=0) if resumed else result


def _folder(pipeline: Pipeline, options: SparkOptions, stack: ExitStack) -> Path:
    """Return the folder of the job, which no other driver uses meanwhile."""
    if options.checkpoint is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eventide-spark-")))
    folder = Path(options.checkpoint).absolute() / "spark" / pipeline.name
    folder.mkdir(parents=True, exist_ok=True)
    lock = stack.enter_context((folder / "lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        msg = f"another process runs {pipeline.name} from {folder}"
        raise CheckpointError(msg, hint="end it, or give another checkpoint folder or name") from error
    if not options.resume:
        for name in ("query", "elements", "states", "sinks"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return folder


def _distant(spark: SparkSession, options: SparkOptions) -> None:
    master = spark.sparkContext.master
    local = master.startswith(("local", "spark://127.", "spark://localhost"))
    if options.checkpoint is None and not local:
        msg = f"workers of {master} need a folder that they share with the driver"
        raise ConfigError(msg, hint="give checkpoint='/a/shared/folder'")


class _Sinks:
    """Takes every micro-batch, in a thread of Spark; once it is closed, none any more."""

    def __init__(self, outlet: Outlet) -> None:
        self.error: Exception | None = None
        self.so_far = outlet.result()
        self.ended = False
        self._outlet, self._closed, self._busy = outlet, False, threading.Lock()

    def __call__(self, frame: DataFrame, epoch: int) -> None:
        """Write and commit one micro-batch; Spark repeats one that it does not know to be committed."""
        with self._busy:
            if self._closed:
                msg = "the run was stopped"
                raise RuntimeError(msg)
            table = frame.toArrow()
            try:
                columns = (table[name].to_pylist() for name in ("bucket", "seq", "data"))
                self._outlet.write(sorted(map(Output, *columns), key=lambda o: (o.bucket, o.seq)))
                self._outlet.commit(epoch)
            except Exception as error:
                self.error = error  # Spark would pass on nothing but its text
                raise
            self.so_far, self.ended = self._outlet.result(), self._outlet.ended

    def close(self) -> None:
        """Wait for the micro-batch that is being written, and take no other."""
        with self._busy:
            self._closed = True


class _Query:
    """The streaming query of a run."""

    def __init__(self, spark: SparkSession, flow: Dataflow, outlet: Outlet, *, folder: Path, batch_bytes: int) -> None:
        tasks = spark.sparkContext.defaultParallelism
        spark.dataSource.register(data_source(flow, folder, batch_bytes=batch_bytes, tasks=tasks))
        self._sinks = _Sinks(outlet)
        frame = spark.readStream.format(NAME).load()
        writer = frame.writeStream.foreachBatch(self._sinks).queryName(f"eventide-{flow.pipeline.name}")
        self._query = writer.option("checkpointLocation", str(folder / "query")).start()

    def run(self, stop: threading.Event, on_progress: Callable[[Progress], None] | None) -> None:
        """Let it run until the input has ended, or it is stopped, or fails."""
        try:
            self._follow(stop, on_progress)
        finally:
            self._sinks.close()
            cause = self._query.exception()
            with suppress(Exception):  # what it failed of is told below
                self._query.stop()
        if self._sinks.error is not None:
            raise self._sinks.error
        if cause is not None and not (self._sinks.ended or stop.is_set()):
            raise error_in(str(cause), job="the Spark query") from cause

    def _follow(self, stop: threading.Event, on_progress: Callable[[Progress], None] | None) -> None:
        begun = told = time.monotonic()
        while not (self._sinks.ended or stop.wait(_POLL)) and self._query.isActive:
            now = time.monotonic()
            if on_progress is None or now - told < _TELL:
                continue
            told, so_far = now, self._sinks.so_far
            on_progress(
                Progress(
                    seconds=now - begun,
                    rows_in=so_far.rows_in,
                    rows_out=so_far.rows_out,
                    late=so_far.late,
                    quarantined=so_far.quarantined,
                    watermark=so_far.watermark,
                    backlog=None,
                )
            )

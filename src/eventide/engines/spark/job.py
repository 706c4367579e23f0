"""One run on Spark: a streaming query, and the sinks beside it."""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from eventide.engines._dataflow import Dataflow, Output
from eventide.engines._dataflow.outlet import Outlet
from eventide.engines._failure import error_in
from eventide.engines.local.durable_files import write_file
from eventide.engines.local.result import Progress, RunResult
from eventide.engines.spark.options import SparkOptions
from eventide.engines.spark.session import is_here, session
from eventide.engines.spark.source import NAME, data_source
from eventide.errors import CheckpointError, ConfigError, EventideError, MissingDependencyError, UnavailableError
from eventide.logs import RunLog
from eventide.model.pipeline import Pipeline
from eventide.retry import Circuit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["run_job"]

# Last lines of Python's tracebacks, without those of what only passes an error on.
_TOLD = re.compile(r"^\s*((?!py4j|pyspark)[A-Za-z_][\w.]*(?:Error|Exception): .*)$", re.MULTILINE)
_STARTS = 5
_NOTE = "job.json"
_naming = threading.Lock()  # sources of all runs in this process have one name, until they are loaded
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
        attempts = _Attempts(flow, options, _folder(flow, options, stack))
        return attempts.run(stop, on_progress)


class _Attempts:
    """The attempts of one run: what fails for a passing reason begins again from the last micro-batch."""

    def __init__(self, flow: Dataflow, options: SparkOptions, folder: Path) -> None:
        self._flow, self._options, self._folder = flow, options, folder
        self._log = RunLog({"pipeline": flow.pipeline.name})

    def run(self, stop: threading.Event, on_progress: Callable[[Progress], None] | None) -> RunResult:
        """Try until it ends, or is stopped, or fails for good."""
        circuit, restarts, begun = Circuit(self._options.retry_policy), 0, time.monotonic()
        starts = 0
        committed = -1  # before anything was, a wrong address should not look like a wait
        while True:
            circuit.trying()
            outlet: Outlet | None = None
            try:
                outlet = self._flow.outlet(self._folder / "sinks")
                result = self._once(outlet, stop, on_progress)
                return replace(result, restarts=restarts, seconds=time.monotonic() - begun)
            except EventideError as error:
                if outlet is not None and outlet.next_epoch > committed + 1:
                    committed = outlet.next_epoch - 1
                    circuit.worked()
                starts += isinstance(error, _SlowStartError)
                again = isinstance(error, _SlowStartError) and starts < _STARTS
                kept = self._options.checkpoint is not None and committed >= 0
                if stop.is_set() or not (kept or again):
                    raise
                wait = circuit.failed(error)
                restarts += 1
                self._log.tell("restart", f"{error}; next try in {wait:.1f} s")
                if stop.wait(wait):
                    raise

    def _once(self, outlet: Outlet, stop: threading.Event, on_progress: Callable[[Progress], None] | None) -> RunResult:
        name, failed = self._flow.pipeline.name, True
        try:
            if resumed := outlet.ended:
                told = (
                    f"{name} has ended before, as {self._folder} says, and is not run again; resume=False begins anew"
                )
                self._log.tell("resumed", told)
            else:
                spark = session(self._options, name)
                _distant(spark, self._options)
                query = _Query(spark, self._flow, outlet, folder=self._folder, batch_bytes=self._options.batch_bytes)
                query.run(stop, on_progress)
            result = outlet.result(stopped=not outlet.ended)
            failed = False
            # The counts of an earlier run are in the ledger; this one has read nothing.
            return replace(result, rows_in=0, rows_out=0) if resumed else result
        finally:
            outlet.close(failed=failed)


def _folder(flow: Dataflow, options: SparkOptions, stack: ExitStack) -> Path:
    """Return the folder of the job, which no other driver uses meanwhile."""
    if options.checkpoint is None:
        return Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="eventide-spark-", ignore_cleanup_errors=True))
        )
    folder = Path(options.checkpoint).absolute() / "spark" / flow.pipeline.name
    folder.mkdir(parents=True, exist_ok=True)
    lock = stack.enter_context((folder / "lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        msg = f"another process runs {flow.pipeline.name} from {folder}"
        raise CheckpointError(msg, hint="end it, or give another checkpoint folder or name") from error
    if not options.resume:
        for name in ("query", "elements", "states", "sinks"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / _NOTE).unlink(missing_ok=True)
    _same(folder, flow)
    return folder


def _same(folder: Path, flow: Dataflow) -> None:
    """See that what is in a folder is of this pipeline: before anything is committed, the sinks do not know it."""
    mine = msgspec.json.encode({"fingerprint": flow.pipeline.fingerprint, "buckets": flow.count})
    note = folder / _NOTE
    if not note.exists():
        write_file(made := note.with_suffix(".made"), mine)
        made.replace(note)
    elif note.read_bytes() != mine:
        msg = f"{folder} is of another pipeline, or of this one with other buckets"
        raise CheckpointError(msg, hint="run it in another folder, or under another name")


def _distant(spark: SparkSession, options: SparkOptions) -> None:
    master = spark.sparkContext.master
    if options.checkpoint is None and not is_here(master):
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
        self._sinks = _Sinks(outlet)
        source = data_source(flow, folder, batch_bytes=batch_bytes, tasks=tasks)
        try:
            with _naming:
                spark.dataSource.register(source)
                frame = spark.readStream.format(NAME).load()
            writer = frame.writeStream.foreachBatch(self._sinks).queryName(f"eventide-{flow.pipeline.name}")
            self._query = writer.option("checkpointLocation", str(folder / "query")).start()
        except Exception as error:
            raise _as_error(error) from error

    def run(self, stop: threading.Event, on_progress: Callable[[Progress], None] | None) -> None:
        """Let it run until the input has ended, or it is stopped, or fails."""
        cause: Exception | None = None
        try:
            self._follow(stop, on_progress)
            cause = self._query.exception()
        except Exception as error:  # a JVM that is gone, or whoever is told of the progress
            cause = error
        finally:
            self._sinks.close()
            with suppress(Exception):  # what it failed of is told below
                self._query.stop()
        if self._sinks.error is not None:
            raise self._sinks.error
        if cause is not None and not (self._sinks.ended or stop.is_set()):
            raise cause if isinstance(cause, EventideError) else _as_error(cause) from cause

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


class _SlowStartError(UnavailableError):
    """Spark waits ten seconds for a Python that it starts, which a busy machine may not keep; nothing has happened."""


def _as_error(cause: Exception) -> EventideError:
    """Return what a query failed of, out of the many lines that Spark makes of it."""
    text = str(cause).partition("=== Streaming Query ===")[0]
    if "Python worker failed to connect back" in text:
        msg = "Spark's Python was not there within the ten seconds that Spark waits for it"
        return _SlowStartError(msg, hint="this machine may be too busy; or PYSPARK_PYTHON names no Python that starts")
    told = _TOLD.findall(text)
    if told and "No module named 'eventide'" in told[-1]:
        msg = "the Python of Spark's workers has no eventide"
        return MissingDependencyError(msg, hint="install it there, or name one that has it by PYSPARK_PYTHON")
    if told and "eventide-error" not in text:
        text = told[-1]
    return error_in(text, job="the Spark query")

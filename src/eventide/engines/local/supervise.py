"""Runs a pipeline through failures that pass: back to the last checkpoint, wait, and on again.

A full disk, a locked topic, a server that is away: the run lets go of everything, so that nothing is acknowledged
from a file or connection that failed, waits (longer each time), and opens everything anew from its last checkpoint.
That is the same path as after a crash, and so as well tested.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from eventide.engines.local.checkpoint import CheckpointStore
from eventide.engines.local.loop import Loop, Totals
from eventide.engines.local.metrics import RunMetrics
from eventide.engines.local.options import LocalOptions
from eventide.engines.local.plan import Plan, plan
from eventide.engines.local.result import Progress, RunResult
from eventide.engines.local.watch import watched
from eventide.errors import CheckpointError, LogError, LogLockedError, UnavailableError
from eventide.log.lock import FileLock
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import Position
from eventide.model.time import MIN_TIME
from eventide.retry import Circuit

__all__ = ["supervise"]

_LOOK_SECONDS = 0.1


def supervise(
    pipeline: Pipeline,
    options: LocalOptions,
    *,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> RunResult:
    """Run a pipeline until it ends, is stopped, or fails for good.

    An error before everything was open once is raised at once: a wrong address should not look like a wait. So is
    any error of a run that keeps no checkpoints: it has nowhere to go back to.
    """
    begun = time.monotonic()
    run = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"
    store = CheckpointStore(options.checkpoint, pipeline.name, keep=options.keep) if options.checkpoint else None
    with contextlib.ExitStack() as closing:
        if store is not None:
            closing.callback(_lock(store, pipeline.name).release)
        folder = store.folder if store else None
        metrics = closing.enter_context(
            watched(pipeline.name, run, folder=folder, serve=options.metrics, remote=options.metrics_remote)
        )
        if folder is not None:
            metrics.places["checkpoints"] = folder
        attempts = _Attempts(pipeline, options, store=store, metrics=metrics)
        result = attempts.run(stop, on_progress)
        metrics.enter("stopped" if result.stopped else "finished")
        return replace(result, restarts=attempts.restarts, seconds=time.monotonic() - begun)


class _Attempts:
    """The attempts of one run."""

    def __init__(
        self, pipeline: Pipeline, options: LocalOptions, *, store: CheckpointStore | None, metrics: RunMetrics
    ) -> None:
        self._pipeline, self._options, self._store, self._metrics = pipeline, options, store, metrics
        self._circuit = Circuit(options.retry_policy)
        self._opened = False
        self._began: dict[str, dict[str, Position]] = {}
        self._begun = time.monotonic()
        self.restarts = 0
        metrics.circuit("run", self._circuit)

    def run(self, stop: threading.Event, on_progress: Callable[[Progress], None] | None) -> RunResult:
        """Try until it ends, or is stopped, or fails for good."""
        while True:
            loop: Loop | None = None
            self._circuit.trying()
            try:
                options = self._where_to_begin()
                made = self._planned(options)
                made.quarantine.run = self._metrics.run
                loop = Loop(
                    made,
                    options,
                    store=self._store,
                    stop=stop,
                    on_progress=on_progress,
                    metrics=self._metrics,
                    on_checkpoint=self._circuit.worked,
                    began=self._began,
                )
                return loop.run()
            except Exception as error:
                self._opened = self._opened or (loop is not None and loop.opened)
                if self._store is None or not self._opened or stop.is_set():
                    raise
                wait = self._circuit.failed(error)
                self.restarts += 1
                self._metrics.look({})
                self._metrics.log.tell("restart", f"{error}; next try in {wait:.1f} s")
                if on_progress is not None:
                    on_progress(self._waiting(error))
                if stop.wait(wait):
                    raise

    def _planned(self, options: LocalOptions) -> Plan:
        try:
            return plan(self._pipeline, options)
        except (LogError, OSError) as error:
            if not self._opened:
                raise
            # All of it was here before: what cannot be found now, such as a log on another disk, may come back.
            msg = f"what was there before cannot be opened: {error}"
            raise UnavailableError(msg, hint="see whether a disk or folder was taken away") from error

    def _where_to_begin(self) -> LocalOptions:
        """After a failure: from the newest checkpoint if it is of this run, else as it was begun."""
        newest = self._store.newest() if self._store is not None and self.restarts else None
        if newest is None or newest["run"] != self._metrics.run:
            return self._options
        return replace(self._options, resume=True, from_savepoint=None)

    def _waiting(self, error: Exception) -> Progress:
        newest = None
        with contextlib.suppress(CheckpointError):  # it may be the disk with the checkpoints that is waited for
            newest = self._store.newest() if self._store else None
        done = newest["totals"] if newest and newest["run"] == self._metrics.run else asdict(Totals())
        seconds = time.monotonic() - self._begun
        return Progress(seconds, **done, watermark=MIN_TIME, backlog=None, state="waiting", reason=str(error))


def _lock(store: CheckpointStore, pipeline: str) -> FileLock:
    """Two runs with the same checkpoints would write over each other's."""
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        path, what = store.folder / "run.lock", f"pipeline {pipeline!r}"
        with contextlib.suppress(LogLockedError):
            return FileLock(path, what=what)
        time.sleep(_LOOK_SECONDS)  # who only looks whether it is held holds it for a moment
        return FileLock(path, what=what)
    except LogLockedError as error:
        msg = f"pipeline {pipeline!r} is running already, with its checkpoints in {store.folder}: {error.message}"
        raise CheckpointError(msg, hint="stop that run, or give this one another name (--name)") from None
    except OSError as error:
        msg = f"the folder {store.folder} cannot be used for checkpoints: {error}"
        raise CheckpointError(msg, hint="see whether it is writable, or choose another with --checkpoint") from error

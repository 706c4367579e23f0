"""Runs a pipeline through failures that pass: back to the last checkpoint, wait, and on again.

A full disk, a locked topic, a server that is away: the run lets go of everything, so that nothing is acknowledged
from a file or connection that failed, waits (longer each time), and opens everything anew from its last checkpoint.
That is the same path as after a crash, and so as well tested.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from eventide.engines.local.checkpoint import CheckpointStore
from eventide.engines.local.loop import Loop, Totals
from eventide.engines.local.options import LocalOptions
from eventide.engines.local.plan import plan
from eventide.engines.local.result import Progress, RunResult
from eventide.errors import CheckpointError, LogLockedError
from eventide.log.lock import FileLock
from eventide.model.pipeline import Pipeline
from eventide.model.time import MIN_TIME
from eventide.retry import Circuit

__all__ = ["supervise"]

_log = logging.getLogger("eventide.run")


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
    lock = _lock(store, pipeline.name)
    circuit = Circuit(options.retry_policy)
    restarts, opened = 0, False
    before, loop = Totals(), None
    try:
        while True:
            circuit.trying()
            try:
                done = _durable(store, run) if store is not None and restarts else None
                if done is not None:
                    options = replace(options, resume=True, from_savepoint=None)
                    if done != before:
                        circuit.worked()  # it has come further than the attempt before: the next failure is a new one
                    before = done
                loop = Loop(plan(pipeline, options), options, store=store, stop=stop, on_progress=on_progress, run=run)
                return replace(loop.run(), restarts=restarts, seconds=time.monotonic() - begun)
            except Exception as error:
                opened = opened or (loop is not None and loop.opened)
                if store is None or not opened or stop.is_set():
                    raise
                wait = circuit.failed(error)
                restarts += 1
                _log.warning("%s: %s; next try in %.1f s", pipeline.name, error, wait)
                if on_progress is not None:
                    on_progress(_waiting(before, error, seconds=time.monotonic() - begun))
                if stop.wait(wait):
                    raise
    finally:
        if lock is not None:
            lock.release()


def _durable(store: CheckpointStore, run: str) -> Totals | None:
    """Return what this run has done up to its newest checkpoint, None when it has written none."""
    newest = store.newest()
    return Totals(**newest["totals"]) if newest is not None and newest["run"] == run else None


def _waiting(done: Totals, error: Exception, *, seconds: float) -> Progress:
    return Progress(
        seconds=seconds,
        rows_in=done.rows_in,
        rows_out=done.rows_out,
        late=done.late,
        quarantined=done.quarantined,
        watermark=MIN_TIME,
        backlog=None,
        state="waiting",
        reason=str(error),
    )


def _lock(store: CheckpointStore | None, pipeline: str) -> FileLock | None:
    """Two runs with the same checkpoints would write over each other's."""
    if store is None:
        return None
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(store.folder / "run.lock", what=f"pipeline {pipeline!r}")
    except LogLockedError as error:
        msg = f"pipeline {pipeline!r} is running already, with its checkpoints in {store.folder}: {error.message}"
        raise CheckpointError(msg, hint="stop that run, or give this one another name (--name)") from None
    except OSError as error:
        msg = f"the folder {store.folder} cannot be used for checkpoints: {error}"
        raise CheckpointError(msg, hint="see whether it is writable, or choose another with --checkpoint") from error

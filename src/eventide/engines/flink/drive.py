"""What this program does while Flink runs the job: takes results to the sinks, and notices when something is wrong."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from eventide.engines._dataflow.outlet import Outlet
from eventide.engines.flink import jvm
from eventide.engines.flink.failure import error_in
from eventide.engines.flink.folders import Folders
from eventide.engines.flink.options import FlinkOptions
from eventide.engines.flink.rest import Failure, Job
from eventide.engines.flink.spool import Spool
from eventide.engines.local.requests import Requests
from eventide.engines.local.result import Progress
from eventide.errors import CheckpointError, EventideError, RunError, UnavailableError

__all__ = ["Driver"]

_POLL = 0.02
_LOOK = 0.5  # seconds between two looks at the job
_TELL = 0.2
_PATIENCE = 60.0  # seconds that a cluster may leave unanswered
_OVER = ("FAILED", "CANCELED", "FINISHED", "SUSPENDED")


@dataclass(slots=True)
class Driver:
    """Follows a job to its end.

    Parameters
    ----------
    job
        The job.
    outlet
        The sinks.
    options, folders
        How it runs, and where it keeps things.
    buckets
        How many buckets there are.
    stop
        Set to stop.
    on_progress
        Told what has been done.
    requests
        Savepoints that are asked for from outside.
    """

    job: Job
    outlet: Outlet
    options: FlinkOptions
    folders: Folders
    buckets: int
    stop: threading.Event
    on_progress: Callable[[Progress], None] | None
    requests: Requests
    _reason: str = ""
    _looked: float = 0.0
    _told: float = 0.0
    _answered: float = field(default_factory=time.monotonic)
    _restarts: int = 0

    def follow(self) -> Path | None:
        """Follow the job until its input has ended or it was stopped.

        Returns
        -------
        The savepoint from which the job shall go on, where one was asked for while it ran; else None.

        Raises
        ------
        EventideError
            Something failed that another try would not mend, or a sink did.
        """
        spool = Spool(self.folders.spool)
        try:
            while not self._take(spool):
                if self.stop.is_set():
                    self._halt(spool)
                    return None
                self.requests.look()
                if self.requests.waiting:
                    return self._save(spool)
                self._look()
                self._tell()
                time.sleep(_POLL)
        except BaseException:
            with contextlib.suppress(EventideError):
                self.job.cancel()
            raise
        # All is with the sinks: what the cluster says now is of no account.
        with contextlib.suppress(EventideError):
            self.job.cancel()
        return None

    def _take(self, spool: Spool) -> bool:
        """Give the sinks what was made visible, and return whether that was the last."""
        self.outlet.write(spool.fetch(self.outlet.taken))
        if spool.waiting:
            self.outlet.commit(self.outlet.next_epoch)
            spool.clear()
        return self.outlet.ended

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        try:
            failures, state = self.job.failures(), self.job.state()
            self._answered = now
            ended = len(list(self.folders.ended.iterdir())) == self.buckets
            if ended and state == "RUNNING":
                with contextlib.suppress(RunError):  # not all tasks may be there yet
                    self.job.checkpoint()
        except UnavailableError as error:
            self._silent(error)
            return
        found = error_in(failures)
        if found is not None:
            raise found
        self._reason = _told(failures[-1]) if failures and state != "RUNNING" else ""
        self._restarts = len(failures)
        if state in _OVER:
            why = _told(failures[-1]) if failures else "it does not say why"
            msg = f"Flink has ended the job ({state.lower()}): {why}"
            raise RunError(msg, hint="the log of Flink's task managers has more")

    def _silent(self, error: UnavailableError) -> None:
        self._reason = error.message
        hint = "the next run goes on from the newest checkpoint" if self.options.checkpoint else "run it again"
        if self.options.address is None and jvm.process_id() is None:
            msg = f"Flink's Java process has ended: {jvm.last_words() or 'it was killed, or ran out of memory'}"
            raise UnavailableError(msg, hint=hint) from error
        if time.monotonic() - self._answered > _PATIENCE:
            raise UnavailableError(error.message, hint=hint) from error

    def _halt(self, spool: Spool) -> None:
        """Stop cleanly: what was read is kept by a checkpoint, or by a savepoint where one is asked for."""
        if self.options.savepoint:
            self.folders.begin_next(self.folders.keep(self._saved(spool), self.options.savepoint))
            return
        with contextlib.suppress(RunError):  # it may not have begun: the last checkpoint will do
            self.job.checkpoint()
        self._take(spool)
        self.job.cancel()
        self._take(spool)

    def _saved(self, spool: Spool) -> str:
        """End the job with a savepoint of which the sinks have all that was before it, and nothing after."""
        where = self.job.stop_with_savepoint((self.folders.root / "savepoints" / ".new").as_uri())
        self._take(spool)
        return where

    def _save(self, spool: Spool) -> Path | None:
        """Make the savepoints that were asked for; the job goes on from the first."""
        self.requests.begin()
        names, where = list(self.requests.begun), self._saved(spool)
        before = list((self.folders.root / "savepoints").glob(".from-*"))
        first = self.folders.keep(where, self.folders.root / "savepoints" / f".from-{Path(where).name}")
        self.folders.begin_next(first)
        for path in before:
            shutil.rmtree(path, ignore_errors=True)
        for name in names:
            self.requests.answer(name, partial(self._copy, first, name))
        return first

    def _copy(self, savepoint: Path, name: str) -> None:
        path = self.folders.savepoint(name)
        if path.exists():
            msg = f"there is a savepoint {name!r} already"
            raise CheckpointError(msg, hint="give another name")
        shutil.copytree(savepoint, path)

    def _tell(self) -> None:
        now = time.monotonic()
        if self.on_progress is None or now - self._told < _TELL:
            return
        self._told = now
        result = self.outlet.result()
        self.on_progress(
            Progress(
                seconds=result.seconds,
                rows_in=result.rows_in,
                rows_out=result.rows_out,
                late=result.late,
                quarantined=result.quarantined,
                watermark=result.watermark,
                backlog=None,
                state="waiting" if self._reason else "running",
                reason=self._reason,
            )
        )

    @property
    def restarts(self) -> int:
        """How often Flink went back to a checkpoint by itself."""
        return self._restarts


def _told(failure: Failure) -> str:
    """Return the line of a trace that says most: the innermost cause."""
    lines = [line.strip() for line in failure.trace.splitlines()]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0]).removeprefix("Caused by: ")[:300]

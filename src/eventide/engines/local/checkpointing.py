"""Checkpoints of a run: cut on the loop's thread, written by a thread of its own, committed by the loop.

Three steps. `begin`: sinks prepare, operators return their state, positions are noted; all of it between two items,
so it is one consistent cut. Then the files are written and synced while the loop goes on. `poll`: once they are
durable, the sinks commit. At most one checkpoint is on its way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.engines.local.plan import Plan
from eventide.engines.local.tasks import WriteTask
from eventide.errors import EventideError, RunError
from eventide.model.protocols import Position
from eventide.model.state import State

__all__ = ["Checkpointer", "Done", "told"]

T = TypeVar("T")

Positions = Mapping[str, Mapping[str, Position]]


@dataclass(frozen=True, slots=True)
class Done:
    """A checkpoint that is durable and committed.

    Parameters
    ----------
    number
        Its number.
    cut_seconds, seconds
        How long the loop stood still for it, and how long it took in all.
    size
        Bytes written.
    released
        The positions before which this pipeline will never read again, by source.
    """

    number: int
    cut_seconds: float
    seconds: float
    size: int
    released: Positions


class Checkpointer:
    """Makes the checkpoints of one run.

    Parameters
    ----------
    plan
        What runs.
    store
        Where they go; None commits the sinks without keeping anything.
    number
        Number of the last one there is.
    wake
        Called from the writing thread when it is done.
    """

    def __init__(self, plan: Plan, store: CheckpointStore | None, *, number: int, wake: Callable[[], None]) -> None:
        self.number = number
        self.since = 0  # number of the first checkpoint of the line of runs that this one goes on
        self._plan, self._store, self._wake = plan, store, wake
        self.pending = False
        """Whether one is on its way."""
        self._thread: threading.Thread | None = None
        self._written = threading.Event()
        self._error: BaseException | None = None
        self._prepared: dict[str, dict[str, Any]] = {}
        self._refused: Mapping[str, Any] = {}
        self._begun = self._cut = 0.0
        self._size = 0
        self._released: Positions = {}

    def begin(self, positions: Positions, facts: Mapping[str, Any]) -> dict[str, State]:
        """Cut: prepare the sinks, take the state, and begin to write; return the state.

        Parameters
        ----------
        positions
            How far each source was read.
        facts
            What else the checkpoint says, as plain data.
        """
        assert not self.pending
        self.close()
        self._begun = time.monotonic()
        number = self.number + 1
        self._prepared = {
            label: dict(told(task, "make durable what it has", partial(task.sink.prepare, number)))
            for label, task in self._plan.sinks.items()
        }
        checkpoint = None
        states: dict[str, State] = {}
        if self._store is not None:
            self._refused = self._plan.quarantine.prepare(number)
            saved = {label: task.save() for label, task in self._plan.tasks.items()}
            manifest = {
                **facts,
                "written": time.time_ns(),
                "since": self.since,
                "positions": {r: {p: dict(v) for p, v in ps.items()} for r, ps in positions.items()},
                "sinks": self._prepared,
                "quarantine": dict(self._refused),
                "tasks": {label: dict(s.data) for label, s in saved.items()},
            }
            states = {label: s.tables for label, s in saved.items() if s.tables}
            checkpoint = Checkpoint(number, manifest, states)
        self._cut = time.monotonic() - self._begun
        self.pending = True
        self._written.clear()
        self._thread = threading.Thread(target=self._write, args=(checkpoint,), name="eventide-checkpoint", daemon=True)
        self._thread.start()
        return states

    def _write(self, checkpoint: Checkpoint | None) -> None:
        try:
            if self._store is not None and checkpoint is not None:
                self._size = self._store.save(checkpoint)
                oldest = self._store.oldest(self.since)
                self._released = oldest["positions"] if oldest else {}
            self._commit(aside=True)
        except BaseException as error:
            self._error = error
        self._written.set()
        self._wake()
        if self._store is not None:
            self._store.clear()

    def poll(self, *, wait: bool = False) -> Done | None:
        """Commit what has become durable, and return it; None when there is nothing (yet).

        Parameters
        ----------
        wait
            Wait for the one on its way.

        Raises
        ------
        EventideError
            It could not be written, or a sink could not commit it.
        """
        if not self.pending or not (wait or self._written.is_set()):
            return None
        self._written.wait()
        self.pending = False
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        number = self.number + 1
        self._commit(aside=False)
        if self._store is not None:
            self._plan.quarantine.commit(number, self._refused)
        self.number = number
        return Done(number, self._cut, time.monotonic() - self._begun, self._size, self._released)

    def _commit(self, *, aside: bool) -> None:
        """Commit the sinks that take a commit while they are written to, or the others."""
        for label, task in self._plan.sinks.items():
            if getattr(task.sink, "commits_aside", False) == aside:
                told(task, "commit", partial(task.sink.commit, self.number + 1, self._prepared[label]))

    def keep_as(self, name: str) -> Path:
        """Make a savepoint of the last checkpoint."""
        assert self._store is not None
        return self._store.keep_as(name, self.number)

    def drop(self, name: str) -> None:
        """Remove a savepoint."""
        assert self._store is not None
        self._store.delete_savepoint(name)

    def close(self) -> None:
        """Wait until nothing is written or removed any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def told(task: WriteTask, what: str, call: Callable[[], T]) -> T:
    """Call a sink, and say which one it was when it fails."""
    try:
        return call()
    except EventideError:
        raise
    except Exception as error:
        msg = f"{task.where} cannot {what}: {type(error).__name__}: {error}"
        raise RunError(msg, hint="see whether the place exists, is writable and has room") from error

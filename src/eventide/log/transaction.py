"""Transactions: batches in several topics, offsets and a checkpoint, all or nothing.

Frames of a transaction carry its number and are written at once; the commit is one row in SQLite after
they are durable. A transaction that must wait for a decision made elsewhere (the checkpoint of a
pipeline) is prepared first: durable, still hidden, and no longer aborted by the death of its process.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from eventide.errors import LogError
from eventide.log.meta import ABORTED, COMMITTED, PREPARED, Meta
from eventide.log.partition import PartitionWriter
from eventide.log.states import TransactionStates

__all__ = ["Targets", "Transaction"]


class Targets(Protocol):
    """Where the batches of a transaction go."""

    def __call__(
        self, topic: str, batch: pa.RecordBatch, *, partition: int, key: str | None
    ) -> list[tuple[PartitionWriter, pa.RecordBatch]]:
        """Return the partition writer and the batch for each partition that a batch goes to."""


class Transaction:
    """Appends that become visible together; made by `Log.transaction`.

    As a context manager it commits at the end of the block and aborts when the block raises.

    Parameters
    ----------
    number
        Its number.
    meta, states
        Database and states of the log.
    writers
        Returns the partition writer and the batch for each partition that a batch goes to.
    owner
        Under this name `Log.prepared` finds it again.
    """

    def __init__(
        self,
        number: int,
        *,
        meta: Meta,
        states: TransactionStates,
        writers: Targets,
        owner: str = "",
    ) -> None:
        self._owner = owner
        self._number, self._meta, self._states, self._writers = number, meta, states, writers
        self._last: dict[PartitionWriter, int] = {}
        self._statements: list[Callable[[sqlite3.Connection], None]] = []
        self._state = 0
        self._only_abort = False

    def append(
        self, topic: str, batch: pa.RecordBatch, *, partition: int = 0, key: str | None = None
    ) -> dict[int, int]:
        """Append a batch as part of the transaction; return partition and first offset of what was appended.

        Parameters
        ----------
        topic, batch
            Where to, and the events.
        partition, key
            The partition, or the column whose hash chooses it for every event.
        """
        self._check_open()
        offsets = {}
        for writer, part in self._writers(topic, batch, partition=partition, key=key):
            if part.num_rows:
                offsets[writer.partition] = self.put(writer, part)
        return offsets

    def put(self, writer: PartitionWriter, batch: pa.RecordBatch, *, append_time: int = 0) -> int:
        """Append a batch, of at least one event, to one partition; return the offset of its first event.

        Parameters
        ----------
        writer, batch
            Where to, and the events.
        append_time
            When they were first appended elsewhere, ns since 1970; 0: now.
        """
        base = writer.append_pending(batch, transaction=self._number, append_time=append_time)
        self._last[writer] = base + batch.num_rows - 1
        return base

    def skip(self, writer: PartitionWriter, rows: int) -> None:
        """Use up offsets of a partition without events; a transaction that does so can only be aborted."""
        self._only_abort = True
        self._last[writer] = writer.skip(rows, transaction=self._number) - 1

    def commit_offsets(self, group: str, positions: Mapping[str, Mapping[int, int]]) -> None:
        """Record a consumer group's positions (topic, partition, next offset) with the commit."""
        self._check_open()
        self._statements.append(lambda db: self._meta.put_offsets(db, group, positions))

    def put_checkpoint(self, pipeline: str, payload: bytes) -> None:
        """Record the checkpoint of a pipeline with the commit, in place of its last one."""
        self._check_open()
        self._statements.append(lambda db: self._meta.put_checkpoint(db, pipeline, payload))

    def prepare(self) -> int:
        """Make the appends durable but keep them hidden until `commit`, here or by number in any process.

        From now on the transaction outlives its process: `Log.commit_prepared` or `Log.abort_prepared`
        must decide it, and readers wait in front of it until then.

        Returns
        -------
        The number of the transaction.

        Raises
        ------
        LogError
            The disk refused (then it is aborted), or there are offsets or a checkpoint in it.
        """
        self._check_open()
        if self._statements:
            msg = f"transaction {self._number} holds offsets or a checkpoint and cannot be prepared"
            raise LogError(msg, hint="record these in the transaction that decides")
        self._finish(PREPARED)
        return self._number

    def commit(self) -> None:
        """Make everything durable and visible at once.

        Raises
        ------
        LogError
            The disk refused; the transaction is aborted.
        """
        if self._state == PREPARED:
            self._decide(COMMITTED)
            self._state = COMMITTED
            self._states.changed()
            return
        self._check_open()
        self._finish(COMMITTED)

    def _finish(self, state: int) -> None:
        if self._only_abort:
            msg = f"transaction {self._number} used up offsets without events and can only be aborted"
            raise LogError(msg, hint="append the events in another transaction")
        try:
            for writer in self._last:
                # Readers come as far as this and wait for the decision. Shown after it, the events of a process that is
                # killed in between would be hidden until the next writer opens the partition.
                writer.sync()
            self._decide(state)
        except BaseException:
            with contextlib.suppress(LogError):  # what failed first is what matters; unrecorded means hidden
                self.abort()
            raise
        self._state = state
        self._states.changed()

    def abort(self) -> None:
        """Let readers skip everything that was appended."""
        if self._state in (0, PREPARED):
            self._statements = []
            self._decide(ABORTED)
            self._state = ABORTED
            self._states.changed()

    def _decide(self, state: int) -> None:
        if not self._last and not self._statements:
            return
        with self._meta.commit() as db:
            if self._state == PREPARED:
                self._meta.decide(db, self._number, state)
            elif self._last:
                parts = [(w.topic.name, w.partition, last) for w, last in self._last.items()]
                self._meta.put_transaction(db, self._number, state=state, owner=self._owner, parts=parts)
            for statement in self._statements:
                statement(db)

    def _check_open(self) -> None:
        if self._state:
            msg = f"transaction {self._number} is over"
            raise LogError(msg, hint="begin another one with log.transaction()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif not self._state:
            self.commit()

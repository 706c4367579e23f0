"""Transactions: batches in several topics, offsets and a checkpoint, all or nothing.

Frames of a transaction carry its number and are written at once; the commit is one row in SQLite after
they are durable. The number is (session, count): a session is one `Log` object that began transactions,
and holds a lock as long as its process lives. A number without a row is pending while its session
lives and aborted for good once it does not: nobody is left who could commit it.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from eventide.errors import LogError
from eventide.log.lock import FileLock, is_held
from eventide.log.meta import ABORTED, COMMITTED, Meta
from eventide.log.partition import PartitionWriter

__all__ = ["Session", "Transaction", "TransactionStates"]

_PENDING = 0
_RECHECK_S = 0.2
_MAX_CACHED = 1 << 18


def _session_path(root: Path, session: int) -> Path:
    return root / ".sessions" / f"{session}.lock"


class _Tick:
    """Shared memory that changes whenever a transaction is decided, in any process."""

    def __init__(self, root: Path) -> None:
        fd = os.open(root / ".commits", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(fd).st_size < 8:
                os.ftruncate(fd, 8)
            self._words = memoryview(mmap.mmap(fd, 8)).cast("Q")
        finally:
            os.close(fd)

    def get(self) -> int:
        return self._words[0]

    def change(self) -> None:
        self._words[0] = time.time_ns()


class TransactionStates:
    """What became of transactions, as a reader sees it.

    Parameters
    ----------
    root
        Folder of the log.
    meta
        Its database.
    """

    def __init__(self, root: Path, meta: Meta) -> None:
        self._root, self._meta = root, meta
        self._tick = _Tick(root)
        self._known: dict[int, int] = {}
        self._looked = (0, 0)  # transaction last looked for, and the tick then
        self._next_check = 0.0

    def changed(self) -> None:
        """Tell all readers that a transaction was decided."""
        self._tick.change()

    def state(self, transaction: int) -> int:
        """Return `COMMITTED`, `ABORTED` or 0 for pending."""
        state = self._known.get(transaction)
        if state is not None:
            return state
        tick = self._tick.get()
        now = time.monotonic()
        if self._looked == (transaction, tick) and now < self._next_check:
            return _PENDING
        state = self._look(transaction)
        if state == _PENDING and self._looked[0] == transaction and now >= self._next_check:
            state = self._check_session(transaction)
        if self._looked[0] != transaction or now >= self._next_check:
            self._next_check = now + _RECHECK_S
        self._looked = (transaction, tick)
        return state

    def _look(self, transaction: int) -> int:
        if len(self._known) > _MAX_CACHED:
            self._known.clear()
        self._known.update(self._meta.transactions(transaction, limit=4096))
        return self._known.get(transaction, _PENDING)

    def _check_session(self, transaction: int) -> int:
        if is_held(_session_path(self._root, transaction >> 32)):
            return _PENDING
        state = self._look(transaction)  # it may have committed just before it ended
        if state == _PENDING:
            state = self._known[transaction] = ABORTED
        return state


class Session:
    """The right of one `Log` object to begin transactions, from the first one until it is closed.

    Parameters
    ----------
    root, meta
        Folder and database of the log.
    """

    def __init__(self, root: Path, meta: Meta) -> None:
        self._number = meta.new_session()
        self._count = 0
        self._path = _session_path(root, self._number)
        self._path.parent.mkdir(exist_ok=True)
        self._lock = FileLock(self._path, what=f"session {self._number}")

    def next_transaction(self) -> int:
        """Return the number of a new transaction."""
        self._count += 1
        return self._number << 32 | self._count

    def close(self) -> None:
        """End the session: what is pending is aborted by that."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


class Targets(Protocol):
    """Return the partition writer and the batch for each partition that a batch goes to."""

    def __call__(
        self, topic: str, batch: pa.RecordBatch, *, partition: int, key: str | None
    ) -> list[tuple[PartitionWriter, pa.RecordBatch]]: ...


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
    """

    def __init__(
        self,
        number: int,
        *,
        meta: Meta,
        states: TransactionStates,
        writers: Targets,
    ) -> None:
        self._number, self._meta, self._states, self._writers = number, meta, states, writers
        self._last: dict[PartitionWriter, int] = {}
        self._statements: list[Callable[[sqlite3.Connection], None]] = []
        self._open = True

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
                offsets[writer.partition] = base = writer.append_pending(part, transaction=self._number)
                self._last[writer] = base + part.num_rows - 1
        return offsets

    def commit_offsets(self, group: str, positions: Mapping[str, Mapping[int, int]]) -> None:
        """Record a consumer group's positions (topic, partition, next offset) with the commit."""
        self._check_open()
        self._statements.append(lambda db: self._meta.put_offsets(db, group, positions))

    def put_checkpoint(self, pipeline: str, payload: bytes) -> None:
        """Record the checkpoint of a pipeline with the commit, in place of its last one."""
        self._check_open()
        self._statements.append(lambda db: self._meta.put_checkpoint(db, pipeline, payload))

    def commit(self) -> None:
        """Make everything durable and visible at once.

        Raises
        ------
        LogError
            The disk refused; the transaction is aborted.
        """
        self._check_open()
        try:
            for writer in self._last:
                writer.sync(show=False)
            self._decide(COMMITTED)
        except BaseException:
            self.abort()
            raise
        self._open = False
        for writer in self._last:
            writer.show()
        self._states.changed()

    def abort(self) -> None:
        """Let readers skip everything that was appended."""
        if self._open:
            self._open = False
            self._statements = []
            self._decide(ABORTED)
            self._states.changed()

    def _decide(self, state: int) -> None:
        if not self._last and not self._statements:
            return
        try:
            with self._meta.commit() as db:
                if self._last:
                    db.execute("INSERT INTO transactions VALUES (?, ?, ?)", (self._number, state, time.time_ns()))
                for writer, last in self._last.items():
                    part = (self._number, writer.topic.name, writer.partition, last)
                    db.execute("INSERT INTO transaction_parts VALUES (?, ?, ?, ?)", part)
                for statement in self._statements:
                    statement(db)
        except sqlite3.Error as error:
            msg = f"transaction {self._number} cannot be decided: {error}; {self._meta.path}"
            raise LogError(
                msg, hint="its events stay hidden; free space or check the disk, and append them again"
            ) from error

    def _check_open(self) -> None:
        if not self._open:
            msg = f"transaction {self._number} is over"
            raise LogError(msg, hint="begin another one with log.transaction()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._open:
            self.commit()

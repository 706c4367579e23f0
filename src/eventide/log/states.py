"""What became of transactions: sessions, the shared tick, and the view of a reader.

The number of a transaction is (session, count). A session is one `Log` object that began transactions,
and holds a lock as long as its process lives. A number without a row in SQLite is pending while its
session lives and aborted for good once it does not: nobody is left who could commit it.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from eventide.log.lock import FileLock, is_held
from eventide.log.meta import ABORTED, COMMITTED, PREPARED, Meta

__all__ = ["Session", "TransactionStates"]

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
                os.pwrite(fd, b"\0", 8)  # gets the block too: a store into a page without one kills the process
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
        self._waiting: dict[int, tuple[int, float]] = {}  # tick when last looked up, time to look again

    def changed(self) -> None:
        """Tell all readers that a transaction was decided."""
        self._tick.change()

    def state(self, transaction: int) -> int:
        """Return `COMMITTED`, `ABORTED` or 0 for pending (prepared ones too)."""
        state = self._known.get(transaction)
        if state is not None:
            return state
        tick, now = self._tick.get(), time.monotonic()
        seen, check_at = self._waiting.get(transaction, (-1, now))
        if seen == tick and now < check_at:
            return _PENDING
        state = self._look(transaction)
        if state == _PENDING and now >= check_at:
            check_at = now + _RECHECK_S
            if not is_held(_session_path(self._root, transaction >> 32)):
                state = self._look(transaction)  # it may have been decided just before its session ended
                if state == _PENDING:
                    state = self._known[transaction] = ABORTED
        if state in (COMMITTED, ABORTED):
            self._waiting.pop(transaction, None)
            return state
        self._waiting[transaction] = (tick, max(check_at, now))
        return _PENDING

    def _look(self, transaction: int) -> int:
        if len(self._known) > _MAX_CACHED:
            self._known.clear()
        found = dict(self._meta.transactions(transaction, limit=4096))
        self._known.update((number, state) for number, state in found.items() if state != PREPARED)
        return found.get(transaction, _PENDING)


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

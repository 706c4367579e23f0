"""A connection to SQLite that says what it commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from eventide.errors import EventideError

__all__ = ["RecorderError", "WatchedConnection"]


class RecorderError(EventideError):
    """The folder changed in a way that the recorder did not see, or SQLite was used without syncs."""


class WatchedConnection(sqlite3.Connection):
    """A connection that tells of every commit, and refuses commits that a loss of power may undo."""

    def watch(self, path: str, *, lock: AbstractContextManager[Any], committed: Callable[[str, bytes], None]) -> None:
        """Begin: under `lock`, call `committed` with this path and what the database holds from then on."""
        self._path, self._order, self._committed, self._changes = path, lock, committed, 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run a statement."""
        if sql.startswith("BEGIN"):  # it may wait for another connection, which may wait for the recorder
            return super().execute(sql, *values)
        with self._order:
            done = super().execute(sql, *values)
            self._look(sql)
            return done

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        """Run a statement for many values."""
        with self._order:
            done = super().executemany(sql, values)
            self._look(sql)
            return done

    def _look(self, sql: str) -> None:
        if self.in_transaction or sql.startswith(("SELECT", "ROLLBACK")):
            return
        if sql.startswith("PRAGMA") and "=" not in sql:
            return
        ask = super().execute
        if sql.startswith("COMMIT") or self.total_changes != self._changes:
            self._changes = self.total_changes
            journal, level = (ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
            if journal != "wal" or level < 2:
                msg = f"{self._path}: a commit with journal_mode={journal} and synchronous={level} may be lost"
                raise RecorderError(msg, hint="PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        if ask("PRAGMA page_count").fetchone()[0]:
            self._committed(self._path, self.serialize())

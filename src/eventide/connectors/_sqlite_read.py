"""One table of an SQLite file, as a source needs it: opened to read only, in the order of its row numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from eventide.connectors._sql_source import ROW, KeyColumn
from eventide.connectors._sql_table import quoted
from eventide.connectors._sqlite_table import affinity, errors
from eventide.errors import DataError, SchemaError, UsageError, near_names
from eventide.model.time import EVENT_TIME

__all__ = ["SqliteReadTable"]

_TYPES = {"INTEGER": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string(), "BLOB": pa.binary()}
_NAMED = {"BOOLEAN": pa.bool_(), "BOOL": pa.bool_(), "DATE": pa.date32()}


class SqliteReadTable:
    """As `eventide.connectors._sql_source.ReadTable` describes it.

    Parameters
    ----------
    path
        The file.
    table
        Name of the table.
    timeout
        How long to wait for another program's lock, in seconds.
    """

    def __init__(self, path: Path, table: str, *, timeout: float) -> None:
        self.where = f"sqlite://{path} table {table!r}"
        self._path, self._name, self._timeout = path, table, timeout
        self._open: sqlite3.Connection | None = None

    def connect(self) -> None:
        """Open the file to read.

        Raises
        ------
        UsageError
            There is no such file.
        """
        if not self._path.exists():
            msg = f"there is no file {self._path}"
            folder = self._path.parent
            known = [p.name for p in folder.iterdir()] if folder.is_dir() else []
            raise UsageError(msg, hint=near_names(self._path.name, known[:20]))
        with errors(self.where):
            # Not mode=ro: a reader of a database in WAL mode may have to make its shared memory.
            uri = f"file:{quote(str(self._path.absolute()))}?mode=rw"
            self._open = sqlite3.connect(
                uri, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            self._open.execute("PRAGMA query_only=1")

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.close()
            self._open = None

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows.

        Raises
        ------
        DataError
            A text is not UTF-8.
        """
        assert self._open is not None
        with errors(self.where):
            try:
                return self._open.execute(statement, tuple(values)).fetchall()
            except sqlite3.OperationalError as error:
                if "decode to UTF-8" in str(error):
                    msg = f"{self.where}: {error}"
                    raise DataError(msg, hint="read such a column as 'binary': columns={...}") from None
                raise

    def columns(self) -> dict[str, pa.DataType | str]:
        """Return the columns; those of a numeric type that does not say which keep it as text."""
        rows = self.query("SELECT name, type FROM pragma_table_info(?)", (self._name,))
        if not rows:
            msg = f"{self.where} does not exist"
            names = self.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", ())
            raise SchemaError(msg, hint=near_names(self._name, [n for (n,) in names if not n.startswith("_eventide_")]))
        return {name: _type(declared) for name, declared in rows}

    def key(self) -> list[KeyColumn]:
        """Return the number of the row, or the primary key where rows have none.

        Raises
        ------
        SchemaError
            It is a view, whose rows have no order.
        """
        names = {n.lower() for n in self.columns()}
        number = next((n for n in ("rowid", "_rowid_", "oid") if n not in names), "rowid")
        try:
            self.query(f"SELECT {number} FROM {self.table()} LIMIT 0", ())
            view = self.query("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?", (self._name,))
            keys = [] if view else [number]
        except SchemaError:
            found = self.query("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (self._name,))
            keys = [quoted(n) for (n,) in found]
        if not keys:
            msg = f"{self.where} is a view, whose rows have no place to go on from"
            raise SchemaError(msg, hint="read a table: CREATE TABLE ... AS SELECT * FROM ...")
        return [KeyColumn(f"{ROW}.{k}", f"{ROW}.{k}", "?") for k in keys]

    def select(self, name: str, kind: pa.DataType) -> str:
        """Return the column; as bytes where bytes are wanted, whatever is in it."""
        return f"CAST({quoted(name)} AS BLOB)" if pa.types.is_binary(kind) else quoted(name)

    def table(self) -> str:
        """Return the table in quotes."""
        return quoted(self._name)


def _type(declared: str) -> pa.DataType | str:
    name = declared.upper().partition("(")[0].strip()
    if name in _NAMED:
        return _NAMED[name]
    if name.startswith(("DATETIME", "TIMESTAMP")):
        return EVENT_TIME
    if not name:
        return declared
    return _TYPES.get(affinity(declared), declared)

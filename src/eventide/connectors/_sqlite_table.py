"""One table of an SQLite file: connection, errors, types, rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventide.connectors._sql_columns import Column, as_text_times, as_whole, refuse
from eventide.connectors._sql_table import Found, check_table, insert_statement, quoted
from eventide.errors import DataError, EventideError, SchemaError, UnavailableError, UsageError

__all__ = ["SqliteTable", "affinity", "errors"]

_ROWS = 50_000
_DECLARED = {
    "bool": "BOOLEAN",
    "int": "INTEGER",
    "float": "REAL",
    "decimal": "TEXT",
    "text": "TEXT",
    "bytes": "BLOB",
    "instant": "DATETIME",
    "date": "DATE",
    "duration": "INTEGER",
}
# What a column with such an affinity keeps as it is, by https://www.sqlite.org/datatype3.html; a text such
# as 007 would become the number 7 in a numeric column. Text of times and dates never looks like a number.
_KEEPS = {
    "INTEGER": {"bool", "int", "duration"},
    "NUMERIC": {"bool", "int", "duration", "float", "instant", "date"},
    "REAL": {"float"},
    "TEXT": {"text", "decimal", "instant", "date"},
    "BLOB": set(_DECLARED),
}
_PASSING = {
    sqlite3.SQLITE_BUSY: "is locked by another program",
    sqlite3.SQLITE_LOCKED: "is locked by another program",
    sqlite3.SQLITE_FULL: "has no room: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk fails",
    sqlite3.SQLITE_PROTOCOL: "is locked by another program",
    sqlite3.SQLITE_NOMEM: "has no memory",
}


@contextmanager
def errors(where: str) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into ours.

    Raises
    ------
    UnavailableError
        What passes: a lock, a full disk.
    DataError, SchemaError
        What does not.
    """
    try:
        yield
    except EventideError:
        raise
    except sqlite3.Error as error:
        raise _told(error, where) from error
    except OSError as error:
        msg = f"{where} cannot be opened: {error}"
        raise DataError(msg, hint="see whether the folder exists and is writable") from error


def _told(error: sqlite3.Error, where: str) -> EventideError:
    # The low byte is the primary code: https://www.sqlite.org/rescode.html
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _PASSING:
        msg = f"{where} {_PASSING[code]} ({error})"
        return UnavailableError(msg, hint="it is worth another try; the option timeout waits longer for a lock")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return DataError(f"{where} cannot be opened or written: {error}", hint="see whether it is there, and yours")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        hint = "see that the path is right; `sqlite3 FILE 'PRAGMA integrity_check'` tells what is damaged"
        return DataError(f"{where}: {error}", hint=hint)
    if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
        return SchemaError(f"{where}: {error}", hint="see the table: sqlite3 FILE .schema")
    return DataError(f"{where} refuses a row: {error}", hint="change the row in the pipeline, or the table")


class SqliteTable:
    """One table of one SQLite file, as `eventide.connectors._sql_sink.Database` describes it."""

    bytes_type = "BLOB"
    after_staged: tuple[str, ...] = ()

    def __init__(self, path: Path, table: str, *, times: str, nan: str, synchronous: str, timeout: float) -> None:
        self.where = f"sqlite://{path} table {table!r}"
        self._path, self._table = path, table
        self._times, self._nan = times, nan
        self._synchronous, self._timeout = synchronous, timeout
        self._columns: dict[str, Column] = {}
        self._key: Sequence[str] = ()
        self._insert = ""
        self._open: sqlite3.Connection | None = None

    # -- the connection

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            msg = f"{self.where} is not open"
            raise UsageError(msg, hint="call open first")
        return self._open

    def connect(self) -> None:
        """Open the file; see the module for what `synchronous` promises."""
        with errors(self.where):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # The engine's calls never overlap, but may come from different threads.
            self._open = sqlite3.connect(
                self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            with suppress(sqlite3.OperationalError):  # another program is changing it: both journals are durable
                self._open.execute("PRAGMA journal_mode=WAL")
            wal = self._open.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            # Without WAL, EXTRA syncs the folder too once the journal is gone.
            level = "EXTRA" if self._synchronous == "full" and not wal else self._synchronous.upper()
            self._open.execute(f"PRAGMA synchronous={level}")

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.close()
            self._open = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a block that is one transaction, which has the database for itself from its start."""
        with errors(self.where):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return self._connection.execute(statement, tuple(values)).fetchall()

    # -- the table

    def exists(self, table: str) -> bool:
        """Return whether there is a table, or a view, of that name; SQLite's names have no case."""
        found = "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"
        return bool(self.execute(found, (table,)))

    def ready(self, columns: Sequence[Column], key: Sequence[str]) -> frozenset[str]:
        """Make the table, or check the one there is."""
        self._columns = {c.name: c for c in columns}
        self._key = key
        names = list(self._columns)
        marks = f"VALUES ({', '.join('?' * len(names))})"
        self._insert = insert_statement(self._table, names, key, values=marks)
        if self.exists(self._table):
            fits = lambda c, t: self._kind(c) in _KEEPS[affinity(t)]  # noqa: E731
            found, unique = self._found(), self._unique()
            return check_table(columns, found, fits=fits, unique=unique, key=key, where=self.where)
        self._check_names(names)
        parts = [f"{quoted(c.name)} {_DECLARED[self._kind(c)]}{' NOT NULL' * (c.name in key)}" for c in columns]
        if key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quoted, key))})")
        self.execute(f"CREATE TABLE {quoted(self._table)} ({', '.join(parts)})")
        return frozenset()

    def _kind(self, column: Column) -> str:
        return "duration" if column.kind == "instant" and self._times == "ns" else column.kind

    def _check_names(self, names: Sequence[str]) -> None:
        seen: dict[str, str] = {}
        for name in names:
            if "\0" in name or not name:
                msg = f"{self.where} cannot have a column named {name!r}"
                raise SchemaError(msg, hint="rename it: .select(good=pl.col('bad'))")
            if seen.setdefault(name.lower(), name) != name:
                msg = f"{self.where} cannot have both columns {seen[name.lower()]!r} and {name!r}"
                raise SchemaError(msg, hint="SQLite's names have no upper and lower case: rename one")

    def _found(self) -> dict[str, Found]:
        rows = self.execute('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (self._table,))
        keys = [r for r in rows if r[4]]
        found = {}
        for name, kind, filled, default, pk in rows:
            # An INTEGER PRIMARY KEY is the row's number, which SQLite gives where it is missing.
            numbered = bool(pk) and len(keys) == 1 and kind.upper() == "INTEGER"
            found[name] = Found(kind, bool(filled) and default is None and not numbered, bool(filled))
        return found

    def _unique(self) -> list[frozenset[str]]:
        primary = self.execute("SELECT name FROM pragma_table_info(?) WHERE pk", (self._table,))
        unique = [frozenset(n for (n,) in primary)]
        listed = 'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial'
        for (index,) in self.execute(listed, (self._table,)):
            unique.append(frozenset(n for (n,) in self.execute("SELECT name FROM pragma_index_info(?)", (index,))))
        return unique

    # -- rows

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return integers as int64, times and decimals as text; refuse what SQLite cannot hold."""
        arrays = []
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = self._columns[name]
            array = array.cast(column.type) if pa.types.is_dictionary(array.type) else array
            arrays.append(self._plain(array, column))
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    def _plain(self, array: pa.Array, column: Column) -> pa.Array:
        kind = self._kind(column)
        if kind == "instant":
            return as_text_times(array, column)
        if kind in ("int", "duration"):
            return as_whole(array, column)
        if kind in ("decimal", "date"):
            return array.cast(pa.date32()).cast(pa.string()) if kind == "date" else array.cast(pa.string())
        if kind == "float":
            array = array.cast(pa.float64())
            if (self._nan == "refuse" or column.name in self._key) and pc.any(pc.is_nan(array)).as_py():
                hint = "filter it out, or make it null" if column.name in self._key else "pass nan='null' or nan='text'"
                raise refuse(column, "NaN", why="which SQLite does not have", hint=hint)
        return array

    def insert(self, batch: pa.RecordBatch) -> None:
        """Insert the rows, some ten thousand at a time."""
        import polars as pl

        for start in range(0, batch.num_rows, _ROWS):
            frame = pl.DataFrame(pl.from_arrow(batch.slice(start, _ROWS)))
            floats = [n for n, t in frame.schema.items() if t.is_float()] if self._nan == "text" else []
            marked = [n for n in floats if frame[n].is_nan().any()]
            if marked:
                lists = [_with_nan(frame[n].to_list()) if n in marked else frame[n].to_list() for n in frame.columns]
                self._connection.executemany(self._insert, zip(*lists, strict=True))
            else:
                self._connection.executemany(self._insert, frame.rows())


def _with_nan(values: list[Any]) -> list[Any]:
    return ["NaN" if v is not None and v != v else v for v in values]  # only NaN differs from itself


def affinity(declared: str) -> str:
    """Return the affinity of a declared type, by the rules of https://www.sqlite.org/datatype3.html#determination_of_column_affinity."""
    name = declared.upper()
    if "INT" in name:
        return "INTEGER"
    if any(t in name for t in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not name or name == "ANY" or "BLOB" in name:
        return "BLOB"
    return "REAL" if any(t in name for t in ("REAL", "FLOA", "DOUB")) else "NUMERIC"

"""One table of a PostgreSQL database, as a sink needs it: made or checked, rows copied in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from eventide.connectors._postgresql_connection import PostgresqlConnection
from eventide.connectors._postgresql_types import as_csv, declared, fits, plain
from eventide.connectors._sql_columns import Column
from eventide.connectors._sql_table import Found, check_table, insert_statement, quoted
from eventide.errors import SchemaError

__all__ = ["PostgresqlTable"]

_NAME_BYTES = 63
_ROWS = 65_536
_INCOMING = "_eventide_incoming"


class PostgresqlTable:
    """One table of one database, as `eventide.connectors._sql_sink.Database` describes it; made by
    `eventide.connectors.postgresql.sink`.
    """

    bytes_type = "BYTEA"
    # The parts are compressed; that the server tries it again made staging four times slower.
    after_staged: tuple[str, ...] = ("ALTER TABLE _eventide_staged ALTER COLUMN data SET STORAGE EXTERNAL",)

    def __init__(self, link: PostgresqlConnection, table: str, *, times: str) -> None:
        self.where = link.where
        self._link, self._table, self._times = link, table, times
        self._columns: dict[str, Column] = {}
        self._types: dict[str, str] = {}
        self._key: Sequence[str] = ()
        self._copy = self._upsert = ""

    # -- the connection

    def connect(self) -> None:
        """Connect, and see that commits are durable."""
        self._link.connect()

    def close(self) -> None:
        """Disconnect; what was not committed is gone."""
        self._link.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Return a block that is one transaction."""
        return self._link.transaction()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        cursor = self._link.now.execute(statement.replace("?", "%s").encode(), tuple(values))
        return cursor.fetchall() if cursor.description is not None else []

    # -- the table

    def exists(self, table: str) -> bool:
        """Return whether there is a table of that name in the schema; two that would make it wait for each other."""
        if table.startswith("_eventide_"):
            self.execute("SELECT pg_advisory_xact_lock(hashtext('eventide'))")
        return self.execute("SELECT to_regclass(quote_ident(?)) IS NOT NULL", (table,)) == [(True,)]

    def ready(self, columns: Sequence[Column], key: Sequence[str]) -> frozenset[str]:
        """Make the table, or check the one there is."""
        self._columns, self._key = {c.name: c for c in columns}, key
        names = list(self._columns)
        self._check_names([self._table, *names])
        filled: frozenset[str] = frozenset()
        self.execute("SELECT pg_advisory_xact_lock(hashtext('eventide'))")
        if self.exists(self._table):
            right = lambda c, t: fits(c, t, times=self._times)  # noqa: E731
            found = self._found()
            filled = check_table(columns, found, fits=right, unique=self._unique(), key=key, where=self.where)
            self._types = {n: f.type for n, f in found.items()}
        else:
            self._types = {c.name: declared(c, times=self._times) for c in columns}
            parts = [f"{quoted(n)} {t}" for n, t in self._types.items()]
            parts += [f"PRIMARY KEY ({', '.join(map(quoted, key))})"] if key else []
            self._run(f"CREATE TABLE {quoted(self._table)} ({', '.join(parts)})")
        listed = ", ".join(map(quoted, names))
        into = self._table
        if key:
            into = _INCOMING
            made = f"CREATE TEMP TABLE {into} ON COMMIT DELETE ROWS AS SELECT {listed} FROM {quoted(self._table)}"
            self._run(f"{made} WITH NO DATA")
            # In the order of the key, so that two that update the same rows cannot wait for each other.
            ordered = f"SELECT {listed} FROM {into} ORDER BY {', '.join(map(quoted, key))}"
            self._upsert = insert_statement(self._table, names, key, values=ordered)
        self._copy = f"COPY {quoted(into)} ({listed}) FROM STDIN (FORMAT csv)"
        return filled

    def _run(self, statement: str) -> None:
        self._link.now.execute(statement.encode())

    def _check_names(self, names: Sequence[str]) -> None:
        for name in names:
            if not name or "\0" in name or len(name.encode()) > _NAME_BYTES:
                msg = f"{self.where}: {name!r} cannot be a name in PostgreSQL"
                raise SchemaError(msg, hint="names have at most 63 bytes: rename it with .select(good=pl.col('bad'))")

    def _found(self) -> dict[str, Found]:
        rows = self.execute(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '' "
            "FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(?)) AND attnum > 0 AND NOT attisdropped",
            (self._table,),
        )
        return {name: Found(kind, filled and not given, filled) for name, kind, filled, given in rows}

    def _unique(self) -> list[frozenset[str]]:
        rows = self.execute(
            "SELECT i.indexrelid, a.attname FROM pg_index i JOIN pg_attribute a "
            "ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) "
            "WHERE i.indrelid = to_regclass(quote_ident(?)) AND i.indisunique AND i.indpred IS NULL "
            "AND i.indexprs IS NULL",
            (self._table,),
        )
        indexes: dict[int, set[str]] = {}
        for index, name in rows:
            indexes.setdefault(index, set()).add(name)
        return [frozenset(names) for names in indexes.values()]

    # -- rows

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return columns that COPY takes; refuse what PostgreSQL cannot hold."""
        arrays = []
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = self._columns[name]
            array = array.cast(column.type) if pa.types.is_dictionary(array.type) else array
            arrays.append(plain(array, column, times=self._times))
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    def insert(self, batch: pa.RecordBatch) -> None:
        """Copy the rows into the table; with a key, the last row of each."""
        if self._key:
            batch = self._last_of_each(batch)
        with self._link.now.cursor() as cursor:
            with cursor.copy(self._copy.encode()) as copy:
                for start in range(0, batch.num_rows, _ROWS):
                    copy.write(as_csv(batch.slice(start, _ROWS), self._types))
            if self._key:
                cursor.execute(self._upsert.encode())
                cursor.execute(f"TRUNCATE {_INCOMING}")

    def _last_of_each(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the last row of each key: one statement may not update a row twice."""
        import polars as pl

        keys = pl.DataFrame(pl.from_arrow(batch.select(list(self._key))))
        last = keys.with_row_index("_row").unique(self._key, keep="last", maintain_order=True)["_row"]
        return batch if len(last) == batch.num_rows else batch.take(last.to_arrow())

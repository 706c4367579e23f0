"""One table of a PostgreSQL database: connection, errors, types, rows. The only place that knows psycopg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pyarrow as pa

from eventide.config import secret
from eventide.connectors._postgresql_types import as_csv, declared, fits, plain
from eventide.connectors._sql_columns import Column
from eventide.connectors._sql_table import Found, check_table, insert_statement, quoted
from eventide.errors import ConfigError, DataError, EventideError, SchemaError, UnavailableError, UsageError

__all__ = ["PostgresqlTable"]

_NAME_BYTES = 63
_ROWS = 65_536
_INCOMING = "_eventide_incoming"

# Classes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) that pass: connection,
# transaction rollback, resources, locks, an operator's doing, the system; and a server that is a standby just now.
_PASSING = ("08", "40", "53", "55", "57", "58")
_READ_ONLY = "25006"
# The server answered and said no; libpq gives no code for that, only the text.
_REFUSED = ("authentication failed", "does not exist", "no pg_hba.conf", "permission denied", "no password supplied")


class PostgresqlTable:
    """One table of one database, as `eventide.connectors._sql_sink.Database` describes it; made by
    `eventide.connectors.postgresql.sink`.
    """

    bytes_type = "BYTEA"
    # The parts are compressed; that the server tries it again made staging four times slower.
    after_staged = ("ALTER TABLE _eventide_staged ALTER COLUMN data SET STORAGE EXTERNAL",)

    def __init__(
        self,
        uri: str,
        table: str,
        *,
        where: str,
        connection: Mapping[str, Any],
        password: str,
        schema: str | None,
        times: str,
    ) -> None:
        self.where = where
        self._uri, self._table, self._schema, self._times = uri, table, schema, times
        self._settings, self._password = connection, password
        self._columns: dict[str, Column] = {}
        self._types: dict[str, str] = {}
        self._key: Sequence[str] = ()
        self._copy = self._upsert = ""
        self._open: psycopg.Connection[tuple[Any, ...]] | None = None

    # -- the connection

    @property
    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._open is None:
            msg = f"{self.where} is not open"
            raise UsageError(msg, hint="call open first")
        return self._open

    def connect(self) -> None:
        """Connect, and see that commits are durable.

        Raises
        ------
        UnavailableError
            The server cannot be reached just now.
        DataError
            It refuses us.
        """
        password = secret(self._password) if self._password else None
        with self._errors(password):
            try:
                # Statements prepared by the server do not live behind a pool of connections: none are used.
                self._open = psycopg.connect(
                    self._uri,
                    autocommit=True,
                    prepare_threshold=None,
                    client_encoding="utf8",
                    application_name="eventide",
                    **{**self._settings, **({"password": password} if password else {})},
                )
            except psycopg.ProgrammingError as error:
                msg = f"{self.where}: the address or an option is wrong: {_first(error)}"
                raise ConfigError(msg, hint="write it as postgresql://user@host:5432/database?table=name") from None
            if self._schema is not None:
                self._open.execute("SELECT set_config('search_path', quote_ident(%s), false)", (self._schema,))
            schema = self._open.execute("SELECT current_schema()").fetchone()
            if schema is None or schema[0] is None:
                msg = f"{self.where}: there is no schema {self._schema or 'in the search path'!r}"
                raise SchemaError(msg, hint="make it (CREATE SCHEMA), or pass schema='name'")
            self._open.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema[0],))
            durable = self._open.execute("SHOW synchronous_commit").fetchone()
            if durable == ("off",):
                self._open.execute("SET synchronous_commit TO on")

    def close(self) -> None:
        """Disconnect; what was not committed is gone."""
        if self._open is not None:
            with suppress(psycopg.Error):
                self._open.close()
            self._open = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a block that is one transaction."""
        with self._errors(), self._connection.transaction():
            yield

    @contextmanager
    def _errors(self, password: str | None = None) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._told(error, password) from (None if password else error)

    def _told(self, error: psycopg.Error, password: str | None) -> EventideError:
        text = _first(error)
        if password:
            text = text.replace(password, "***")
        state = error.sqlstate or ""
        if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            if not any(r in text for r in _REFUSED):
                msg = f"{self.where} cannot be reached: {text}"
                return UnavailableError(msg, hint="see whether the server runs and the network is up")
            return DataError(f"{self.where} refuses us: {text}", hint="see user, password and database")
        if state.startswith(_PASSING) or state == _READ_ONLY:
            return UnavailableError(f"{self.where} cannot be used just now: {text}", hint="it is worth another try")
        if state == "42501":
            return DataError(
                f"{self.where}: {text}", hint="the user needs GRANT for the table, and CREATE in its schema"
            )
        if state.startswith(("42", "3F", "0A")):
            return SchemaError(f"{self.where}: {text}", hint="see the table: psql, \\d")
        return DataError(f"{self.where} refuses a row: {text}", hint="change the row in the pipeline, or the table")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        cursor = self._connection.execute(statement.replace("?", "%s").encode(), tuple(values))
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
        self._connection.execute(statement.encode())

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
        with self._connection.cursor() as cursor:
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


def _first(error: psycopg.Error) -> str:
    """Return what went wrong, in one line."""
    primary = error.diag.message_primary
    return primary or next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

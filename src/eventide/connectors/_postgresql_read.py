"""One table of a PostgreSQL database, as a source needs it: in the order of its primary key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from eventide.connectors._postgresql_connection import PostgresqlConnection
from eventide.connectors._sql_source import ROW, KeyColumn
from eventide.connectors._sql_table import quoted
from eventide.errors import SchemaError
from eventide.model.time import EVENT_TIME

__all__ = ["PostgresqlReadTable"]

_TYPES: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "timestamp with time zone": EVENT_TIME,
    "timestamp without time zone": pa.timestamp("ns"),
    **dict.fromkeys(("text", "citext", "json", "jsonb", "uuid"), pa.string()),
}
_VARYING = re.compile(r"character( varying)?(\(\d+\))?$")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)$")
_MOST_DIGITS = 38


class PostgresqlReadTable:
    """As `eventide.connectors._sql_source.ReadTable` describes it.

    Parameters
    ----------
    link
        The connection.
    table
        Name of the table.
    """

    def __init__(self, link: PostgresqlConnection, table: str) -> None:
        self.where = link.where
        self._link, self._name = link, table
        self._declared: dict[str, str] = {}

    def connect(self) -> None:
        """Connect."""
        self._link.connect()

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self._link.errors():
            return self._link.now.execute(statement.encode(), tuple(values)).fetchall()

    def columns(self) -> dict[str, pa.DataType | str]:
        """Return the columns.

        Raises
        ------
        SchemaError
            There is no such table.
        """
        rows = self.query(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self._name,),
        )
        if not rows:
            msg = f"{self.where} does not exist"
            raise SchemaError(msg, hint="see `psql -c '\\dt'`; a table of another schema needs the option schema")
        self._declared = dict(rows)
        return {name: _type(declared) for name, declared in rows}

    def key(self) -> list[KeyColumn]:
        """Return the columns of the primary key; a position keeps them as text.

        Raises
        ------
        SchemaError
            There is none.
        """
        rows = self.query(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_index i "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
            "WHERE i.indrelid = to_regclass(quote_ident(%s)) AND i.indisprimary "
            "ORDER BY array_position(i.indkey::int2[], a.attnum)",
            (self._name,),
        )
        if not rows:
            msg = f"{self.where} has no primary key, so that there is no place to go on from"
            hint = "ALTER TABLE ... ADD PRIMARY KEY (...), or ADD COLUMN id bigserial PRIMARY KEY"
            raise SchemaError(msg, hint=hint)
        return [KeyColumn(f"{ROW}.{_quoted(n)}", f"{ROW}.{_quoted(n)}::text", f"%s::{kind}") for n, kind in rows]

    def select(self, name: str, kind: pa.DataType) -> str:
        """Return the column as Python can take it without losing anything."""
        # Times as text: infinity and years before 1 stay what they are, and are told as bad input.
        as_text = ("date", "timestamp with time zone", "timestamp without time zone")
        declared = self._declared[name]
        if pa.types.is_string(kind) or declared in as_text or declared.startswith("numeric"):
            return f"{_quoted(name)}::text"
        return _quoted(name)

    def table(self) -> str:
        """Return the table in quotes."""
        return _quoted(self._name)


def _quoted(name: str) -> str:
    return quoted(name).replace("%", "%%")  # the percent sign begins a place for a value


def _type(declared: str) -> pa.DataType | str:
    if _VARYING.match(declared):
        return pa.string()
    numeric = _NUMERIC.match(declared)
    if numeric and int(numeric[1]) <= _MOST_DIGITS:
        return pa.decimal128(int(numeric[1]), int(numeric[2]))
    return _TYPES.get(declared, declared)

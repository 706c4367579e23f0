"""A table of a database as a bounded source, in the order of its key, page after page.

One partition, ``table``. It ends at the row that was the last one when it was opened. A position is the key of
the row after which to go on, so that reading does not depend on what is written, or deleted, before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from eventide.connectors._sql_rows import decode
from eventide.errors import SchemaError, near_names
from eventide.model.protocols import Chunk, Position

__all__ = ["ROW", "KeyColumn", "ReadTable", "SqlReader", "SqlSource"]

ROW = "_row"
"""How statements call the table, so that its columns are not mistaken for what is selected."""

_PARTITION = "table"


class KeyColumn(NamedTuple):
    """A column of the order, as SQL: itself (of `ROW`), what a position keeps of it, and the place for that."""

    itself: str
    kept: str
    place: str


class ReadTable(Protocol):
    """A connection to a database, and one table in it to read from. Errors come as those of `eventide.errors`."""

    where: str

    def connect(self) -> None:
        """Connect, to read only."""

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""

    def columns(self) -> dict[str, pa.DataType | str]:
        """Return the columns by name: their Arrow type, or the declared type where it has none."""

    def key(self) -> list[KeyColumn]:
        """Return the columns of the order, which must be unique and never null."""

    def select(self, name: str, kind: pa.DataType) -> str:
        """Return how a column is selected."""

    def table(self) -> str:
        """Return the table as SQL names it."""

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""


class SqlSource:
    """The rows of a table; made by the ``source`` of `eventide.connectors.sqlite` and its kin.

    Parameters
    ----------
    table
        The table.
    schema
        Columns to read and their types; None is all of them, as they are declared.
    """

    def __init__(self, table: ReadTable, schema: pa.Schema | None) -> None:
        self._table, self._wanted = table, schema
        self._schema: pa.Schema | None = None

    def schema(self) -> pa.Schema:
        """Return the schema.

        Raises
        ------
        SchemaError
            There is no such table or column, or the type of one does not say what it holds.
        """
        if self._schema is None:
            self._table.connect()
            try:
                self._schema = self._look()
            finally:
                self._table.close()
        return self._schema

    def _look(self) -> pa.Schema:
        found = self._table.columns()
        if self._wanted is None:
            for name, kind in found.items():
                if isinstance(kind, str):
                    msg = f"{self._table.where}: column {name!r} is {kind or 'of no type'}, which has no Arrow type"
                    raise SchemaError(msg, hint="say which columns to read, as what: columns={'column': 'type', ...}")
            return pa.schema(list(found.items()))
        for name in self._wanted.names:
            if name not in found:
                msg = f"{self._table.where} has no column {name!r}"
                raise SchemaError(msg, hint=near_names(name, found))
        return self._wanted

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return [_PARTITION]

    def open(self, positions: Mapping[str, Position]) -> SqlReader:
        """Open at the first row, or after the one of the position."""
        schema = self.schema()
        table = deepcopy(self._table)  # a connection of its own for each reader
        table.connect()
        try:
            return SqlReader(table, schema, positions.get(_PARTITION, {}).get("after"))
        except BaseException:
            table.close()
            raise


class SqlReader:
    """Reads a table in the order of its key."""

    def __init__(self, table: ReadTable, schema: pa.Schema, after: list[Any] | None) -> None:
        self._table, self._schema, self._after = table, schema, after
        self._key = table.key()
        order = ", ".join(f"{k.itself} DESC" for k in self._key)
        kept = ", ".join(k.kept for k in self._key)
        self._from = f"FROM {table.table()} AS {ROW}"
        last = table.query(f"SELECT {kept} {self._from} ORDER BY {order} LIMIT 1", ())
        self._until = list(last[0]) if last else None
        self._done = self._until is None or self._until == after
        self._select = ", ".join([kept, *(table.select(f.name, f.type) for f in schema)])

    @property
    def finished(self) -> bool:
        """Whether all rows up to the one that was the last at the start were read."""
        return self._done

    def _between(self) -> tuple[str, list[Any]]:
        keys, places = (", ".join(getattr(k, part) for k in self._key) for part in ("itself", "place"))
        until = f"({keys}) <= ({places})"
        if self._after is None:
            return until, list(self._until or [])
        return f"({keys}) > ({places}) AND {until}", [*self._after, *(self._until or [])]

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next rows; it never waits for new ones."""
        if self._done:
            return []
        where, values = self._between()
        order = ", ".join(k.itself for k in self._key)
        rows = self._table.query(
            f"SELECT {self._select} {self._from} WHERE {where} ORDER BY {order} LIMIT {max_rows}",
            values,
        )
        self._done = len(rows) < max_rows
        if not rows:
            return []
        self._after = list(rows[-1][: len(self._key)])
        self._done = self._done or self._after == self._until
        decoded = decode(rows, self._schema, keys=len(self._key), where=self._table.where)
        return [Chunk(_PARTITION, decoded.batch, {"after": self._after}, decoded.bad)]

    def backlog(self) -> int:
        """Return how many rows were not read yet."""
        if self._done:
            return 0
        where, values = self._between()
        return int(self._table.query(f"SELECT count(*) {self._from} WHERE {where}", values)[0][0])

    def close(self) -> None:
        """Let go of the connection."""
        self._table.close()

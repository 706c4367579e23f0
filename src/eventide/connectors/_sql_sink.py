"""A table of a database as a sink, exactly once; the database itself is a `Database`.

What is written between two checkpoints is staged: `prepare` makes it durable in the table
``_eventide_staged`` of the same database (as Arrow bytes, a *part* of at most some 32 MiB a row). `commit` moves
the parts to the table and notes in ``_eventide_commits`` up to which part that is, in one transaction. So
the note tells, after any crash, whether a commit was done.

Every fresh run is a sink of its own, under a random name that travels in its checkpoints. Pipelines that write to
one table therefore never touch each other's parts. Opening counts an *epoch* up; a process that was believed
dead and is not finds the epoch changed and can write nothing more (a fence, as of Kafka's transactional
producers: KIP-98, 2016).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa

from eventide.connectors._sql_columns import Column, columns_of
from eventide.errors import CheckpointError, DataError, RunError, SchemaError, near_names
from eventide.model.batch import concat
from eventide.model.protocols import Delivery

__all__ = ["Database", "SqlSink"]

_PART_BYTES = 32 << 20
_HELD_BYTES = 256 << 20

_COMMITS = """
CREATE TABLE _eventide_commits (
  sink TEXT PRIMARY KEY, name TEXT NOT NULL, target TEXT NOT NULL, epoch BIGINT NOT NULL, part BIGINT NOT NULL,
  row_count BIGINT NOT NULL, checkpoint BIGINT NOT NULL, written BIGINT NOT NULL)
"""
_STAGED = """
CREATE TABLE _eventide_staged (
  sink TEXT NOT NULL, part BIGINT NOT NULL, row_count BIGINT NOT NULL, data {bytes} NOT NULL, PRIMARY KEY (sink, part))
"""
_ENTER = "UPDATE _eventide_commits SET written = ? WHERE sink = ? AND epoch = ? RETURNING part, row_count"


class Database(Protocol):
    """A connection to a database, and one table in it. Errors come as those of `eventide.errors`.

    `bytes_type` is what bytes are declared as, `after_staged` runs after the staging table was made.
    `execute` is for the two tables of the sink; its statements have ``?`` for values. `plain` checks and
    turns a batch into columns that `insert` takes; what has gone through `plain` may be kept for long.
    """

    where: str
    bytes_type: str
    after_staged: tuple[str, ...]

    def connect(self) -> None:
        """Connect; settings that durability needs are made."""

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""

    def transaction(self) -> AbstractContextManager[None]:
        """Return a block that is one transaction: all of it durable, or none of it."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    def exists(self, table: str) -> bool:
        """Return whether there is a table of that name."""

    def ready(self, columns: Sequence[Column], key: Sequence[str]) -> frozenset[str]:
        """Make the table, or check the one there is; return the columns that may not be null."""

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns as the database takes them."""

    def insert(self, batch: pa.RecordBatch) -> None:
        """Insert (or update by key) the rows of a plain batch; inside a transaction."""


class SqlSink:
    """Writes to one table; made by the ``sink`` of `eventide.connectors.sqlite` and its kin.

    Parameters
    ----------
    database
        The table.
    key
        Columns by which a row replaces one that is there; empty appends.
    at_once
        Whether every batch is a transaction of its own, visible at once, without staging.
    name
        Under which a fresh run drops what earlier ones staged and did not commit ("": it stays).
    target
        The table's name.
    """

    shared = True

    def __init__(self, database: Database, *, key: Sequence[str], at_once: bool, name: str, target: str) -> None:
        self._db, self._key, self._at_once = database, tuple(key), at_once
        self._name, self._target = name, target
        self.delivery: Delivery = ("idempotent" if key else "at_least_once") if at_once else "exactly_once"
        self._names: list[str] = []
        self._filled: frozenset[str] = frozenset()
        self._sink = ""
        self._epoch = self._part = self._committed = self._rows = self._bytes = 0
        self._buffer: list[pa.RecordBatch] = []
        self._held: dict[int, pa.RecordBatch] = {}

    # -- opening and closing

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Connect, make or check the table, and drop what was staged after the checkpoint resumed from.

        Raises
        ------
        SchemaError
            The table is there and does not fit, or a key column is missing.
        CheckpointError
            The database does not hold what the checkpoint says, or rows of later checkpoints.
        UnavailableError
            The database cannot be reached just now.
        """
        self.close()
        columns = columns_of(schema, where=self._db.where)
        self._names = [c.name for c in columns]
        for key in self._key:
            if key not in self._names:
                msg = f"{self._db.where}: there is no column {key!r} for the key"
                raise SchemaError(msg, hint=near_names(key, self._names))
        try:
            self._db.connect()
            with self._db.transaction():
                self._filled = self._db.ready(columns, self._key) | frozenset(self._key)
                if not self._at_once:
                    self._begin(state)
        except BaseException:
            self.close()
            raise

    def _begin(self, state: Mapping[str, Any] | None) -> None:
        if not self._db.exists("_eventide_commits"):
            self._db.execute(_COMMITS)
        if not self._db.exists("_eventide_staged"):
            for statement in (_STAGED.format(bytes=self._db.bytes_type), *self._db.after_staged):
                self._db.execute(statement)
        if state is None:
            self._begin_afresh()
        else:
            self._resume(str(state["sink"]), int(state["part"]), rows=int(state["rows"]))

    def _begin_afresh(self) -> None:
        same = "name = ? AND target = ?"
        if self._name:
            sinks = f"SELECT sink FROM _eventide_commits WHERE {same}"
            self._db.execute(f"UPDATE _eventide_commits SET epoch = epoch + 1 WHERE {same}", (self._name, self._target))
            self._db.execute(f"DELETE FROM _eventide_staged WHERE sink IN ({sinks})", (self._name, self._target))
        self._sink, self._epoch, self._part, self._committed, self._rows = uuid.uuid4().hex, 1, 0, 0, 0
        self._db.execute(
            "INSERT INTO _eventide_commits VALUES (?, ?, ?, 1, 0, 0, 0, ?)",
            (self._sink, self._name, self._target, time.time_ns()),
        )

    def _resume(self, sink: str, part: int, *, rows: int) -> None:
        found = self._db.execute(
            "UPDATE _eventide_commits SET epoch = epoch + 1 WHERE sink = ? RETURNING epoch, part", (sink,)
        )
        if not found:
            msg = f"{self._db.where}: the database knows nothing of the sink of this checkpoint"
            raise CheckpointError(msg, hint="it is another database, or an older copy: run afresh (resume=False)")
        self._sink, self._part, self._rows = sink, part, rows
        self._epoch, self._committed = map(int, found[0])
        if self._committed > part:
            self._rewind()
        self._db.execute("DELETE FROM _eventide_staged WHERE sink = ? AND part > ?", (sink, part))

    def _rewind(self) -> None:
        """Go back behind what was committed: with a key the rows come again and replace themselves."""
        if not self._key:
            msg = f"{self._db.where}: the table has rows of later checkpoints than the one resumed from"
            hint = (
                "resume from the newest checkpoint; or delete those rows and run afresh; a table with a key can go back"
            )
            raise CheckpointError(msg, hint=hint)
        self._note(self._part, self._rows, checkpoint=0)
        self._committed = self._part

    def close(self) -> None:
        """Drop what was not prepared, and disconnect."""
        self._buffer, self._bytes = [], 0
        self._held.clear()
        self._db.close()

    # -- writing

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch: for the next checkpoint, or into the table at once.

        Raises
        ------
        DataError
            A value has no place in the table, or a column that needs one has none.
        """
        if not batch.num_rows:
            return
        batch = batch.select(self._names)
        for name in self._filled:
            if batch.column(name).null_count:
                what = "is part of the key" if name in self._key else "may not be null in the table"
                msg = (
                    f"{self._db.where}: column {name!r} {what} and has no value in {batch.column(name).null_count} rows"
                )
                raise DataError(msg, hint=f"filter such rows out: .filter(pl.col({name!r}).is_not_null())")
        try:
            batch = self._db.plain(batch)
        except DataError as error:
            msg = f"{self._db.where}: {error.message}"
            raise DataError(msg, hint=error.hint) from None
        if self._at_once:
            with self._db.transaction():
                self._db.insert(batch)
            return
        self._buffer.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _PART_BYTES:
            self._stage()

    def _stage(self) -> None:
        """Make the rows that were written durable beside the table."""
        if not self._buffer:
            return
        pieces = list(_pieces(concat(self._buffer)))
        with self._db.transaction():
            self._enter()
            for number, piece in enumerate(pieces, self._part + 1):
                self._db.execute(
                    "INSERT INTO _eventide_staged VALUES (?, ?, ?, ?)",
                    (self._sink, number, piece.num_rows, _packed(piece)),
                )
        for piece in pieces:
            self._part += 1
            self._rows += piece.num_rows
            # The last parts stay in memory too, so that a commit need not read them back.
            if sum(b.nbytes for b in self._held.values()) + piece.nbytes <= _HELD_BYTES:
                self._held[self._part] = piece
        self._buffer, self._bytes = [], 0

    def _enter(self) -> tuple[int, int]:
        """Begin to change our own rows; return up to which part, and how many rows, are in the table."""
        found = self._db.execute(_ENTER, (time.time_ns(), self._sink, self._epoch))
        if not found:
            msg = f"{self._db.where}: another run writes as this sink since"
            raise RunError(msg, hint="the same checkpoint was resumed twice, or a sink of this name began afresh")
        return int(found[0][0]), int(found[0][1])

    def publish(self) -> None:
        """Move what was written to the table now; for runs that keep no checkpoints."""
        if not self._buffer and self._part == self._committed:
            return
        rows = sum(b.num_rows for b in self._buffer)
        with self._db.transaction():
            part, committed = self._enter()
            moved = self._move(part, self._part)
            if self._buffer:
                self._db.insert(concat(self._buffer))
            self._note(self._part, committed + moved + rows, checkpoint=0)
        self._rows, self._committed = self._rows + rows, self._part
        self._buffer, self._bytes = [], 0
        self._held.clear()

    # -- checkpoints

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Make what was written durable, and return up to which part that is."""
        if self._at_once:
            return {}
        self._stage()
        return {"sink": self._sink, "part": self._part, "rows": self._rows}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Move the prepared rows to the table, in one transaction; a second time does nothing.

        Raises
        ------
        CheckpointError
            Rows that were prepared are not there any more.
        DataError
            The table refuses a row; all of them stay staged.
        """
        if self._at_once or int(state["part"]) <= self._committed:
            return
        upto, rows = int(state["part"]), int(state["rows"])
        with self._db.transaction():
            part, committed = self._enter()
            moved = self._move(part, upto)
            if committed + moved != rows:
                msg = f"{self._db.where}: {committed + moved} of the {rows} rows of the checkpoint are there"
                hint = "staged rows were deleted, or the database lost its last transactions: restore it, or run afresh"
                raise CheckpointError(msg, hint=hint)
            self._note(upto, rows, checkpoint=checkpoint)
        self._committed = upto
        self._held = {n: b for n, b in self._held.items() if n > upto}

    def _move(self, after: int, upto: int) -> int:
        """Insert the staged parts and return how many rows they have."""
        if upto <= after:
            return 0
        these = (self._sink, after, upto)
        between = "sink = ? AND part > ? AND part <= ?"
        parts = self._db.execute(f"SELECT part FROM _eventide_staged WHERE {between} ORDER BY part", these)
        moved = 0
        for (part,) in parts:
            batch = self._held.get(part)
            if batch is None:
                batch = self._read(part)
            self._db.insert(batch)
            moved += batch.num_rows
        self._db.execute(f"DELETE FROM _eventide_staged WHERE {between}", these)
        return moved

    def _read(self, part: int) -> pa.RecordBatch:
        found = self._db.execute("SELECT data FROM _eventide_staged WHERE sink = ? AND part = ?", (self._sink, part))
        with pa.ipc.open_stream(pa.py_buffer(bytes(found[0][0]))) as reader:
            return reader.read_next_batch()

    def _note(self, part: int, rows: int, *, checkpoint: int) -> None:
        self._db.execute(
            "UPDATE _eventide_commits SET part = ?, row_count = ?, checkpoint = ? WHERE sink = ?",
            (part, rows, checkpoint, self._sink),
        )


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch into parts of about the size that one row of the staging table has."""
    rows = max(1, batch.num_rows * _PART_BYTES // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _packed(batch: pa.RecordBatch) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    packed: bytes = out.getvalue().to_pybytes()
    return packed

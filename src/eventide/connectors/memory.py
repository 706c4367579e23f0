"""``memory://name``: batches in this process, for tests, notebooks and results that are looked at at once.

`ev.from_table` and `ev.fetch` use the two classes directly. Under a name, what a sink has committed can be
read by a later run in the same process: ``.write("memory://hot")``, then ``ev.read("memory://hot")``.

Delivery is exactly once: rows that were written after the checkpoint resumed from are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from eventide.errors import CheckpointError, UnknownNameError, UsageError, near_names
from eventide.model.batch import empty, visible
from eventide.model.protocols import Chunk, Delivery, Options, Position

__all__ = ["MemoryReader", "MemorySink", "MemorySource", "sink", "source"]

_NAMED: dict[str, MemorySink] = {}


def source(uri: str, options: Mapping[str, Any]) -> MemorySource:
    """Return a source of what was committed to the memory sink of the same name.

    Parameters
    ----------
    uri
        ``memory://name``.
    options
        ``partitions``: into how many the rows are dealt out, in turn (1).

    Raises
    ------
    UnknownNameError
        Nothing of that name was written in this process.

    Examples
    --------
    >>> out = sink("memory://numbers", {})
    >>> out.open(pa.schema([("a", pa.int64())]), None)
    >>> out.write(pa.record_batch({"a": [1, 2]}))
    >>> out.commit(1, out.prepare(1))
    >>> source("memory://numbers", {}).schema().names
    ['a']
    """
    given = Options(options, where=uri)
    partitions = given.take("partitions", 1)
    given.finish()
    name = uri.partition("://")[2]
    if name not in _NAMED:
        msg = f"nothing was written to memory://{name} in this process"
        raise UnknownNameError(msg, hint=near_names(name, _NAMED))
    return MemorySource(_NAMED[name].table(), partitions=partitions)


def sink(uri: str, options: Mapping[str, Any]) -> MemorySink:
    """Return a sink that keeps its rows under a name for as long as the process lives.

    Examples
    --------
    >>> sink("memory://results", {}).delivery
    'exactly_once'
    """
    Options(options, where=uri).finish()
    return _NAMED.setdefault(uri.partition("://")[2], MemorySink())


class MemorySource:
    """A bounded source of a table, a batch, or batches (whose boundaries are kept).

    Parameters
    ----------
    data
        A table, a record batch, or record batches of one schema.
    partitions
        Into how many partitions the rows are dealt out: row i goes to partition i modulo this.

    Examples
    --------
    >>> MemorySource(pa.table({"a": [1, 2, 3]}), partitions=2).partitions()
    ['0', '1']
    """

    def __init__(self, data: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch], *, partitions: int = 1) -> None:
        if not isinstance(partitions, int) or partitions < 1:
            msg = f"partitions must be a whole number of at least 1, not {partitions!r}"
            raise UsageError(msg, hint="leave it out for one partition")
        batches = _batches(data)
        self._schema: pa.Schema = data.schema if isinstance(data, pa.Table) else batches[0].schema
        if any(not b.schema.equals(self._schema) for b in batches):
            msg = "the batches of a memory source do not have one schema"
            raise UsageError(msg, hint="select and cast the columns of each batch first")
        self._parts = {str(p): _dealt(batches, p, step=partitions) for p in range(partitions)}

    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return self._schema

    def partitions(self) -> list[str]:
        """Return the names of the partitions: ``"0"``, ``"1"`` ..."""
        return list(self._parts)

    def open(self, positions: Mapping[str, Position]) -> MemoryReader:
        """Open at ``{"row": n}`` in each partition, or at the start."""
        return MemoryReader(self._parts, {p: int(positions.get(p, {}).get("row", 0)) for p in self._parts})


class MemoryReader:
    """Reads the partitions in turn, one batch (or what fits) of each at a time."""

    def __init__(self, parts: Mapping[str, list[pa.RecordBatch]], rows: Mapping[str, int]) -> None:
        self._rest = {p: _after(batches, rows[p]) for p, batches in parts.items()}
        self._row = dict(rows)

    @property
    def finished(self) -> bool:
        """Whether all rows were read."""
        return not any(self._rest.values())

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next rows; it never has to wait."""
        chunks: list[Chunk] = []
        while max_rows > 0 and any(self._rest.values()):
            for partition, rest in self._rest.items():
                if not rest or max_rows <= 0:
                    continue
                batch = rest.pop()
                if batch.num_rows > max_rows:
                    rest.append(batch.slice(max_rows))
                    batch = batch.slice(0, max_rows)
                max_rows -= batch.num_rows
                self._row[partition] += batch.num_rows
                chunks.append(Chunk(partition, batch, {"row": self._row[partition]}))
        return chunks

    def backlog(self) -> int:
        """Return how many rows were not read yet."""
        return sum(b.num_rows for rest in self._rest.values() for b in rest)

    def close(self) -> None:
        """Drop what was not read."""
        self._rest = {}


class MemorySink:
    """Keeps what is written; `table` returns the rows that were committed.

    Examples
    --------
    >>> out = MemorySink()
    >>> out.open(pa.schema([("a", pa.int64())]), None)
    >>> out.write(pa.record_batch({"a": [1, 2]}))
    >>> out.table().num_rows
    0
    >>> out.commit(1, out.prepare(1))
    >>> out.table().num_rows
    2
    """

    delivery: Delivery = "exactly_once"

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None
        self._batches: list[pa.RecordBatch] = []
        self._written = 0
        self._committed = 0

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Start anew, or keep the rows up to the checkpoint and drop those after it."""
        self._schema = visible(schema)
        rows = int(state["rows"]) if state else 0
        if rows > self._written:
            msg = f"a memory sink has {self._written} of the {rows} rows of the checkpoint"
            raise CheckpointError(msg, hint="its rows lived in another process; write to log:// or file:// to resume")
        self._batches = _first(self._batches, rows)
        self._written, self._committed = rows, min(self._committed, rows)

    def write(self, batch: pa.RecordBatch) -> None:
        """Keep one batch, not visible yet."""
        if batch.num_rows:
            self._batches.append(batch)
            self._written += batch.num_rows

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Return how many rows there are."""
        return {"rows": self._written}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Make the rows of the checkpoint visible."""
        self._committed = max(self._committed, int(state["rows"]))

    def close(self) -> None:
        """Keep the rows: they are what the sink is for."""

    def batches(self) -> list[pa.RecordBatch]:
        """Return the committed rows in the batches in which they were written."""
        return _first(self._batches, self._committed)

    def table(self) -> pa.Table:
        """Return the committed rows as one table.

        Raises
        ------
        UsageError
            No run has opened the sink yet, so it has no schema.
        """
        if self._schema is None:
            msg = "nothing was written to this memory sink"
            raise UsageError(msg, hint="run the pipeline first: ev.run(stream.write(sink))")
        return pa.Table.from_batches(self.batches(), self._schema)


def _batches(data: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if isinstance(data, pa.RecordBatch):
        return [data]
    if isinstance(data, pa.Table):
        # One batch whatever the chunks of the table: columns may be chunked differently, and small chunks cost.
        return data.combine_chunks().to_batches() or [empty(data.schema)]
    batches = list(data)
    if not batches or not all(isinstance(b, pa.RecordBatch) for b in batches):
        msg = "a memory source needs a table, or at least one record batch"
        raise UsageError(msg, hint="pass pa.table({...}), or a batch without rows to give the schema")
    return batches


def _dealt(batches: list[pa.RecordBatch], part: int, *, step: int) -> list[pa.RecordBatch]:
    if step == 1:
        return [b for b in batches if b.num_rows]
    dealt, row = [], 0
    for batch in batches:
        rows = pa.array(range((part - row) % step, batch.num_rows, step), pa.int64())
        row += batch.num_rows
        if len(rows):
            dealt.append(batch.take(rows))
    return dealt


def _first(batches: list[pa.RecordBatch], rows: int) -> list[pa.RecordBatch]:
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if rows <= 0:
            break
        kept.append(batch.slice(0, rows))
        rows -= batch.num_rows
    return kept


def _after(batches: list[pa.RecordBatch], rows: int) -> list[pa.RecordBatch]:
    """Return the batches after the first `rows` rows, last one first, to be popped."""
    rest: list[pa.RecordBatch] = []
    for batch in batches:
        if rows < batch.num_rows:
            rest.append(batch.slice(rows))
        rows = max(0, rows - batch.num_rows)
    return rest[::-1]

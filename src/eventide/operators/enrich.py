"""Add the columns of a table to events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from eventide.errors import SchemaError, UsageError, near_names
from eventide.kernel.keyed.rank import rank
from eventide.kernel.keys import KeyIndex
from eventide.model.batch import column

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["Lookup", "enrich"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """The function behind `enrich`: finds the row of a table for each event of a batch."""

    index: KeyIndex
    rows: pa.RecordBatch
    on: tuple[tuple[str, str], ...]
    keep: bool
    suffix: str

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the table's columns."""
        found = self.index.lookup(self._keys(batch))
        missing = found < 0
        if not self.keep:
            batch, found = batch.filter(pa.array(~missing)), found[~missing]
            missing = missing[~missing]
        places = pa.array(found, mask=missing)
        for name in self.rows.schema.names:
            new = name + self.suffix if name in batch.schema.names else name
            if new in batch.schema.names:
                msg = f"enrich() would make two columns {new!r}"
                raise SchemaError(msg, hint="choose another suffix=, or rename the table's column")
            field = pa.field(new, self.rows.schema.field(name).type)
            batch = batch.append_column(field, self.rows.column(name).take(places))
        return batch

    def _keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = []
        for (ours, theirs), kind in zip(self.on, self.index.types, strict=True):
            array = column(batch, ours, where="to enrich by")
            try:
                arrays.append(array if array.type == kind else array.cast(kind))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                msg = f"enrich() cannot compare {ours!r} of {array.type} with the table's {theirs!r} of {kind}"
                raise SchemaError(msg, hint="convert one of them first") from None
        return pa.RecordBatch.from_arrays(arrays, names=[theirs for _, theirs in self.on])


def enrich(
    stream: Stream,
    table: pa.Table,
    *,
    on: str | Sequence[str] | Mapping[str, str],
    how: Literal["left", "inner"] = "left",
    suffix: str = "_right",
) -> Stream:
    """Add to each event the columns of the row of a table that has its keys.

    Parameters
    ----------
    stream
        Any stream.
    table
        An Arrow table (a Polars frame's ``.to_arrow()``), the same for the whole run; kept in memory. Each key
        is in it once. Null equals nothing.
    on
        Columns that both have, or ``{"column of the stream": "column of the table"}``.
    how
        ``"left"`` keeps events without a row, with nulls; ``"inner"`` leaves them out.
    suffix
        Added to a column of the table whose name the stream has too.

    Raises
    ------
    UsageError
        The table has a key twice, or `how` is unknown.
    SchemaError
        A column is missing; (when checked) types that cannot be compared.

    Examples
    --------
    >>> import eventide as ev, pyarrow as pa
    >>> nodes = pa.table({"node": ["a", "b"], "height": [10.0, 20.0]})
    >>> readings = ev.from_table({"node": ["b", "c", "a"], "v": [1, 2, 3]})
    >>> ev.fetch(readings.pipe(ev.op.enrich, nodes, on="node"))["height"].to_pylist()
    [20.0, None, 10.0]
    """
    if how not in ("left", "inner"):
        msg = f"enrich() how={how!r} is not known"
        raise UsageError(msg, hint=near_names(str(how), ["left", "inner"]))
    if not isinstance(table, pa.Table | pa.RecordBatch):
        msg = f"enrich() takes an Arrow table, not {type(table).__name__}"
        raise UsageError(msg, hint="of a Polars frame: frame.to_arrow(); of a dict: pa.table({...})")
    pairs = (
        tuple(on.items()) if isinstance(on, Mapping) else tuple((n, n) for n in ([on] if isinstance(on, str) else on))
    )
    theirs = [t for _, t in pairs]
    for name in theirs:
        if name not in table.schema.names:
            msg = f"the table of enrich() has no column {name!r}"
            raise SchemaError(msg, hint=near_names(name, table.schema.names))
    rows = _with_keys(table, theirs)
    index = KeyIndex(rows.schema, theirs, capacity=max(rows.num_rows, 1))
    slots = index.slots(rows)
    if index.size < rows.num_rows:
        twice = int(np.flatnonzero(rank(slots) > 0)[0])
        key = {n: rows.column(n)[twice].as_py() for n in theirs}
        msg = f"the table of enrich() has {key} more than once"
        raise UsageError(msg, hint="keep one row per key, for example frame.unique(subset=[...], keep='last')")
    lookup = Lookup(index, rows.select([n for n in rows.schema.names if n not in theirs]), pairs, how == "left", suffix)
    return stream.map_batches(lookup)


def _with_keys(table: pa.Table | pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
    """Return the rows whose keys are all known, as one batch."""
    whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
    for name in keys:
        if whole.column(name).null_count:
            whole = whole.filter(whole.column(name).is_valid())
    arrays = [c.combine_chunks() for c in whole.columns]
    flat = [pa.concat_arrays(a.chunks) if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.RecordBatch.from_arrays(flat, schema=whole.schema)

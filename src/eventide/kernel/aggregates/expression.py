"""Any Polars expression over the rows of a group, evaluated once for all groups that are emitted together."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from eventide.kernel.aggregates.kept import Gathered, Kept
from eventide.model.aggregate import Aggregate

__all__ = ["expression"]

_GROUP, _RESULT = "_group", "_value"


class _Evaluate:
    def __init__(self, aggregate: Aggregate) -> None:
        self._columns = aggregate.columns
        self._expr: pl.Expr = aggregate.params["expr"]

    def finish(self, rows: Gathered) -> pa.Array:
        """Return the value of every group; the rows of a group come by event time, then by all values."""
        order = rows.by_time()
        at = pa.array(order)
        columns = {_GROUP: pa.array(rows.group[order])}
        columns |= {name: v.take(at) for name, v in zip(self._columns, rows.values, strict=True)}
        frame = pl.DataFrame(pa.table(columns))
        made = frame.group_by(_GROUP, maintain_order=True).agg(self._expr.alias(_RESULT))
        found = made[_RESULT].to_arrow()
        place = np.full(rows.groups, -1, np.int64)
        place[made[_GROUP].to_numpy()] = np.arange(len(found))
        return found.take(pa.array(place, pa.int64(), mask=place < 0))


def expression(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    """Return the accumulator of a Polars expression."""
    finish = _Evaluate(aggregate).finish
    return Kept(aggregate.columns, schema, kind=kind, finish=finish, nulls=True)

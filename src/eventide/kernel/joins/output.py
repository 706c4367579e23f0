"""The result of a join: one take per column of the rows that were paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.kernel.joins.side import Side
from eventide.model.batch import Int64Array
from eventide.model.graph import Join
from eventide.model.join_schema import join_schema
from eventide.model.time import EVENT_TIME

__all__ = ["Output", "time_array"]

RowNumbers = npt.NDArray[np.int32] | npt.NDArray[np.int64]


def time_array(times: Int64Array) -> pa.Array:
    """Return int64 nanoseconds as an event-time column, without a copy."""
    return pa.array(times, pa.int64()).view(EVENT_TIME)


def _take(columns: list[pa.Array], rows: RowNumbers | None) -> list[pa.Array]:
    if rows is None:
        return columns
    missing = rows < 0
    index = pa.array(rows, mask=missing) if missing.any() else pa.array(rows)
    return [pc.take(c, index, boundscheck=False) for c in columns]


@dataclass(slots=True)
class Output:
    """How the columns of a join's result come out of its two sides."""

    node: Join
    sides: tuple[Side, Side]
    schema: pa.Schema = field(init=False)
    _left: list[str] = field(init=False)
    _right: list[str] = field(init=False)

    def __post_init__(self) -> None:
        left, right = self.sides
        self.schema = join_schema(self.node, (left.schema, right.schema), (left.keys, right.keys))
        self._left = [*left.keys, *(n for n in left.schema.names if n not in left.keys)]
        self._right = [n for n in right.schema.names if n not in right.keys]

    def batch(
        self,
        left: pa.RecordBatch,
        right: pa.RecordBatch,
        *,
        pairs: tuple[RowNumbers | None, RowNumbers | None],
        more: Sequence[pa.Array] = (),
    ) -> pa.RecordBatch:
        """Return the result for pairs of rows.

        Parameters
        ----------
        left, right
            Rows of the two sides.
        pairs
            Row numbers on the left and on the right, -1 on the right for none; None for all rows in order.
        more
            Further columns, such as the window of each pair.
        """
        arrays: list[Any] = _take([left.column(n) for n in self._left], pairs[0])
        arrays += _take([right.column(n) for n in self._right], pairs[1])
        return pa.RecordBatch.from_arrays([*arrays, *more], schema=self.schema)

    def alone(self, left: pa.RecordBatch) -> pa.RecordBatch:
        """Return the result for left rows without a partner."""
        right = self.sides[1].schema
        arrays = [left.column(n) for n in self._left]
        arrays += [pa.nulls(left.num_rows, right.field(n).type) for n in self._right]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

"""The number of rows by slot where moments of a column are kept anyway: they count all rows but those with a null."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Slots, State, Store, Times, grown, plain_array
from eventide.kernel.aggregates.binned import Moments
from eventide.kernel.recycled import Recycled

__all__ = ["RowCount"]


class RowCount:
    """Rows by slot: the values that `moments` has met and, counted here, the nulls that it has left out.

    Most columns have no nulls; then this costs neither time nor memory. It must be updated, merged and reset
    whenever the moments are.

    Parameters
    ----------
    moments
        Moments of any column.

    Examples
    --------
    >>> moments = Moments("v", pa.schema([("v", pa.float64())]), order=1)
    >>> rows = RowCount(moments)
    >>> moments.resize(1), rows.resize(1)
    (None, None)
    >>> batch, slots, times = pa.record_batch({"v": [1.5, None]}), np.zeros(2, np.int32), np.zeros(2, np.int64)
    >>> moments.update(slots, batch, times), rows.update(slots, batch, times)
    (None, None)
    >>> rows.finish(np.zeros(1, np.int32)).to_pylist()
    [2]
    """

    type = pa.int64()
    columns: tuple[str, ...] = ()

    def __init__(self, moments: Moments) -> None:
        self.moments = moments
        self._nulls: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._capacity = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._nulls.nbytes

    @property
    def nulls(self) -> bool:
        """Whether rows with a null were met."""
        return self._nulls.size > 0

    def rows(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return the number of rows that slots have met."""
        counts = self.moments.counts(slots)
        return counts + self._nulls[slots] if self._nulls.size else counts

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._capacity = max(self._capacity, capacity)
        if self._nulls.size:
            self._nulls = grown(self._nulls, self._capacity)

    def clear(self) -> None:
        """Make all slots empty."""
        self._nulls = np.zeros(0, np.int64)

    def _add(self, slots: Slots, counts: npt.NDArray[np.int64]) -> None:
        if self._nulls.size == 0:
            self._nulls = np.zeros(self._capacity, np.int64)
        np.add.at(self._nulls, slots, counts)

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots; rows with slot -1 are ignored."""
        column = batch.column(batch.schema.get_field_index(self.moments.column))
        if column.null_count == 0:
            return
        null = slots[(slots >= 0) & column.is_null().to_numpy(zero_copy_only=False)]
        self._add(null, np.ones(null.size, np.int64))

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, RowCount)
        if other._nulls.size:
            self._add(into, other._nulls[source])

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        if self._nulls.size:
            self._nulls[slots] = 0

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        return pa.array(self.rows(slots))

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns."""
        return {"nulls": pa.array(self._nulls[slots] if self._nulls.size else np.zeros(slots.size, np.int64))}

    def compact(self, slots: Slots, memory: Recycled) -> State:
        """Return the same; nothing where there are no nulls."""
        return self.snapshot(slots) if self._nulls.size and self._nulls[slots].any() else {}

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots; rows with slot -1 are ignored."""
        if "nulls" not in columns:
            return
        nulls = plain_array(columns["nulls"]).to_numpy()
        some = (slots >= 0) & (nulls != 0)
        if some.any():
            self._add(slots[some], nulls[some])

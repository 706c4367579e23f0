"""Sums that do not depend on the order: the format of binned sums, and the moments of a column kept in it.

The real line is cut into bins of 32 bits at fixed places: bin b counts units of 2**(32 b). A value is cut
into whole numbers of units, bin after bin, each rounded to nearest, and these are added to 64-bit
integers. A slot keeps a window of bins below the largest value it has met: four for the sum (128 bits,
so that at least 97 lie below the leading bit of the largest value), five for the sum of squares, whose
squares are exact (Dekker 1971). What a value leaves in a bin depends on the value alone and integer
addition has no order; so any order, any split and any tree of merges give the same bits. This is the
reproducible summation of Ahrens, Demmel and Nguyen 2020, "Algorithms for efficient reproducible
floating point summation", ACM TOMS 46(3), with integers in the place of their floating accumulators.

A slot holds for any 2**32 values. Values below 2**-1057 in magnitude count as zero.

Words of a slot: count; flags (1 NaN, 2 +inf, 4 -inf, 8 a square overflowed); bound of the sum (the top bin
takes values below it, 2**(31 + 32 top); 0 nothing yet; above top 30 it is -top); its 4 bins; and with
order 2 the bound of the squares and their 5 bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Slots, State, Store, Times, grown, plain_array
from eventide.kernel.aggregates.columns import Column, numbers_of
from eventide.kernel.aggregates.narrow import narrow_columns, widen_columns
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import NO_MASK, Mask
from eventide.kernel.recycled import Recycled

__all__ = ["CUT", "Moments"]

CUT = 256
"""Values that compiled loops take at a time: what is between their steps stays in the first-level cache."""

_NARROW = ("count", "flags", "top1", "a0", "a1", "a2", "a3", "top2", "b0", "b1", "b2", "b3", "b4")
_NAMES = ("count", "flags", "bound1", "a0", "a1", "a2", "a3", "bound2", "b0", "b1", "b2", "b3", "b4")


class Moments:
    """Count, sum and (order 2) sum of squares of a numeric column, by slot.

    Examples
    --------
    >>> m = Moments("v", pa.schema([("v", pa.float64())]), order=1)
    >>> m.resize(1)
    >>> b = pa.record_batch({"v": [1e100, 1.0, -1e100]})
    >>> m.update(np.zeros(3, np.int32), b, np.zeros(3, np.int64))
    >>> m.finish(np.zeros(1, np.int32), "mean").to_pylist()  # 1.0 is 2**-332 of the largest
    [0.0]
    """

    def __init__(self, column: str, schema: pa.Schema, *, order: int) -> None:
        self.column = column
        self._column = Column(column, schema)
        self.order = order
        self._ints = np.zeros((0, 7 if order == 1 else 13), np.int64)
        self._floats = self._ints.view(np.float64)
        self._loops = _loops()

    @property
    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The words of all slots, as integers and as floats over the same memory."""
        return self._ints, self._floats

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._ints.nbytes

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._floats = self._ints.view(np.float64)[:0]
        self._ints = grown(self._ints, capacity)
        self._floats = self._ints.view(np.float64)

    def counts(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return how many values, nulls left out, slots have met."""
        counts: npt.NDArray[np.int64] = self._ints[slots, 0]
        return counts

    def clear(self) -> None:
        """Make all slots empty and keep the memory."""
        self._ints.fill(0)

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        values, valid = numbers_of(self._column.of(batch))
        self._loops.update_moments(slots, values, valid, self.order, self._ints, self._floats)

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, Moments)
        self._loops.merge_moments(into, source, self.order, self._ints, self._floats, other._ints, other._floats)

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        self._ints[slots] = 0

    def finish(self, slots: Slots, what: str, *, ddof: int = 0) -> pa.Array:
        """Return ``"sum"``, ``"mean"``, ``"var"`` or ``"std"`` of slots."""
        out, null = self.results(slots, what, ddof=ddof)
        return pa.array(out, pa.float64(), mask=null if null.size else None)

    def results(self, slots: Slots, what: str, *, ddof: int = 0) -> tuple[npt.NDArray[np.float64], Mask]:
        """Return the same as `finish`, as numbers and which of them are null (`NO_MASK`: none)."""
        out = np.empty(slots.size, np.float64)
        valid = np.empty(slots.size, np.bool_)
        code = ("sum", "mean", "var", "std").index(what)
        self._loops.finish_moments(slots, code, ddof, self._ints, self._floats, out, valid)
        return out, NO_MASK if valid.all() else ~valid

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns."""
        held = self._ints[slots]
        return {name: pa.array(held[:, i]) for i, name in enumerate(_NAMES[: held.shape[1]])}

    def compact(self, slots: Slots, memory: Recycled) -> State:
        """Return the state of slots as columns that are as narrow as what they hold; for many slots."""
        return narrow_columns(_NARROW[: self._ints.shape[1]], slots, self._ints, memory)

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots, in either form."""
        if "bound1" not in columns:
            widen_columns(_NARROW[: self._ints.shape[1]], slots, self._ints, columns)
            return
        mine = slots >= 0
        held = np.column_stack([plain_array(columns[n]).to_numpy() for n in _NAMES[: self._ints.shape[1]]])
        self._ints[slots[mine]] = held[mine]


def _loops() -> Any:
    if have_compiler():
        from eventide.kernel.aggregates import binned_loops

        return binned_loops
    from eventide.kernel.aggregates import binned_plain

    return binned_plain

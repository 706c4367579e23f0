"""Accumulators that are one integer a slot: count, and the sum of integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Slots, State, Store, Times, grown, plain_array
from eventide.kernel.aggregates.columns import Column, numbers_of
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import NO_MASK, validity
from eventide.model.aggregate import Aggregate

__all__ = ["Count", "IntegerSum", "count"]


class _Integers:
    """One int64 a slot that only adds up."""

    type = pa.int64()

    def __init__(self, columns: tuple[str, ...], schema: pa.Schema) -> None:
        self.columns = columns
        self._column = Column(columns[0], schema) if columns else None
        self._held: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._compiled = have_compiler()

    @property
    def held(self) -> npt.NDArray[np.int64]:
        """The numbers by slot."""
        return self._held

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._held.nbytes

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._held = grown(self._held, capacity)

    def clear(self) -> None:
        """Make all slots empty and keep the memory."""
        self._held.fill(0)

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, _Integers)
        if self._compiled:
            from eventide.kernel.aggregates.simple_loops import merge_sums

            merge_sums(into, source, self._held, other._held)
            return
        np.add.at(self._held, into, other._held[source])

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        self._held[slots] = 0

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        return pa.array(self._held[slots])

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns."""
        return {"held": pa.array(self._held[slots])}

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots."""
        mine = slots >= 0
        self._held[slots[mine]] = plain_array(columns["held"]).to_numpy()[mine]


class Count(_Integers):
    """Events, or values that are not null, by slot."""

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        valid = NO_MASK if self._column is None else validity(self._column.of(batch))
        if self._compiled:
            from eventide.kernel.aggregates.simple_loops import count as count_rows

            count_rows(slots, valid, self._held)
            return
        keep = (slots >= 0) & valid if valid.size else slots >= 0
        np.add.at(self._held, slots[keep], 1)


class IntegerSum(_Integers):
    """Sum of integers or booleans by slot, modulo 2**64."""

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        assert self._column is not None
        values, valid = numbers_of(self._column.of(batch))
        if self._compiled:
            from eventide.kernel.aggregates.simple_loops import add

            add(slots, values, valid, self._held)
            return
        keep = (slots >= 0) & valid if valid.size else slots >= 0
        np.add.at(self._held, slots[keep], values[keep].astype(np.int64))


def count(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Count:
    """Return the accumulator of a count."""
    return Count(aggregate.columns, schema)

"""Sum, mean, variance and standard deviation: views of the binned moments of a column."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Accumulator, Slots, State, Store, Times
from eventide.kernel.aggregates.binned import Moments
from eventide.kernel.aggregates.counts import IntegerSum
from eventide.kernel.keys_words import Mask
from eventide.model.aggregate import Aggregate

__all__ = ["OfMoments", "moments", "sum_"]


class OfMoments:
    """A result that is computed of the moments of a column; several may share one `Moments`."""

    type = pa.float64()

    def __init__(self, aggregate: Aggregate, schema: pa.Schema) -> None:
        self.columns = aggregate.columns
        self._what = aggregate.kind
        self._ddof = int(aggregate.params.get("ddof", 0))
        self.moments = Moments(aggregate.columns[0], schema, order=2 if aggregate.kind in ("var", "std") else 1)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.moments.nbytes

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self.moments.resize(capacity)

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        self.moments.update(slots, batch, times)

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, OfMoments)
        self.moments.merge(into, other.moments, source)

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        self.moments.reset(slots)

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        return self.moments.finish(slots, self._what, ddof=self._ddof)

    def results(self, slots: Slots) -> tuple[npt.NDArray[np.float64], Mask]:
        """Return the same as `finish`, as numbers and which of them are null (`NO_MASK`: none)."""
        return self.moments.results(slots, self._what, ddof=self._ddof)

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns."""
        return self.moments.snapshot(slots)

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots."""
        self.moments.restore(slots, columns)


def moments(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> OfMoments:
    """Return the accumulator of a mean, a variance or a standard deviation."""
    return OfMoments(aggregate, schema)


def sum_(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Accumulator:
    """Return the accumulator of a sum: integers stay integers."""
    if pa.types.is_floating(kind):
        return OfMoments(aggregate, schema)
    return IntegerSum(aggregate.columns, schema)

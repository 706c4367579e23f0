"""From the name of an aggregate to its kernel, and all the aggregates of a window together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from eventide.errors import UnknownNameError, near_names
from eventide.kernel.aggregates.accumulator import Accumulator, Slots, State, Store, Times
from eventide.kernel.aggregates.binned import Moments
from eventide.kernel.aggregates.counts import count
from eventide.kernel.aggregates.expression import expression
from eventide.kernel.aggregates.extremes import edge, extreme
from eventide.kernel.aggregates.linear_fit import linear_fit
from eventide.kernel.aggregates.lists import collect, exact_quantile, n_unique, top_k
from eventide.kernel.aggregates.moments import OfMoments, moments, sum_
from eventide.kernel.aggregates.row_count import RowCount
from eventide.kernel.aggregates.sketch import sketch_quantile
from eventide.kernel.recycled import Recycled
from eventide.model.aggregate import Aggregate
from eventide.model.schema import aggregate_type

__all__ = ["Accumulators", "accumulator"]


def _quantile(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Accumulator:
    if aggregate.params["method"] == "sketch":
        return sketch_quantile(aggregate, schema, kind)
    return exact_quantile(aggregate, schema, kind)


_KINDS: dict[str, Callable[[Aggregate, pa.Schema, pa.DataType], Accumulator]] = {
    "collect": collect,
    "count": count,
    "expression": expression,
    "first": edge,
    "last": edge,
    "linear_fit": linear_fit,
    "max": extreme,
    "mean": moments,
    "min": extreme,
    "n_unique": n_unique,
    "quantile": _quantile,
    "std": moments,
    "sum": sum_,
    "top_k": top_k,
    "var": moments,
}


def accumulator(aggregate: Aggregate, schema: pa.Schema, event_time: str) -> Accumulator:
    """Return the kernel of an aggregate.

    Parameters
    ----------
    aggregate
        What to compute.
    schema
        Schema of the batches.
    event_time
        Name of the event-time column.

    Raises
    ------
    SchemaError
        A column is missing or of a type that the aggregate cannot take.
    UnknownNameError
        There is no aggregate of that kind.

    Examples
    --------
    >>> import numpy as np
    >>> from eventide.model.aggregate import mean
    >>> a = accumulator(mean("v"), pa.schema([("v", pa.float64())]), "t")
    >>> a.resize(2)
    >>> a.update(np.array([0, 1, 0], np.int32), pa.record_batch({"v": [1.0, 5.0, 2.0]}), np.zeros(3, np.int64))
    >>> a.finish(np.array([0, 1], np.int32)).to_pylist()
    [1.5, 5.0]
    """
    kind = _checked(aggregate, schema)
    return _KINDS[aggregate.kind](aggregate, schema, kind)


def _checked(aggregate: Aggregate, schema: pa.Schema) -> pa.DataType:
    if aggregate.kind not in _KINDS:
        msg = f"there is no aggregate {aggregate.kind!r}"
        raise UnknownNameError(msg, hint=near_names(aggregate.kind, _KINDS))
    return aggregate_type(aggregate, schema)


class Accumulators:
    """All the aggregates of a window; those that can be computed of the same state share it.

    It has the methods of one `Accumulator`, except that `finish` returns one array per aggregate.

    Parameters
    ----------
    aggregates
        Names and what to compute.
    schema
        Schema of the batches.
    event_time
        Name of the event-time column.

    Examples
    --------
    >>> import numpy as np
    >>> from eventide.model.aggregate import count, mean
    >>> a = Accumulators([("n", count()), ("m", mean("v"))], pa.schema([("v", pa.float64())]), "t")
    >>> a.resize(1)
    >>> a.update(np.zeros(2, np.int32), pa.record_batch({"v": [1.0, 2.0]}), np.zeros(2, np.int64))
    >>> [c.to_pylist() for c in a.finish(np.zeros(1, np.int32))]
    [[2], [1.5]]
    """

    def __init__(self, aggregates: Sequence[tuple[str, Aggregate]], schema: pa.Schema, event_time: str) -> None:
        self.names = [name for name, _ in aggregates]
        self.types = [_checked(a, schema) for _, a in aggregates]
        self._made_of = (tuple(aggregates), schema)
        self._memory = Recycled()
        self._make()

    def another(self) -> Accumulators:
        """Return an empty set of the same aggregates, without checking them again."""
        new = object.__new__(Accumulators)
        new.names, new.types, new._made_of, new._memory = self.names, self.types, self._made_of, self._memory
        new._make()
        return new

    def _make(self) -> None:
        aggregates, schema = self._made_of
        self._all = [_KINDS[a.kind](a, schema, t) for (_, a), t in zip(aggregates, self.types, strict=True)]
        self._stores: list[Store] = []
        by_column: dict[str, OfMoments] = {}
        same: dict[tuple[str, tuple[str, ...]], Accumulator] = {}
        for (_, aggregate), one in zip(aggregates, self._all, strict=True):
            if isinstance(one, OfMoments):
                lead = by_column.setdefault(one.columns[0], one)
                if one.moments.order > lead.moments.order:
                    lead.moments = one.moments
            elif aggregate.kind == "count" and (aggregate.kind, aggregate.columns) in same:
                self._all[self._all.index(one)] = same[aggregate.kind, aggregate.columns]
            else:
                same[aggregate.kind, aggregate.columns] = one
                self._stores.append(one)
        for one in self._all:
            if isinstance(one, OfMoments):
                one.moments = by_column[one.columns[0]].moments
        self._count_beside([lead.moments for lead in by_column.values()], same.get(("count", ())))
        self.capacity = 0

    def _count_beside(self, moments: list[Moments], rows: Accumulator | None) -> None:
        """Let the moments of a column count the rows, where there are any."""
        if moments:
            beside = RowCount(moments[0])
            self._all = [beside if one is rows else one for one in self._all]
            self._stores = [*(store for store in self._stores if store is not rows), beside, *moments]

    @property
    def all(self) -> Sequence[Accumulator]:
        """The kernel of every aggregate, in order."""
        return self._all

    @property
    def stores(self) -> Sequence[Store]:
        """What is held; aggregates that can be computed of the same state share one."""
        return self._stores

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(store.nbytes for store in self._stores)

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        if capacity > self.capacity:
            for store in self._stores:
                store.resize(capacity)
            self.capacity = capacity

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots; rows with slot -1 are ignored."""
        for store in self._stores:
            store.update(slots, batch, times)

    def merge(self, into: Slots, other: Accumulators, source: Slots) -> None:
        """Add slots `source` of `other` to slots `into`, pair by pair."""
        for store, theirs in zip(self._stores, other._stores, strict=True):
            store.merge(into, theirs, source)

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        for store in self._stores:
            store.reset(slots)

    def finish(self, slots: Slots, starts: Times | None = None) -> list[pa.Array]:
        """Return the results of slots, one array per aggregate."""
        return [one.finish(slots, starts) for one in self._all]

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns with one row per slot."""
        columns: State = {}
        for i, store in enumerate(self._stores):
            columns |= {f"{i}.{name}": array for name, array in store.snapshot(slots).items()}
        return columns

    def compact(self, slots: Slots) -> State:
        """Return the same in few bytes; which columns there are depends on what they hold."""
        columns: State = {}
        for i, store in enumerate(self._stores):
            held = (
                store.compact(slots, self._memory) if isinstance(store, Moments | RowCount) else store.snapshot(slots)
            )
            columns |= {f"{i}.{name}": array for name, array in held.items()}
        return columns

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots; rows with slot -1 are ignored."""
        for i, store in enumerate(self._stores):
            prefix = f"{i}."
            store.restore(slots, {n[len(prefix) :]: a for n, a in columns.items() if n.startswith(prefix)})

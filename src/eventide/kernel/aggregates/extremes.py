"""Smallest, largest, first and last value of columns of fixed width; of others the rows are kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Accumulator, Slots, State, Store, Times, grown, plain_array
from eventide.kernel.aggregates.columns import Column, order_words, words_to_values
from eventide.kernel.aggregates.kept import Gathered, Kept
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import Mask, validity, word_type
from eventide.model.aggregate import Aggregate

__all__ = ["Edge", "Extreme", "edge", "extreme"]

_NAN_WORD = np.int64(0x7FF8000000000000)
_LOWEST = np.int64(-(2**63))


class _Best:
    """One value of fixed width a slot, as a word that is ordered as the values are."""

    def __init__(self, aggregate: Aggregate, schema: pa.Schema) -> None:
        self.columns = aggregate.columns
        self.type: pa.DataType = schema.field(aggregate.columns[0]).type
        self._column = Column(aggregate.columns[0], schema)
        self._compiled = have_compiler()
        self._word: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._time: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._has: Mask = np.zeros(0, np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._word.nbytes + self._time.nbytes + self._has.nbytes

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._word, self._has = grown(self._word, capacity), grown(self._has, capacity)
        self._time = grown(self._time, capacity)

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        array = self._column.of(batch)
        self._take(slots, times, self._words(array), validity(array))

    def _words(self, array: pa.Array) -> npt.NDArray[np.int64]:
        return order_words(array)

    def _take(self, slots: Slots, times: Times, words: npt.NDArray[np.int64], valid: Mask) -> None:
        raise NotImplementedError

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, _Best)
        self._take(into, other._time[source], other._word[source], other._has[source])

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        self._has[slots] = False
        self._word[slots] = 0
        self._time[slots] = 0

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        has = self._has[slots]
        return words_to_values(self._word[slots], self.type, None if has.all() else ~has)

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns."""
        return {
            "word": pa.array(self._word[slots]),
            "time": pa.array(self._time[slots]),
            "has": pa.array(self._has[slots]),
        }

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots."""
        mine = slots >= 0
        where = slots[mine]
        self._word[where] = plain_array(columns["word"]).to_numpy()[mine]
        self._time[where] = plain_array(columns["time"]).to_numpy()[mine]
        self._has[where] = plain_array(columns["has"]).to_numpy(zero_copy_only=False)[mine]


class Extreme(_Best):
    """Smallest or largest value by slot; NaN only where there is nothing else."""

    def __init__(self, aggregate: Aggregate, schema: pa.Schema) -> None:
        super().__init__(aggregate, schema)
        self._largest = aggregate.kind == "max"
        self._sinks_nan = self._largest and pa.types.is_floating(self.type)

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._word, self._has = grown(self._word, capacity), grown(self._has, capacity)

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        self._has[slots] = False
        self._word[slots] = 0

    def _words(self, array: pa.Array) -> npt.NDArray[np.int64]:
        words = order_words(array)
        if self._sinks_nan:
            # NaN is above all as a word, which is right for the smallest; for the largest it must be below all.
            words[words == _NAN_WORD] = _LOWEST
        return words

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, Extreme)
        self._take(into, other._word[:0], other._word[source], other._has[source])

    def _take(self, slots: Slots, times: Times, words: npt.NDArray[np.int64], valid: Mask) -> None:
        if self._compiled:
            from eventide.kernel.aggregates.simple_loops import extreme as extreme_rows

            extreme_rows(slots, words, valid, self._largest, self._word, self._has)
            return
        keep = (slots >= 0) & valid if valid.size else slots >= 0
        rows, found = slots[keep], words[keep]
        fresh = rows[~self._has[rows]]
        self._word[fresh] = _LOWEST if self._largest else ~_LOWEST
        self._has[fresh] = True
        (np.maximum if self._largest else np.minimum).at(self._word, rows, found)

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        has, words = self._has[slots], self._word[slots]
        if self._sinks_nan:
            words[words == _LOWEST] = _NAN_WORD
        return words_to_values(words, self.type, None if has.all() else ~has)

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns."""
        return {"word": pa.array(self._word[slots]), "has": pa.array(self._has[slots])}

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots."""
        mine = slots >= 0
        self._word[slots[mine]] = plain_array(columns["word"]).to_numpy()[mine]
        self._has[slots[mine]] = plain_array(columns["has"]).to_numpy(zero_copy_only=False)[mine]


class Edge(_Best):
    """Value of the earliest or the latest event by slot."""

    def __init__(self, aggregate: Aggregate, schema: pa.Schema) -> None:
        super().__init__(aggregate, schema)
        self._latest = aggregate.kind == "last"

    def _take(self, slots: Slots, times: Times, words: npt.NDArray[np.int64], valid: Mask) -> None:
        if self._compiled:
            from eventide.kernel.aggregates.simple_loops import edge as edge_rows

            edge_rows(slots, times, words, valid, self._latest, self._time, self._word, self._has)
            return
        keep = (slots >= 0) & valid if valid.size else slots >= 0
        rows, when, found = slots[keep].astype(np.int64), times[keep], words[keep]
        held = np.unique(rows)
        held = held[self._has[held]]
        rows = np.concatenate([rows, held])
        when, found = np.concatenate([when, self._time[held]]), np.concatenate([found, self._word[held]])
        order = np.lexsort((found, when, rows))
        rows = rows[order]
        ends = np.flatnonzero(np.append(rows[1:] != rows[:-1], True)) if rows.size else rows
        at = order[ends] if self._latest else order[np.concatenate([[0], ends[:-1] + 1])] if rows.size else order
        where = rows[ends]
        self._time[where], self._word[where], self._has[where] = when[at], found[at], True


class _Keep:
    """Choose one row a group of values that have no fixed width."""

    def __init__(self, kind: str) -> None:
        self._by_time = kind in ("first", "last")
        self._last = kind in ("last", "max")

    def rows(self, rows: Gathered) -> npt.NDArray[np.intp]:
        """Return the one row of every group, groups in order."""
        words = rows.order(0)
        keys = (words, rows.times, rows.group) if self._by_time else (words, rows.group)
        order = np.lexsort(keys)
        group = rows.group[order]
        if group.size == 0:
            return order
        change = group[1:] != group[:-1]
        chosen: npt.NDArray[np.intp] = order[np.append(change, True) if self._last else np.append(True, change)]
        return chosen

    def finish(self, rows: Gathered) -> pa.Array:
        """Return the value of every group."""
        at = self.rows(rows)
        where = np.full(rows.groups, -1, np.int64)
        where[rows.group[at]] = at
        return rows.values[0].take(pa.array(where, pa.int64(), mask=where < 0))


def _kept(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    keep = _Keep(aggregate.kind)
    return Kept(aggregate.columns, schema, kind=kind, finish=keep.finish, prune=keep.rows)


def extreme(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Accumulator:
    """Return the accumulator of a minimum or a maximum."""
    return Extreme(aggregate, schema) if word_type(kind) else _kept(aggregate, schema, kind)


def edge(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Accumulator:
    """Return the accumulator of a first or a last value."""
    return Edge(aggregate, schema) if word_type(kind) else _kept(aggregate, schema, kind)

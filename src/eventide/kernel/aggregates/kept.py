"""Aggregates that need the rows themselves: kept by slot until it is emitted, in an order that only values decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Slots, State, Store, Times, plain_array
from eventide.kernel.aggregates.columns import Column, order_words
from eventide.kernel.keys_words import validity

__all__ = ["Finish", "Gathered", "Kept", "list_of"]

_FEW = 8_192


@dataclass(slots=True)
class Gathered:
    """Rows of several groups, in no particular order.

    Parameters
    ----------
    group
        Number of each row's group, 0 to `groups` - 1.
    groups
        How many groups were asked for; some may have no rows.
    times
        Event time of each row, ns.
    values
        The columns that the aggregate reads.
    starts
        Start of each group's window, ns.
    """

    group: npt.NDArray[np.int64]
    groups: int
    times: Times
    values: list[pa.Array]
    starts: Times | None = None

    def order(self, column: int) -> npt.NDArray[np.int64]:
        """Return words ordered as the values of a column; a null is below everything."""
        words = order_words(self.values[column])
        null = self.values[column].null_count
        if null:
            gone = ~validity(self.values[column])
            ranks = np.unique(words, return_inverse=True)[1].astype(np.int64)
            words = np.where(gone, -1, ranks)
        return words

    def by_time(self) -> npt.NDArray[np.intp]:
        """Return the rows by group, event time and values."""
        words = [self.order(i) for i in range(len(self.values))]
        return np.lexsort((*words[::-1], self.times, self.group))

    def counts(self) -> npt.NDArray[np.int64]:
        """Return the number of rows of every group."""
        return np.bincount(self.group, minlength=self.groups).astype(np.int64)


Finish: TypeAlias = Callable[[Gathered], pa.Array]
Prune: TypeAlias = Callable[[Gathered], npt.NDArray[np.intp]]


def list_of(values: pa.Array, counts: npt.NDArray[np.int64]) -> pa.Array:
    """Return values as lists of `counts` values each.

    Examples
    --------
    >>> list_of(pa.array([1, 2, 3]), np.array([1, 0, 2])).to_pylist()
    [[1], [], [2, 3]]
    """
    offsets = np.zeros(counts.size + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


@dataclass(slots=True)
class _Part:
    slots: Slots
    times: Times
    values: list[pa.Array]


class Kept:
    """Rows by slot, with a function that makes a group's result of them.

    Parameters
    ----------
    columns, schema
        What is kept of every row, besides its event time.
    kind
        Type of the result.
    finish
        The result of every group.
    prune
        Rows (indices) that are enough to give the same result, where not all are needed.
    nulls
        Whether rows with a null in one of the columns are kept.
    """

    def __init__(
        self,
        columns: tuple[str, ...],
        schema: pa.Schema,
        *,
        kind: pa.DataType,
        finish: Finish,
        prune: Prune | None = None,
        nulls: bool = False,
    ) -> None:
        self.columns = columns
        self.type = kind
        self._columns = [Column(c, schema) for c in columns]
        self._types = [schema.field(c).type for c in columns]
        self._finish, self._prune, self._nulls = finish, prune, nulls
        self._parts: list[_Part] = []
        self._capacity = 0
        self._rows = self._dead = 0
        self._pruned_at = _FEW

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(p.slots.nbytes + p.times.nbytes + sum(v.nbytes for v in p.values) for p in self._parts)

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._capacity = max(capacity, self._capacity)

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        arrays = [c.of(batch) for c in self._columns]
        keep = slots >= 0
        if not self._nulls:
            for array in arrays:
                valid = validity(array)
                if valid.size:
                    keep &= valid
        rows = np.flatnonzero(keep)
        if rows.size:
            # Taken, not sliced: a slice would hold the whole batch in memory.
            at = pa.array(rows)
            self._append(_Part(slots[rows], times[rows], [a.take(at) for a in arrays]))

    def _append(self, part: _Part) -> None:
        self._parts.append(part)
        self._rows += part.slots.size
        # As in a log-structured merge tree: parts of like size are joined, so that a row is copied log(n) times.
        while len(self._parts) > 1 and 2 * self._parts[-1].slots.size > self._parts[-2].slots.size:
            last = self._parts.pop()
            self._parts[-1] = _joined([self._parts[-1], last])
        if self._prune is not None and self._rows > 2 * self._pruned_at:
            self._keep_what_is_needed(self._prune)

    def _keep_what_is_needed(self, prune: Prune) -> None:
        whole = _joined(self._parts)
        live = np.flatnonzero(whole.slots >= 0)
        group = whole.slots[live].astype(np.int64)
        at = pa.array(live)
        rows = Gathered(group, self._capacity, whole.times[live], [v.take(at) for v in whole.values])
        self._replace(_taken(whole, live[np.sort(prune(rows))]))
        self._pruned_at = max(_FEW, self._rows)

    def _replace(self, part: _Part) -> None:
        self._parts = [part] if part.slots.size else []
        self._rows, self._dead = part.slots.size, 0

    def _gather(self, slots: Slots) -> Gathered:
        """Return the rows of slots; a row's group is the place of its slot in `slots`."""
        place = np.full(self._capacity, -1, np.int64)
        place[slots] = np.arange(slots.size)
        found, times, values = [], [], []
        for part in self._parts:
            group = np.where(part.slots >= 0, place[part.slots], -1)
            rows = np.flatnonzero(group >= 0)
            if rows.size:
                found.append(group[rows])
                times.append(part.times[rows])
                at = pa.array(rows)
                values.append([v.take(at) for v in part.values])
        if not found:
            none = np.empty(0, np.int64)
            return Gathered(none, slots.size, none, [pa.array([], t) for t in self._types])
        columns = [pa.concat_arrays([v[i] for v in values]) for i in range(len(self._types))]
        return Gathered(np.concatenate(found), slots.size, np.concatenate(times), columns)

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, Kept)
        rows = other._gather(source)
        if rows.group.size:
            self._append(_Part(into[rows.group].astype(np.int32), rows.times, rows.values))

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        gone = np.zeros(self._capacity, np.bool_)
        gone[slots] = True
        for part in self._parts:
            out = (part.slots >= 0) & gone[part.slots]
            self._dead += int(np.count_nonzero(out))
            part.slots[out] = -1
        if 2 * self._dead >= self._rows and self._rows:
            whole = _joined(self._parts)
            self._replace(_taken(whole, np.flatnonzero(whole.slots >= 0)))

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        rows = self._gather(slots)
        rows.starts = starts
        out = self._finish(rows)
        return out if out.type == self.type else out.cast(self.type)

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns of lists."""
        rows = self._gather(slots)
        order, counts = rows.by_time(), rows.counts()
        at = pa.array(order)
        columns = {"times": list_of(pa.array(rows.times[order]), counts)}
        for i, values in enumerate(rows.values):
            columns[f"value{i}"] = list_of(values.take(at), counts)
        return columns

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots."""
        lists = [plain_array(columns["times"]), *(plain_array(columns[f"value{i}"]) for i in range(len(self._types)))]
        counts = lists[0].value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        owner = np.repeat(slots, counts)
        flat = [a.flatten() for a in lists]
        rows = np.flatnonzero(owner >= 0)
        if rows.size:
            at = pa.array(rows)
            times = flat[0].to_numpy(zero_copy_only=False)[rows]
            self._append(_Part(owner[rows], times, [v.take(at) for v in flat[1:]]))


def _joined(parts: list[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    values = [pa.concat_arrays([p.values[i] for p in parts]) for i in range(len(parts[0].values))]
    return _Part(np.concatenate([p.slots for p in parts]), np.concatenate([p.times for p in parts]), values)


def _taken(part: _Part, rows: npt.NDArray[np.intp]) -> _Part:
    at = pa.array(rows)
    return _Part(part.slots[rows], part.times[rows], [v.take(at) for v in part.values])

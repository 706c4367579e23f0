"""The windows that are open: one slot for each key and window, in columns, with an order by key and start."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.kernel.window.triggers import BoolArray, Program
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME

__all__ = ["NO_STAMP", "Entries", "distinct", "locate", "sort_pairs", "spans"]

NO_STAMP = np.iinfo(np.int64).min
"""No event of the pane was ahead of its watermark."""

_COLUMNS = ("key", "start", "end", "pending", "index", "stamp", "crossed", "finished", "live")


def spans(first: Int64Array, stop: Int64Array) -> Int64Array:
    """Return the numbers of several ranges, one after the other.

    Examples
    --------
    >>> spans(np.array([0, 5]), np.array([2, 8])).tolist()
    [0, 1, 5, 6, 7]
    """
    lengths = stop - first
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if ends.size else 0
    out: Int64Array = np.arange(total) + np.repeat(first - (ends - lengths), lengths)
    return out


def distinct(values: Int64Array) -> Int64Array:
    """Return the distinct values of a sorted array.

    Examples
    --------
    >>> distinct(np.array([1, 1, 4])).tolist()
    [1, 4]
    """
    head = np.ones(values.size, bool)
    np.not_equal(values[1:], values[:-1], out=head[1:])
    return values[head]


def sort_pairs(major: Int64Array, minor: Int64Array) -> npt.NDArray[np.intp]:
    """Return the stable order by two columns, by one sort where both fit into 63 bits together."""
    if major.size == 0:
        return np.empty(0, np.intp)
    low, high = int(minor.min()), int(minor.max())
    width = high - low + 1
    if int(major.min()) >= 0 and int(major.max()) < (2**63 - 1) // width:
        return np.argsort(major * width + (minor - low), kind="stable")
    return np.lexsort((minor, major))


def locate(keys: Int64Array, starts: Int64Array, wanted: tuple[Int64Array, Int64Array]) -> Int64Array:
    """Return for each wanted pair the first place in the sorted pairs that is not before it.

    Examples
    --------
    >>> keys, starts = np.array([1, 1, 2]), np.array([10, 20, 5])
    >>> locate(keys, starts, (np.array([1, 2]), np.array([15, 6]))).tolist()
    [1, 3]
    """
    low = np.searchsorted(keys, wanted[0], "left")
    high = np.searchsorted(keys, wanted[0], "right")
    while True:
        open_ = low < high
        if not open_.any():
            return low.astype(np.int64)
        middle = (low + high) >> 1
        less = open_ & (starts[np.minimum(middle, keys.size - 1)] < wanted[1])
        low = np.where(less, middle + 1, low)
        high = np.where(open_ & ~less, middle, high)


class Entries:
    """Slots of open windows.

    The columns are arrays by slot: `key` (slot of the key index), `start`, `end` (ns; `end` is the first
    instant after the window), `pending` (events since the last pane), `index` (panes of this window so
    far), `stamp`, `crossed` (the watermark has passed the end), `finished`, `live`, and `state`, the
    trigger's columns.

    Parameters
    ----------
    program
        The trigger.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.capacity = 0
        self._free: Int64Array = np.empty(0, np.int64)
        self.key: Int64Array = np.empty(0, np.int64)
        self.start: Int64Array = np.empty(0, np.int64)
        self.end: Int64Array = np.empty(0, np.int64)
        self.pending: Int64Array = np.empty(0, np.int64)
        self.index: Int64Array = np.empty(0, np.int64)
        self.stamp: Int64Array = np.empty(0, np.int64)
        self.crossed: BoolArray = np.empty(0, bool)
        self.finished: BoolArray = np.empty(0, bool)
        self.live: BoolArray = np.empty(0, bool)
        self.state: Int64Array = np.empty((0, program.width), np.int64)
        self._order: Int64Array = np.empty(0, np.int64)
        self._order_key: Int64Array = np.empty(0, np.int64)
        self.per_key: Int64Array = np.zeros(0, np.int64)
        self.next_time = MAX_TIME
        """No window is complete or expires before this watermark."""

    def __len__(self) -> int:
        return int(self._order.size)

    def slots(self) -> Int64Array:
        """Return the live slots by key and start."""
        return self._order

    def _grow(self, need: int) -> None:
        capacity = max(64, self.capacity)
        while capacity - self.capacity + self._free.size < need:
            capacity *= 2
        for name in _COLUMNS:
            old = getattr(self, name)
            new = np.zeros(capacity, old.dtype)
            new[: self.capacity] = old
            setattr(self, name, new)
        state = np.zeros((capacity, self._program.width), np.int64)
        state[: self.capacity] = self.state
        self.state = state
        self._free = np.concatenate([np.arange(capacity - 1, self.capacity - 1, -1), self._free])
        self.capacity = capacity

    def borrow(self, n: int) -> Int64Array:
        """Return free slots that belong to no window."""
        if self._free.size < n:
            self._grow(n)
        slots = self._free[self._free.size - n :][::-1].copy()
        self._free = self._free[: self._free.size - n]
        self.pending[slots] = 0
        self.stamp[slots] = NO_STAMP
        return slots

    def give_back(self, slots: Int64Array) -> None:
        """Take slots as free again."""
        self._free = np.concatenate([self._free, np.sort(slots)[::-1]])

    def add(self, key: Int64Array, start: Int64Array, end: Int64Array) -> Int64Array:
        """Open windows and return their slots. The pairs of key and start are new and in order."""
        n = key.size
        slots = self.borrow(n)
        self.key[slots], self.start[slots], self.end[slots] = key, start, end
        self.index[slots] = 0
        self.crossed[slots] = False
        self.finished[slots] = False
        self.live[slots] = True
        self.state[slots] = self._program.initial
        at = locate(self._order_key, self.start[self._order], (key, start))
        self._order = np.insert(self._order, at, slots)
        self._order_key = np.insert(self._order_key, at, key)
        self._count(key, 1)
        if n:
            self.next_time = min(self.next_time, int(end.min()))
        return slots

    def remove(self, slots: Int64Array) -> None:
        """Close windows for good."""
        if slots.size == 0:
            return
        self.live[slots] = False
        keep = self.live[self._order]
        self._order, self._order_key = self._order[keep], self._order_key[keep]
        self.give_back(slots)
        self._count(self.key[slots], -1)

    def _count(self, keys: Int64Array, by: int) -> None:
        if keys.size == 0:
            return
        top = int(keys.max()) + 1
        if self.per_key.size < top:
            self.per_key = np.concatenate([self.per_key, np.zeros(max(top, 64), np.int64)])
        np.add.at(self.per_key, keys, by)

    def unused(self, keys: Int64Array) -> Int64Array:
        """Return which of some distinct keys have no window."""
        known = keys < self.per_key.size
        return keys[~known | (self.per_key[np.where(known, keys, 0)] == 0)] if self.per_key.size else keys

    def find(self, key: Int64Array, start: Int64Array) -> Int64Array:
        """Return the slots of windows by key and start, -1 where there is none."""
        if len(self) == 0:
            return np.full(key.size, -1, np.int64)
        at = np.minimum(locate(self._order_key, self.start[self._order], (key, start)), len(self) - 1)
        slots = self._order[at]
        return np.where((self.key[slots] == key) & (self.start[slots] == start), slots, -1)

    def of_keys(self, keys: Int64Array) -> Int64Array:
        """Return the slots of the windows of some distinct, sorted keys, by key and start."""
        first = np.searchsorted(self._order_key, keys, "left")
        stop = np.searchsorted(self._order_key, keys, "right")
        return self._order[spans(first, stop)]

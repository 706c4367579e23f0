"""Events of many keys, handed over run by run so that timers fire between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.kernel.keyed.segments import ranges, search, segments
from eventide.model.time import MAX_TIME

__all__ = ["Runs"]

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Runs:
    """What is left to hand over of a batch in event-time order, per key.

    Parameters
    ----------
    slots
        The key of each row.
    times
        Event time of each row, ascending, ns.
    others
        Keys without events that take part because a timer of theirs is due, ascending.

    Examples
    --------
    >>> runs = Runs(np.array([0, 1, 0], np.int32), np.array([5, 6, 9]), np.array([3], np.int32))
    >>> runs.keys.tolist(), runs.next_times().tolist()[:2]
    ([0, 1, 3], [5, 6])
    >>> runs.take(np.array([9, 9, 9])).tolist(), runs.left.tolist()
    ([0, 1], [True, False, False])
    """

    def __init__(self, slots: Int32Array, times: Int64Array, others: Int32Array) -> None:
        parts = segments(slots)
        self._order = parts.order
        self._times = times[parts.order]
        self.keys = parts.keys.astype(np.int32)
        self._cursor, self._stop = parts.starts.astype(np.int64), parts.stops.astype(np.int64)
        self.include(others)

    def include(self, slots: Int32Array) -> None:
        """Add keys without events."""
        place = np.minimum(np.searchsorted(self.keys, slots), self.keys.size - 1)
        new = slots[self.keys[place] != slots] if self.keys.size else slots
        if new.size:
            keys = np.concatenate((self.keys, new)).astype(np.int32)
            nothing = np.zeros(new.size, np.int64)
            by = np.argsort(keys, kind="stable")
            self.keys = keys[by]
            self._cursor = np.concatenate((self._cursor, nothing))[by]
            self._stop = np.concatenate((self._stop, nothing))[by]

    @property
    def left(self) -> BoolArray:
        """Which keys have events left."""
        return self._cursor < self._stop

    def next_times(self) -> Int64Array:
        """Return the time of each key's next event, ns; `MAX_TIME` where there is none."""
        out = np.full(self.keys.size, MAX_TIME, np.int64)
        left = self.left
        out[left] = self._times[self._cursor[left]]
        return out

    def take(self, limits: Int64Array) -> Int64Array:
        """Hand over the events of each key before its limit, ns; return their row numbers, in order."""
        cut = search(self._times, self._cursor, stops=self._stop, targets=limits)
        rows = np.sort(self._order[ranges(self._cursor, cut)])
        self._cursor = cut
        return rows

    def keep(self, mask: BoolArray) -> None:
        """Go on with some of the keys only."""
        self.keys, self._cursor, self._stop = self.keys[mask], self._cursor[mask], self._stop[mask]

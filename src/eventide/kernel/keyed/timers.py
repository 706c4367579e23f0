"""Timers per key and name: dense arrays over slots."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eventide.kernel.keyed.segments import distinct
from eventide.model.time import MAX_TIME

__all__ = ["TimerSet"]

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


@dataclass(slots=True)
class TimerSet:
    """The timers of one kind (event time or clock); `MAX_TIME` where none is set.

    Parameters
    ----------
    names
        The declared names, in order.

    Examples
    --------
    >>> timers = TimerSet(("a",))
    >>> timers.grow(4)
    >>> timers.set("a", np.array([2, 3]), np.array([50, 70]))
    >>> timers.due(60).tolist()
    [2]
    """

    names: tuple[str, ...]
    times: Int64Array = field(init=False)
    # No timer is earlier than this; it saves looking at all keys when nothing can be due.
    _bound: int = MAX_TIME
    # Slots for which a timer was set since `recent` was asked.
    _recent: list[Int32Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.times = np.full((len(self.names), 0), MAX_TIME, np.int64)

    def grow(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        more = capacity - self.times.shape[1]
        if more > 0:
            self.times = np.pad(self.times, ((0, 0), (0, more)), constant_values=MAX_TIME)

    def set(self, name: str, slots: Int32Array, times: Int64Array) -> None:
        """Set timers; of several for one slot the last wins."""
        if not len(slots):
            return
        self.times[self.names.index(name)][slots] = times
        self._bound = min(self._bound, int(np.min(times)))
        self._recent.append(np.asarray(slots))

    def cancel(self, name: str, slots: Int32Array) -> None:
        """Take back the timers of one name."""
        self.times[self.names.index(name)][slots] = MAX_TIME

    def clear(self, slots: Int32Array) -> None:
        """Take back all timers of some keys."""
        self.times[:, slots] = MAX_TIME

    def first(self, slots: Int32Array) -> Int64Array:
        """Return the time of the earliest timer of each key."""
        out: Int64Array = self.times[:, slots].min(axis=0, initial=MAX_TIME)
        return out

    def due(self, limit: int) -> Int32Array:
        """Return the keys with a timer at or before `limit`, ascending."""
        if not self.names or self._bound > limit or self._bound == MAX_TIME:
            return np.empty(0, np.int32)
        earliest = self.times.min(axis=0)
        self._bound = int(earliest.min(initial=MAX_TIME))
        return np.flatnonzero((earliest <= limit) & (earliest < MAX_TIME)).astype(np.int32)

    def recent(self) -> Int32Array:
        """Return the keys for which timers were set since this was last asked, ascending."""
        if not self._recent:
            return np.empty(0, np.int32)
        out = distinct(np.concatenate(self._recent))
        self._recent = []
        return out

    def take(self, slots: Int32Array, times: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Take out the timers of keys that are set for exactly the given times.

        Returns
        -------
        tuple
            For each timer its position in `slots` and the number of its name, by position, then name.
        """
        which, position = np.nonzero(self.times[:, slots] == times)
        self.times[which, slots[position]] = MAX_TIME
        order = np.lexsort((which, position))
        return position[order], which[order]

"""Coincidences: which triggers of single telescopes belong to one array event.

Triggers in order of time: the first one opens an event, and the event has all triggers up to a window after it; the
next trigger opens the next event. An event has one trigger of each telescope, the first; others are repeats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError
from eventide.kernel.compiled import have_compiler

__all__ = ["Coincidences", "coincide", "time_order"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_FEW = 64
"""So long may an event be for its rows to be put in order one by one."""


class Coincidences(NamedTuple):
    """Triggers by event.

    Attributes
    ----------
    order
        Row numbers: event after event, in each by telescope, then by time, then as given.
    starts
        Where in `order` each event begins.
    repeat
        For each place in `order`, whether it repeats the telescope before it.
    first
        Time of the trigger that opened each event, ns.

    Examples
    --------
    >>> coincide(np.array([5, 6, 90]), np.array([1, 2, 1]), window=10).sizes.tolist()
    [2, 1]
    """

    order: Int64Array
    starts: Int64Array
    repeat: BoolArray
    first: Int64Array

    @property
    def sizes(self) -> Int64Array:
        """Number of triggers of each event, repeats included."""
        return np.diff(np.append(self.starts, self.order.size))


def time_order(times: Int64Array) -> Int64Array:
    """Return the row numbers in order of time, those of one time as given.

    Examples
    --------
    >>> time_order(np.array([30, 10, 30, 20])).tolist()
    [1, 3, 0, 2]
    """
    rows = np.arange(times.size)
    if times.size < 2 or bool((times[1:] >= times[:-1]).all()):
        return rows
    low = int(times.min())
    bits = int(times.size - 1).bit_length()
    if (int(times.max()) - low).bit_length() + bits > 62:
        return np.argsort(times, kind="stable")
    # Sorting numbers is several times faster than sorting by them: time and row number fit into one.
    packed = ((times - low) << bits) | rows
    packed.sort()
    return packed & ((1 << bits) - 1)


def coincide(
    times: Int64Array, tels: npt.NDArray[np.integer], *, window: int, compiled: bool | None = None
) -> Coincidences:
    """Put triggers together.

    Parameters
    ----------
    times
        Trigger times, ns, in any order.
    tels
        Numbers of telescopes.
    window
        How far after the first trigger of an event a trigger may be to belong to it, ns, zero or more.
    compiled
        Whether the compiled loops are used; left out, where there is a compiler. The results are the same.

    Raises
    ------
    UsageError
        The window is negative, or there are not as many telescopes as times.

    Examples
    --------
    >>> found = coincide(np.array([100, 5, 101, 9, 7]), np.array([3, 2, 1, 1, 2]), window=10)
    >>> found.order.tolist(), found.starts.tolist(), found.first.tolist()
    ([3, 1, 4, 2, 0], [0, 3], [5, 100])
    >>> found.repeat.tolist()
    [False, False, True, False, False]
    """
    if window < 0 or times.shape != tels.shape:
        msg = f"coincide(): a window of {window} ns, {times.size} times and {tels.size} telescopes"
        raise UsageError(msg, hint="the window is zero or more, and every trigger has a time and a telescope")
    order = time_order(times)
    ordered = times[order]
    if have_compiler() if compiled is None else compiled:
        from eventide.apps.gamma.building.coincidence_loops import arrange_loop, starts_loop

        room = np.empty(times.size, np.int64)
        starts = room[: starts_loop(ordered, window, room)].copy()
        if np.diff(np.append(starts, times.size)).max(initial=0) <= _FEW:
            repeat = np.zeros(times.size, np.bool_)
            arrange_loop(starts, order, tels, repeat)
            return Coincidences(order, starts, repeat, ordered[starts])
    else:
        starts = _starts(ordered, window)
    order, repeat = _arranged(order, starts, tels)
    return Coincidences(order, starts, repeat, ordered[starts])


def _starts(times: Int64Array, window: int) -> Int64Array:
    """Return where events begin in ascending times."""
    if not times.size:
        return np.empty(0, np.int64)
    # The next event after one that began with row i begins with row after[i].
    top = np.iinfo(np.int64).max - window
    after = np.searchsorted(times, np.minimum(times, top) + window, side="right")
    begins = np.zeros(times.size, np.bool_)
    # A gap wider than the window always ends an event: from each such row on, events are followed side by side.
    gap = np.diff(times.view(np.uint64), prepend=np.uint64(0)) > np.uint64(window)
    gap[0] = True
    front = np.flatnonzero(gap)
    ends = np.append(front[1:], times.size)
    while front.size:
        begins[front] = True
        front = after[front]
        inside = front < ends
        front, ends = front[inside], ends[inside]
    return np.flatnonzero(begins)


def _arranged(order: Int64Array, starts: Int64Array, tels: npt.NDArray[np.integer]) -> tuple[Int64Array, BoolArray]:
    event = np.zeros(order.size, np.int64)
    event[starts[1:]] = 1
    event = np.cumsum(event)
    order = order[np.lexsort((tels[order], event))]
    mine = tels[order]
    repeat = np.zeros(order.size, np.bool_)
    repeat[1:] = (mine[1:] == mine[:-1]) & (event[1:] == event[:-1])
    return order, repeat

"""Which events and which open sessions belong together: interval merging over sorted columns."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.kernel.window.general_entries import locate, sort_pairs
from eventide.kernel.window.triggers import BoolArray
from eventide.model.batch import Int64Array

__all__ = ["Intervals", "Links", "bridges", "last_before", "link", "running_extents"]

Intervals: TypeAlias = tuple[Int64Array, Int64Array, Int64Array]
"""Key, start and end of open sessions."""


class Links(NamedTuple):
    """Groups of rows and sessions that belong together.

    `of_row` and `of_live` number the group of each row and open session; `key`, `start` and `end` are the
    groups', by key and start.
    """

    of_row: Int64Array
    of_live: Int64Array
    key: Int64Array
    start: Int64Array
    end: Int64Array

    @property
    def size(self) -> int:
        """Number of groups."""
        return int(self.key.size)


def link(
    key: Int64Array, time: Int64Array, *, lives: Intervals, gap: int, order: npt.NDArray[np.intp] | None = None
) -> Links:
    """Return which rows make one session, with each other and with open ones.

    Parameters
    ----------
    key, time
        Of the rows, in any order.
    lives
        Open sessions; those of a key are disjoint.
    gap
        ns.
    order
        The rows by key and time, where it is known.

    Examples
    --------
    >>> none = (np.empty(0, np.int64),) * 3
    >>> links = link(np.array([1, 1, 1]), np.array([0, 30, 5]), lives=none, gap=10)
    >>> links.of_row.tolist(), links.end.tolist()
    ([0, 1, 0], [15, 40])
    """
    if order is None:
        order = sort_pairs(key, time)
    k, t = key[order], time[order]
    new = np.ones(k.size, bool)
    new[1:] = (k[1:] != k[:-1]) | (t[1:] >= t[:-1] + gap)
    run = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    runs = (k[first], t[first], t[np.append(first[1:], k.size) - 1] + gap)
    of_row = np.empty(k.size, np.int64)
    if lives[0].size == 0:
        of_row[order] = run
        return Links(of_row, np.empty(0, np.int64), *runs)
    both = tuple(np.concatenate(pair) for pair in zip(runs, lives, strict=True))
    by = sort_pairs(both[0], both[1])
    k, start, end = both[0][by], both[1][by], both[2][by]
    kind = by >= first.size
    reach = np.maximum(_reach(k, end, ~kind), _reach(k, end, kind))
    begin = start >= reach
    group = np.cumsum(begin) - 1
    of_both = np.empty(k.size, np.int64)
    of_both[by] = group
    of_row[order] = of_both[run]
    at = np.flatnonzero(begin)
    return Links(of_row, of_both[first.size :], k[at], start[at], np.maximum.reduceat(end, at))


def _reach(key: Int64Array, end: Int64Array, kind: BoolArray) -> Int64Array:
    """Return for each interval the end of the last one of a kind before it in its key.

    Intervals of one kind are disjoint, so that the last to begin is the last to end.
    """
    last = np.maximum.accumulate(np.where(kind, np.arange(key.size), -1))
    before = np.append(-1, last[:-1])
    known = (before >= 0) & (key[before] == key)
    return np.where(known, end[before], np.iinfo(np.int64).min)


def bridges(key: Int64Array, time: Int64Array, *, lives: Intervals, gap: int) -> BoolArray:
    """Return which rows, as they arrive, join two sessions that there were.

    A row does when the nearest earlier arrivals on both sides are within the gap of it, but not of each other.
    Rows within an open session may be named too.

    Examples
    --------
    >>> none = (np.empty(0, np.int64),) * 3
    >>> bridges(np.array([1, 1, 1]), np.array([0, 18, 9]), lives=none, gap=10).tolist()
    [False, False, True]
    """
    n = key.size
    keys = np.concatenate([key, lives[0], lives[0]])
    times = np.concatenate([time, lives[1], lives[2] - gap])
    arrival = np.concatenate([np.arange(n), np.full(2 * lives[0].size, -1)])
    order = np.lexsort((arrival, times, keys))
    k, t, a = keys[order], times[order], arrival[order]
    left = _nearest_earlier(k, a)
    right = k.size - 1 - _nearest_earlier(k[::-1], a[::-1])[::-1]
    both = (left >= 0) & (right < k.size)
    low, high = t[np.maximum(left, 0)], t[np.minimum(right, k.size - 1)]
    joins = both & (t < low + gap) & (high < t + gap) & (high >= low + gap)
    out = np.empty(k.size, bool)
    out[order] = joins
    return out[:n]


def _nearest_earlier(key: Int64Array, arrival: Int64Array) -> Int64Array:
    """Return the nearest place to the left, in the same key, of an earlier arrival; -1 where there is none.

    Pointer jumping: between a place and where it points everything arrived later than the place.
    """
    to = np.arange(key.size) - 1
    to[(to >= 0) & (key[to] != key)] = -1
    while True:
        jump = (to >= 0) & (arrival[to] > arrival)
        if not jump.any():
            return to
        to = np.where(jump, to[to], to)


def running_extents(
    time: Int64Array, runs: tuple[Int64Array, Int64Array], old: tuple[Int64Array, Int64Array], *, gap: int
) -> tuple[Int64Array, Int64Array]:
    """Return start and end of each row's session after the row.

    Parameters
    ----------
    time
        Of rows sorted by session, then arrival.
    runs
        First row of each session, and the one after its last.
    old
        Start and end of each session before the rows.
    gap
        ns.

    Examples
    --------
    >>> runs, old = (np.array([0]), np.array([3])), (np.array([50]), np.array([60]))
    >>> [e.tolist() for e in running_extents(np.array([55, 45, 50]), runs, old, gap=10)]
    [[50, 45, 45], [65, 65, 65]]
    """
    lengths = runs[1] - runs[0]
    n = time.size
    number = np.repeat(np.arange(lengths.size), lengths)
    by_time = np.argsort(time, kind="stable")
    rank = np.empty(n, np.int64)
    rank[by_time] = np.arange(n)
    in_order = time[by_time]
    latest = in_order[np.maximum.accumulate(number * n + rank) - number * n]
    earliest = in_order[n - 1 - (np.maximum.accumulate(number * n + (n - 1 - rank)) - number * n)]
    low, high = np.repeat(old[0], lengths), np.repeat(old[1], lengths)
    return np.minimum(low, earliest), np.maximum(high, latest + gap)


def last_before(sorted_pairs: tuple[Int64Array, Int64Array], key: Int64Array, time: Int64Array) -> Int64Array:
    """Return the last of some sorted pairs of key and start that begins before a time, -1 where there is none.

    Examples
    --------
    >>> last_before((np.array([1, 1]), np.array([0, 10])), np.array([1, 1]), np.array([10, 11])).tolist()
    [0, 1]
    """
    return locate(sorted_pairs[0], sorted_pairs[1], (key, time)) - 1

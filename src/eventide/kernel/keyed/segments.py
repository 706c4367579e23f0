"""Rows brought together by key, and operations that run along each key in numpy.

Everything takes rows already in segments: `Segments.order` brings the rows of each key together without
changing their order, and `Segments.undo` puts results back in the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "Segments",
    "cumulative_max",
    "cumulative_sum",
    "distinct",
    "forward_fill",
    "previous",
    "ranges",
    "search",
    "segments",
    "stable_order",
]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows by key.

    Parameters
    ----------
    order
        Row numbers, the rows of each key together and in order.
    starts
        Where in `order` each key begins.
    keys
        The slot of each key, ascending.
    """

    order: Int64Array
    starts: Int64Array
    keys: npt.NDArray[Any]

    @property
    def stops(self) -> Int64Array:
        """Where in `order` each key ends."""
        return np.append(self.starts[1:], self.order.size)[: self.starts.size]

    @property
    def of_row(self) -> Int64Array:
        """For each place in `order`, the number of its key."""
        return np.repeat(np.arange(self.starts.size), np.diff(np.append(self.starts, self.order.size)))

    def undo(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return values that are in segment order in the order of the rows."""
        out = np.empty_like(values)
        out[self.order] = values
        return out


def stable_order(slots: npt.NDArray[Any]) -> Int64Array:
    """Return the row numbers by slot, those of one slot in order.

    Examples
    --------
    >>> stable_order(np.array([7, 4, 7])).tolist()
    [1, 0, 2]
    """
    if slots.size and slots.min() >= 0 and slots.max() < 2**16:
        # numpy sorts numbers of 16 bits by their digits, several times faster.
        slots = slots.astype(np.uint16)
    return np.argsort(slots, kind="stable")


def distinct(slots: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return the different slots, ascending.

    Examples
    --------
    >>> distinct(np.array([7, 4, 7])).tolist()
    [4, 7]
    """
    if not slots.size:
        return np.empty(0, np.int32)
    top = int(slots.max())
    if top > 64 * slots.size:
        ordered = np.sort(slots)
        out: npt.NDArray[np.int32] = ordered[np.append(True, ordered[1:] != ordered[:-1])].astype(np.int32)
        return out
    there = np.zeros(top + 1, np.bool_)
    there[slots] = True
    return np.flatnonzero(there).astype(np.int32)


def segments(slots: npt.NDArray[Any]) -> Segments:
    """Return the rows of each key together.

    Examples
    --------
    >>> s = segments(np.array([7, 4, 7]))
    >>> s.order.tolist(), s.starts.tolist(), s.keys.tolist()
    ([1, 0, 2], [0, 1], [4, 7])
    """
    order = stable_order(slots)
    ordered = slots[order]
    first = np.ones(slots.size, np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    return Segments(order, starts, ordered[starts])


def previous(values: npt.NDArray[Scalar], starts: Int64Array, first: npt.NDArray[Any]) -> npt.NDArray[Scalar]:
    """Return the value before each one in its segment; `first` is what stands before each segment.

    Examples
    --------
    >>> previous(np.array([1, 2, 3]), np.array([0, 2]), np.array([-1, -2])).tolist()
    [-1, 1, -2]
    """
    out = np.empty_like(values)
    out[1:] = values[:-1]
    out[starts] = first
    return out


def cumulative_sum(values: npt.NDArray[Scalar], starts: Int64Array) -> npt.NDArray[Scalar]:
    """Return the running sum of integers within each segment.

    Only for integers: of floats, the bits would depend on how many segments there are.

    Examples
    --------
    >>> cumulative_sum(np.array([1, 2, 3]), np.array([0, 2])).tolist()
    [1, 3, 3]
    """
    if not starts.size:
        return values
    total = np.cumsum(values)
    before = np.concatenate(([0], total))[starts]
    out: npt.NDArray[Scalar] = total - np.repeat(before, np.diff(np.append(starts, values.size)))
    return out


def cumulative_max(values: Int64Array, starts: Int64Array) -> Int64Array:
    """Return the running maximum of integers within each segment.

    Examples
    --------
    >>> cumulative_max(np.array([3, 1, 2, 5]), np.array([0, 2])).tolist()
    [3, 3, 2, 5]
    """
    if not starts.size:
        return values
    # Ranks instead of values leave room to lift each segment above the one before it.
    levels, ranked = np.unique(values, return_inverse=True)
    number = np.repeat(np.arange(starts.size), np.diff(np.append(starts, values.size)))
    running = np.maximum.accumulate(ranked + number * levels.size)
    out: Int64Array = levels[running - number * levels.size]
    return out


def forward_fill(valid: BoolArray, starts: Int64Array) -> Int64Array:
    """Return for each place the last valid one at or before it in its segment, -1 where there is none.

    Examples
    --------
    >>> forward_fill(np.array([True, False, False, True]), np.array([0, 2])).tolist()
    [0, 0, -1, 3]
    """
    place = np.maximum.accumulate(np.where(valid, np.arange(valid.size), -1))
    begin = np.repeat(starts, np.diff(np.append(starts, valid.size)))
    return np.where(place >= begin, place, -1)


def ranges(starts: Int64Array, stops: Int64Array) -> Int64Array:
    """Return the whole numbers from each start up to its stop, one range after the other.

    Examples
    --------
    >>> ranges(np.array([5, 0]), np.array([7, 1])).tolist()
    [5, 6, 0]
    """
    sizes = np.maximum(stops - starts, 0)
    total = int(sizes.sum())
    if not total:
        return np.empty(0, np.int64)
    ends = np.cumsum(sizes)
    out: Int64Array = np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
    return out


def search(values: Int64Array, starts: Int64Array, *, stops: Int64Array, targets: Int64Array) -> Int64Array:
    """Return for each segment the first place whose value is not below its target, else its stop.

    Parameters
    ----------
    values
        Ascending within each segment.
    starts, stops
        The segments.
    targets
        One a segment.

    Examples
    --------
    >>> search(np.array([1, 5, 9, 2]), np.array([0, 3]), stops=np.array([3, 4]), targets=np.array([5, 3])).tolist()
    [1, 4]
    """
    low, high = starts.copy(), np.maximum(stops, starts)
    while True:
        open_ = np.flatnonzero(low < high)
        if not open_.size:
            return low
        middle = (low[open_] + high[open_]) >> 1
        below = values[middle] < targets[open_]
        low[open_[below]] = middle[below] + 1
        high[open_[~below]] = middle[~below]

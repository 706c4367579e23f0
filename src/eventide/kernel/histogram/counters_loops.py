"""Counting, compiled. Imported only behind `have_compiler()`; twins in `counters`.

Codes are bins, or classes below zero; `HEAD` counters before the first bin take these, so that no loop has a branch.
Bins and classes come from loops that cannot give others, and are not checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled
from eventide.kernel.histogram.codes import HEAD, UNKNOWN

__all__ = ["combine", "count", "count_pixels", "count_spread", "mark", "pick", "scatter", "settle", "weigh"]

_HEAD = np.int64(HEAD)


@compiled
def combine(left: Any, right: Any, bins: int, out: Any) -> None:
    """Write the bin of two axes together: left * bins + right, or the lower code where one has no bin."""
    by, sign = np.int32(bins), np.int32(31)
    for i in range(left.size):
        a, b = left[i], right[i]
        low = a if a < b else b
        none = low >> sign  # all bits where one has no bin; a choice would become a branch that cannot be foreseen
        out[i] = np.int32((np.int32(a * by + b) & ~none) | (low & none))


@compiled
def count(codes: Any, counts: Any) -> None:
    """Count every code."""
    one = counts.dtype.type(1)
    for i in range(codes.size):
        counts[np.uint64(np.int64(codes[i]) + _HEAD)] += one


@compiled
def mark(codes: Any, shift: int, changed: Any) -> None:
    """Mark the parts that have counters of these codes."""
    by = np.uint64(shift)
    for i in range(codes.size):
        changed[np.uint64(np.int64(codes[i]) + _HEAD) >> by] = 1


@compiled
def count_spread(codes: Any, counts: Any) -> None:
    """Count every code in one of four copies: many events in one bin would wait for one another."""
    a, b, c, d = counts[0], counts[1], counts[2], counts[3]
    whole = codes.size // 4 * 4
    for i in range(0, whole, 4):
        a[np.uint64(np.int64(codes[i]) + _HEAD)] += 1
        b[np.uint64(np.int64(codes[i + 1]) + _HEAD)] += 1
        c[np.uint64(np.int64(codes[i + 2]) + _HEAD)] += 1
        d[np.uint64(np.int64(codes[i + 3]) + _HEAD)] += 1
    for i in range(whole, codes.size):
        a[np.uint64(np.int64(codes[i]) + _HEAD)] += 1


@compiled
def count_pixels(pixel: Any, first: int, size: int, counts: Any) -> None:
    """Count the pixels from the first one on, and those that are none of them as unknown."""
    start, known, none = np.int64(first), np.uint64(size), np.uint64(HEAD + UNKNOWN)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - start)
        counts[at + np.uint64(HEAD) if at < known else none] += np.uint32(1)


@compiled
def pick(counts: Any, first: int, places: Any, values: Any) -> None:
    """Write the places of counts that are not zero, from `first` on, and the counts."""
    at: Any = 0
    for i in range(counts.size):
        if at == places.size:
            return
        # Written whether it counts or not: of half empty ones nobody could foresee which do.
        places[at], values[at] = first + i, np.int64(counts[i])
        at += np.int64(counts[i] != 0)


@compiled
def weigh(codes: Any, weights: Any, sums: Any, squares: Any) -> None:
    """Add the weight of every event, and its square."""
    for i in range(codes.size):
        at = np.uint64(np.int64(codes[i]) + _HEAD)
        w = np.float64(weights[i])
        sums[at] += w
        squares[at] += w * w


@compiled
def _count_part(counts: Any, start: Any, places: Any) -> None:
    base = np.uint64(start)
    one = counts.dtype.type(1)
    for i in range(places.size):
        counts[base + np.uint64(places[i])] += one


@compiled
def scatter(codes: Any, shift: int, room: int, waiting: Any, filled: Any, counts: Any, changed: Any) -> None:
    """Put every code with those of its part of the counters, and count a part's when there is no room for more.

    Parameters
    ----------
    codes
        int32.
    shift
        A part has ``1 << shift`` counters, which the cache can hold.
    room
        Codes of a part that can wait.
    waiting
        uint32 (parts * room), places within parts.
    filled
        uint32, how many wait of each part.
    counts, changed
        The counters, and for each part whether it has changed.
    """
    mask, by, full = np.uint32((1 << shift) - 1), np.uint32(shift), np.uint32(room)
    for i in range(codes.size):
        at = np.uint32(np.int64(codes[i]) + _HEAD)
        part = np.uint64(at >> by)
        many = filled[part]
        waiting[part * np.uint64(room) + np.uint64(many)] = at & mask
        many += np.uint32(1)
        if many == full:
            begin = np.int64(part) * room
            _count_part(counts, np.int64(part) << shift, waiting[begin : begin + room])
            changed[part] = 1
            many = np.uint32(0)
        filled[part] = many


@compiled
def settle(shift: int, room: int, waiting: Any, filled: Any, counts: Any, changed: Any) -> None:
    """Count all that waits."""
    for part in range(filled.size):
        many = np.int64(filled[part])
        if many:
            begin = part * room
            _count_part(counts, part << shift, waiting[begin : begin + many])
            changed[part] = 1
            filled[part] = 0

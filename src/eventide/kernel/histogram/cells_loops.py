"""Bins by tables of cells, compiled. Imported only behind `have_compiler()`; see `cells`.

Arithmetic stands in loops of its own, which the compiler does for many events at a time; what looks into tables stands
in others, of few instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled
from eventide.kernel.histogram.cells import BAD

__all__ = [
    "count_rows",
    "count_scaled",
    "count_sure",
    "count_times",
    "gather_constants",
    "look_rows",
    "number_pixels",
    "number_times",
    "reach",
    "reach_evenly",
    "scale_times",
    "take_words",
    "unpack_constants",
    "unpack_rows",
]

_LAST, _BAD = np.float32(BAD - 1), np.float32(BAD)
_NAN = np.uint32(0x7FC00000)


@compiled
def number_pixels(pixel: Any, out: Any, first: int, size: int) -> None:
    """Write the number of each pixel after the first one; `size` for those that are not among so many."""
    start, last = np.int64(first), np.uint64(size)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - start)
        out[i] = np.int32(at if at < last else last)


@compiled
def number_times(time: Any, out: Any, start: int, most: int) -> None:
    """Write the number of each time."""
    low, high = np.int64(start), np.int64(most)
    for i in range(time.size):
        x = np.int64(time[i]) - low
        x = x if x > np.int64(0) else np.int64(0)
        out[i] = np.uint32(x if x < high else high)


@compiled
def reach_evenly(time: Any, start: int, most: int, factor: int, offset: int, shift: int, out: Any) -> None:
    """Write how many of evenly spaced edges each time has reached."""
    low, high, none = np.int64(start), np.int64(most), np.int64(0)
    by, add, down = np.uint64(np.uint32(factor)), np.uint64(offset), np.uint64(shift)
    for i in range(time.size):
        x = np.int64(time[i]) - low
        x = x if x > none else none
        out[i] = np.int32((np.uint64(np.uint32(x if x < high else high)) * by + add) >> down)


@compiled
def gather_constants(numbers: Any, constants: Any, out: Any) -> None:
    """Write the constant of each pixel."""
    for i in range(numbers.size):
        out[i] = constants[np.uint64(np.uint32(numbers[i]))]


@compiled
def look_rows(numbers: Any, rows: Any, out: Any) -> None:
    """Write the row of each pixel."""
    for i in range(numbers.size):
        out[i] = np.int32(rows[np.uint64(np.uint32(numbers[i]))])


@compiled
def take_words(pixel: Any, first: int, words: Any, out: Any) -> None:
    """Write the word of each pixel; the last one is for those that there is none for."""
    start, last = np.int64(first), np.uint64(words.size - 1)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - start)
        out[i] = words[at if at < last else last]


@compiled
def unpack_constants(words: Any, shift: int, mask: int, dropped: int, base: int, out: Any) -> None:
    """Write the bits of the constants that are in words; see `packed`."""
    by, all_, more, low, none = np.uint64(shift), np.uint32(mask), np.uint32(dropped), np.uint32(base), np.uint32(0)
    for i in range(words.size):
        k = np.uint32(np.uint32(words[i] >> by) & all_)
        out[i] = np.uint32(np.uint32(k << more) + low) if k != none else _NAN


@compiled
def unpack_rows(words: Any, shift: int, mask: int, out: Any) -> None:
    """Write the rows that are in words."""
    by, all_ = np.uint64(shift), np.uint32(mask)
    for i in range(words.size):
        out[i] = np.int32(np.uint32(words[i] >> by) & all_)


@compiled
def scale_times(constants: Any, time: Any, out: Any, scale: float) -> None:
    """Write the number of each time, scaled by the constant of its pixel."""
    by, none = np.float32(scale), np.float32(0)
    for i in range(time.size):
        v: Any = np.float32(np.float32(constants[i] * np.float32(time[i])) * by)
        w = v if v < _LAST else _LAST
        out[i] = np.uint32(np.int32(w if v >= none else _BAD))  # NaN is not


@compiled
def _look(numbers: Any, words: Any, shift: int, out: Any) -> None:
    by = np.uint64(shift)
    for i in range(numbers.size):
        out[i] = words[np.uint64(numbers[i]) >> by]


@compiled
def reach(numbers: Any, words: Any, shift: int, window: int, out: Any) -> None:
    """Write how many edges each number has reached, -1 where it is not certain.

    Parameters
    ----------
    numbers
        uint32.
    words, shift
        Of the cells.
    window
        0, or the units around an edge within which it is not certain that it is reached.
    out
        int32.
    """
    _look(numbers, words, shift, out)
    mask, all_, by = np.int32((1 << shift) - 1), np.int32((1 << (shift + 1)) - 1), np.int32(shift + 1)
    wide, span = np.int32(window), np.uint32(2 * window + 1 if window else 0)
    for i in range(numbers.size):
        word = out[i]
        edge = np.int32(word & all_)
        beyond = np.int32(np.int32(np.int32(numbers[i]) & mask) - edge)
        k = np.int32(np.int32(word >> by) + np.int32(beyond >= 0))
        near = np.uint32(np.int32(beyond + wide)) < span
        out[i] = np.int32(-1) if near or edge == all_ else k


@compiled
def _search(t: Any, reached: Any) -> Any:
    low, high = np.int64(0), np.int64(reached.size)
    while low < high:
        middle = (low + high) >> 1
        if t >= reached[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def count_times(reaches: Any, time: Any, reached: Any, counts: Any) -> None:
    """Count times by the number of edges reached, in four copies; search for it where it is not certain."""
    slots = np.uint64(counts.size // 4)
    for i in range(reaches.size):
        k = np.int64(reaches[i])
        if k < 0:
            k = _search(np.int64(time[i]), reached)
        counts[(np.uint64(i) & np.uint64(3)) * slots + np.uint64(k)] += np.uint32(1)


@compiled
def count_sure(reaches: Any, counts: Any) -> None:
    """Count times by the number of edges reached, all of which are certain, in four copies."""
    slots = counts.size // 4
    a, b, c, d = counts[:slots], counts[slots : 2 * slots], counts[2 * slots : 3 * slots], counts[3 * slots :]
    whole = reaches.size // 4 * 4
    for i in range(0, whole, 4):
        a[np.uint64(np.uint32(reaches[i]))] += np.uint32(1)
        b[np.uint64(np.uint32(reaches[i + 1]))] += np.uint32(1)
        c[np.uint64(np.uint32(reaches[i + 2]))] += np.uint32(1)
        d[np.uint64(np.uint32(reaches[i + 3]))] += np.uint32(1)
    for i in range(whole, reaches.size):
        a[np.uint64(np.uint32(reaches[i]))] += np.uint32(1)


@compiled
def count_rows(reaches: Any, time: Any, reached: Any, rows: Any, width: int, counts: Any) -> None:
    """Count times by the row of their pixel and the number of edges reached."""
    by = np.uint64(width)
    for i in range(reaches.size):
        k = np.int64(reaches[i])
        if k < 0:
            k = _search(np.int64(time[i]), reached)
        counts[np.uint64(np.uint32(rows[i])) * by + np.uint64(k)] += np.uint32(1)


@compiled
def count_scaled(reaches: Any, pixel: Any, time: Any, left: Any, many: int, counts: Any) -> Any:
    """Count scaled times by the number of edges below, in four copies: many in one bin would wait for one another.

    Events that are unsure are written to `left`, behind as many as are there; returned is how many there are now.
    """
    slots = np.uint64(counts.size // 4)
    for i in range(reaches.size):
        k = np.int64(reaches[i])
        if k < 0:
            left[0, many], left[1, many] = pixel[i], time[i]
            many += 1
        else:
            counts[(np.uint64(i) & np.uint64(3)) * slots + np.uint64(k)] += np.uint32(1)
    return many

"""Bins of values and of pixels, compiled. Imported only behind `have_compiler()`; twins in `search` and `place`.

Loops are short and without branches, one after the other over a chunk that lies in the cache: so the compiler does many
values at a time where it can. A value is brought into range before it becomes an index: NaN, infinities and anything
else that arrives cannot read beyond a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled
from eventide.kernel.histogram.codes import ABOVE, MASKED, NAN, UNKNOWN

__all__ = [
    "cells_bits",
    "cells_linear",
    "compare",
    "finish",
    "halve",
    "mark",
    "place_even",
    "place_pixels",
    "place_rows",
    "solve",
    "step",
    "times",
    "under",
]

_REST = np.int64(2**63 - 1)
_ABOVE = np.int32(ABOVE)
_NAN = np.int32(NAN)
_UNKNOWN = np.int32(UNKNOWN)
_MASKED = np.int32(MASKED)


@compiled
def place_even(x: Any, out: Any, low: float, scale: float, step: float, high: float, bins: int) -> None:
    """Write the bin of each value among equally spaced edges: cell i has edge i in its middle."""
    top = np.float64(bins)
    last = np.int32(bins)
    for i in range(x.size):
        w = np.float64(x[i])
        v: Any = (w - low) * scale + 0.5
        v = v if v > 0.0 else 0.0
        v = v if v < top else top
        cell = np.int32(v)
        floor = np.float64(cell)
        edge: Any = floor * step + low
        edge = edge if floor < top else high
        b = cell if w >= edge else cell - np.int32(1)
        b = b if b < last else _ABOVE
        out[i] = b if w == w else _NAN


@compiled
def cells_linear(x: Any, out: Any, low: float, scale: float, top: int) -> None:
    """Write the cell of each value in a linear grid."""
    most = np.float64(top)
    for i in range(x.size):
        v: Any = (np.float64(x[i]) - low) * scale
        v = v if v > 0.0 else 0.0
        v = v if v < most else most
        out[i] = np.int32(v)


@compiled
def cells_bits(x: Any, out: Any, shift: int, base: int, top: int) -> None:
    """Write the cell of each value in a grid over the bits of doubles."""
    by, start, most, none = np.int64(shift), np.int64(base), np.int64(top), np.int64(0)
    for i in range(x.size):
        bits = np.float64(np.float64(x[i]) + 0.0).view(np.int64)
        cell = ((bits ^ ((bits >> np.int64(63)) & _REST)) >> by) - start
        cell = cell if cell > none else none
        cell = cell if cell < most else most
        out[i] = np.int32(cell)


@compiled
def compare(x: Any, out: Any, first: Any, threshold: Any) -> None:
    """Turn cells into bins by one comparison."""
    for i in range(x.size):
        cell = np.uint64(np.uint32(out[i]))
        out[i] = first[cell] + np.int32(np.float64(x[i]) >= threshold[cell])


@compiled
def step(x: Any, out: Any, edges: Any) -> None:
    """Compare once more, with the edge above the bin found so far."""
    for i in range(x.size):
        out[i] += np.int32(np.float64(x[i]) >= edges[np.uint64(np.int64(out[i]) + 1)])


@compiled
def halve(x: Any, out: Any, edges: Any, first: Any) -> None:
    """Turn cells into bins by a binary search among the edges of the cell."""
    for i in range(x.size):
        low, high = np.int64(first[out[i]]), np.int64(first[out[i] + 1])
        v = np.float64(x[i])
        while low < high:
            middle = (low + high + 1) >> 1
            if v >= edges[middle]:
                low = middle
            else:
                high = middle - 1
        out[i] = np.int32(low)


@compiled
def finish(x: Any, out: Any, bins: int) -> None:
    """Turn bins beyond the last, and those of NaN, into codes."""
    last = np.int32(bins)
    for i in range(x.size):
        b = out[i] if out[i] < last else _ABOVE
        out[i] = b if x[i] == x[i] else _NAN


@compiled
def place_pixels(pixel: Any, out: Any, first: int, count: int) -> None:
    """Write the number of each pixel after the first one."""
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)  # one comparison for both ends
        out[i] = np.int32(at) if at < np.uint64(count) else _UNKNOWN


@compiled
def place_rows(pixel: Any, out: Any, first: int, table: Any) -> None:
    """Write the row of each pixel in a table; a negative one says that it is in none."""
    count = np.uint64(table.size)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        known = at < count
        row = table[at if known else np.uint64(0)]
        row = row if row >= 0 else _MASKED
        out[i] = row if known else _UNKNOWN


@compiled
def mark(pixel: Any, out: Any, first: int, constants: Any) -> None:
    """Correct the bins of converted values: of pixels without a constant, or with NaN."""
    count = np.uint64(constants.size)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        known = at < count
        constant = constants[at if known else np.uint64(0)]
        b = out[i] if constant == constant else _MASKED
        out[i] = b if known else _UNKNOWN


@compiled
def times(pixel: Any, time: Any, out: Any, first: int, constants: Any) -> None:
    """Write constant * time of each event; anything where the pixel has no constant."""
    count = np.uint64(constants.size)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        out[i] = constants[at if at < count else np.uint64(0)] * np.float64(time[i])


@compiled
def under(pixel: Any, time: Any, out: Any, first: int, constants: Any) -> None:
    """Write constant / time of each event; anything where the pixel has no constant."""
    count = np.uint64(constants.size)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        t = np.float64(time[i])
        c = constants[at if at < count else np.uint64(0)]
        # IEEE division, which compiled Python would refuse for zero.
        out[i] = np.divide(c, t)


@compiled
def solve(pixel: Any, time: Any, out: Any, first: int, difa: Any, difc: Any, tzero: Any) -> None:
    """Write the d of ``time = difa d^2 + difc d + tzero``; anything where the pixel has no constants."""
    count = np.uint64(difc.size)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        at = at if at < count else np.uint64(0)
        a, c, t = difa[at], difc[at], np.float64(time[i]) - tzero[at]
        root = np.sqrt(c * c + 4.0 * a * t)
        out[i] = np.divide(2.0 * t, c + root) if a != 0.0 else np.divide(t, c)

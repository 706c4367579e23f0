"""Bins of values and of pixels, compiled. Imported only behind `have_compiler()`; twins in `search` and `place`.

Loops are short and without branches, one after the other over a chunk that lies in the cache: so the compiler does many
values at a time where it can. A value is brought into range before it becomes an index: NaN, infinities and anything
else that arrives cannot read beyond a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled
from eventide.kernel.histogram.codes import ABOVE, NAN, UNKNOWN

__all__ = [
    "cells_bits",
    "cells_linear",
    "compare",
    "finish",
    "gather",
    "gather_four",
    "halve",
    "override",
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
    """Write what a table has for each pixel; its last entry is for pixels that it does not know."""
    last = np.uint64(table.size - 1)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        out[i] = table[at if at < last else last]


@compiled
def override(status: Any, out: Any) -> None:
    """Put codes in the place of bins, where there are some."""
    sign = np.int32(31)
    for i in range(status.size):
        given = status[i] >> sign
        out[i] = np.int32((out[i] & ~given) | (status[i] & given))


@compiled
def times(pixel: Any, time: Any, out: Any, first: int, constants: Any) -> None:
    """Write constant * time of each event; the last constant is for pixels without one."""
    last = np.uint64(constants.size - 1)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        out[i] = constants[at if at < last else last] * np.float64(time[i])


@compiled
def gather(pixel: Any, out: Any, first: int, constants: Any) -> None:
    """Write the constant of each pixel; the last one is for pixels without one."""
    last = np.uint64(constants.size - 1)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        out[i] = constants[at if at < last else last]


@compiled
def under(time: Any, out: Any) -> None:
    """Divide each constant by the time."""
    for i in range(time.size):
        # IEEE division; that of compiled Python would refuse zero.
        out[i] = np.divide(out[i], np.float64(time[i]))


@compiled
def gather_four(pixel: Any, time: Any, linear: Any, inner: Any, out: Any, first: int, constants: Any) -> None:
    """Write the terms of a calibration: difc, ``difc^2 + 4 difa t`` and ``2 t``, where ``t = time - tzero``."""
    last = np.uint64(constants.shape[0] - 1)
    for i in range(pixel.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        at = at if at < last else last
        t = np.float64(time[i]) - constants[at, 3]
        linear[i] = constants[at, 1]
        inner[i] = constants[at, 2] + constants[at, 0] * t
        out[i] = 2.0 * t


@compiled
def solve(linear: Any, inner: Any, out: Any) -> None:
    """Divide ``2 t`` by ``difc + sqrt(inner)``, the root with the sign of difc."""
    for i in range(out.size):
        out[i] = np.divide(out[i], linear[i] + np.copysign(np.sqrt(inner[i]), linear[i]))

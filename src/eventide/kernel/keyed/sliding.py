"""Sums, spreads and extremes over a range of rows per row, with the same bits compiled or in numpy.

Each range is gone through from its first row, in double-double arithmetic for sums of floats (Knuth's TwoSum),
so that the result depends on the rows in the range alone, never on what was there before them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled, have_compiler

__all__ = ["sliding_count", "sliding_extreme", "sliding_spread", "sliding_sum"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def sliding_count(valid: BoolArray, starts: Int64Array, stops: Int64Array) -> Int64Array:
    """Return how many rows of each range ``[start, stop)`` are valid.

    Examples
    --------
    >>> sliding_count(np.array([True, False, True]), np.array([0, 1]), np.array([2, 3])).tolist()
    [1, 1]
    """
    before: Int64Array = np.zeros(valid.size + 1, np.int64)
    np.cumsum(valid, out=before[1:])
    return before[stops] - before[starts]


def sliding_sum(values: npt.NDArray[Any], valid: BoolArray, *, starts: Int64Array, stops: Int64Array) -> Any:
    """Return the sum of the valid rows of each range; int64 of integers (wraps), float64 of floats.

    Examples
    --------
    >>> ones = np.ones(3, np.bool_)
    >>> sliding_sum(np.array([1e16, 1.0, -1e16]), ones, starts=np.array([0]), stops=np.array([3])).tolist()
    [1.0]
    """
    if values.dtype.kind == "i":
        total = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.where(valid, values, 0))))
        return total[stops] - total[starts]
    zero = np.zeros(starts.size)
    return _fold(values, valid, starts=starts, stops=stops, centre=zero, square=False)


def sliding_spread(
    values: Float64Array, valid: BoolArray, *, starts: Int64Array, stops: Int64Array, centre: Float64Array
) -> Float64Array:
    """Return the sum of the squared distances from `centre` of the valid rows of each range.

    Examples
    --------
    >>> ones = np.ones(2, np.bool_)
    >>> args = {"starts": np.array([0]), "stops": np.array([2]), "centre": np.array([2.0])}
    >>> sliding_spread(np.array([1.0, 3.0]), ones, **args).tolist()
    [2.0]
    """
    return _fold(values, valid, starts=starts, stops=stops, centre=centre, square=True)


def _fold(
    values: Float64Array,
    valid: BoolArray,
    *,
    starts: Int64Array,
    stops: Int64Array,
    centre: Float64Array,
    square: bool,
) -> Float64Array:
    if have_compiler():
        out = np.empty(starts.size)
        _compiled_fold()(values, valid, starts, stops, centre, square, out)
        return out
    high, low, plain = np.zeros(starts.size), np.zeros(starts.size), np.zeros(starts.size)
    with np.errstate(all="ignore"):
        for place, x in _columns(values, valid, starts, stops):
            x = x - centre[place]
            x = x * x if square else x
            h = high[place]
            s = h + x
            b = s - h
            error = low[place] + ((h - (s - b)) + (x - b))
            high[place] = s + error
            low[place] = error - (high[place] - s)
            plain[place] += x
    return np.where(np.isfinite(high), high, plain)


def _columns(values: Any, valid: BoolArray, starts: Int64Array, stops: Int64Array) -> Any:
    """Yield the first valid row of each range, then the second place of each, and so on."""
    by = np.argsort(starts - stops, kind="stable")
    sizes = (stops - starts)[by]
    for k in range(int(sizes.max(initial=0))):
        live = by[: np.searchsorted(-sizes, -k, side="left")]
        row = starts[live] + k
        keep = valid[row]
        yield live[keep], values[row[keep]]


def _fold_loop(
    values: Float64Array,
    valid: BoolArray,
    starts: Int64Array,
    stops: Int64Array,
    centre: Float64Array,
    square: bool,
    out: Float64Array,
) -> None:
    for i in range(starts.size):
        high, low, plain = 0.0, 0.0, 0.0
        for j in range(starts[i], stops[i]):
            if valid[j]:
                x = values[j] - centre[i]
                if square:
                    x = x * x
                s = high + x
                b = s - high
                error = low + ((high - (s - b)) + (x - b))
                high = s + error
                low = error - (high - s)
                plain += x
        out[i] = high if np.isfinite(high) else plain


@functools.cache
def _compiled_fold() -> Callable[..., None]:
    return compiled(_fold_loop)


def sliding_extreme(
    values: npt.NDArray[Any], valid: BoolArray, *, starts: Int64Array, stops: Int64Array, largest: bool
) -> Any:
    """Return the smallest or largest valid row of each range; NaN only where all are; 0 of nothing.

    Examples
    --------
    >>> ones = np.ones(3, np.bool_)
    >>> args = {"starts": np.array([0, 1]), "stops": np.array([2, 3]), "largest": True}
    >>> sliding_extreme(np.array([5, 1, 3]), ones, **args).tolist()
    [5, 3]
    """
    out = np.zeros(starts.size, values.dtype)
    if have_compiler():
        _compiled_extreme()(values, valid, starts, stops, largest, out)
        return out
    seen = np.zeros(starts.size, np.bool_)
    for place, x in _columns(values, valid, starts, stops):
        y = out[place]
        better = ~seen[place] | (x > y if largest else x < y) | (y != y)
        out[place[better]] = x[better]
        seen[place] = True
    return out


def _extreme_loop(
    values: npt.NDArray[Any],
    valid: BoolArray,
    starts: Int64Array,
    stops: Int64Array,
    largest: bool,
    out: npt.NDArray[Any],
) -> None:
    for i in range(starts.size):
        seen = False
        for j in range(starts[i], stops[i]):
            if valid[j]:
                x, y = values[j], out[i]
                if not seen or (x > y if largest else x < y) or y != y:
                    out[i] = x
                    seen = True


@functools.cache
def _compiled_extreme() -> Callable[..., None]:
    return compiled(_extreme_loop)

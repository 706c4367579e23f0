"""The slope of the least trimmed squares line, compiled. Imported only behind `have_compiler()`; twin: `sweep`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["sort", "sweep"]

_RUN = 8


@compiled
def sort(values: Any, order: Any, other: Any, count: int) -> None:
    """Sort numbers by their values; equal values keep their order. `other` is scratch."""
    for begin in range(0, count, _RUN):
        end = min(begin + _RUN, count)
        for i in range(begin + 1, end):
            this = order[i]
            v = values[this]
            j = i
            while j > begin and values[order[j - 1]] > v:
                order[j] = order[j - 1]
                j -= 1
            order[j] = this
    width = _RUN
    while width < count:
        for begin in range(0, count, 2 * width):
            middle, end = min(begin + width, count), min(begin + 2 * width, count)
            i, j = begin, middle
            for k in range(begin, end):
                if i < middle and (j >= end or values[order[i]] <= values[order[j]]):
                    other[k] = order[i]
                    i += 1
                else:
                    other[k] = order[j]
                    j += 1
        for k in range(count):
            order[k] = other[k]
        width *= 2


@compiled
def sort_along(keys: Any, order: Any) -> None:
    """Sort keys, and what comes with them; equal keys keep their order. Both move, so that all is read in a row."""
    count = keys.size
    for begin in range(0, count, _RUN):
        for i in range(begin + 1, min(begin + _RUN, count)):
            v, this = keys[i], order[i]
            j = i
            while j > begin and keys[j - 1] > v:
                keys[j], order[j] = keys[j - 1], order[j - 1]
                j -= 1
            keys[j], order[j] = v, this
    from_keys, from_order, to_keys, to_order = keys, order, np.empty_like(keys), np.empty_like(order)
    width = _RUN
    while width < count:
        for begin in range(0, count, 2 * width):
            middle, end = min(begin + width, count), min(begin + 2 * width, count)
            i, j, k = begin, middle, begin
            while i < middle and j < end:
                # Which one is smaller cannot be predicted, so no branch depends on it.
                left = from_keys[i] <= from_keys[j]
                to_keys[k] = from_keys[i] if left else from_keys[j]
                to_order[k] = from_order[i] if left else from_order[j]
                i += left
                j += not left
                k += 1
            while i < middle:
                to_keys[k], to_order[k] = from_keys[i], from_order[i]
                i, k = i + 1, k + 1
            while j < end:
                to_keys[k], to_order[k] = from_keys[j], from_order[j]
                j, k = j + 1, k + 1
        from_keys, from_order, to_keys, to_order = to_keys, to_order, from_keys, from_order
        width *= 2
    order[:] = from_order


@compiled
def spread(sums: Any, k: int, h: float) -> Any:
    """Return the least sum of squared residuals of a run, and its slope."""
    xx = sums[2, k] - sums[0, k] * sums[0, k] / h
    xy = sums[3, k] - sums[0, k] * sums[1, k] / h
    if not xx > 0.0:
        return np.inf, 0.0
    slope = xy / xx
    return (sums[4, k] - sums[1, k] * sums[1, k] / h) - xy * slope, slope


@compiled
def exchange(sums: Any, k: int, x: Any, y: Any, out: int, into: int) -> None:
    """Take one point out of a run and another one in."""
    sums[0, k] += x[into] - x[out]
    sums[1, k] += y[into] - y[out]
    sums[2, k] += x[into] * x[into] - x[out] * x[out]
    sums[3, k] += x[into] * y[into] - x[out] * y[out]
    sums[4, k] += y[into] * y[into] - y[out] * y[out]


@compiled
def sweep(x: Any, y: Any, h: int) -> Any:
    """Return the slope of the line whose h smallest squared residuals have the least sum."""
    n = x.size
    order, other = np.arange(n), np.empty(n, np.int64)
    sort(y, order, other, n)
    sort(x, order, other, n)
    xs, ys = x[order], y[order]
    xs -= xs[n // 2]
    ys -= ys[n // 2]
    pairs = n * (n - 1) // 2
    slopes, first, second = np.empty(pairs, np.float64), np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    count = 0
    for i in range(n):
        for j in range(i + 1, n):
            dx = xs[j] - xs[i]
            if dx > 0.0:
                slopes[count], first[count], second[count] = (ys[j] - ys[i]) / dx, i, j
                count += 1
    turns = np.arange(count)
    sort_along(slopes[:count], turns)
    runs = n - h + 1
    heads = np.zeros((5, n + 1), np.float64)
    for k in range(n):
        heads[0, k + 1] = heads[0, k] + xs[k]
        heads[1, k + 1] = heads[1, k] + ys[k]
        heads[2, k + 1] = heads[2, k] + xs[k] * xs[k]
        heads[3, k + 1] = heads[3, k] + xs[k] * ys[k]
        heads[4, k + 1] = heads[4, k] + ys[k] * ys[k]
    sums = np.empty((5, runs), np.float64)
    least, best = np.inf, 0.0
    for k in range(runs):
        for j in range(5):
            sums[j, k] = heads[j, k + h] - heads[j, k]
        found, slope = spread(sums, k, h)
        if found < least:
            least, best = found, slope
    place = np.arange(n)
    for t in turns:
        i, j = first[t], second[t]
        p, q = place[i], place[j]
        if p > q:
            continue
        place[i], place[j] = q, p
        for k in range(max(0, p - h + 1), min(p, q - h, n - h) + 1):
            exchange(sums, k, xs, ys, i, j)
            found, slope = spread(sums, k, h)
            if found < least:
                least, best = found, slope
        for k in range(max(p, q - h) + 1, min(q, n - h) + 1):
            exchange(sums, k, xs, ys, j, i)
            found, slope = spread(sums, k, h)
            if found < least:
                least, best = found, slope
    return best

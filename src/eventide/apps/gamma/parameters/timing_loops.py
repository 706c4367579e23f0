"""Lines by least trimmed squares, compiled. Imported only behind `have_compiler()`; the twin is in `timing`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.apps.gamma.parameters.sweep_loops import sort, sweep
from eventide.kernel.compiled import compiled

__all__ = ["fit_all"]

_SHARE, _STEPS = 0.85, 20
_EPS = 4.440892098500626e-16


@compiled
def line(x: Any, y: Any, which: Any, count: int) -> Any:
    """Return slope and intercept by least squares through the points that count."""
    sx, sy = 0.0, 0.0
    for k in range(x.size):
        if which[k]:
            sx += x[k]
            sy += y[k]
    mx, my = sx / count, sy / count
    sxx, sxy = 0.0, 0.0
    for k in range(x.size):
        if which[k]:
            dx = x[k] - mx
            sxx += dx * dx
            sxy += dx * (y[k] - my)
    if not count * sxx >= _EPS:
        return np.nan, np.nan
    a = sxy / sxx
    return a, my - a * mx


@compiled
def step(x: Any, y: Any, slope: float, h: Any, r: Any, order: Any, other: Any, which: Any) -> Any:
    """Return the line through the h points that lie closest together for a slope, and the sum of their residuals."""
    n = x.size
    for k in range(n):
        r[k] = y[k] - slope * x[k]
        order[k] = k
    sort(r, order, other, n)
    middle = r[order[n // 2]]
    s1, s2 = 0.0, 0.0
    for k in range(h):
        v = r[order[k]] - middle
        s1 += v
        s2 += v * v
    # Both ends of the run are sums from the first point on, as the twin has them.
    t1, t2, first = 0.0, 0.0, 0
    least = (s2 - t2) - (s1 - t1) * (s1 - t1) / h
    for k in range(n - h):
        v = r[order[k]] - middle
        t1 += v
        t2 += v * v
        v = r[order[k + h]] - middle
        s1 += v
        s2 += v * v
        spread = (s2 - t2) - (s1 - t1) * (s1 - t1) / h
        if spread < least:
            least, first = spread, k + 1
    which[:] = False
    for k in range(first, first + h):
        which[order[k]] = True
    a, b = line(x, y, which, h)
    if not np.isfinite(a):
        return a, b, np.inf
    error = 0.0
    for k in range(n):
        if which[k]:
            d = y[k] - (x[k] * a + b)
            error += d * d
    return a, b, error


@compiled
def fit_one(x: Any, y: Any, starts: Any, exact: int, r: Any, order: Any, other: Any, which: Any, out: Any) -> None:
    """Write slope, intercept, deviation of all points, and the sum that was minimised."""
    n = x.size
    h: Any = np.int64(_SHARE * n)
    which[:] = True
    best_a, best_b, best = np.nan, np.nan, np.inf
    for s in range(1 if n <= exact else starts.shape[0] + 1):
        if n <= exact:
            slope = sweep(x, y, h)
        elif s == 0:
            slope = line(x, y, which, n)[0]
        else:
            i = (starts[s - 1, 0] * n) >> 32
            j = (starts[s - 1, 1] * (n - 1)) >> 32
            if j >= i:
                j += 1
            dx = x[j] - x[i]
            slope = (y[j] - y[i]) / dx if dx != 0.0 else 0.0
        if not np.isfinite(slope):
            slope = 0.0
        kept_a, kept_b, kept = np.nan, np.nan, np.inf
        for _ in range(_STEPS):
            a, b, error = step(x, y, slope, h, r, order, other, which)
            if not error < kept:
                break
            kept_a, kept_b, kept, slope = a, b, error, a
        if kept < best:
            best_a, best_b, best = kept_a, kept_b, kept
    if not np.isfinite(best):
        return
    total = 0.0
    for k in range(n):
        d = y[k] - (x[k] * best_a + best_b)
        total += d * d
    out[0], out[1], out[2], out[3] = best_a, best_b, np.sqrt(total / n), best


@compiled
def fit_all(x: Any, y: Any, runs: Any, starts: Any, exact: int, out: Any) -> None:
    """Fit a line to each run of three points and more; what is written of the others stays as it is."""
    most = 0
    for i in range(runs.size - 1):
        most = max(most, runs[i + 1] - runs[i])
    r = np.empty(most, np.float64)
    order, other, which = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_)
    for i in range(runs.size - 1):
        begin, end = runs[i], runs[i + 1]
        n = end - begin
        if n > 2:
            fit_one(x[begin:end], y[begin:end], starts, exact, r[:n], order[:n], other[:n], which[:n], out[i])

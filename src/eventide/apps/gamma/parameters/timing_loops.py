"""Lines by least trimmed squares, compiled. Imported only behind `have_compiler()`; the twin is in `timing`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.apps.gamma.parameters.hillas_loops import hillas_one
from eventide.apps.gamma.parameters.measure_loops import listed
from eventide.apps.gamma.parameters.rest_loops import statistics_one
from eventide.apps.gamma.parameters.sweep_loops import sort_along, sweep
from eventide.kernel.compiled import compiled

__all__ = ["fit_all", "fit_images"]

_SHARE, _STEPS, _ROUNDS = 0.85, 20, 3
_EPS = 4.440892098500626e-16
_SAME = 1e-9
_LESS = 1.0 - 1e-12
_NEAR = 0.75
_MOVES = 4  # more moves than this for each point, and merging is quicker than inserting


@compiled
def through_all(x: Any, y: Any) -> Any:
    """Return the slope by least squares, and the sum of squares that it was divided by."""
    sx, sy, sxx, sxy = 0.0, 0.0, 0.0, 0.0
    for k in range(x.size):
        sx += x[k]
        sy += y[k]
        sxx += x[k] * x[k]
        sxy += x[k] * y[k]
    n = x.size
    xx = sxx - sx * sx / n
    return (sxy - sx * sy / n) / xx if n * xx >= _EPS else 0.0, xx


@compiled
def arrange(r: Any, x: Any, y: Any) -> None:
    """Sort points by r; equal ones keep their order. From one line to the next few of them change places."""
    n, moves = r.size, 0
    for i in range(1, n):
        v = r[i]
        if r[i - 1] > v:
            u, w = x[i], y[i]
            j = i
            while j > 0 and r[j - 1] > v:
                r[j], x[j], y[j] = r[j - 1], x[j - 1], y[j - 1]
                j -= 1
            r[j], x[j], y[j] = v, u, w
            moves += i - j
            if moves > _MOVES * n:
                merge(r, x, y)
                return


@compiled
def merge(r: Any, x: Any, y: Any) -> None:
    """Sort points by r; equal ones keep their order."""
    order = np.arange(r.size)
    sort_along(r.copy(), order)
    r[:], x[:], y[:] = r[order], x[order], y[order]


@compiled
def step(x: Any, y: Any, r: Any, slope: float, h: int) -> Any:
    """Return where the h points begin that lie closest together for a slope, once points are sorted by residual.

    With it come slope, place in the middle and sum of squared residuals of the line through them.
    """
    n = x.size
    for k in range(n):
        r[k] = y[k] - slope * x[k]
    arrange(r, x, y)
    middle = r[n // 2]
    s1, s2 = 0.0, 0.0
    for k in range(h):
        v = r[k] - middle
        s1 += v
        s2 += v * v
    # Both ends of the run are sums from the first point on, as the twin has them.
    t1, t2, first = 0.0, 0.0, 0
    least = (s2 - t2) - (s1 - t1) * (s1 - t1) / h
    for k in range(n - h):
        v = r[k] - middle
        t1 += v
        t2 += v * v
        v = r[k + h] - middle
        s1 += v
        s2 += v * v
        spread = (s2 - t2) - (s1 - t1) * (s1 - t1) / h
        if spread < least:
            least, first = spread, k + 1
    # The line through their residuals, which corrects the slope.
    sx, sv, sxx, sxv = 0.0, 0.0, 0.0, 0.0
    for k in range(first, first + h):
        u, v = x[k], r[k] - middle
        sx += u
        sv += v
        sxx += u * u
        sxv += u * v
    xx, xv = sxx - sx * sx / h, sxv - sx * sv / h
    if not h * xx >= _EPS:
        return first, np.nan, np.nan, np.inf
    more = xv / xx
    return first, slope + more, middle + (sv - more * sx) / h, least - xv * more


@compiled
def improve(x: Any, y: Any, r: Any, slope: float, error: float, h: int) -> Any:
    """Return slope and sum of the line to which further steps lead from one with that sum."""
    for _ in range(_STEPS):
        _, a, _, less = step(x, y, r, slope, h)
        if not less < error * _LESS:
            break
        slope, error = a, less
    return slope, error


@compiled
def finish(x: Any, y: Any, r: Any, slope: float, h: int, out: Any, i: int) -> None:
    """Write slope, intercept, deviation of all points, and the sum that was minimised, of the line near a slope."""
    first, a, b, error = step(x, y, r, slope, h)
    if not np.isfinite(error):
        return
    total, some = 0.0, 0.0
    for k in range(x.size):
        d = y[k] - (x[k] * a + b)
        total += d * d
        if first <= k < first + h:
            some += d * d
    out[0, i], out[1, i], out[2, i], out[3, i] = a, b, np.sqrt(total / x.size), some


@compiled
def long_pairs(x: Any, y: Any, slopes: Any) -> None:
    """Write the slopes between each point of one end and one of the other, ascending; infinite where there is none."""
    half = slopes.size
    for k in range(half):
        dx = x[k + x.size - half] - x[k]
        slopes[k] = (y[k + x.size - half] - y[k]) / dx if dx > 0.0 else np.inf
    slopes[:] = np.sort(slopes)


@compiled
def fit_one(x: Any, y: Any, eighths: Any, exact: int, scratch: Any, out: Any, i: int) -> None:
    """Write the four numbers of the line through a run of points."""
    n = x.size
    h: Any = np.int64(_SHARE * n)
    r, u, w, lines = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[4:6, : eighths.size + 1]
    u[:], w[:] = x, y
    if n <= exact:
        finish(u, w, r, sweep(x, y, h), h, out, i)
        return
    r[:] = x
    arrange(r, u, w)
    slopes = scratch[3, : n // 2]
    long_pairs(u, w, slopes)
    for s in range(eighths.size):
        lines[0, s] = slopes[(eighths[s] * slopes.size) >> 3]
        if not np.isfinite(lines[0, s]):
            lines[0, s] = 0.0
    lines[0, eighths.size], xx = through_all(x, y)
    lines[0] = np.sort(lines[0])  # so that few points change places from one to the next
    for s in range(lines.shape[1]):
        _, lines[0, s], _, lines[1, s] = step(u, w, r, lines[0, s], h)
    best_a, best = 0.0, np.inf
    for _ in range(_ROUNDS):
        which: Any = np.argmin(lines[1])
        if not lines[1, which] < np.inf:
            break
        a, error = improve(u, w, r, lines[0, which], lines[1, which], h)
        lines[1, which] = np.inf
        for k in range(lines.shape[1]):
            if abs(a - lines[0, k]) <= _SAME * abs(a):
                lines[1, k] = np.inf
        if error < best:
            best_a, best = a, error
    near = _NEAR * np.sqrt(max(best, 0.0) / (h * xx)) if xx > 0.0 and best < np.inf else 0.0
    for more in (-near, near):
        _, a, _, error = step(u, w, r, best_a + more, h)
        if error < best * _LESS:
            best_a, best = improve(u, w, r, a, error, h)
    finish(u, w, r, best_a, h, out, i)


@compiled
def fit_all(x: Any, y: Any, runs: Any, eighths: Any, exact: int, out: Any) -> None:
    """Fit a line to each run of three points and more; what is written of the others stays as it is."""
    most = eighths.size + 1
    for i in range(runs.size - 1):
        most = max(most, runs[i + 1] - runs[i])
    scratch = np.empty((6, most), np.float64)
    for i in range(runs.size - 1):
        begin, end = runs[i], runs[i + 1]
        if end - begin > 2:
            fit_one(x[begin:end], y[begin:end], eighths, exact, scratch, out, i)


@compiled
def fit_images(
    images: Any, masks: Any, times: Any, camera: Any, eighths: Any, exact: int, lines: Any, statistics: Any
) -> None:
    """Fit a line to the times of the pixels of each mask, and write their statistics; nothing where there are no rows.

    `lines` has four rows, those of `fit_all`.
    """
    x, y, area = camera[:3]
    pixels = images.shape[1]
    some = np.empty(pixels + 8, np.uint32)
    mask = np.zeros((pixels + 7) // 8 * 8, np.bool_)
    words = mask.view(np.uint64)
    along, late, unused = np.empty(pixels, np.float64), np.empty(pixels, np.float64), np.empty((14, 1), np.float64)
    scratch = np.empty((6, max(pixels, eighths.size + 1)), np.float64)
    for i in range(images.shape[0]):
        mask[:pixels] = masks[i]
        count = listed(mask, words, some)
        cx, cy, length, _, cos, sin, size = hillas_one(images[i], some, count, x, y, area, unused, 0)
        if lines.shape[0] > 0 and length > 0.0:
            n = 0
            for k in range(count):
                p = some[k]
                if np.isfinite(times[i, p]):
                    along[n] = (x[p] - cx) * cos + (y[p] - cy) * sin
                    late[n] = times[i, p]
                    n += 1
            if n > 2:
                fit_one(along[:n], late[:n], eighths, exact, scratch, lines, i)
        if statistics.shape[0] > 0:
            statistics_one(times[i], some, count, size == size, statistics, 0, i)

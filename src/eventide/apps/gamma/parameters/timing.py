"""Timing: the line of peak times along the axis of an image, fitted so that the worst pixels do not count.

The line minimises the sum of the smallest squared residuals of 85 % of the pixels (least trimmed squares; ctapipe's
``timing_parameters`` has the same aim). ctapipe starts from five random pairs of pixels, so that two calls on one image
may differ; here nothing but the image itself decides.

For a given slope the pixels that count lie side by side when sorted by residual. Of up to `EXACT` pixels the best line
is found among all such runs of all slopes (`sweep`). Of more it is looked for from fixed starts, as many for every
image: from each, slope and run are improved in turn until the sum does not get smaller (P. Rousseeuw and K. Van
Driessen, "Computing LTS regression for large data sets", 2006).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.parameters.chosen import Chosen, chosen
from eventide.apps.gamma.parameters.columns import column_names
from eventide.apps.gamma.parameters.hillas import hillas
from eventide.apps.gamma.parameters.statistics import statistics
from eventide.apps.gamma.parameters.sweep import sweep
from eventide.kernel.compiled import have_compiler

__all__ = ["EXACT", "SHARE", "STARTS", "STEPS", "fit_lines", "pairs", "times_of", "timing"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SHARE = 0.85
"""Part of the pixels that counts."""

STARTS = 16
"""Pairs of pixels from which a line starts, besides the line through all."""

EXACT = 64
"""Pixels up to which the line is the best there is."""

STEPS = 20
"""Improvements of a line at most."""

_EPS = 4.440892098500626e-16  # determinants below are no line, as in ctapipe
_AT_ONCE = 128
_CELLS = 2_000_000  # numbers in one array of the numpy path


def times_of(
    camera: Camera, images: Float32Array, masks: BoolArray, *, times: Float32Array, groups: tuple[str, ...]
) -> dict[str, Float64Array]:
    """Return the columns of the groups ``timing`` and ``peak_time`` that are wanted.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> flower, ones = hexagonal(7, pitch=1.0), np.ones((1, 7), np.float32)
    >>> found = times_of(flower, ones, ones > 0, times=ones, groups=("peak_time",))
    >>> found["peak_time_mean"].tolist()
    [1.0]
    """
    found: dict[str, list[list[Float64Array]]] = {group: [] for group in ("timing", "peak_time") if group in groups}
    for begin in range(0, max(len(images), 1), _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        places = np.flatnonzero(masks[some])
        pixels = chosen(camera, images[some], places)
        late = times[some].reshape(-1)[places].astype(np.float64)
        if "timing" in found:
            found["timing"].append(timing(camera, pixels, late))
        if "peak_time" in found:
            found["peak_time"].append(statistics(pixels, late))
    made: dict[str, Float64Array] = {}
    for group, parts in found.items():
        for name, *columns in zip(column_names(camera, group), *parts, strict=True):
            made[name] = np.concatenate(columns)
    return made


def timing(camera: Camera, pixels: Chosen, times: Float64Array) -> list[Float64Array]:
    """Return slope (ns per unit of positions), intercept (ns, at the centroid) and deviation (ns, of all pixels).

    NaN where an image has no parameters, no psi, or fewer than three pixels with a time.

    Parameters
    ----------
    camera
        Positions of its pixels.
    pixels
        The chosen pixels.
    times
        ns, one for each of them; those that are not finite are left out.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> flower = hexagonal(7, pitch=1.0)
    >>> some = chosen(flower, np.array([[1, 9, 1, 1, 1, 1, 9]], np.float32), np.arange(7))
    >>> [round(float(column[0]), 6) for column in timing(flower, some, 5 + 2 * flower.x)]
    [2.0, 5.0, 0.0]
    """
    _, ellipse = hillas(camera, pixels)
    row = pixels.row
    dx, dy = camera.x[pixels.pixel] - ellipse.x[row], camera.y[pixels.pixel] - ellipse.y[row]
    along = dx * ellipse.cos[row] + dy * ellipse.sin[row]
    good = pixels.measurable() & (ellipse.length > 0.0)
    keep = good[row] & np.isfinite(times)
    counts = np.bincount(row[keep], minlength=len(good))
    starts = np.r_[0, np.cumsum(counts)]
    lines = fit_lines(along[keep], times[keep], starts)
    return [lines[:, 0], lines[:, 1], lines[:, 2]]


def fit_lines(x: Float64Array, y: Float64Array, starts: Int64Array) -> Float64Array:
    """Fit a line to each run of points.

    Parameters
    ----------
    x, y
        Points, finite.
    starts
        Where each run begins, and the end of the last one.

    Returns
    -------
    For each run slope, intercept, root mean squared residual of all points, and the sum that was minimised.

    Examples
    --------
    >>> x = np.arange(10.0)
    >>> fit_lines(x, np.where(x == 3, 50, 2 * x + 1), np.array([0, 10]))[0, :2].round(6).tolist()
    [2.0, 1.0]
    """
    out = np.full((len(starts) - 1, 4), np.nan)
    if have_compiler():
        from eventide.apps.gamma.parameters.timing_loops import fit_all

        fit_all(x, y, starts, pairs(), EXACT, out)
        return out
    counts = np.diff(starts)
    few = np.flatnonzero((counts > 2) & (counts <= EXACT))
    best = np.zeros(len(counts))
    best[few] = sweep(x, y, starts[few], counts=counts[few], share=SHARE)
    for n, rows in _of_one_size(counts):
        at = starts[rows][:, None] + np.arange(n)
        slopes = best[rows][:, None] if n <= EXACT else _starts(x[at], y[at])
        out[rows] = _fit_many(x[at], y[at], np.where(np.isfinite(slopes), slopes, 0.0))
    return out


def pairs() -> Int64Array:
    """Return the numbers from which the starts are drawn: multiples of two irrational numbers, in units of 2**-32.

    Examples
    --------
    >>> pairs().shape
    (16, 2)
    """
    # Fractions of k times the plastic number's powers: as evenly spread in the square as any (M. Roberts, R2 sequence).
    k = np.arange(1, STARTS + 1, dtype=np.uint64)
    made = np.stack([k * np.uint64(3242174889), k * np.uint64(2447445414)], axis=1) & np.uint64(0xFFFFFFFF)
    return made.astype(np.int64)


def _of_one_size(counts: Int64Array) -> Iterator[tuple[int, Int64Array]]:
    """Yield runs of three points and more by their number of points, not too many at once."""
    for n in np.unique(counts[counts > 2]).tolist():
        rows = np.flatnonzero(counts == n)
        most = max(1, _CELLS // (n * (STARTS + 1)))
        for begin in range(0, len(rows), most):
            yield n, rows[begin : begin + most]


def _starts(x: Float64Array, y: Float64Array) -> Float64Array:
    n = x.shape[1]
    slopes = [_line(x, y, np.ones(x.shape, bool), count=n)[0]]
    for one, two in pairs().tolist():
        i = (one * n) >> 32
        j = (two * (n - 1)) >> 32
        j += j >= i
        dx = x[:, j] - x[:, i]
        with np.errstate(all="ignore"):
            slopes.append((y[:, j] - y[:, i]) / dx)
    return np.stack(slopes, axis=1)


def _fit_many(x: Float64Array, y: Float64Array, starts: Float64Array) -> Float64Array:
    """Fit lines to rows of equally many points, each from its slopes; the twin of `timing_loops.fit_one`."""
    rows, n = x.shape
    h = int(SHARE * n)
    each = starts.shape[1]
    slope = starts.reshape(-1)
    xs, ys = (np.repeat(a, each, axis=0) for a in (x, y))
    best = [np.full(len(slope), value) for value in (np.nan, np.nan, np.inf)]
    live = np.arange(len(slope))
    for _ in range(STEPS):
        a, b, error = _step(xs[live], ys[live], slope[live], h=h)
        better = error < best[2][live]
        live = live[better]
        for kept, new in zip(best, (a, b, error), strict=True):
            kept[live] = new[better]
        slope[live] = a[better]
        if not live.size:
            break
    a, b, error = (values.reshape(rows, each) for values in best)
    which = np.argmin(error, axis=1)
    a, b, error = (values[np.arange(rows), which] for values in (a, b, error))
    residual = y - (x * a[:, None] + b[:, None])
    deviation = np.sqrt(np.cumsum(residual * residual, axis=1)[:, -1] / n)
    none = ~np.isfinite(error)
    made = np.stack([a, b, deviation, error], axis=1)
    made[none] = np.nan
    return made


def _step(x: Float64Array, y: Float64Array, slope: Float64Array, *, h: int) -> tuple[Any, Any, Any]:
    """Return the least squares line through the h points that lie closest together for a slope, and their residuals."""
    rows, n = x.shape
    r = y - slope[:, None] * x
    order = np.argsort(r, axis=1, kind="stable")
    r = np.take_along_axis(r, order, axis=1)
    r -= r[:, n // 2 : n // 2 + 1]
    zero = np.zeros((rows, 1))
    s1 = np.concatenate([zero, np.cumsum(r, axis=1)], axis=1)
    s2 = np.concatenate([zero, np.cumsum(r * r, axis=1)], axis=1)
    d1, d2 = s1[:, h:] - s1[:, : n - h + 1], s2[:, h:] - s2[:, : n - h + 1]
    first = np.argmin(d2 - d1 * d1 / h, axis=1)
    inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < first[:, None] + h)
    which = np.zeros((rows, n), bool)
    np.put_along_axis(which, order, inside, axis=1)
    a, b = _line(x, y, which, count=h)
    residual = y - (x * a[:, None] + b[:, None])
    error = np.cumsum(np.where(which, residual * residual, 0.0), axis=1)[:, -1]
    return a, b, np.where(np.isfinite(a), error, np.inf)


def _line(x: Float64Array, y: Float64Array, which: BoolArray, *, count: int) -> tuple[Float64Array, Float64Array]:
    """Return slope and intercept by least squares, NaN where all points are at one place."""
    sx, sy = (np.cumsum(np.where(which, a, 0.0), axis=1)[:, -1] for a in (x, y))
    mx, my = sx / count, sy / count
    dx = np.where(which, x - mx[:, None], 0.0)
    sxx = np.cumsum(dx * dx, axis=1)[:, -1]
    sxy = np.cumsum(dx * (y - my[:, None]), axis=1)[:, -1]
    with np.errstate(all="ignore"):
        a = np.where(count * sxx >= _EPS, sxy / sxx, np.nan)
    return a, my - a * mx

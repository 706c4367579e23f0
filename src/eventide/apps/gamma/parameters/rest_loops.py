"""Leakage, concentration and morphology of one image, compiled. Imported only behind `have_compiler()`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["concentration_one", "leakage_one", "morphology_one", "statistics_one"]

_SMALL, _LARGE = 2, 50


@compiled
def leakage_one(
    image: Any, some: Any, count: int, size: float, border_1: Any, border_2: Any, out: Any, row: int, i: int
) -> None:
    """Write the shares of pixels and of light in the borders; twin: `leakage`."""
    narrow, wide, light_1, light_2 = 0, 0, 0.0, 0.0
    for k in range(count):
        p = some[k]
        if border_1[p]:
            narrow += 1
            light_1 += np.float64(image[p])
        if border_2[p]:
            wide += 1
            light_2 += np.float64(image[p])
    good = size == size
    out[row, i] = narrow / count if good else np.nan
    out[row + 1, i] = wide / count if good else np.nan
    out[row + 2, i] = light_1 / size if good else np.nan
    out[row + 3, i] = light_2 / size if good else np.nan


@compiled
def concentration_one(
    image: Any, some: Any, count: int, ellipse: Any, x: Any, y: Any, pixel_width: Any, out: Any, row: int, i: int
) -> None:
    """Write the shares of light near the centroid, in the ellipse and in the brightest pixel; twin: `concentration`."""
    cx, cy, length, width, cos, sin, size = ellipse
    if size != size:
        for j in range(3):
            out[row + j, i] = np.nan
        return
    near, inside, most = 0.0, 0.0, -np.inf
    long_2, wide_2 = length * length, width * width
    for k in range(count):
        p = some[k]
        w = np.float64(image[p])
        dx, dy = x[p] - cx, y[p] - cy
        if dx * dx + dy * dy < pixel_width[p] * pixel_width[p]:
            near += w
        if wide_2 != 0.0:
            along, across = dx * cos + dy * sin, dy * cos - dx * sin
            if (along * along) / long_2 + (across * across) / wide_2 <= 1.0:
                inside += w
        most = max(most, w)
    out[row, i] = near / size
    out[row + 1, i] = inside / size
    out[row + 2, i] = most / size


@compiled
def morphology_one(
    some: Any, count: int, starts: Any, neighbours: Any, marks: Any, waiting: Any, out: Any, row: int, i: int
) -> None:
    """Write the numbers of pixels and islands; `marks` is set for the pixels, and cleared; twin: `morphology`."""
    islands, small, medium, large = 0, 0, 0, 0
    for k in range(count):
        if not marks[some[k]]:
            continue
        marks[some[k]] = False
        waiting[0] = some[k]
        size, found = 1, 0
        while size:
            size -= 1
            p = waiting[size]
            found += 1
            for j in range(starts[p], starts[p + 1]):
                q = neighbours[j]
                if marks[q]:
                    marks[q] = False
                    waiting[size] = q
                    size += 1
        islands += 1
        if found <= _SMALL:
            small += 1
        elif found > _LARGE:
            large += 1
        else:
            medium += 1
    out[row, i] = count
    out[row + 1, i] = islands
    out[row + 2, i] = small
    out[row + 3, i] = medium
    out[row + 4, i] = large


@compiled
def statistics_one(values: Any, some: Any, count: int, good: bool, out: Any, row: int, i: int) -> None:
    """Write greatest, least, mean, standard deviation, skewness and kurtosis; twin: `statistics`."""
    for j in range(6):
        out[row + j, i] = np.nan
    if not good:
        return
    total, most, least = 0.0, -np.inf, np.inf
    for k in range(count):
        v = np.float64(values[some[k]])
        total += v
        most, least = max(most, v), min(least, v)
    mean = total / count
    if not math.isfinite(mean):
        return
    m2, m3, m4 = 0.0, 0.0, 0.0
    for k in range(count):
        d = np.float64(values[some[k]]) - mean
        s = d * d
        m2 += s
        m3 += s * d
        m4 += s * s
    m2, m3, m4 = m2 / count, m3 / count, m4 / count
    std = np.sqrt(m2)
    out[row, i], out[row + 1, i], out[row + 2, i], out[row + 3, i] = most, least, mean, std
    if m2 * m2 != 0.0:
        out[row + 4, i] = m3 / (m2 * std)
        out[row + 5, i] = m4 / (m2 * m2) - 3.0

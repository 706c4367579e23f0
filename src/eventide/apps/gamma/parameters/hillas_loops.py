"""Hillas parameters of one image, compiled. Imported only behind `have_compiler()`; the twin is in `hillas`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["hillas_one"]

_DEGREES = 180.0 / math.pi
_NEAR_ZERO = 2.220446049250313e-16


@compiled
def _axes(xx: float, xy: float, yy: float) -> Any:
    df, tb = xx - yy, xy + xy
    rt = np.sqrt(df * df + tb * tb)
    greater = 0.5 * ((xx + yy) + rt)
    smaller = np.nan
    if greater != 0.0:
        smaller = (max(xx, yy) / greater) * min(xx, yy) - (xy / greater) * xy
    if df >= 0.0:
        vx, vy = df + rt, tb
    else:
        vx, vy = abs(tb), df - rt if tb < 0.0 else rt - df
    slope, cos, sin = np.inf, 0.0, 1.0
    if vx != 0.0:
        norm = np.sqrt(vx * vx + vy * vy)
        slope, cos, sin = vy / vx, vx / norm, vy / norm
    length = 0.0 if abs(greater) <= _NEAR_ZERO else np.sqrt(greater)
    width = 0.0 if abs(smaller) <= _NEAR_ZERO or length == 0.0 else np.sqrt(smaller)
    return length, width, slope, cos, sin


@compiled
def hillas_one(image: Any, some: Any, count: int, x: Any, y: Any, area: Any, out: Any, i: int) -> Any:
    """Write the fourteen columns of image i; return centre, half axes, cosine and sine of psi, and the light."""
    size, sx, sy = 0.0, 0.0, 0.0
    for k in range(count):
        p = some[k]
        w = np.float64(image[p])
        size += w
        sx += w * x[p]
        sy += w * y[p]
    if count < 2 or size == 0.0 or not math.isfinite(size):
        for j in range(14):
            out[j, i] = np.nan
        return np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan
    cx, cy = sx / size, sy / size
    xx, xy, yy = 0.0, 0.0, 0.0
    for k in range(count):
        p = some[k]
        w = np.float64(image[p])
        dx, dy = x[p] - cx, y[p] - cy
        wx, wy = w * dx, w * dy
        xx += wx * dx
        xy += wx * dy
        yy += wy * dy
    xx, xy, yy = xx / size, xy / size, yy / size
    length, width, slope, cos, sin = _axes(xx, xy, yy)
    a, b, c2 = cos * cos, sin * sin, 2.0 * (sin * cos)
    m3, m4, lengths, widths = 0.0, 0.0, 0.0, 0.0
    n, sa, saa, sc, sac = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(count):
        p = some[k]
        w = np.float64(image[p])
        dx, dy = x[p] - cx, y[p] - cy
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        square = along * along
        m3 += w * (square * along)
        m4 += w * (square * square)
        v = w / area[p]
        va = v * along
        n += v
        sa += va
        saa += va * along
        sc += v * across
        sac += va * across
        t1, t2, t3 = dx * dx - xx, dy * dy - yy, dx * dy - xy
        q = a * t1 + b * t2 + c2 * t3
        lengths += q * q * w
        q = b * t1 + a * t2 + -c2 * t3
        widths += q * q * w
    out[0, i] = size
    out[3, i], out[4, i] = cx, cy
    out[5, i] = np.sqrt(cx * cx + cy * cy)
    out[6, i] = math.atan2(cy, cx) * _DEGREES
    out[7, i] = length
    out[9, i] = width
    for j in (1, 2, 8, 10, 11, 12, 13):
        out[j, i] = np.nan
    if length != 0.0:
        out[1, i] = m3 / size / (length * length * length)
        out[2, i] = m4 / size / ((length * length) * (length * length))
        out[8, i] = np.sqrt(lengths) / size / (2.0 * length)
        if width != 0.0:
            out[10, i] = np.sqrt(widths) / size / (2.0 * width)
        out[11, i] = math.atan(slope) * _DEGREES
        det = saa * n - sa * sa
        if det != 0.0:
            tilt = (n * sac - sa * sc) / det
            tan, tilted = math.tan(width / length * math.pi / 2.0), math.sin(tilt)
            out[12, i] = np.sqrt(n / det + tilt * tilt) * (1.0 + tan * tan) * _DEGREES
            out[13, i] = np.sqrt(saa / det * (1.0 + tilted * tilted))
    return cx, cy, length, width, cos, sin, size

"""Compiled loop of `eventide.apps.gamma.stereo.lines`, which has the numpy twin."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled

__all__ = ["lines_loop"]

FloatArray = npt.NDArray[np.float64]


@compiled
def lines_loop(
    sight: FloatArray,
    second: FloatArray,
    along: FloatArray,
    across: FloatArray,
    position: FloatArray,
    up: FloatArray,
    level: FloatArray,
    east: FloatArray,
    north: FloatArray,
    normals: FloatArray,
    terms: FloatArray,
) -> None:
    """Fill in normals and terms, every number by the operations of the twin in their order."""
    for i in range(along.size):
        x, y, z = sight[i, 0], sight[i, 1], sight[i, 2]
        p, q, r = second[i, 0], second[i, 1], second[i, 2]
        normals[i, 0] = y * r - z * q
        normals[i, 1] = z * p - x * r
        normals[i, 2] = x * q - y * p
        a, b, c = position[i, 0], position[i, 1], position[i, 2]
        px = up[i] * (north[i] * a - east[i] * b) - level[i] * c
        py = east[i] * a + north[i] * b
        size = math.sqrt(along[i] * along[i] + across[i] * across[i])
        u = v = np.nan
        if size > 0.0:
            u, v = along[i] / size, across[i] / size
        uu, uv, vv = u * u - 1.0, u * v, v * v - 1.0
        terms[0, i], terms[1, i], terms[2, i] = uu, uv, vv
        terms[3, i] = uu * px + uv * py
        terms[4, i] = uv * px + vv * py
        xx, yy, zz, xy, xz, yz = x * x - 1.0, y * y - 1.0, z * z - 1.0, x * y, x * z, y * z
        terms[5, i], terms[6, i], terms[7, i] = xx, yy, zz
        terms[8, i], terms[9, i], terms[10, i] = xy, xz, yz
        terms[11, i] = xx * a + xy * b + xz * c
        terms[12, i] = xy * a + yy * b + yz * c
        terms[13, i] = xz * a + yz * b + zz * c

"""Compiled sums over pairs and lines of every event; `eventide.apps.gamma.stereo.planes` has the numpy twin."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled

__all__ = ["pairs_loop", "sums_loop"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@compiled
def pairs_loop(
    offsets: Int64Array,
    normals: FloatArray,
    weights: FloatArray,
    sums: FloatArray,
    sine: FloatArray,
    cosine: FloatArray,
) -> None:
    """Fill the directions of events, and the angle (sine, cosine times a length) of every pair's line to them."""
    at = 0
    for event in range(offsets.size - 1):
        begin, end = offsets[event], offsets[event + 1]
        x = y = z = 0.0
        for a in range(begin, end):
            for b in range(a + 1, end):
                cx = normals[a, 1] * normals[b, 2] - normals[a, 2] * normals[b, 1]
                cy = normals[a, 2] * normals[b, 0] - normals[a, 0] * normals[b, 2]
                cz = normals[a, 0] * normals[b, 1] - normals[a, 1] * normals[b, 0]
                if cz < 0.0:
                    cx, cy, cz = -cx, -cy, -cz
                weight = weights[a] * weights[b]
                x += weight * cx
                y += weight * cy
                z += weight * cz
        size = math.sqrt(x * x + y * y + z * z)
        if size > 0.0:
            x, y, z = x / size, y / size, z / size
        sums[event, 0], sums[event, 1], sums[event, 2] = x, y, z
        for a in range(begin, end):
            for b in range(a + 1, end):
                cx = normals[a, 1] * normals[b, 2] - normals[a, 2] * normals[b, 1]
                cy = normals[a, 2] * normals[b, 0] - normals[a, 0] * normals[b, 2]
                cz = normals[a, 0] * normals[b, 1] - normals[a, 1] * normals[b, 0]
                if cz < 0.0:
                    cx, cy, cz = -cx, -cy, -cz
                ox = y * cz - z * cy
                oy = z * cx - x * cz
                oz = x * cy - y * cx
                sine[at] = math.sqrt(ox * ox + oy * oy + oz * oz)
                cosine[at] = x * cx + y * cy + z * cz
                at += 1


@compiled
def sums_loop(offsets: Int64Array, terms: FloatArray, sums: FloatArray) -> None:
    """Add the terms (kinds, images) of every event, one after the other."""
    for kind in range(terms.shape[0]):
        for event in range(offsets.size - 1):
            total = 0.0
            for image in range(offsets[event], offsets[event + 1]):
                total += terms[kind, image]
            sums[kind, event] = total

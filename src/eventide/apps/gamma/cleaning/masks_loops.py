"""Steps of cleanings, compiled. Imported only behind `have_compiler()`; twins in `masks`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["enough", "grown", "islands", "near_in_time"]


@compiled
def enough(masks: Any, among: Any, least: int, starts: Any, neighbours: Any, out: Any) -> None:
    """Set the pixels of masks with at least so many neighbours in `among`."""
    for i in range(masks.shape[0]):
        for p in range(masks.shape[1]):
            if masks[i, p]:
                found = 0
                for k in range(starts[p], starts[p + 1]):
                    found += among[i, neighbours[k]]
                out[i, p] = found >= least


@compiled
def grown(masks: Any, starts: Any, neighbours: Any, out: Any) -> None:
    """Set the neighbours of every pixel of masks."""
    for i in range(masks.shape[0]):
        for p in range(masks.shape[1]):
            if masks[i, p]:
                for k in range(starts[p], starts[p + 1]):
                    out[i, neighbours[k]] = True


@compiled
def near_in_time(
    masks: Any, among: Any, times: Any, limit: Any, least: int, starts: Any, neighbours: Any, out: Any
) -> None:
    """Set the pixels of masks with at least so many neighbours in `among` that are near in time."""
    for i in range(masks.shape[0]):
        for p in range(masks.shape[1]):
            if masks[i, p]:
                found = 0
                for k in range(starts[p], starts[p + 1]):
                    q = neighbours[k]
                    if among[i, q] and abs(times[i, p] - times[i, q]) < limit:
                        found += 1
                out[i, p] = found >= least


@compiled
def islands(row: Any, pixel: Any, pixels: int, starts: Any, neighbours: Any, out: Any) -> None:
    """Write for each set pixel the place of the first pixel of its island; rows come one after the other."""
    place = np.full(pixels, -1, np.int64)
    waiting = np.empty(pixels, np.int64)
    begin = 0
    while begin < row.size:
        end = begin
        while end < row.size and row[end] == row[begin]:
            place[pixel[end]] = end
            end += 1
        for first in range(begin, end):
            if place[pixel[first]] < 0:
                continue
            place[pixel[first]] = -1
            waiting[0], size = pixel[first], 1
            out[first] = first
            while size:
                size -= 1
                p = waiting[size]
                for k in range(starts[p], starts[p + 1]):
                    q = neighbours[k]
                    if place[q] >= 0:
                        out[place[q]] = first
                        place[q] = -1
                        waiting[size] = q
                        size += 1
        begin = end

"""Cleaning and parameters of many images in one pass each, compiled. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.apps.gamma.cleaning.tailcuts_loops import tailcuts_one
from eventide.apps.gamma.parameters.hillas_loops import hillas_one
from eventide.apps.gamma.parameters.rest_loops import (
    concentration_one,
    leakage_one,
    morphology_one,
    statistics_one,
)
from eventide.kernel.compiled import compiled

__all__ = ["clean_and_measure", "measure_masks"]


@compiled
def listed(mask: Any, words: Any, some: Any) -> int:
    """List the set pixels of a mask, ascending; `words` is the same mask, eight pixels a number."""
    count = 0
    for j in range(words.size):
        if words[j]:
            for p in range(8 * j, 8 * j + 8):
                some[count] = p
                count += mask[p]
    return count


@compiled
def measure_one(
    image: Any, some: Any, count: int, camera: Any, marks: Any, waiting: Any, places: Any, out: Any, i: int
) -> Any:
    """Write the groups that have a place; `marks` is set for the pixels and cleared. Say whether all is measured."""
    x, y, area, width, border_1, border_2, starts, neighbours = camera
    ellipse = hillas_one(image, some, count, x, y, area, out, i)
    size = ellipse[6]
    if places[0] >= 0:
        leakage_one(image, some, count, size, border_1, border_2, out, places[0], i)
    if places[1] >= 0:
        concentration_one(image, some, count, ellipse, x, y, width, out, places[1], i)
    if places[2] >= 0:
        morphology_one(some, count, starts, neighbours, marks, waiting, out, places[2], i)
    else:
        for k in range(count):
            marks[some[k]] = False
    good = size == size
    if places[3] >= 0:
        statistics_one(image, some, count, good, out, places[3], i)
    return good


@compiled
def clean_and_measure(
    values: Any, begins: Any, high: Any, low: Any, floor: Any, least: int, isolated: bool, camera: Any, places: Any,
    out: Any, rows: Any,
) -> None:  # fmt: skip
    """Clean each image by tail cuts and write its columns; no mask is kept.

    Image i lies from ``begins[i]`` on, and has the place ``rows[i]`` in the columns.
    """
    pixels = camera[0].size
    starts, neighbours = camera[6], camera[7]
    top, waiting, some = np.empty(pixels + 1, np.uint32), np.empty(pixels, np.uint32), np.empty(pixels + 8, np.uint32)
    marks = np.zeros(pixels, np.bool_)
    mask = np.zeros((pixels + 7) // 8 * 8, np.bool_)
    words = mask.view(np.uint64)
    for i in range(begins.size):
        image = values[begins[i] : begins[i] + pixels]
        tailcuts_one(
            image, high[i if high.shape[0] > 1 else 0], low[i if low.shape[0] > 1 else 0], floor, least, isolated,
            starts, neighbours, top, marks, mask,
        )  # fmt: skip
        count = listed(mask, words, some)
        measure_one(image, some, count, camera, mask, waiting, places, out, rows[i])


@compiled
def measure_masks(images: Any, masks: Any, camera: Any, places: Any, out: Any) -> None:
    """Write the columns of each image for the pixels of its mask."""
    pixels = images.shape[1]
    waiting, some = np.empty(pixels, np.uint32), np.empty(pixels + 8, np.uint32)
    mask = np.zeros((pixels + 7) // 8 * 8, np.bool_)
    words = mask.view(np.uint64)
    for i in range(images.shape[0]):
        mask[:pixels] = masks[i]
        count = listed(mask, words, some)
        measure_one(images[i], some, count, camera, mask, waiting, places, out, i)

"""Tail cuts: pixels above a high threshold, and their neighbours above a lower one.

The rule is that of ``ctapipe.image.tailcuts_clean``. It is worked out from the pixels above the picture threshold,
which are few, to their neighbours: the pixels above the boundary threshold, which the night sky makes many, are
never listed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.arrays import above, as_images, as_neighbours, as_thresholds
from eventide.kernel.compiled import have_compiler

__all__ = ["floor", "tailcuts"]

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_AT_ONCE = 256  # images whose masks stay in the cache


def tailcuts(
    camera: Camera,
    images: npt.ArrayLike,
    peak_times: object = None,
    *,
    picture: Any = 10.0,
    boundary: Any = 5.0,
    min_number_picture_neighbors: int = 2,
    keep_isolated_pixels: bool = False,
) -> BoolArray:
    """Return the pixels that survive tail cuts.

    Parameters
    ----------
    camera
        Its neighbours count.
    images
        Photo-electrons, one row for each image.
    peak_times
        Not used.
    picture
        Pixels from here on are in the picture: a number, one for each pixel, or rows of them.
    boundary
        Neighbours of the picture from here on are kept.
    min_number_picture_neighbors
        Neighbours above the picture threshold that a pixel of the picture must have; nothing to pixels that are kept
        although isolated.
    keep_isolated_pixels
        Whether pixels of the picture need no neighbour above the boundary threshold.

    Raises
    ------
    DataError
        Images are no rows of the camera's pixels.
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> image = [[12, 11, 6, 0, 0, 3, 0]]
    >>> tailcuts(hexagonal(7, pitch=0.05), image, picture=10, boundary=5, min_number_picture_neighbors=1).tolist()[0]
    [True, True, True, False, False, False, False]
    """
    given = as_images(camera, images)
    high = as_thresholds(camera, picture, len(given), what="picture")
    low = as_thresholds(camera, boundary, len(given), what="boundary")
    least = 0 if keep_isolated_pixels else as_neighbours(min_number_picture_neighbors, "min_number_picture_neighbors")
    masks = np.zeros(given.shape, bool)
    if have_compiler():
        from eventide.apps.gamma.cleaning.tailcuts_loops import tailcuts_all

        # Numbers without a sign: none could count from the end of an array, which would be looked at every time.
        beside = camera.starts, camera.neighbours.view(np.uint32)
        tailcuts_all(given, high, low, floor(high), least, bool(keep_isolated_pixels), *beside, masks)
        return masks
    for begin in range(0, len(given), _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        rows = given[some]
        chosen = choose(
            camera, rows, _some(high, some), low=_some(low, some), least=least, isolated=bool(keep_isolated_pixels)
        )
        masks[some].reshape(-1)[chosen] = True
    return masks


def choose(
    camera: Camera, images: Float32Array, high: Float64Array, *, low: Float64Array, least: int, isolated: bool
) -> npt.NDArray[np.int64]:
    """Return what survives as ascending places ``image * pixels + pixel``, with numpy.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> image = np.array([[12, 11, 6, 0, 0, 3, 0]], np.float32)
    >>> high, low = np.full((1, 7), 10.0), np.full((1, 7), 5.0)
    >>> choose(hexagonal(7, pitch=0.05), image, high, low=low, least=0, isolated=False)
    array([0, 1, 2])
    """
    n, pixels = images.shape
    wide = np.empty((n, pixels + 1), np.float32)
    wide[:, :-1], wide[:, -1] = images, -np.inf
    flat = wide.reshape(-1)
    top = np.flatnonzero(above(images, high))
    row = top // max(pixels, 1)
    top += row  # rows have one place more from here on
    first = row * (pixels + 1)
    beside = camera.table.take(top - first, axis=1) + first
    marks = np.zeros(flat.shape, bool)
    if least > 0:
        marks[top] = True
        keep = np.add.reduce(marks.view(np.uint8).take(beside), axis=0, dtype=np.uint8) >= least
        marks[top] = False
        row, top, beside = row[keep], top[keep], beside[:, keep]
    near = _reached(flat, beside, row, low=low)
    marks[beside[near]] = True
    marks[top if isolated else top[near.any(axis=0)]] = True
    found = np.flatnonzero(marks)
    found -= found // (pixels + 1)
    return found


def floor(thresholds: Float64Array) -> np.float32:
    """Return a float32 number that no threshold is below: what is below it needs no look at the thresholds.

    Examples
    --------
    >>> float(floor(np.array([[8.0, 9.0]])))
    8.0
    """
    least = thresholds.min(initial=np.inf)
    near = np.float32(least)
    return np.nextafter(near, np.float32(-np.inf)) if near > least else near


def _some(thresholds: Float64Array, some: slice) -> Float64Array:
    return thresholds[some] if len(thresholds) > 1 else thresholds


def _reached(flat: Float32Array, beside: npt.NDArray[Any], row: npt.NDArray[Any], *, low: Float64Array) -> BoolArray:
    least = low.min(initial=np.inf)
    if least == low.max(initial=-np.inf) and np.float32(least) == least:
        same: BoolArray = flat.take(beside) >= np.float32(least)
        return same
    wide = np.full((len(low), low.shape[1] + 1), np.inf)
    wide[:, :-1] = low
    pixel = beside - row * wide.shape[1]
    made: BoolArray = flat[beside] >= wide[row if len(low) > 1 else 0, pixel]
    return made

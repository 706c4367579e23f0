"""Tail cuts with thresholds that follow the night sky, and further cuts in time and brightness.

The rule is that of ``ctapipe.image.nsb_image_cleaning`` (as LST uses it): the threshold of a pixel is a multiple
of its pedestal's standard deviation, at least a fixed one; then `tailcuts`, then what was asked for of: neighbours near
in time, a fraction of the brightest pixels, the largest island alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.arrays import as_images, as_limit, as_neighbours, as_thresholds, as_times
from eventide.apps.gamma.cleaning.masks import near_in_time, only_island
from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.errors import ConfigError

__all__ = ["nsb"]

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]


def nsb(
    camera: Camera,
    images: npt.ArrayLike,
    peak_times: npt.ArrayLike | None = None,
    *,
    picture: Any = 8.0,
    boundary: Any = 4.0,
    min_number_picture_neighbors: int = 2,
    keep_isolated_pixels: bool = False,
    pedestal_std: npt.ArrayLike | None = None,
    pedestal_factor: float = 2.5,
    time_limit: float | None = None,
    time_num_neighbors: int = 1,
    bright_threshold: float | None = None,
    bright_fraction: float = 0.03,
    bright_pixels: int = 3,
    largest_island_only: bool = False,
) -> BoolArray:
    """Return the pixels that survive tail cuts scaled to the night sky.

    Parameters
    ----------
    camera
        Its neighbours count.
    images
        Photo-electrons, one row for each image.
    peak_times
        ns, one row for each image; only with `time_limit`.
    picture
        The least picture threshold, photo-electrons: a number, one for each pixel, or rows of them.
    boundary, min_number_picture_neighbors, keep_isolated_pixels
        As in `tailcuts`.
    pedestal_std
        Standard deviation of each pixel's pedestal, photo-electrons: one row, or one for each image. Left out, the
        picture threshold is `picture`.
    pedestal_factor
        The picture threshold in standard deviations.
    time_limit
        A pixel needs neighbours less than this apart, ns.
    time_num_neighbors
        How many of them.
    bright_threshold
        Where the mean of the brightest pixels reaches this, pixels below a fraction of that mean are removed.
    bright_fraction, bright_pixels
        The fraction, and the number of brightest pixels.
    largest_island_only
        Whether to keep the island with most pixels only.

    Raises
    ------
    DataError
        Images or peak times are no rows of the camera's pixels.
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> noisy = [0.5, 9, 0.5, 0.5, 0.5, 0.5, 0.5]
    >>> nsb(hexagonal(7, pitch=0.05), [[15, 15, 15, 0, 0, 0, 0]], pedestal_std=noisy).tolist()[0]
    [False, False, False, False, False, False, False]
    """
    given = as_images(camera, images)
    high = as_thresholds(camera, picture, len(given), what="picture")
    if pedestal_std is not None:
        high = np.maximum(_scaled(camera, pedestal_std, pedestal_factor, rows=len(given)), high)
    masks = tailcuts(
        camera,
        given,
        picture=high,
        boundary=boundary,
        min_number_picture_neighbors=min_number_picture_neighbors,
        keep_isolated_pixels=keep_isolated_pixels,
    )
    if time_limit is not None:
        least = as_neighbours(time_num_neighbors, "time_num_neighbors")
        times = as_times(camera, peak_times, given, what="nsb with time_limit")
        masks = near_in_time(camera, masks, masks, times=times, limit=as_limit(time_limit, "time_limit"), least=least)
    if bright_threshold is not None:
        masks &= _bright(given, bright_threshold, bright_fraction, count=bright_pixels)
    return only_island(camera, masks, None) if largest_island_only else masks


def _scaled(camera: Camera, deviations: npt.ArrayLike, factor: float, *, rows: int) -> npt.NDArray[Any]:
    try:
        made = np.asarray(deviations) * float(factor)
        np.broadcast_to(made, (rows if made.ndim == 2 else 1, camera.pixels))
    except (TypeError, ValueError):
        made = np.array([np.nan])
    if made.dtype.kind not in "fiu" or not (made >= 0).all():
        msg = f"pedestal_std or pedestal_factor is wrong: there must be a deviation for each of {camera.pixels} pixels"
        raise ConfigError(msg, hint="give photo-electrons, 0 or more, and a factor above 0")
    return made


def _bright(images: Float32Array, threshold: float, fraction: float, *, count: int) -> BoolArray:
    number = as_neighbours(count, "bright_pixels")
    if not number or not all(math.isfinite(value) and value >= 0 for value in (threshold, fraction)):
        msg = f"nsb cannot have bright_threshold={threshold!r}, bright_fraction={fraction!r}, bright_pixels={count!r}"
        raise ConfigError(msg, hint="give finite numbers, 0 or more, and at least one pixel")
    number = min(number, images.shape[1])
    most = np.partition(images, images.shape[1] - number, axis=1)[:, images.shape[1] - number :]
    # One addition after the other, the greatest first: what is added does not depend on the batch.
    total = np.cumsum(-np.sort(-most.astype(np.float64), axis=1), axis=1)[:, -1]
    mean = total / number
    made: BoolArray = (mean < threshold)[:, None] | (images >= (fraction * mean)[:, None])
    return made

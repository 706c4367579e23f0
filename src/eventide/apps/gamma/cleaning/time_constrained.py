"""The cleaning of MAGIC: core pixels near the mean time of the brightest island, boundary pixels near a core pixel.

The rule is that of ``ctapipe.image.time_constrained_clean``. The mean time is added up in float64 here and in float32
there, so that a pixel within about 1e-6 of the time limit may be judged otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.arrays import above, as_images, as_limit, as_neighbours, as_thresholds, as_times
from eventide.apps.gamma.cleaning.masks import enough, grown, near_in_time, only_island

__all__ = ["time_constrained"]

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def time_constrained(
    camera: Camera,
    images: npt.ArrayLike,
    peak_times: npt.ArrayLike | None = None,
    *,
    picture: Any = 7.0,
    boundary: Any = 5.0,
    time_limit_core: float = 4.5,
    time_limit_boundary: float = 1.5,
    min_number_picture_neighbors: int = 1,
) -> BoolArray:
    """Return the pixels that survive the time-constrained cleaning.

    Parameters
    ----------
    camera
        Its neighbours count.
    images
        Photo-electrons, one row for each image.
    peak_times
        ns, one row for each image.
    picture, boundary
        Photo-electrons: a number, one for each pixel, or rows of them.
    time_limit_core
        Core pixels are less than this from the mean time of the brightest island, ns; twice as much is allowed to those
        of two picture thresholds and more.
    time_limit_boundary
        Boundary pixels are less than this from a core pixel beside them, ns.
    min_number_picture_neighbors
        Neighbours that a core pixel must have, and core pixels near in time that a boundary pixel must have.

    Raises
    ------
    DataError
        Images or peak times are no rows of the camera's pixels.
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> time_constrained(hexagonal(7, pitch=0.05), [[20, 9, 6, 6, 0, 0, 0]], [[5, 6, 6, 8, 0, 0, 0]]).tolist()[0]
    [True, True, True, False, False, False, False]
    """
    given = as_images(camera, images)
    times = as_times(camera, peak_times, given, what="time_constrained")
    high = as_thresholds(camera, picture, len(given), what="picture")
    low = as_thresholds(camera, boundary, len(given), what="boundary")
    least = as_neighbours(min_number_picture_neighbors, "min_number_picture_neighbors")
    limit = float(as_limit(time_limit_core, "time_limit_core"))
    masks = above(given, high)
    core = enough(camera, masks, masks, least=least)
    core = _near_mean(camera, core, given, times=times, limits=np.where(given < 2 * high, limit, 2 * limit))
    edge = above(given, low) & grown(camera, core) & ~core
    return core | near_in_time(
        camera, edge, core, times=times, limit=as_limit(time_limit_boundary, "time_limit_boundary"), least=least
    )


def _near_mean(
    camera: Camera, masks: BoolArray, images: Float32Array, *, times: Float32Array, limits: Float64Array
) -> BoolArray:
    row, pixel = np.nonzero(only_island(camera, masks, images))
    light = images[row, pixel].astype(np.float64)
    with np.errstate(all="ignore"):  # an image may have no core, or a pixel no time
        light *= light
        late = np.bincount(row, light * times[row, pixel], minlength=len(masks))
        mean = late / np.bincount(row, light, minlength=len(masks))
        near: BoolArray = np.abs(times - mean[:, None]) < limits
    return masks & near

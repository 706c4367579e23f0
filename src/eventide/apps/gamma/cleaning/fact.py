"""The cleaning of FACT: two thresholds, and neighbours that came at nearly the same time.

The rule is that of ``ctapipe.image.fact_image_cleaning`` (after F. Temme's thesis and fact-tools): pixels above the
picture threshold with enough such neighbours, their neighbours above the boundary threshold, and then three times over
only what has enough neighbours: near in time, at all, near in time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.arrays import above, as_images, as_limit, as_neighbours, as_thresholds, as_times
from eventide.apps.gamma.cleaning.masks import enough, grown, near_in_time

__all__ = ["fact"]

BoolArray = npt.NDArray[np.bool_]


def fact(
    camera: Camera,
    images: npt.ArrayLike,
    peak_times: npt.ArrayLike | None = None,
    *,
    picture: Any = 4.0,
    boundary: Any = 2.0,
    min_number_neighbors: int = 2,
    time_limit: float = 5.0,
) -> BoolArray:
    """Return the pixels that survive the cleaning of FACT.

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
    min_number_neighbors
        Neighbours that a pixel must have, in every step; 0 leaves the last three out.
    time_limit
        Neighbours count that are less than this apart, ns.

    Raises
    ------
    DataError
        Images or peak times are no rows of the camera's pixels.
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> fact(hexagonal(7, pitch=0.05), [[9, 5, 5, 0, 0, 3, 3]], [[0, 1, 2, 3, 4, 5, 9]]).tolist()[0]
    [True, True, True, False, False, False, False]
    """
    given = as_images(camera, images)
    times = as_times(camera, peak_times, given, what="fact")
    least = as_neighbours(min_number_neighbors, "min_number_neighbors")
    limit = as_limit(time_limit, "time_limit")
    masks = above(given, as_thresholds(camera, picture, len(given), what="picture"))
    masks = enough(camera, masks, masks, least=least)
    masks = grown(camera, masks) & above(given, as_thresholds(camera, boundary, len(given), what="boundary"))
    if least == 0:
        return masks
    masks = near_in_time(camera, masks, masks, times=times, limit=limit, least=least)
    masks = enough(camera, masks, masks, least=least)
    return near_in_time(camera, masks, masks, times=times, limit=limit, least=least)

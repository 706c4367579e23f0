"""The cleaning of the prototypes streams-cta and jayct: three levels, from pixel to neighbour.

Pixels above the first level are taken; then their neighbours above the second, and those of all these above the
third. Above means above: a pixel on a level is left out. Thresholds are the same for all cameras there, and nothing is
asked of isolated pixels. It is here to compare with; `tailcuts` and `nsb` are for use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.arrays import as_images
from eventide.apps.gamma.cleaning.masks import grown
from eventide.errors import ConfigError

__all__ = ["compat"]

BoolArray = npt.NDArray[np.bool_]


def compat(
    camera: Camera, images: npt.ArrayLike, peak_times: object = None, *, levels: Sequence[float] = (10.0, 8.0, 4.5)
) -> BoolArray:
    """Return the pixels above the first level, and neighbours of neighbours above those that follow.

    Parameters
    ----------
    camera
        Its neighbours count.
    images
        Photo-electrons, one row for each image.
    peak_times
        Not used.
    levels
        Photo-electrons; one more dilation for each after the first.

    Raises
    ------
    DataError
        Images are no rows of the camera's pixels.
    ConfigError
        There is no level, or one that is not above 0.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> compat(hexagonal(7, pitch=0.05), [[11, 8.5, 8, 5, 4, 0, 0]]).tolist()[0]
    [True, True, True, True, False, False, False]
    """
    given = as_images(camera, images)
    try:
        steps = [float(level) for level in levels]
    except (TypeError, ValueError):
        steps = []
    if not steps or not all(step > 0 for step in steps):
        msg = f"compat cannot have the levels {levels!r}"
        raise ConfigError(msg, hint="give photo-electrons above 0, the highest first: (10, 8, 4.5)")
    masks = given > np.float64(steps[0])
    for step in steps[1:]:
        masks |= grown(camera, masks) & (given > np.float64(step))
    return masks

"""Leakage: how much of an image lies at the border of the camera, one and two pixels wide (``ctapipe``'s formulas)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.parameters.chosen import Chosen

__all__ = ["leakage"]

Float64Array = npt.NDArray[np.float64]


def leakage(camera: Camera, pixels: Chosen) -> list[Float64Array]:
    """Return the shares of pixels and of light in the two borders, NaN where an image has no parameters.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> flower = hexagonal(7, pitch=1.0)
    >>> columns = leakage(flower, chosen(flower, np.ones((1, 7), np.float32), np.arange(2)))
    >>> [float(column[0]) for column in columns]
    [0.5, 1.0, 0.5, 1.0]
    """
    narrow, wide = camera.border_1[pixels.pixel], camera.border_2[pixels.pixel]
    good = pixels.measurable()
    with np.errstate(all="ignore"):
        columns = [
            pixels.number(narrow) / pixels.counts,
            pixels.number(wide) / pixels.counts,
            pixels.sums(np.where(narrow, pixels.light, 0.0)) / pixels.size,
            pixels.sums(np.where(wide, pixels.light, 0.0)) / pixels.size,
        ]
    return [np.where(good, column, np.nan) for column in columns]

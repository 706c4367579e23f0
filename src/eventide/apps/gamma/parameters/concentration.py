"""Concentration: the shares of light near the centroid, in the ellipse, and in the brightest pixel (``ctapipe``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.parameters.chosen import Chosen
from eventide.apps.gamma.parameters.hillas import Ellipse

__all__ = ["concentration"]

Float64Array = npt.NDArray[np.float64]


def concentration(camera: Camera, pixels: Chosen, ellipse: Ellipse) -> list[Float64Array]:
    """Return the shares of light closer to the centroid than a pixel is wide, in the ellipse, and in one pixel.

    An image of width 0 has nothing in its ellipse; one without parameters has NaN.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> from eventide.apps.gamma.parameters.hillas import hillas
    >>> flower = hexagonal(7, pitch=1.0)
    >>> some = chosen(flower, np.array([[5, 1, 1, 1, 1, 1, 0]], np.float32), np.arange(7))
    >>> [float(column[0]) for column in concentration(flower, some, hillas(flower, some)[1])]
    [0.8, 0.5, 0.5]
    """
    row, light = pixels.row, pixels.light
    dx, dy = camera.x[pixels.pixel] - ellipse.x[row], camera.y[pixels.pixel] - ellipse.y[row]
    width = camera.width[pixels.pixel]
    with np.errstate(all="ignore"):
        near = dx * dx + dy * dy < width * width
        c, s = ellipse.cos[row], ellipse.sin[row]
        along, across = dx * c + dy * s, dy * c - dx * s
        axes = (ellipse.length * ellipse.length)[row], (ellipse.width * ellipse.width)[row]
        inside = (axes[1] != 0.0) & ((along * along) / axes[0] + (across * across) / axes[1] <= 1.0)
        columns = [
            pixels.sums(np.where(near, light, 0.0)) / pixels.size,
            pixels.sums(np.where(inside, light, 0.0)) / pixels.size,
            brightest(pixels) / pixels.size,
        ]
    good = pixels.measurable()
    return [np.where(good, column, np.nan) for column in columns]


def brightest(pixels: Chosen) -> Float64Array:
    """Return the light of the brightest pixel of each image, NaN where it has none.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> brightest(chosen(hexagonal(3, pitch=1.0), np.array([[1, 2, 3]], np.float32), np.array([0, 1]))).tolist()
    [2.0]
    """
    made = np.full(len(pixels.counts), np.nan)
    some = pixels.counts > 0
    if some.any():
        made[some] = np.maximum.reduceat(pixels.light, (np.cumsum(pixels.counts) - pixels.counts)[some])
    return made

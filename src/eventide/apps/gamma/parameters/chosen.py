"""The pixels of many images that survived cleaning, one behind the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera

__all__ = ["Chosen", "chosen", "each"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Chosen pixels: of which image (`row`), which pixel, and its light; ascending; `counts` and `size` of images."""

    row: Int64Array
    pixel: Int64Array
    light: Float64Array
    counts: Int64Array
    size: Float64Array

    def sums(self, values: Float64Array) -> Float64Array:
        """Return the sum over each image, added one pixel after the other."""
        return np.bincount(self.row, values, minlength=len(self.counts)).astype(np.float64, copy=False)

    def number(self, which: npt.NDArray[np.bool_]) -> Int64Array:
        """Return how many pixels of each image are among those."""
        return np.bincount(self.row[which], minlength=len(self.counts)).astype(np.int64, copy=False)

    def measurable(self) -> npt.NDArray[np.bool_]:
        """Return which images have parameters: two pixels at least, and light that is finite and not 0."""
        made: npt.NDArray[np.bool_] = (self.counts > 1) & np.isfinite(self.size) & (self.size != 0)
        return made


def chosen(camera: Camera, images: Float32Array, places: Int64Array) -> Chosen:
    """Return the pixels at ascending places ``image * pixels + pixel``.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> chosen(hexagonal(3, pitch=1.0), np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([1, 2, 3])).size.tolist()
    [5.0, 4.0]
    """
    row = places // camera.pixels
    light = images.reshape(-1)[places].astype(np.float64)
    return Chosen(
        row,
        places - row * camera.pixels,
        light,
        np.bincount(row, minlength=len(images)).astype(np.int64, copy=False),
        np.bincount(row, light, minlength=len(images)).astype(np.float64, copy=False),
    )


def each(function: Callable[..., float], *arguments: Float64Array) -> Float64Array:
    """Return a function of `math` of each number.

    Compiled loops call the same functions of the C library; numpy has others, whose last bit may differ.

    Examples
    --------
    >>> import math
    >>> each(math.atan, np.array([0.0])).tolist()
    [0.0]
    """
    return np.array(list(map(function, *(argument.tolist() for argument in arguments))), np.float64)

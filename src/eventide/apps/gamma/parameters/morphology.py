"""Morphology: how many pixels and islands an image has; small islands have up to 2 pixels, large ones more than 50."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.masks import connected
from eventide.apps.gamma.parameters.chosen import Chosen

__all__ = ["LARGE", "SMALL", "morphology"]

Float64Array = npt.NDArray[np.float64]

SMALL = 2
"""Pixels that a small island has at most."""

LARGE = 50
"""Pixels that a large island has more than."""


def morphology(camera: Camera, pixels: Chosen) -> list[Float64Array]:
    """Return the numbers of pixels, of islands, and of small, medium and large islands; 0 where there is nothing.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> flower = hexagonal(7, pitch=1.0)
    >>> some = chosen(flower, np.ones((1, 7), np.float32), np.array([1, 5, 6]))
    >>> [int(column[0]) for column in morphology(flower, some)]
    [3, 2, 2, 0, 0]
    """
    n, places = len(pixels.counts), camera.pixels + 1
    place = np.full(n * places, len(pixels.row), np.int64)
    place[pixels.row * places + pixels.pixel] = np.arange(len(pixels.row))
    island = connected(place.take(pixels.row * places + camera.table.take(pixels.pixel, axis=1)))
    sizes = np.bincount(island, minlength=len(island))
    first = sizes > 0
    return [
        column.astype(np.float64)
        for column in (
            pixels.counts,
            pixels.number(first),
            pixels.number(first & (sizes <= SMALL)),
            pixels.number((sizes > SMALL) & (sizes <= LARGE)),
            pixels.number(sizes > LARGE),
        )
    ]

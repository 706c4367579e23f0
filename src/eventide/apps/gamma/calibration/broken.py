"""Broken pixels take the mean of their neighbours, as ctapipe's ``NeighborAverage`` gives it to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera

__all__ = ["mend"]

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def mend(camera: Camera, rows: Float32Array, broken: BoolArray) -> None:
    """Replace broken pixels of images, or of peak times, by the mean of neighbours that are not; 0 without any.

    Parameters
    ----------
    camera
        Its neighbours count.
    rows
        One row for each image; written to.
    broken
        One for each pixel.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> image = np.array([[9, 1, 2, 3, 4, 5, 6]], np.float32)
    >>> mend(hexagonal(7, pitch=0.05), image, np.arange(7) == 0)
    >>> image[0, 0]
    np.float32(3.5)
    """
    bad = np.flatnonzero(broken)
    if not len(bad):
        return
    good = np.r_[~broken, False]
    wide = np.zeros((len(rows), camera.pixels + 1), np.float32)
    wide[:, :-1] = np.where(broken, np.float32(0), rows)
    total = np.zeros((len(rows), len(bad)), np.float32)
    for beside in camera.table[:, bad]:  # one neighbour after the other, ascending
        total += wide[:, beside]
    count = good[camera.table[:, bad]].sum(axis=0)
    rows[:, bad] = np.where(count > 0, total / np.maximum(count, 1), 0.0)

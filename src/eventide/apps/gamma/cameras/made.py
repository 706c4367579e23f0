"""Cameras made for simulators, of the kind and size of real ones; positions are not those of any real camera."""

from __future__ import annotations

import numpy as np

from eventide.apps.gamma.cameras.camera import MOST_PIXELS, Camera, camera
from eventide.errors import UsageError

__all__ = ["chec_like", "fact_like", "hexagonal", "lst_like"]


def hexagonal(pixels: int, *, pitch: float, name: str = "hexagonal") -> Camera:
    """Return a round camera of hexagons: those of a honeycomb that are nearest to its middle, from there outwards.

    Parameters
    ----------
    pixels
        Number of pixels.
    pitch
        Distance of neighbours, m: also the width of a pixel.
    name
        For readers.

    Raises
    ------
    UsageError
        There is no such camera.

    Examples
    --------
    >>> flower = hexagonal(7, pitch=0.05)
    >>> np.diff(flower.starts).tolist()
    [6, 3, 3, 3, 3, 3, 3]
    """
    if not (isinstance(pixels, int) and 1 <= pixels <= MOST_PIXELS and np.isfinite(pitch) and pitch > 0):
        msg = f"hexagonal() cannot make {pixels!r} pixels {pitch!r} m apart"
        raise UsageError(msg, hint=f"from 1 to {MOST_PIXELS:,} pixels, and a distance above 0")
    reach = int(np.sqrt(pixels)) + 2
    q, r = (axis.reshape(-1) for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    # Whole numbers decide what is nearer, so that no rounding does.
    first = np.lexsort((r, q, q * q + q * r + r * r))[:pixels]
    q, r = q[first], r[first]
    return camera(name, pitch * (q + r / 2), pitch * (np.sqrt(3) / 2) * r, area=pitch * pitch * np.sqrt(3) / 2)


def lst_like() -> Camera:
    """Return a camera of 1,855 hexagons 5 cm wide, as large-sized telescopes have.

    Examples
    --------
    >>> lst_like().pixels, int(lst_like().border_1.sum())
    (1855, 156)
    """
    return hexagonal(1855, pitch=0.05, name="LST-like")


def fact_like() -> Camera:
    """Return a camera of 1,440 hexagons 9.5 mm wide, as FACT has.

    Examples
    --------
    >>> fact_like().pixels
    1440
    """
    return hexagonal(1440, pitch=0.0095, name="FACT-like")


def chec_like() -> Camera:
    """Return a camera of 2,048 squares 6.4 mm wide: 32 modules of 8 x 8, six by six without the corners.

    Examples
    --------
    >>> made = chec_like()
    >>> made.pixels, int(np.diff(made.starts).max())
    (2048, 4)
    """
    row, column = (axis.reshape(-1) for axis in np.mgrid[0:48, 0:48])
    corner = ((row < 8) | (row >= 40)) & ((column < 8) | (column >= 40))
    row, column = row[~corner], column[~corner]
    pitch = 0.0064
    return camera("CHEC-like", pitch * (column - 23.5), pitch * (row - 23.5), area=pitch * pitch, shape="square")

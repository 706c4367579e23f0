"""Regions of a detector as tables for `rows`: which region every pixel belongs to, from where the pixels lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["polygon", "rectangle", "regions"]

BoolArray = npt.NDArray[np.bool_]


def rectangle(
    x: npt.ArrayLike, y: npt.ArrayLike, *, x_range: tuple[float, float], y_range: tuple[float, float]
) -> BoolArray:
    """Return which pixels lie in a rectangle, its lower sides included and its upper ones not.

    Parameters
    ----------
    x, y
        Where each pixel lies.
    x_range, y_range
        Low and high, in the same unit.

    Examples
    --------
    >>> rectangle([0, 1, 2], [0, 0, 0], x_range=(0, 2), y_range=(-1, 1)).tolist()
    [True, True, False]
    """
    px, py = _positions(x, y)
    out: BoolArray = (px >= x_range[0]) & (px < x_range[1]) & (py >= y_range[0]) & (py < y_range[1])
    return out


def polygon(x: npt.ArrayLike, y: npt.ArrayLike, *, corners: Sequence[tuple[float, float]]) -> BoolArray:
    """Return which pixels lie in a polygon: a ray from there to the right crosses its sides an odd number of times.

    A point on a side belongs to one of the two polygons that share it, as in a rectangle.

    Parameters
    ----------
    x, y
        Where each pixel lies.
    corners
        Three or more, in order; the last is joined to the first.

    Raises
    ------
    UsageError
        There are fewer than three corners, or they are not finite.

    Examples
    --------
    >>> polygon([1, 3, 1], [1, 1, 3], corners=[(0, 0), (4, 0), (0, 4)]).tolist()
    [True, False, False]
    """
    px, py = _positions(x, y)
    points = np.asarray(corners, np.float64)
    if points.ndim != 2 or points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
        msg = f"polygon() cannot have the corners {corners!r}"
        raise UsageError(msg, hint="three or more pairs of finite numbers")
    inside = np.zeros(px.size, np.bool_)
    for (ax, ay), (bx, by) in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
        if ay == by:
            continue
        # From the lower end to the upper one, so that the side gives the same bits to both polygons that share it.
        if ay > by:
            ax, ay, bx, by = bx, by, ax, ay
        across = (py >= ay) & (py < by)
        inside ^= across & (px < (bx - ax) * (py - ay) / (by - ay) + ax)
    return inside


def regions(masks: Sequence[npt.ArrayLike]) -> npt.NDArray[np.int32]:
    """Return the table for `rows` of some regions that share no pixel: the region's number, -1 for pixels in none.

    Parameters
    ----------
    masks
        For each region, which pixels it has.

    Raises
    ------
    UsageError
        There is no mask, they are of different lengths, or two share a pixel.

    Examples
    --------
    >>> regions([[True, False, False], [False, False, True]]).tolist()
    [0, -1, 1]
    """
    made = [np.asarray(mask, np.bool_) for mask in masks]
    if not made or any(m.ndim != 1 or m.shape != made[0].shape for m in made):
        msg = f"regions() needs masks of one length, not of the shapes {[m.shape for m in made]}"
        raise UsageError(msg, hint="one mask per region, each with a value for every pixel")
    table = np.full(made[0].size, -1, np.int32)
    for number, mask in enumerate(made):
        shared = np.flatnonzero(mask & (table >= 0))
        if shared.size:
            msg = f"the regions {int(table[shared[0]])} and {number} share pixel {int(shared[0])}"
            raise UsageError(msg, hint="regions that overlap need a product each: an event has one bin on an axis")
        table[mask] = number
    return table


def _positions(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    px, py = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if px.ndim != 1 or px.shape != py.shape:
        msg = f"positions of pixels have the shapes {px.shape} and {py.shape}"
        raise UsageError(msg, hint="give x and y of every pixel, in one row each")
    return px, py

"""Geometry of a camera as data: positions, areas, neighbours and borders of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.neighbours import (
    border,
    neighbours_from_lists,
    neighbours_from_positions,
    padded,
)
from eventide.errors import DataError, near_names

__all__ = ["MOST_PIXELS", "SHAPES", "Camera", "camera", "in_telescope_frame"]

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

MOST_PIXELS = 100_000
"""Pixels that a camera can have."""

SHAPES = {"hexagon": "hexagon", "hexagonal": "hexagon", "square": "square", "rectangular": "square", "circle": "circle"}
"""Shapes of pixels, and the names that they go by."""


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """What is known about a camera; make one with `camera`."""

    name: str
    x: Float64Array = field(repr=False)
    y: Float64Array = field(repr=False)
    area: Float64Array = field(repr=False)
    shape: str
    unit: str
    width: Float64Array = field(repr=False)
    starts: Int32Array = field(repr=False)
    neighbours: Int32Array = field(repr=False)
    table: Int32Array = field(repr=False)
    border_1: BoolArray = field(repr=False)
    border_2: BoolArray = field(repr=False)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return len(self.x)


def camera(
    name: str,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    area: npt.ArrayLike,
    shape: str = "hexagon",
    unit: str = "m",
    neighbours: Sequence[Sequence[int]] | None = None,
) -> Camera:
    """Return a camera with its pixels' widths, neighbours and borders.

    Parameters
    ----------
    name
        For readers.
    x, y
        Positions of the pixels' centres, in `unit`.
    area
        Area of each pixel, or of all, in `unit` squared. Widths follow from it: the diameter of the inscribed circle.
    shape
        ``hexagon``, ``square`` or ``circle``.
    unit
        ``m`` for positions in the camera, ``deg`` for directions (the telescope frame).
    neighbours
        One list of pixels for each; left out, they follow from the positions.

    Raises
    ------
    DataError
        The arrays are of different lengths, not finite or empty, or the lists are not mutual.

    Examples
    --------
    >>> row = camera("row", [0, 1, 2], [0, 0, 0], area=1.0, shape="square")
    >>> row.pixels, row.neighbours.tolist(), row.border_1.tolist()
    (3, [1, 0, 2, 1], [True, False, True])
    """
    kind = SHAPES.get(shape)
    if kind is None:
        msg = f"the camera {name!r} cannot have pixels of the shape {shape!r}"
        raise DataError(msg, hint=near_names(shape, SHAPES))
    if unit not in {"m", "deg"}:
        msg = f"the camera {name!r} cannot have positions in {unit!r}"
        raise DataError(msg, hint="use 'm' or 'deg'")
    places_x, places_y = _numbers(name, "x", x), _numbers(name, "y", y)
    if places_x.ndim != 1 or places_x.shape != places_y.shape or not 1 <= len(places_x) <= MOST_PIXELS:
        msg = f"the camera {name!r} has x of the shape {places_x.shape} and y of the shape {places_y.shape}"
        raise DataError(msg, hint=f"give two equally long rows of 1 to {MOST_PIXELS:,} positions")
    try:
        areas = np.ascontiguousarray(np.broadcast_to(_numbers(name, "area", area), places_x.shape))
    except ValueError:
        msg = f"the camera {name!r} has {len(places_x)} pixels, and areas of another number"
        raise DataError(msg, hint="give one area, or one for each pixel") from None
    if not (areas > 0).all():
        msg = f"the camera {name!r} has pixels without an area"
        raise DataError(msg, hint="areas are above 0")
    if neighbours is None:
        starts, pixels = neighbours_from_positions(places_x, places_y, square=kind == "square")
    elif len(neighbours) != len(places_x):
        msg = f"the camera {name!r} has {len(places_x)} pixels and {len(neighbours)} lists of neighbours"
        raise DataError(msg, hint="give one list for each pixel, or leave them out")
    else:
        starts, pixels = neighbours_from_lists(neighbours)
    narrow, wide = border(starts, pixels)
    return _frozen(
        Camera(
            name, places_x, places_y, areas, kind, unit, _widths(areas, kind),
            starts, pixels, padded(starts, pixels), narrow, wide,
        )
    )  # fmt: skip


def in_telescope_frame(given: Camera, focal_length: float) -> Camera:
    """Return the camera with positions as directions in degrees: ``x`` along longitude, ``y`` along latitude.

    The axes of a camera are exchanged in the telescope frame: longitude is y divided by the focal length, latitude x
    (small angles, as ctapipe transforms them).

    Parameters
    ----------
    given
        A camera with positions in m.
    focal_length
        m.

    Raises
    ------
    DataError
        The camera is in degrees already, or the focal length is not above 0.

    Examples
    --------
    >>> row = camera("row", [0.0, 1.0, 2.0], [0.0, 0.0, 0.0], area=1.0, shape="square")
    >>> in_telescope_frame(row, 100.0).y.round(3).tolist()
    [0.0, 0.573, 1.146]
    """
    if given.unit != "m" or not (np.isfinite(focal_length) and focal_length > 0):
        msg = f"the camera {given.name!r} ({given.unit}) cannot be seen through a focal length of {focal_length!r} m"
        raise DataError(msg, hint="give a camera with positions in m, and a focal length above 0")
    degrees = 180.0 / np.pi
    scale = degrees / focal_length
    area = given.area * (scale * scale)
    return _frozen(
        Camera(
            given.name, given.y / focal_length * degrees, given.x / focal_length * degrees, area, given.shape, "deg",
            _widths(area, given.shape), given.starts, given.neighbours, given.table, given.border_1, given.border_2,
        )
    )  # fmt: skip


def _numbers(name: str, what: str, given: npt.ArrayLike) -> Float64Array:
    try:
        made = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        msg = f"the camera {name!r} has something else than numbers for {what}: {error}"
        raise DataError(msg, hint="give finite numbers") from None
    if not np.isfinite(made).all():
        msg = f"the camera {name!r} has an infinite number, or none, for {what}"
        raise DataError(msg, hint="give finite numbers")
    return made


def _widths(area: Float64Array, shape: str) -> Float64Array:
    across = {"hexagon": 2 / np.sqrt(3), "square": 1.0, "circle": 4 / np.pi}[shape]
    width: Float64Array = np.sqrt(area * across)
    return width


def _frozen(made: Camera) -> Camera:
    for array in (made.x, made.y, made.area, made.width, made.starts, made.neighbours, made.table):
        array.flags.writeable = False
    made.border_1.flags.writeable = made.border_2.flags.writeable = False
    return made

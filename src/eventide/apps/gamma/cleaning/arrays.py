"""What cleanings take: images, thresholds and limits, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.errors import ConfigError, DataError

__all__ = ["above", "as_images", "as_limit", "as_neighbours", "as_thresholds", "as_times"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def as_images(camera: Camera, given: npt.ArrayLike, what: str = "images") -> Float32Array:
    """Return images as rows of float32 that lie one behind the other; those that do already are not copied.

    Raises
    ------
    DataError
        They are no rows of as many numbers as the camera has pixels.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> as_images(hexagonal(7, pitch=0.05), np.zeros((2, 7))).dtype
    dtype('float32')
    """
    try:
        with np.errstate(over="ignore"):
            made = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError) as error:
        msg = f"{what} of the camera {camera.name!r} are no numbers: {error}"
        raise DataError(msg, hint=f"give rows of {camera.pixels} numbers") from None
    if made.ndim != 2 or made.shape[1] != camera.pixels:
        msg = f"{what} of the camera {camera.name!r} have the shape {made.shape}"
        raise DataError(msg, hint=f"give rows of {camera.pixels} numbers, one for each pixel")
    return made


def as_times(camera: Camera, given: npt.ArrayLike | None, images: Float32Array, *, what: str) -> Float32Array:
    """Return peak times like images.

    Raises
    ------
    DataError
        There are none, or not as many as images.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> as_times(hexagonal(7, pitch=0.05), np.zeros((1, 7)), np.zeros((1, 7), np.float32), what="fact").shape
    (1, 7)
    """
    if given is None:
        msg = f"{what} needs the peak times of the pixels, and there are none"
        raise DataError(msg, hint="give peak times, or take a cleaning that needs none: tailcuts")
    made = as_images(camera, given, "peak times")
    if len(made) != len(images):
        msg = f"there are {len(images)} images and peak times of {len(made)}"
        raise DataError(msg, hint="give as many rows of both")
    return made


def as_thresholds(camera: Camera, given: Any, rows: int, *, what: str) -> Float64Array:
    """Return thresholds as one row, or one for each image.

    A number counts as float32, as images do; an array counts as it is. Infinity shuts a pixel out.

    Parameters
    ----------
    given
        A number, one for each pixel, or rows of them.
    rows
        Number of images.
    what
        Name of the option.

    Raises
    ------
    ConfigError
        A threshold is not above 0, or there are not as many as pixels.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> as_thresholds(hexagonal(7, pitch=0.05), 5, 10, what="picture").shape
    (1, 7)
    """
    try:
        made = np.asarray(given, np.float64) if np.ndim(given) else np.asarray(np.float32(given), np.float64)
        full = np.ascontiguousarray(np.broadcast_to(made, (rows if made.ndim == 2 else 1, camera.pixels)))
    except (TypeError, ValueError):
        msg = f"{what} is neither a number nor one for each of the {camera.pixels} pixels"
        raise ConfigError(msg, hint="give a threshold in photo-electrons") from None
    if not (full > 0).all():
        msg = f"{what} has a threshold that is not above 0"
        raise ConfigError(msg, hint="give thresholds in photo-electrons, above 0; infinity shuts a pixel out")
    return full


def as_limit(given: float, what: str) -> np.float32:
    """Return a limit of time as float32.

    Raises
    ------
    ConfigError
        It is no number from 0 on.

    Examples
    --------
    >>> float(as_limit(4.5, "time_limit"))
    4.5
    """
    if isinstance(given, bool) or not isinstance(given, int | float | np.number) or not given >= 0:
        msg = f"{what} cannot be {given!r}"
        raise ConfigError(msg, hint="give a time in ns, 0 or more")
    return np.float32(given)


def as_neighbours(given: int, what: str) -> int:
    """Return a number of neighbours.

    Raises
    ------
    ConfigError
        It is no whole number from 0 on.

    Examples
    --------
    >>> as_neighbours(2, "min_number_neighbors")
    2
    """
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 0 <= given <= 1000:
        msg = f"{what} cannot be {given!r}"
        raise ConfigError(msg, hint="give a whole number, 0 or more")
    return int(given)


def above(images: Float32Array, thresholds: Float64Array) -> BoolArray:
    """Return which pixels reach their threshold.

    Where all thresholds are float32 numbers, comparing with them as such is the same and half the work.

    Examples
    --------
    >>> above(np.array([[1, 5]], np.float32), np.array([[2.0, 5.0]])).tolist()
    [[False, True]]
    """
    narrow = thresholds.astype(np.float32)
    made: BoolArray = images >= (narrow if np.array_equal(narrow, thresholds) else thresholds)
    return made

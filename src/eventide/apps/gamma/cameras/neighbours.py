"""Which pixels lie side by side, computed from their positions as ctapipe computes it (`CameraGeometry`, BSD 3-Clause).

A pixel has at most six neighbours (hexagons and circles, Euclidean distance) or four (squares, sum of distances along
x and y): its nearest pixels that are closer than 1.4 (1.5) times the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError

__all__ = ["MOST_NEIGHBOURS", "border", "neighbours_from_lists", "neighbours_from_positions", "padded"]

Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MOST_NEIGHBOURS = 64
"""Neighbours that a pixel can have."""

_ROWS = 256


def neighbours_from_positions(x: Float64Array, y: Float64Array, *, square: bool) -> tuple[Int32Array, Int32Array]:
    """Return neighbour lists: those of pixel p are ``pixels[starts[p]:starts[p + 1]]``, ascending.

    A pair that only one of the two finds counts for both.

    Parameters
    ----------
    x, y
        Positions, any unit, all different.
    square
        Whether pixels are squares.

    Returns
    -------
    ``starts`` (int32, one more than pixels) and ``pixels`` (int32).

    Raises
    ------
    DataError
        Two pixels are at one place.

    Examples
    --------
    >>> starts, pixels = neighbours_from_positions(np.array([0.0, 1.0, 2.0]), np.zeros(3), square=True)
    >>> starts.tolist(), pixels.tolist()
    ([0, 1, 3, 4], [1, 0, 2, 1])
    """
    n = len(x)
    most, within = (4, 1.5) if square else (6, 1.4)
    most = min(most, n - 1)
    if most < 1:
        return np.zeros(n + 1, np.int32), np.zeros(0, np.int32)
    pairs = []
    for begin in range(0, n, _ROWS):
        dx, dy = np.abs(x[begin : begin + _ROWS, None] - x), np.abs(y[begin : begin + _ROWS, None] - y)
        distance = dx + dy if square else np.sqrt(dx * dx + dy * dy)
        rows = np.arange(len(distance))
        distance[rows, begin + rows] = np.inf
        near = np.argpartition(distance, most - 1, axis=1)[:, :most]
        far = np.take_along_axis(distance, near, axis=1)
        least = far.min(axis=1, keepdims=True)
        if not (least > 0).all():
            msg = f"pixel {begin + int(np.argmin(least > 0))} of the camera is where another one is"
            raise DataError(msg, hint="give every pixel a position of its own")
        row, column = np.nonzero(far < within * least)
        pairs.append(np.stack([row + begin, near[row, column]]))
    return _lists(np.concatenate(pairs, axis=1), n)


def neighbours_from_lists(lists: Sequence[Sequence[int]]) -> tuple[Int32Array, Int32Array]:
    """Return neighbour lists, in the form of `neighbours_from_positions`, from one list per pixel.

    Raises
    ------
    DataError
        A pixel is unknown, its own neighbour, or a neighbour of one that is not its neighbour; or it has too many.

    Examples
    --------
    >>> neighbours_from_lists([[1], [0]])[1].tolist()
    [1, 0]
    """
    n = len(lists)
    try:
        pairs = np.array([(p, int(q)) for p, others in enumerate(lists) for q in others], np.int64).reshape(-1, 2).T
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"neighbours must be lists of pixel numbers: {error}"
        raise DataError(msg, hint="one list for each pixel") from None
    if pairs.size and not (pairs[1].min() >= 0 and pairs[1].max() < n and (pairs[0] != pairs[1]).all()):
        msg = f"neighbours name pixels outside 0 to {n - 1}, or a pixel itself"
        raise DataError(msg, hint="pixels are numbered from 0 in the order of their positions")
    starts, pixels = _lists(pairs, n)
    if np.diff(starts).max(initial=0) > MOST_NEIGHBOURS:
        msg = f"pixel {int(np.diff(starts).argmax())} has more than {MOST_NEIGHBOURS} neighbours"
        raise DataError(msg, hint="neighbours are the pixels that touch")
    if len(pixels) != len(np.unique(pairs[0] * n + pairs[1])):
        msg = "neighbours are not mutual: some pixel is in the list of one that is not in its own list"
        raise DataError(msg, hint="leave the lists out, they are then computed from the positions")
    return starts, pixels


def padded(starts: Int32Array, pixels: Int32Array) -> Int32Array:
    """Return neighbours as a table: a column for each pixel, filled up with the number of pixels.

    Examples
    --------
    >>> padded(np.array([0, 1, 3, 4], np.int32), np.array([1, 0, 2, 1], np.int32)).tolist()
    [[1, 0, 1], [3, 2, 3]]
    """
    counts = np.diff(starts)
    table = np.full((int(counts.max(initial=0)), len(counts)), len(counts), np.int32)
    row = np.repeat(np.arange(len(counts)), counts)
    table[np.arange(len(pixels)) - starts[row], row] = pixels
    return table


def border(starts: Int32Array, pixels: Int32Array) -> tuple[BoolArray, BoolArray]:
    """Return the pixels of the border, one and two wide, as ctapipe defines them for leakage.

    One wide: pixels with fewer neighbours than others have. Two wide: pixels with a neighbour among those (so that a
    border pixel without such a neighbour is in the first mask only).

    Examples
    --------
    >>> narrow, wide = border(np.array([0, 1, 3, 4], np.int32), np.array([1, 0, 2, 1], np.int32))
    >>> narrow.tolist(), wide.tolist()
    ([True, False, True], [False, True, False])
    """
    counts = np.diff(starts)
    narrow = counts < counts.max(initial=0)
    row = np.repeat(np.arange(len(counts)), counts)
    wide = np.zeros(len(counts), bool)
    wide[row[narrow[pixels]]] = True
    return narrow, wide


def _lists(pairs: npt.NDArray[np.int64], n: int) -> tuple[Int32Array, Int32Array]:
    both = np.unique(np.concatenate([pairs[0] * n + pairs[1], pairs[1] * n + pairs[0]]))
    starts = np.searchsorted(both, np.arange(n + 1, dtype=np.int64) * n)
    return starts.astype(np.int32), (both % max(n, 1)).astype(np.int32)

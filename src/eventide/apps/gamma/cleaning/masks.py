"""Steps that cleanings are made of: neighbours counted, masks grown, pixels compared in time, islands found.

Masks are rows of bool, one for each image. With a compiler each step is a compiled loop (`masks_loops`), and otherwise
numpy on the pixels that are set: the same masks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.kernel.compiled import have_compiler

__all__ = ["enough", "grown", "islands", "near_in_time", "only_island"]

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


def enough(camera: Camera, masks: BoolArray, among: BoolArray, *, least: int) -> BoolArray:
    """Return the pixels of `masks` with at least so many neighbours in `among`.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> mask = np.array([[True, True, False, False, False, False, True]])
    >>> enough(hexagonal(7, pitch=0.05), mask, mask, least=2).tolist()
    [[True, False, False, False, False, False, False]]
    """
    if least <= 0:
        return masks.copy()
    made = np.zeros_like(masks)
    if have_compiler():
        _loops().enough(masks, among, np.int64(least), camera.starts, camera.neighbours, made)
        return made
    row, pixel = np.nonzero(masks)
    keep = _padded(among, False)[row, camera.table[:, pixel]].sum(axis=0) >= least
    made[row[keep], pixel[keep]] = True
    return made


def grown(camera: Camera, masks: BoolArray) -> BoolArray:
    """Return masks with the neighbours of their pixels.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> grown(hexagonal(7, pitch=0.05), np.arange(7)[None] == 0).sum()
    np.int64(7)
    """
    made = masks.copy()
    if have_compiler():
        _loops().grown(masks, camera.starts, camera.neighbours, made)
        return made
    row, pixel = np.nonzero(masks)
    wide = _padded(made, False)
    wide[row, camera.table[:, pixel]] = True
    return np.ascontiguousarray(wide[:, :-1])


def near_in_time(
    camera: Camera, masks: BoolArray, among: BoolArray, *, times: Float32Array, limit: np.float32, least: int
) -> BoolArray:
    """Return the pixels of `masks` with at least so many neighbours in `among` less than `limit` apart in time.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> mask, times = np.arange(7)[None] < 3, np.array([[0, 1, 9, 0, 0, 0, 0]], np.float32)
    >>> near_in_time(hexagonal(7, pitch=0.05), mask, mask, times=times, limit=np.float32(2), least=1).tolist()[0][:3]
    [True, True, False]
    """
    if least <= 0:
        return masks.copy()
    made = np.zeros_like(masks)
    if have_compiler():
        _loops().near_in_time(masks, among, times, limit, np.int64(least), camera.starts, camera.neighbours, made)
        return made
    row, pixel = np.nonzero(masks)
    beside = row, camera.table[:, pixel]
    with np.errstate(invalid="ignore"):
        apart = np.abs(times[row, pixel] - _padded(times, np.float32(np.nan))[beside])
    keep = ((apart < limit) & _padded(among, False)[beside]).sum(axis=0) >= least
    made[row[keep], pixel[keep]] = True
    return made


def islands(camera: Camera, masks: BoolArray) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return row and pixel of what is set, ascending, and the island of each: the place of its first pixel among them.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> row, pixel, island = islands(hexagonal(7, pitch=0.05), np.array([[0, 1, 0, 0, 0, 1, 1]], bool))
    >>> pixel.tolist(), island.tolist()
    ([1, 5, 6], [0, 1, 1])
    """
    row, pixel = np.nonzero(masks)
    if have_compiler():
        made = np.empty(len(row), np.int64)
        _loops().islands(row, pixel, camera.pixels, camera.starts, camera.neighbours, made)
        return row, pixel, made
    place = np.full((len(masks), camera.pixels + 1), len(row), np.int64)
    place[row, pixel] = np.arange(len(row))
    return row, pixel, connected(place[row, camera.table[:, pixel]])


def connected(beside: Int64Array) -> Int64Array:
    """Return for each place the first place that it is connected to; `beside` has a column of neighbours for each.

    The number of places stands for no neighbour.

    Examples
    --------
    >>> connected(np.array([[1, 0, 3]])).tolist()
    [0, 0, 2]
    """
    n = beside.shape[1]
    island = np.arange(n + 1)
    while beside.size:
        least = np.minimum(island[:n], island.take(beside).min(axis=0))
        least = least.take(least.take(least))
        if np.array_equal(least, island[:n]):
            break
        island[:n] = least
    return island[:n]


def only_island(camera: Camera, masks: BoolArray, weights: Float32Array | None) -> BoolArray:
    """Return of each mask the island with most pixels, or with the greatest sum of weights; of equals the first one.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> mask = np.array([[False, True, False, False, False, True, True]])
    >>> only_island(hexagonal(7, pitch=0.05), mask, None).tolist()[0]
    [False, False, False, False, False, True, True]
    """
    row, pixel, island = islands(camera, masks)
    made = np.zeros_like(masks)
    if not len(row):
        return made
    # Sums in the order of pixels: bincount adds one after the other.
    sums = np.bincount(island, None if weights is None else weights[row, pixel].astype(np.float64))
    first = np.flatnonzero(np.bincount(island))
    order = np.lexsort((first, -sums[first], row[first]))
    chosen = first[order][np.r_[True, np.diff(row[first][order]) != 0]]
    keep = island == np.repeat(chosen, np.bincount(row, minlength=len(masks))[row[chosen]])
    made[row[keep], pixel[keep]] = True
    return made


def _padded(rows: npt.NDArray[Any], filler: Any) -> npt.NDArray[Any]:
    """Return rows with one place more: the one that tables of neighbours name where there is none."""
    made = np.empty((len(rows), rows.shape[1] + 1), rows.dtype)
    made[:, :-1] = rows
    made[:, -1] = filler
    return made


def _loops() -> Any:
    from eventide.apps.gamma.cleaning import masks_loops

    return masks_loops

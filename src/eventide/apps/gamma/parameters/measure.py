"""All parameters of many images: after any cleaning (`measure`), or with tail cuts in the same pass (`tailcut`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cleaning.arrays import as_images, as_neighbours, as_thresholds, as_times
from eventide.apps.gamma.cleaning.tailcuts import choose, floor, tailcuts
from eventide.apps.gamma.parameters.chosen import Chosen, chosen
from eventide.apps.gamma.parameters.columns import GROUPS, column_names, group_names
from eventide.apps.gamma.parameters.concentration import concentration
from eventide.apps.gamma.parameters.hillas import hillas
from eventide.apps.gamma.parameters.leakage import leakage
from eventide.apps.gamma.parameters.morphology import morphology
from eventide.apps.gamma.parameters.statistics import statistics
from eventide.errors import ConfigError, DataError
from eventide.kernel.compiled import have_compiler

__all__ = ["STANDARD", "measure", "tailcut", "tailcut_lists"]

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Columns = dict[str, Float64Array]

STANDARD = ("hillas", "leakage", "concentration", "morphology")
"""The groups that need no peak times, without the statistics."""

_AT_ONCE = 256  # images whose scratch stays in the cache


def measure(
    camera: Camera,
    images: npt.ArrayLike,
    masks: npt.ArrayLike,
    *,
    peak_times: npt.ArrayLike | None = None,
    groups: Iterable[str] = STANDARD,
) -> Columns:
    """Return the parameters of images for the pixels of their masks.

    An image of fewer than two pixels, or whose light is 0, has NaN for all but morphology (as ctapipe leaves it out).

    Parameters
    ----------
    camera
        Positions in m give columns of the camera frame (m, angles in degrees), those in degrees of the telescope frame.
    images
        Photo-electrons, one row for each image.
    masks
        True for the pixels that count, one row for each image.
    peak_times
        ns, one row for each image; for the groups ``timing`` and ``peak_time``.
    groups
        Names from `columns.GROUPS`.

    Returns
    -------
    Columns of float64 by their names in ctapipe's tables.

    Raises
    ------
    DataError
        Arrays do not fit the camera or each other.
    ConfigError
        There is no such group.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> found = measure(hexagonal(7, pitch=0.05), [[3, 1, 0, 0, 1, 0, 0]], [[1, 1, 0, 0, 1, 0, 0]], groups=["hillas"])
    >>> found["camera_frame_hillas_intensity"].tolist()
    [5.0]
    """
    given = as_images(camera, images)
    wanted = group_names(groups)
    made = np.ascontiguousarray(masks).astype(bool, copy=False)
    if made.shape != given.shape:
        msg = f"there are images of the shape {given.shape} and masks of {made.shape}"
        raise DataError(msg, hint="give one mask for each image")
    times = as_times(camera, peak_times, given, what="timing") if {"timing", "peak_time"} & set(wanted) else None
    out, places = _table(len(given), wanted)
    if have_compiler():
        _loops().measure_masks(given, made, _arrays(camera), places, out)
    else:
        for begin in range(0, len(given), _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            _fill(camera, chosen(camera, given[some], np.flatnonzero(made[some])), places, out=out[:, some])
    columns = _columns(camera, wanted, out)
    if times is not None:
        from eventide.apps.gamma.parameters.timing import times_of

        columns |= times_of(camera, given, made, times=times, groups=wanted)
    return {name: columns[name] for group in wanted for name in column_names(camera, group)}


def tailcut(
    camera: Camera,
    images: npt.ArrayLike,
    *,
    picture: Any = 10.0,
    boundary: Any = 5.0,
    min_number_picture_neighbors: int = 2,
    keep_isolated_pixels: bool = False,
    peak_times: npt.ArrayLike | None = None,
    groups: Iterable[str] = STANDARD,
) -> Columns:
    """Clean images by tail cuts and return their parameters, in one pass over each image.

    The same as `tailcuts` and `measure` one after the other, to the last bit.

    Parameters
    ----------
    camera, images, peak_times, groups
        As in `measure`.
    picture, boundary, min_number_picture_neighbors, keep_isolated_pixels
        As in `tailcuts`.

    Raises
    ------
    DataError
        Arrays do not fit the camera or each other.
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> found = tailcut(hexagonal(7, pitch=0.05), [[30, 11, 12, 5, 0, 0, 0]])
    >>> found["camera_frame_hillas_intensity"].tolist(), found["morphology_n_pixels"].tolist()
    ([58.0], [4.0])
    """
    wanted = group_names(groups)
    if {"timing", "peak_time"} & set(wanted):
        masks = tailcuts(
            camera,
            images,
            picture=picture,
            boundary=boundary,
            min_number_picture_neighbors=min_number_picture_neighbors,
            keep_isolated_pixels=keep_isolated_pixels,
        )
        return measure(camera, images, masks, peak_times=peak_times, groups=wanted)
    given = as_images(camera, images)
    begins = np.arange(len(given)) * camera.pixels
    return tailcut_lists(
        camera,
        given.reshape(-1),
        begins,
        picture=picture,
        boundary=boundary,
        min_number_picture_neighbors=min_number_picture_neighbors,
        keep_isolated_pixels=keep_isolated_pixels,
        groups=wanted,
    )


def tailcut_lists(
    camera: Camera,
    values: Float32Array,
    begins: npt.NDArray[np.int64],
    *,
    picture: Any = 10.0,
    boundary: Any = 5.0,
    min_number_picture_neighbors: int = 2,
    keep_isolated_pixels: bool = False,
    groups: Iterable[str] = STANDARD,
    into: tuple[Float64Array, npt.NDArray[np.int64]] | None = None,
) -> Columns:
    """Do the same for images that lie anywhere in one array, without copying them.

    Parameters
    ----------
    camera
        Its pixels.
    values
        Photo-electrons of many images, float32.
    begins
        int64: where the pixels of each image begin.
    picture, boundary, min_number_picture_neighbors, keep_isolated_pixels
        As in `tailcuts`.
    groups
        As in `measure`, but none that needs peak times.
    into
        A row for each column, and the place of each image in it; left out, there is a place for each image.

    Raises
    ------
    DataError
        An image does not lie within the values.
    ConfigError
        An option is out of its range, or a group needs peak times.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> values = np.array([0, 0, 30, 11, 12, 5, 0, 0, 0], np.float32)
    >>> tailcut_lists(hexagonal(7, pitch=0.05), values, np.array([2]))["camera_frame_hillas_intensity"].tolist()
    [58.0]
    """
    wanted = group_names(groups)
    if {"timing", "peak_time"} & set(wanted):
        msg = f"the groups {', '.join(wanted)} need peak times"
        raise ConfigError(msg, hint="use tailcut(..., peak_times=...)")
    flat = np.ascontiguousarray(values, np.float32)
    if begins.size and not (begins.min() >= 0 and begins.max() + camera.pixels <= flat.size):
        msg = f"images of {camera.pixels} pixels do not lie within {flat.size} values"
        raise DataError(msg, hint="begins are the first places of images in the values")
    high = as_thresholds(camera, picture, len(begins), what="picture")
    low = as_thresholds(camera, boundary, len(begins), what="boundary")
    isolated = bool(keep_isolated_pixels)
    least = 0 if isolated else as_neighbours(min_number_picture_neighbors, "min_number_picture_neighbors")
    made, places = _table(0 if into else len(begins), wanted)
    out, rows = into or (made, np.arange(len(begins)))
    inside = rows.size == len(begins) and (not rows.size or (rows.min() >= 0 and rows.max() < out.shape[1]))
    if not inside or len(out) != len(made):
        msg = f"{len(begins)} images do not go into columns of the shape {out.shape} at {rows.size} places"
        raise DataError(msg, hint=f"a row for each of {len(made)} columns, and a place in it for each image")
    if have_compiler():
        _loops().clean_and_measure(
            flat, begins, high, low, floor(high), least, isolated, _arrays(camera), places, out, rows
        )
    else:
        for begin in range(0, len(begins), _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            images = flat[begins[some, None] + np.arange(camera.pixels)]
            tops, lows = (each[some] if len(each) > 1 else each for each in (high, low))
            found = choose(camera, images, tops, low=lows, least=least, isolated=isolated)
            part, _ = _table(len(images), wanted)
            _fill(camera, chosen(camera, images, found), places, out=part)
            out[:, rows[some]] = part
    return _columns(camera, wanted, out)


_KEPT = ("leakage", "concentration", "morphology", "intensity")


def _table(rows: int, wanted: tuple[str, ...]) -> tuple[Float64Array, npt.NDArray[np.int64]]:
    """Return room for the columns, and the first column of each group after Hillas, -1 if it is not wanted."""
    places, width = [], len(GROUPS["hillas"])
    for group in _KEPT:
        places.append(width if group in wanted else -1)
        width += len(GROUPS[group]) if group in wanted else 0
    return np.empty((width, rows), np.float64), np.array(places, np.int64)


def _columns(camera: Camera, wanted: tuple[str, ...], out: Float64Array) -> Columns:
    names = [name for group in ("hillas", *(g for g in _KEPT if g in wanted)) for name in column_names(camera, group)]
    made = dict(zip(names, out, strict=True))
    return made if "hillas" in wanted else {n: c for n, c in made.items() if n not in column_names(camera, "hillas")}


def _fill(camera: Camera, pixels: Chosen, places: npt.NDArray[np.int64], *, out: Float64Array) -> None:
    columns, ellipse = hillas(camera, pixels)
    if places[0] >= 0:
        columns += leakage(camera, pixels)
    if places[1] >= 0:
        columns += concentration(camera, pixels, ellipse)
    if places[2] >= 0:
        columns += morphology(camera, pixels)
    if places[3] >= 0:
        columns += statistics(pixels, pixels.light)
    for place, column in zip(out, columns, strict=True):
        place[:] = column


def _arrays(camera: Camera) -> tuple[npt.NDArray[Any], ...]:
    places = camera.x, camera.y, camera.area, camera.width
    return (*places, camera.border_1, camera.border_2, camera.starts, camera.neighbours.view(np.uint32))


def _loops() -> Any:
    from eventide.apps.gamma.parameters import measure_loops

    return measure_loops

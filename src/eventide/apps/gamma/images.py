"""Columns of images in batches to columns of parameters: cameras by telescope, a cleaning by name.

Images are lists of float32, of a fixed size or not; those of a fixed size are used where they lie. Rows of one batch
may come from different cameras: they are grouped by camera, and their parameters go back to their places.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma import cleaning as cleanings
from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.parameters.columns import column_names, group_names
from eventide.apps.gamma.parameters.measure import STANDARD, measure, tailcut
from eventide.errors import ConfigError, DataError, SchemaError, near_names
from eventide.model.batch import column

__all__ = ["CLEANINGS", "add_parameters", "image_rows", "parametrise"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_PARTS = {"arrays", "masks"}  # what cleanings are made of

CLEANINGS = tuple(
    sorted(
        m.name
        for m in pkgutil.iter_modules(cleanings.__path__)
        if m.name not in _PARTS and not m.name.endswith("_loops")
    )
)
"""Names of cleanings: those of the files in ``cleaning/``."""


def parametrise(
    camera: Camera,
    images: npt.ArrayLike,
    peak_times: npt.ArrayLike | None = None,
    *,
    cleaning: str = "tailcuts",
    options: Mapping[str, Any] | None = None,
    groups: Iterable[str] = STANDARD,
) -> dict[str, Float64Array]:
    """Clean images of one camera and return their parameters.

    Parameters
    ----------
    camera
        Its pixels.
    images
        Photo-electrons, one row for each image.
    peak_times
        ns, one row for each image, for cleanings and groups that need them.
    cleaning
        One of `CLEANINGS`.
    options
        Options of the cleaning.
    groups
        Groups of parameters.

    Raises
    ------
    ConfigError
        There is no such cleaning, option or group.
    DataError
        Arrays do not fit the camera.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> found = parametrise(hexagonal(7, pitch=0.05), [[30, 11, 12, 5, 0, 0, 0]], options={"boundary": 6})
    >>> found["morphology_n_pixels"].tolist()
    [3.0]
    """
    if cleaning not in CLEANINGS:
        msg = f"there is no cleaning {cleaning!r}"
        raise ConfigError(msg, hint=near_names(str(cleaning), CLEANINGS))
    given = dict(options or {})
    wanted = group_names(groups)
    try:
        if cleaning == "tailcuts":
            return tailcut(camera, images, peak_times=peak_times, groups=wanted, **given)
        clean = getattr(importlib.import_module(f"{cleanings.__name__}.{cleaning}"), cleaning)
        masks = clean(camera, images, peak_times, **given)
    except TypeError as error:
        msg = f"the cleaning {cleaning!r} does not take {', '.join(map(repr, given)) or 'that'}: {error}"
        raise ConfigError(msg, hint="its options are those of the function of that name") from None
    return measure(camera, images, masks, peak_times=peak_times, groups=wanted)


def add_parameters(
    batch: pa.RecordBatch,
    cameras: Mapping[int, Camera],
    *,
    cleaning: str = "tailcuts",
    options: Mapping[str, Any] | None = None,
    groups: Iterable[str] = STANDARD,
    image: str = "image",
    peak_time: str = "peak_time",
    tel_id: str = "tel_id",
) -> pa.RecordBatch:
    """Return a batch with columns of parameters (float64) behind its own, without images and peak times.

    Every row keeps its place. A row without an image has NaN.

    Parameters
    ----------
    batch
        Rows with a telescope's number and its image.
    cameras
        The camera of each telescope; all in the same unit.
    cleaning, options, groups
        As in `parametrise`.
    image, peak_time, tel_id
        Names of columns; peak times are used where they are there.

    Raises
    ------
    SchemaError
        A column is missing, or does not hold lists of numbers.
    DataError
        A telescope has no camera, or an image another number of pixels.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> image = pa.array([[30.0, 11, 12, 5, 0, 0, 0]], pa.list_(pa.float32(), 7))
    >>> rows = pa.record_batch({"tel_id": [1], "image": image})
    >>> add_parameters(rows, {1: hexagonal(7, pitch=0.05)}, groups=["morphology"]).column(1).to_pylist()
    [4.0]
    """
    wanted = group_names(groups)
    units = {camera.unit for camera in cameras.values()}
    if len(units) != 1:
        msg = f"cameras have positions in {' and '.join(sorted(units)) or 'no unit'}"
        raise ConfigError(msg, hint="give one camera at least, and all in the same unit: in_telescope_frame()")
    telescopes = column(batch, tel_id).to_numpy(zero_copy_only=False)
    pixels, times = column(batch, image), batch.column(peak_time) if peak_time in batch.schema.names else None
    first = next(iter(cameras.values()))
    names = [name for group in wanted for name in column_names(first, group)]
    out = {name: np.full(batch.num_rows, np.nan) for name in names}
    alike: dict[int, list[int]] = {}
    for tel in np.unique(telescopes).tolist():
        if tel not in cameras:
            msg = f"the telescope {tel!r} has no camera"
            raise DataError(msg, hint=f"cameras are known of {', '.join(map(str, sorted(cameras)[:20]))}")
        alike.setdefault(id(cameras[tel]), []).append(tel)
    for tels in alike.values():
        camera = cameras[tels[0]]
        at = np.flatnonzero(np.isin(telescopes, tels) & pixels.is_valid().to_numpy(zero_copy_only=False))
        some = slice(None) if len(at) == batch.num_rows else at
        late = None if times is None else image_rows(camera, _taken(times, some), what=peak_time)
        found = parametrise(
            camera,
            image_rows(camera, _taken(pixels, some), what=image),
            late,
            cleaning=cleaning,
            options=options,
            groups=wanted,
        )
        for name in names:
            out[name][at] = found[name]
    kept = [name for name in batch.schema.names if name not in {image, peak_time}]
    return pa.RecordBatch.from_arrays(
        [*(batch.column(name) for name in kept), *(pa.array(out[name]) for name in names)], names=[*kept, *names]
    )


def image_rows(camera: Camera, given: pa.Array, *, what: str = "image") -> Float32Array:
    """Return a column of lists of float32 as rows; lists of a fixed size are not copied.

    Raises
    ------
    SchemaError
        The column does not hold lists of numbers.
    DataError
        A list is null, has nulls, or another length than the camera has pixels.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> image_rows(hexagonal(2, pitch=1.0), pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    kind = given.type
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        msg = f"the column {what!r} holds {kind}"
        raise SchemaError(msg, hint="images are lists of float32")
    values = given.flatten()
    if given.null_count or values.null_count:
        msg = f"the column {what!r} has rows, or pixels, that are null"
        raise DataError(msg, hint="give NaN for a pixel without a value, and leave out rows without an image")
    if pa.types.is_fixed_size_list(kind):
        fits = kind.list_size == camera.pixels
    else:
        fits = bool((np.asarray(given.value_lengths()) == camera.pixels).all())
    if not fits:
        msg = f"the column {what!r} has lists of another length than the {camera.pixels} pixels of {camera.name!r}"
        raise DataError(msg, hint="each telescope needs the camera that its images come from")
    made: Float32Array = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return made.reshape(len(given), camera.pixels)


def _taken(given: pa.Array, some: Any) -> pa.Array:
    return given if isinstance(some, slice) else given.take(pa.array(some))

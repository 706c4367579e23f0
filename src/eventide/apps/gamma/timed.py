"""Images with what their peak times say, for models and files that want it."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.gather import gathered
from eventide.apps.gamma.images import parametrise
from eventide.apps.gamma.known import Known, known
from eventide.apps.gamma.operators import Cleaning, deviations, lengths_and_holes
from eventide.apps.gamma.schema import TIMED
from eventide.apps.gamma.site import Site, camera_of
from eventide.errors import SchemaError
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream

__all__ = ["timed"]

_GROUPS = ("timing", "peak_time")
_TAILCUTS = Cleaning()


def timed(images: Stream, site: Site, *, cleaning: Cleaning = _TAILCUTS) -> Stream:
    """Add `TIMED` to images; every row keeps its place, and those without peak times, or of no camera, have NaN.

    The fit of a line takes longer than all of `eventide.apps.gamma.operators.parameters`, and images are cleaned once
    more for it: so this is a step of its own.

    Parameters
    ----------
    images
        `DL1_IMAGE`, with ``noise`` for the cleaning ``nsb`` where there is a calibration.
    site
        The array.
    cleaning
        That of the parameters.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> images = ev.from_table(Night(made(5), seed=1).table(1))
    >>> found = ev.fetch(timed(images, made(5)))
    >>> found.column_names[-1], int(np.isfinite(found["timing_slope"].to_numpy()).sum()) > 3
    ('peak_time_kurtosis', True)
    """
    function = functools.partial(_timed, site=site, known=known(site), cleaning=cleaning)
    return images.map_batches(RowWise(function, in_parts=True), name="timing")


def _timed(batch: pa.RecordBatch, *, site: Site, known: Known, cleaning: Cleaning) -> tuple[pa.RecordBatch, None]:
    missing = [n for n in ("tel_id", "image", "peak_time") if n not in batch.schema.names]
    if missing:
        msg = f"images have no column {missing[0]!r}"
        raise SchemaError(msg, hint="times are measured of DL1_IMAGE, with peak times")
    place, there = known.of(batch)
    kinds = np.where(there & _whole(batch, "image", known.pixels[place]), known.kinds[place], -1)
    kinds[~_whole(batch, "peak_time", known.pixels[place])] = -1
    out = np.full((len(TIMED), batch.num_rows), np.nan)
    for number, kind in enumerate(site.kinds):
        camera, options = camera_of(kind), cleaning.of(kind)
        at = np.flatnonzero(kinds == number)
        if not at.size:
            continue
        images, times = (gathered(batch.column(n), at, pixels=camera.pixels) for n in ("image", "peak_time"))
        if cleaning.name == "nsb" and "noise" in batch.schema.names:
            options["pedestal_std"] = deviations(batch.column("noise").take(pa.array(at)), camera.pixels)
        found = parametrise(camera, images, times, cleaning=cleaning.name, options=options, groups=_GROUPS)
        for row, name in zip(out, TIMED.names, strict=True):
            row[at] = found[name]
    for field, values in zip(TIMED, out, strict=True):
        batch = batch.append_column(field, pa.array(values))
    return batch, None


def _whole(batch: pa.RecordBatch, name: str, pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which rows have a number for every pixel."""
    length, holes = lengths_and_holes(batch.column(name))
    whole: npt.NDArray[np.bool_] = (length == pixels) & ~holes
    return whole

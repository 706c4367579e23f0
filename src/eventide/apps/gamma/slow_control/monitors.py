"""What telescopes do: rates, pedestals, night sky and dead pixels of each, in intervals."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.gamma.gather import gathered
from eventide.apps.gamma.known import Known, known
from eventide.apps.gamma.numbers import integers_of
from eventide.apps.gamma.site import Site, camera_of
from eventide.model.aggregate import count, max_, mean
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream
from eventide.model.time import EVENT_TIME, duration
from eventide.model.window import tumbling

__all__ = ["MONITOR", "monitor"]

MONITOR: Final = pa.schema(
    [
        pa.field("start", EVENT_TIME),
        pa.field("stop", EVENT_TIME),
        pa.field("tel_id", pa.int16()),
        pa.field("images", pa.int64()),
        pa.field("rate", pa.float64(), metadata={"unit": "1/s"}),
        pa.field("pedestal", pa.float64(), metadata={"unit": "photo-electrons", "meaning": "mean of images' medians"}),
        pa.field("night_sky", pa.float64(), metadata={"unit": "photo-electrons", "meaning": "deviation of a pixel"}),
        pa.field("dead_pixels", pa.int32(), metadata={"meaning": "the most of an image"}),
    ]
)
"""One row for each telescope and interval with images."""

_LOOKED = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("tel_id", pa.int16()),
        pa.field("pedestal", pa.float64()),
        pa.field("night_sky", pa.float64()),
        pa.field("dead_pixels", pa.int32()),
    ]
)


def monitor(images: Stream, site: Site, *, every: str | timedelta = "10s", sample: int = 16) -> Stream:
    """Watch over telescopes (`MONITOR`).

    Parameters
    ----------
    images
        ``tel_id``, ``tel_event_id`` and ``image`` with event time ``time``, before anything is left out.
    site
        The array; images that do not fit their camera count for the rate only.
    every
        Length of the intervals.
    sample
        Pixels are looked at of images whose ``tel_event_id`` is a multiple of it.

    Notes
    -----
    The light of showers is in few pixels and on one side: the pedestal is the median of the pixels, the night sky how
    far the 16th percentile is below it, one standard deviation of a normal distribution. Pixels of exactly 0, or
    without a number, are dead.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> images = ev.from_table(Night(made(4), seed=1).table(2)).event_time("time", lateness="1s")
    >>> found = ev.fetch(monitor(images, made(4), sample=1))
    >>> found.schema == MONITOR, 1.4 < found["night_sky"][0].as_py() < 1.8
    (True, True)
    """
    seconds = duration(every, what="every") / 1e9
    look = functools.partial(_looked, site=site, known=known(site), sample=sample)
    looked = images.map_batches(RowWise(look, in_parts=True), schema=_LOOKED, name="look")
    found = (
        looked.key_by("tel_id")
        .window(tumbling(every))
        .aggregate(
            images=count(),
            pedestal=mean("pedestal"),
            night_sky=mean("night_sky"),
            dead_pixels=max_("dead_pixels"),
            name="monitor",
        )
    )
    return found.select(
        "tel_id", "images", "pedestal", "night_sky", "dead_pixels", start=pl.col("window_start"),
        stop=pl.col("window_end"), rate=pl.col("images") / seconds, name="monitors",
    ).select(*MONITOR.names, name="monitor-rows")  # fmt: skip


def _looked(batch: pa.RecordBatch, *, site: Site, known: Known, sample: int) -> tuple[pa.RecordBatch, None]:
    place, there = known.of(batch)
    images = batch.column("image")
    fits = there & (integers_of(pc.list_value_length(images), none=-1) == known.pixels[place])
    fits &= integers_of(batch.column("tel_event_id")) % sample == 0
    kinds = np.where(fits, known.kinds[place], -1)
    level, spread = (np.full(place.size, np.nan) for _ in range(2))
    dead = np.zeros(place.size, np.int32)
    for number, kind in enumerate(site.kinds):
        at = np.flatnonzero(kinds == number)
        if at.size:
            level[at], spread[at], dead[at] = _levels(gathered(images, at, pixels=camera_of(kind).pixels))
    sure = np.isfinite(level) & np.isfinite(spread)
    columns = [
        *(batch.column(n) for n in ("time", "tel_id")),
        *(pa.array(v, mask=~sure) for v in (level, spread)),
        pa.array(dead, mask=~sure),
    ]
    arrays = [c.cast(f.type) for c, f in zip(columns, _LOOKED, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_LOOKED), None


def _levels(
    rows: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    middle, low = rows.shape[1] // 2, int(0.158655 * rows.shape[1])
    sorted_ = np.partition(rows, (low, middle), axis=1)
    return sorted_[:, middle], sorted_[:, middle] - sorted_[:, low], ((rows == 0) | ~np.isfinite(rows)).sum(axis=1)

"""Sky maps: counts on a plane around a position as a stream of histograms, and the significance of such a map."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.numbers import numbers_of
from eventide.apps.gamma.science.significance import li_ma
from eventide.errors import UsageError
from eventide.kernel.histogram.axes import uniform
from eventide.kernel.histogram.products import product
from eventide.model.stream import Stream
from eventide.operators.histogram import histogram

__all__ = ["disc", "plane", "ring_map", "sky_map"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def plane(ra: npt.ArrayLike, dec: npt.ArrayLike, *, ra0: float, dec0: float) -> tuple[FloatArray, FloatArray]:
    """Return positions on the plane that touches the sphere at (ra0, dec0) (gnomonic projection, all degrees).

    Returns
    -------
    tuple
        To the east and to the north, degrees; NaN for what lies 90 degrees or more away.

    Examples
    --------
    >>> x, y = plane([83.6, 83.6], [22.0, 22.5], ra0=83.6, dec0=22.0)
    >>> x.round(6).tolist(), y.round(6).tolist()
    ([0.0, 0.0], [0.0, 0.500013])
    """
    lon, lat = np.radians(np.asarray(ra, np.float64) - ra0), np.radians(np.asarray(dec, np.float64))
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    depth = sin0 * np.sin(lat) + cos0 * np.cos(lat) * np.cos(lon)
    depth = np.where(depth > 1e-6, depth, np.nan)
    east = np.cos(lat) * np.sin(lon) / depth
    north = (cos0 * np.sin(lat) - sin0 * np.cos(lat) * np.cos(lon)) / depth
    return np.degrees(east), np.degrees(north)


def sky_map(
    stream: Stream, *, ra: float, dec: float, size: float = 3.0, bins: int = 60, every: str | timedelta | None = None
) -> Stream:
    """Publish maps of the counts around a position.

    Parameters
    ----------
    stream
        Events with event time and columns ``ra`` and ``dec``, degrees.
    ra, dec
        Middle of the map, degrees.
    size
        Width and height, degrees.
    bins
        Number of bins across.
    every
        Publish at the end of every such interval of event time what has been counted so far; left out, at the end.

    Returns
    -------
    Stream
        Publications of `eventide.op.histogram` with the product ``sky``: ``counts`` in rows from south to north, each
        from west to east.

    Examples
    --------
    >>> import eventide as ev
    >>> events = ev.from_table({"t": ["2026-01-01", "2026-01-02"], "ra": [83.6, 90.0], "dec": [22.0, 22.0]})
    >>> maps = ev.fetch(sky_map(events.event_time("t"), ra=83.6, dec=22.0, size=1.0, bins=3))
    >>> maps.column("counts")[0].as_py()
    [0, 0, 0, 0, 1, 0, 0, 0, 0]
    """

    def project(batch: pa.RecordBatch) -> pa.RecordBatch:
        lon, lat = (numbers_of(batch.column(n)) for n in ("ra", "dec"))
        east, north = plane(lon, lat, ra0=ra, dec0=dec)
        out = batch.append_column("east", pa.array(east)).append_column("north", pa.array(north))
        return out

    half = size / 2
    axes = (uniform("north", -half, half, bins), uniform("east", -half, half, bins))
    return stream.map_batches(project, name="project").pipe(histogram, products={"sky": product(*axes)}, every=every)


def disc(radius: float, *, inner: float = 0.0) -> BoolArray:
    """Return which pixels of a square lie in a disc, or in a ring, around its middle.

    Examples
    --------
    >>> disc(1.0).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    reach = int(np.floor(radius))
    steps = np.arange(-reach, reach + 1)
    square = steps[:, None] ** 2 + steps[None, :] ** 2
    out: BoolArray = (square <= radius**2) & (square >= inner**2)
    return out


def ring_map(
    counts: npt.ArrayLike, *, radius: float, ring: tuple[float, float], seen: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the significance of every place of a map against a ring around it.

    Parameters
    ----------
    counts
        A map of counts (2-d).
    radius
        Of the disc in which the counts of a place are taken, pixels.
    ring
        Inner and outer radius of the ring of its background, pixels, beyond the disc.
    seen
        Pixels that count as background, such as all but those around known sources; left out, all.

    Returns
    -------
    float64 array
        Li and Ma's significance; NaN where no pixel of the ring counts.

    Notes
    -----
    The ring background of Berge, Funk and Hinton, A&A 466 (2007) 1219, with the same acceptance everywhere: the ratio
    of exposures is that of the areas that are on the map.

    Examples
    --------
    >>> counts = np.full((21, 21), 4)
    >>> counts[10, 10] = 30
    >>> found = ring_map(counts, radius=1.0, ring=(4.0, 6.0))
    >>> round(float(found[10, 10]), 1), bool(abs(found[0, 0]) < 1e-6)
    (4.7, True)
    """
    if not 0 <= radius < ring[0] < ring[1]:
        msg = (
            f"ring_map(): a disc of {radius} pixels and a ring from {ring[0]} to {ring[1]} do not lie around each other"
        )
        raise UsageError(msg, hint="for example radius=3, ring=(8, 12)")
    values = np.asarray(counts, np.float64)
    mask = np.ones(values.shape) if seen is None else np.asarray(seen, np.float64)
    near, far = disc(radius), disc(ring[1], inner=ring[0])
    n_on, area_on = _summed(values, near), _summed(np.ones(values.shape), near)
    n_off, area_off = _summed(values * mask, far), _summed(mask, far)
    alpha = np.divide(area_on, area_off, out=np.ones(values.shape), where=area_off > 0)
    return np.where(area_off > 0, li_ma(n_on, n_off, alpha), np.nan)


def _summed(values: FloatArray, kernel: BoolArray) -> FloatArray:
    """Return for each pixel the sum of those around it that the kernel has."""
    reach = kernel.shape[0] // 2
    padded = np.pad(values, reach)
    out = np.zeros(values.shape)
    for row, column in zip(*np.nonzero(kernel), strict=True):
        out += padded[row : row + values.shape[0], column : column + values.shape[1]]
    return out

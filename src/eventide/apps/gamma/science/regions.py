"""On and off regions: the position that is tested, and its reflections about the pointing.

Background at the source is estimated from regions of the same size at the same distance from the pointing (the
wobble method: Fomin et al., Astroparticle Physics 2 (1994) 137; reflected regions: Berge, Funk and Hinton,
A&A 466 (2007) 1219).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.numbers import numbers_of
from eventide.errors import UsageError
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream

__all__ = ["NOWHERE", "ON", "OnOff", "add_regions", "separation"]

FloatArray = npt.NDArray[np.float64]

ON = 0
"""The region that is tested; the off regions are numbered from 1."""

NOWHERE = -1
"""In no region."""


def separation(ra: npt.ArrayLike, dec: npt.ArrayLike, *, ra0: npt.ArrayLike, dec0: npt.ArrayLike) -> FloatArray:
    """Return angles between positions on the sphere, all in degrees (haversine: exact for small ones).

    Examples
    --------
    >>> separation([10.0, 11.0], [0.5, 0.0], ra0=10.0, dec0=0.0).round(9).tolist()
    [0.5, 1.0]
    """
    lon, lat, lon0, lat0 = (np.radians(np.asarray(v, np.float64)) for v in (ra, dec, ra0, dec0))
    half = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
    out: FloatArray = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0))))
    return out


def _position_angle(ra: npt.ArrayLike, dec: npt.ArrayLike, *, ra0: FloatArray, dec0: FloatArray) -> FloatArray:
    """Return the angle at (ra0, dec0) from north through east to a position, radians."""
    lon, lat, lon0, lat0 = (np.radians(np.asarray(v, np.float64)) for v in (ra, dec, ra0, dec0))
    east = np.sin(lon - lon0) * np.cos(lat)
    north = np.cos(lat0) * np.sin(lat) - np.sin(lat0) * np.cos(lat) * np.cos(lon - lon0)
    out: FloatArray = np.arctan2(east, north)
    return out


@dataclass(frozen=True, slots=True)
class OnOff:
    """A position to test, and how many reflections of it give the background.

    Parameters
    ----------
    ra, dec
        The position, ICRS degrees.
    radius
        Radius of the regions, degrees.
    n_off
        Number of off regions; with the on region they lie evenly around the pointing.
    name
        What is there.

    Raises
    ------
    UsageError
        The position is not on the sphere, or the radius is not above zero, or there is no off region.

    Examples
    --------
    >>> crab = OnOff(83.63308, 22.0145, radius=0.03**0.5, n_off=5, name="Crab")
    >>> crab.alpha
    0.2
    >>> crab.regions([83.6, 84.0], [22.0, 21.6], ra_pnt=83.6, dec_pnt=21.5).tolist()
    [0, 1]
    """

    ra: float
    dec: float
    radius: float
    n_off: int = 5
    name: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.ra) and -90 <= self.dec <= 90 and 0 < self.radius < 90):
            msg = f"a position of ra {self.ra}, dec {self.dec} with radius {self.radius} degrees is not on the sky"
            raise UsageError(msg, hint="degrees: declination from -90 to 90, radius above 0 (0.17 is usual)")
        if self.n_off < 1:
            msg = f"n_off must be one or more, not {self.n_off}"
            raise UsageError(msg, hint="five off regions are usual at 0.5 degrees from the pointing")

    @property
    def alpha(self) -> float:
        """Ratio of the exposures of the on and the off regions."""
        return 1.0 / self.n_off

    def fits(self, ra_pnt: npt.ArrayLike, dec_pnt: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return for which pointings (degrees) no two regions overlap."""
        offset = np.radians(separation(self.ra, self.dec, ra0=ra_pnt, dec0=dec_pnt))
        apart = 2 * np.arcsin(np.clip(np.sin(offset) * np.sin(np.pi / (self.n_off + 1)), -1.0, 1.0))
        out: npt.NDArray[np.bool_] = apart >= 2 * np.radians(self.radius)
        return out

    def regions(
        self, ra: npt.ArrayLike, dec: npt.ArrayLike, *, ra_pnt: npt.ArrayLike, dec_pnt: npt.ArrayLike
    ) -> npt.NDArray[np.int8]:
        """Return the region of each event.

        Parameters
        ----------
        ra, dec
            Directions of events, ICRS degrees; NaN is in no region.
        ra_pnt, dec_pnt
            Where the telescopes pointed, one for all or one for each event. A pointing so near to the position (or
            opposite to it) that regions would overlap has no regions: its events count neither on nor off.

        Returns
        -------
        int8 array
            `ON`, 1 to `n_off`, or `NOWHERE`.
        """
        lon, lat, lon0, lat0 = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (ra, dec, ra_pnt, dec_pnt)))
        out = np.full(lon.shape, NOWHERE, np.int8)
        distance = np.radians(separation(lon, lat, ra0=lon0, dec0=lat0))
        offset = np.radians(separation(self.ra, self.dec, ra0=lon0, dec0=lat0))
        turn = _position_angle(lon, lat, ra0=lon0, dec0=lat0)
        turn = turn - _position_angle(self.ra, self.dec, ra0=lon0, dec0=lat0)
        limit = np.sin(np.radians(self.radius) / 2) ** 2
        fits = self.fits(lon0, lat0)
        for number in range(self.n_off, -1, -1):
            angle = turn - 2 * np.pi * number / (self.n_off + 1)
            half = np.sin((distance - offset) / 2) ** 2 + np.sin(distance) * np.sin(offset) * np.sin(angle / 2) ** 2
            out[fits & (half < limit)] = number
        return out


def add_regions(events: Stream, position: OnOff, *, name: str = "regions") -> Stream:
    """Add the column ``region`` to a stream of events.

    Parameters
    ----------
    events
        With columns ``ra``, ``dec``, ``ra_pnt`` and ``dec_pnt``, degrees; null is in no region.
    position
        What is tested.
    name
        Of the step.

    Examples
    --------
    >>> import eventide as ev
    >>> crab = OnOff(83.63308, 22.0145, radius=0.17)
    >>> columns = {"ra": [83.6], "dec": [22.0], "ra_pnt": [83.6], "dec_pnt": [21.4]}
    >>> ev.fetch(add_regions(ev.from_table(columns), crab)).column("region").to_pylist()
    [0]
    """

    def add(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        ra, dec, ra_pnt, dec_pnt = (numbers_of(batch.column(n)) for n in ("ra", "dec", "ra_pnt", "dec_pnt"))
        found = position.regions(ra, dec, ra_pnt=ra_pnt, dec_pnt=dec_pnt)
        return batch.append_column("region", pa.array(found)), None

    return events.map_batches(RowWise(add, in_parts=True), name=name)

"""Between the horizon of a place and the sky: altitude and azimuth to ICRS right ascension and declination, and back.

Two ways: of the mean sky, which needs nothing, and exact, by `astropy.coordinates`. Neither has refraction: pointings
are taken to be corrected for it.

The mean sky: sidereal time after Aoki et al. (A&A 105 (1982) 359), precession after Lieske et al. (A&A 58 (1977) 1).
Left out, as they are small beside the 0.05 degrees of a telescope for gamma rays: nutation and aberration (under 0.01
degrees) and the difference of UT1 and UTC (0.004 degrees).

Exact: what changes slowly (precession, nutation, where the Earth is and how it moves, polar motion) is computed at
fixed instants and interpolated between them; the rotation of the Earth and the aberration of each direction are
computed for each event.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.dl3.times import moments
from eventide.apps.gamma.numbers import numbers_of
from eventide.apps.gamma.offline import astropy_for
from eventide.errors import DataError, PipelineError, UsageError
from eventide.model.batch import Int64Array, event_times
from eventide.model.stream import Stream, origin
from eventide.model.time import duration, format_time

if TYPE_CHECKING:
    from astropy.time import Time
    from astropy.utils.iers import IERS_A

__all__ = ["Place", "add_radec"]

FloatArray = npt.NDArray[np.float64]

_J2000: Final = 946_728_000_000_000_000  # 2000-01-01T12:00, ns since 1970
_CENTURY_DAYS: Final = 36_525
_DAY: Final = 86_400_000_000_000
_ARCSECOND: Final = np.pi / 648_000


@dataclass(frozen=True, slots=True)
class Place:
    """A place on Earth.

    Parameters
    ----------
    latitude, longitude
        Degrees, to the north and to the east (WGS 84).
    height
        Above the ellipsoid, m; of no meaning for the mean sky.

    Raises
    ------
    UsageError
        There is no such place.

    Examples
    --------
    >>> roque = Place(28.76, -17.89)
    >>> time = np.array([1_767_225_600_000_000_000])
    >>> alt, az = roque.to_horizon(time, [83.633], [22.0145])
    >>> alt.round(1).tolist(), az.round(1).tolist()
    ([83.2], [170.2])
    >>> [v.round(6).tolist() for v in roque.to_sky(time, alt, az)]
    [[83.633], [22.0145]]
    """

    latitude: float
    longitude: float
    height: float = 0.0

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -360 <= self.longitude <= 360 and abs(self.height) < 1e5):
            msg = f"there is no place at latitude {self.latitude}, longitude {self.longitude} and {self.height} m"
            raise UsageError(msg, hint="degrees: latitude from -90 to 90, longitude east of Greenwich")

    def to_horizon(self, times: Int64Array, ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return altitude and azimuth (from north through east), degrees, of ICRS positions.

        Parameters
        ----------
        times
            ns since 1970-01-01 UTC, one for each position.
        ra, dec
            Degrees.
        """
        lon, lat = (np.radians(np.asarray(v, np.float64)) for v in (ra, dec))
        x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
        zeta, zz, theta = _precession(times)
        x, y = _turned(x, y, zeta)
        z, x = _turned(z, x, -theta)
        x, y = _turned(x, y, zz)
        x, y = _turned(x, y, -self._sidereal(times))
        up = np.radians(90.0 - self.latitude)
        # x points to where the equator meets the meridian, y to the east.
        south, high = x * np.cos(up) - z * np.sin(up), x * np.sin(up) + z * np.cos(up)
        alt = np.degrees(np.arctan2(high, np.hypot(south, y)))
        return alt, np.degrees(np.arctan2(y, -south)) % 360.0

    def to_sky(self, times: Int64Array, alt: npt.ArrayLike, az: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return ICRS right ascension and declination, degrees, of directions; the inverse of `to_horizon`."""
        high, round_ = (np.radians(np.asarray(v, np.float64)) for v in (alt, az))
        south, y, top = -np.cos(high) * np.cos(round_), np.cos(high) * np.sin(round_), np.sin(high)
        up = np.radians(90.0 - self.latitude)
        x, z = south * np.cos(up) + top * np.sin(up), top * np.cos(up) - south * np.sin(up)
        zeta, zz, theta = _precession(times)
        x, y = _turned(x, y, self._sidereal(times))
        x, y = _turned(x, y, -zz)
        z, x = _turned(z, x, theta)
        x, y = _turned(x, y, -zeta)
        return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))

    def to_sky_exact(
        self, times: Int64Array, alt: npt.ArrayLike, az: npt.ArrayLike, *, step: str | timedelta = "5m"
    ) -> tuple[FloatArray, FloatArray]:
        """Return right ascension and declination (ICRS), degrees, by astropy.

        Parameters
        ----------
        times
            ns since 1970-01-01 UTC, int64 (n,).
        alt, az
            Degrees, azimuth from north through east; NaN, or an altitude beyond 90, gives NaN.
        step
            Between the instants that are interpolated; zero computes all for each event, 25 times slower. Instants are
            whole multiples of it, so that no result depends on which other events there are. Of 10,000 directions of a
            night none was 0.1 microarcseconds off with five minutes, nor 10 with an hour.

        Raises
        ------
        DataError
            The rotation of the Earth at a time is not in the installed tables, which end a year after they were made.
        MissingDependencyError
            astropy is not installed.

        Examples
        --------
        >>> from eventide.model.time import instant
        >>> fact = Place(28.761795, -17.890701, 2199.4)
        >>> ra, dec = fact.to_sky_exact(np.array([instant("2013-11-04T02:00:00")]), [64.9], [95.4])
        >>> ra.round(2).tolist(), dec.round(2).tolist()
        ([82.82], [23.62])
        """
        astropy_for("positions on the sky")
        from astropy import units
        from astropy.coordinates import ICRS, AltAz, EarthLocation
        from astropy.coordinates.erfa_astrom import ErfaAstrom, ErfaAstromInterpolator, erfa_astrom
        from astropy.utils.iers import earth_orientation_table

        every = duration(step, what="step of to_sky_exact()", zero=True)
        up, turn = np.asarray(alt, np.float64), np.asarray(az, np.float64)
        ra, dec = np.full(up.shape, np.nan), np.full(up.shape, np.nan)
        good = np.isfinite(up) & np.isfinite(turn) & (np.abs(up) <= 90.0)
        if not good.any():
            return ra, dec
        place = EarthLocation.from_geodetic(
            self.longitude * units.deg, self.latitude * units.deg, self.height * units.m
        )
        between = ErfaAstromInterpolator(every * units.ns) if every else ErfaAstrom()
        with _lock, warnings.catch_warnings(), earth_orientation_table.set(_rotation()), erfa_astrom.set(between):
            warnings.simplefilter("ignore")  # of times far away, which are refused
            when = _with_rotation(times[good])
            seen = AltAz(alt=up[good] * units.deg, az=turn[good] * units.deg, obstime=when, location=place)
            found = seen.transform_to(ICRS())
        ra[good], dec[good] = found.ra.deg, found.dec.deg
        return ra, dec

    def _sidereal(self, times: Int64Array) -> FloatArray:
        """Return local mean sidereal time, radians."""
        days, part = np.divmod(np.asarray(times, np.int64) - _J2000, _DAY)
        since = days + part / _DAY
        centuries = since / _CENTURY_DAYS
        # The whole turns of whole days are left out, so that no digits are lost.
        degrees = 280.46061837 + 360.0 * (part / _DAY) + 0.98564736629 * since + 0.000387933 * centuries**2
        out: FloatArray = np.radians(degrees % 360.0 + self.longitude)
        return out


def _turned(a: FloatArray, b: FloatArray, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
    cos, sin = np.cos(angle), np.sin(angle)
    return a * cos - b * sin, a * sin + b * cos


def _precession(times: Int64Array) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the angles of precession since J2000, radians."""
    t = (np.asarray(times, np.int64) - _J2000) / (_CENTURY_DAYS * _DAY)
    zeta = (2306.2181 * t + 0.30188 * t**2 + 0.017998 * t**3) * _ARCSECOND
    z = (2306.2181 * t + 1.09468 * t**2 + 0.018203 * t**3) * _ARCSECOND
    theta = (2004.3109 * t - 0.42665 * t**2 - 0.041833 * t**3) * _ARCSECOND
    return zeta, z, theta


_lock = threading.Lock()
"""astropy's tables and ways to interpolate are settings of the process."""


@cache
def _rotation() -> IERS_A:
    """Return the measured rotation of the Earth and predictions of it, as installed."""
    from astropy.utils import iers

    return iers.IERS_A.open(iers.IERS_A_FILE)


def _with_rotation(times: Int64Array) -> Time:
    """Return times that know how far the Earth has turned: astropy would take a mean turn for those that it lacks."""
    from astropy.utils import iers

    out = moments(times).utc
    turn, status = _rotation().ut1_utc(out, return_status=True)
    lost = np.isin(status, (iers.TIME_BEFORE_IERS_RANGE, iers.TIME_BEYOND_IERS_RANGE))
    if lost.any():
        msg = f"how far the Earth has turned at {format_time(int(times[lost][0]))} is not known here"
        raise DataError(msg, hint="pip install --upgrade astropy-iers-data, which is good for a year ahead")
    out.delta_ut1_utc = turn
    return out


def add_radec(
    events: Stream,
    place: Place,
    *,
    names: Mapping[str, str] = MappingProxyType({"alt": "ra", "az": "dec"}),
    step: str | timedelta = "5m",
) -> Stream:
    """Add right ascension and declination (ICRS) to a stream of directions.

    Parameters
    ----------
    events
        With event time, and columns of altitude and azimuth, degrees.
    place
        Where the telescopes stand.
    names
        The columns of altitude and azimuth, in this order, and what is made of them. For where telescopes pointed:
        ``{"telescope_pointing_altitude": "ra_pnt", "telescope_pointing_azimuth": "dec_pnt"}``.
    step
        As of `Place.to_sky_exact`.

    Returns
    -------
    Stream
        With two columns more, float64; null where a direction is null or cannot be one.

    Raises
    ------
    PipelineError
        The stream has no event time, or `names` are not two.
    DataError
        (when it runs) The rotation of the Earth at an event is not known.

    Examples
    --------
    >>> import eventide as ev
    >>> rows = {"t": ["2013-11-04T02:00:00"] * 2, "alt": [64.9, None], "az": [95.4, None]}
    >>> seen = add_radec(ev.from_table(rows).event_time("t"), Place(28.761795, -17.890701, 2199.4))
    >>> ra, dec = (ev.fetch(seen)[n].to_pylist() for n in ("ra", "dec"))
    >>> round(ra[0], 2), round(dec[0], 2), ra[1]
    (82.82, 23.62, None)
    """
    if not events.time or len(names) != 2:
        msg = f"add_radec() takes a stream with event time and two columns, not {dict(names)} ({origin()})"
        raise PipelineError(msg, hint='for example .event_time("time") and {"alt": "ra", "az": "dec"}')
    duration(step, what="step of add_radec()", zero=True)
    clock = events.time

    def add(batch: pa.RecordBatch) -> pa.RecordBatch:
        alt, az = (numbers_of(batch.column(n)) for n in names)
        found = place.to_sky_exact(event_times(batch, clock), alt, az, step=step)
        for name, values in zip(names.values(), found, strict=True):
            batch = batch.append_column(name, pa.array(values, mask=np.isnan(values)))
        return batch

    return events.map_batches(add, name="radec")

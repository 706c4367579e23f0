"""Between the horizon of a place and the sky: altitude and azimuth to ICRS right ascension and declination, and back.

Sidereal time after Aoki et al. (A&A 105 (1982) 359), precession after Lieske et al. (A&A 58 (1977) 1). Left out, as
they are small beside the 0.05 degrees of a telescope for gamma rays: nutation and aberration (under 0.01 degrees), the
difference of UT1 and UTC (0.004 degrees) and refraction (pointings are taken to be corrected for it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError
from eventide.model.batch import Int64Array

__all__ = ["Place"]

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
        Degrees, to the north and to the east.

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

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -360 <= self.longitude <= 360):
            msg = f"there is no place at latitude {self.latitude} and longitude {self.longitude}"
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

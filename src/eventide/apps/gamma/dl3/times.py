"""Time stamps of FITS event lists as UTC nanoseconds: seconds since a reference, in a scale of time.

By `astropy.time`, which has the leap seconds. Seconds are those that elapsed: where the reference is in UTC, leap
seconds since then count, as gammapy and the DATE-OBS of FACT's files have it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.offline import astropy_for
from eventide.errors import DataError, near_names
from eventide.model.batch import Int64Array

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = ["SCALES", "from_utc", "moments", "to_utc"]

_MJD_1970 = 40_587
_DAY = 86_400_000_000_000
_SECOND = 1_000_000_000

SCALES: Final = ("utc", "tai", "tt", "tdb", "tcg", "tcb")
"""Scales of time that are known. TDB and TCB are taken at the centre of the Earth: a telescope is 2 us off that."""


def _reference(mjd: int, fraction: float, scale: str) -> Time:
    astropy_for("times of event lists")
    from astropy.time import Time

    name = scale.strip().lower()
    if name not in SCALES:
        msg = f"there is no scale of time {scale!r} here"
        raise DataError(msg, hint=near_names(name, SCALES))
    return Time(float(mjd), fraction, format="mjd", scale=name)


def moments(times: Int64Array) -> Time:
    """Return times, ns since 1970-01-01 UTC, as an astropy `Time` in TAI; exact to better than 0.1 ns.

    Examples
    --------
    >>> moments(np.array([1_483_228_800_000_000_001])).utc.isot.tolist()
    ['2017-01-01T00:00:00.000']
    """
    astropy_for("times of event lists")
    from astropy.time import Time, TimeDelta

    day, rest = np.divmod(np.asarray(times, np.int64), _DAY)
    # Midnight is a whole number of days in UTC; seconds after it elapse as in TAI, up to a leap second at its end.
    return Time(day + float(_MJD_1970), format="mjd", scale="utc").tai + TimeDelta(rest / _DAY, format="jd")


def to_utc(seconds: npt.ArrayLike, *, mjd: int, fraction: float = 0.0, scale: str = "utc") -> Int64Array:
    """Return times as ns since 1970-01-01 UTC.

    Parameters
    ----------
    seconds
        Seconds since the reference, finite. What float64 cannot hold is lost before: it resolves 15 ns three years
        after the reference, 60 ns twelve years after; conversion adds less than 1 ns.
    mjd, fraction
        The reference in its own scale, days (MJDREFI and MJDREFF).
    scale
        One of `SCALES`, in letters of any case (TIMESYS).

    Raises
    ------
    DataError
        The scale is unknown, a time is not finite, or it is outside the years 1678 to 2261.
    MissingDependencyError
        astropy is not installed.

    Notes
    -----
    A time in a leap second becomes one in the second after it, as in every count of seconds since 1970. Before 1972 the
    seconds of UTC were longer than those that are counted here, by 15 to 30 ns.

    Examples
    --------
    >>> to_utc([0.25], mjd=58_849).tolist()
    [1577836800250000000]
    >>> (to_utc([0.0], mjd=58_000, scale="tt") - to_utc([0.0], mjd=58_000)).tolist()
    [-69184000000]
    """
    values = np.asarray(seconds, np.float64)
    days = mjd - _MJD_1970
    size = np.abs(values) + abs(days) * 86_400.0
    if not np.isfinite(size).all() or size.max(initial=0.0) > 9.2e9 or not abs(fraction) < 1e4:
        msg = f"a time of {values[~(size <= 9.2e9)].ravel()[:1]} s since MJD {mjd} cannot be a time of an event"
        raise DataError(msg, hint="see the units of TIME and MJDREFI; they should be s and d")
    start = _reference(mjd, fraction, scale)
    from astropy.time import TimeDelta

    # Whole days and the rest apart: days alone as a float64 would be good to 80 ns only.
    day = np.floor(values / 86_400.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # leap seconds of years to come, and of those before 1960, are not known
        parts = (start + TimeDelta(day, (values - day * 86_400.0) / 86_400.0, format="jd")).utc.ymdhms
    months = (parts["year"].astype(np.int64) - 1970) * 12 + parts["month"] - 1
    date = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + parts["day"] - 1
    whole = (date * 24 + parts["hour"]) * 60 + parts["minute"]
    out: Int64Array = whole * (60 * _SECOND) + np.rint(parts["second"] * _SECOND).astype(np.int64)
    return out


def from_utc(times: Int64Array, *, mjd: int, scale: str = "utc") -> npt.NDArray[np.float64]:
    """Return times, ns since 1970-01-01 UTC, as seconds since a reference day of a scale; float64 rounds them.

    Examples
    --------
    >>> from_utc(to_utc([86_400.5], mjd=58_000, scale="tt"), mjd=58_000, scale="tt").tolist()
    [86400.5]
    """
    start = _reference(mjd, 0.0, scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        since = getattr(moments(times), start.scale) - start
    out: npt.NDArray[np.float64] = since.to_value("sec")
    return out

"""Time stamps of FITS event lists as UTC nanoseconds: reference epoch, seconds since, and a scale of time.

UTC, TAI (ahead of it by the leap seconds) and TT (ahead of TAI by 32.184 s). The leap seconds are those of IERS
Bulletin C since 1972; none has been announced since 2017.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError, near_names
from eventide.model.batch import Int64Array

__all__ = ["SCALES", "from_utc", "to_utc"]

_MJD_1970 = 40_587
_DAY = 86_400_000_000_000
_SECOND = 1_000_000_000
_TT = 32_184_000_000

SCALES: Final = ("utc", "tai", "tt")
"""Scales of time that are known."""

_LEAPS = [
    "1972-01 1972-07 1973-01 1974-01 1975-01 1976-01 1977-01 1978-01 1979-01 1980-01 1981-07 1982-07 1983-07 1985-07",
    "1988-01 1990-01 1991-01 1992-07 1993-07 1994-07 1996-01 1997-07 1999-01 2006-01 2009-01 2012-07 2015-07 2017-01",
]
_SINCE: Final = np.array(
    [int(datetime.strptime(m, "%Y-%m").replace(tzinfo=UTC).timestamp()) * _SECOND for m in " ".join(_LEAPS).split()],
    np.int64,
)
"""From when on TAI - UTC is 10, 11 ... 37 s, ns UTC."""


def _offset(scale: str) -> int | None:
    """Return how far a scale is ahead of TAI, ns; None is UTC."""
    name = scale.strip().lower()
    if name not in SCALES:
        msg = f"there is no scale of time {scale!r} here"
        raise DataError(msg, hint=near_names(name, SCALES))
    return {"utc": None, "tai": 0, "tt": _TT}[name]


def to_utc(seconds: npt.ArrayLike, *, mjd: int, fraction: float = 0.0, scale: str = "utc") -> Int64Array:
    """Return times as ns since 1970-01-01 UTC.

    Parameters
    ----------
    seconds
        Seconds since the reference, finite; float64 resolves a quarter of a microsecond 30 years after it.
    mjd, fraction
        The reference in its own scale, days (MJDREFI and MJDREFF).
    scale
        ``"utc"``, ``"tai"`` or ``"tt"`` (TIMESYS).

    Raises
    ------
    DataError
        The scale is unknown, a time is not finite, or it is outside the years 1678 to 2261.

    Examples
    --------
    >>> to_utc([0.25], mjd=40_587).tolist()
    [250000000]
    >>> (to_utc([0.0], mjd=58_000, scale="tt") - to_utc([0.0], mjd=58_000)).tolist()
    [-69184000000]
    """
    ahead = _offset(scale)
    values = np.asarray(seconds, np.float64)
    days = mjd - _MJD_1970
    whole = np.floor(values)
    size = np.abs(whole) + abs(days) * 86_400.0
    if not np.isfinite(size).all() or size.max(initial=0.0) > 9.2e9:
        msg = f"a time of {values[~(size <= 9.2e9)].flat[0]} s since MJD {mjd} cannot be a time of an event"
        raise DataError(msg, hint="see the units of TIME and MJDREFI; they should be s and d")
    rest = np.rint((values - whole) * _SECOND).astype(np.int64)
    out: Int64Array = whole.astype(np.int64) * _SECOND + rest + (days * _DAY + round(fraction * _DAY))
    if ahead is None:
        return out
    tai = out - ahead
    leaps = 9 + np.searchsorted(_SINCE + (9 + np.arange(1, _SINCE.size + 1)) * _SECOND, tai, side="right")
    return tai - leaps * _SECOND


def from_utc(times: Int64Array, *, mjd: int, scale: str = "utc") -> npt.NDArray[np.float64]:
    """Return times, ns since 1970-01-01 UTC, as seconds since a reference day of a scale.

    Examples
    --------
    >>> from_utc(to_utc([86_400.5], mjd=58_000, scale="tt"), mjd=58_000, scale="tt").tolist()
    [86400.5]
    """
    ahead = _offset(scale)
    values = np.asarray(times, np.int64)
    if ahead is not None:
        values = values + ahead + (9 + np.searchsorted(_SINCE, values, side="right")) * _SECOND
    whole, rest = np.divmod(values - (mjd - _MJD_1970) * _DAY, _SECOND)
    return whole + rest / _SECOND

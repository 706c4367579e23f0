"""Event time: durations, instants and the declaration that a stream has an event-time column.

All times are signed 64-bit nanoseconds since 1970-01-01 UTC, as in Arrow's ``timestamp[ns, UTC]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from eventide.errors import UsageError

__all__ = [
    "EVENT_TIME",
    "MAX_TIME",
    "MIN_TIME",
    "EventTime",
    "duration",
    "format_duration",
    "format_time",
    "instant",
    "signed_duration",
]

EVENT_TIME: pa.DataType = pa.timestamp("ns", "UTC")
"""The Arrow type of every event-time column."""

MIN_TIME = -(2**63) + 1
"""Watermark before anything is known (int64 minimum itself is Arrow's and numpy's not-a-time)."""

MAX_TIME = 2**63 - 1
"""Watermark after the end of the input."""

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|min|s|m|h|d|w)")
_WHOLE = re.compile(rf"\s*({_PART.pattern}\s*)+")


def duration(value: str | timedelta, *, what: str = "duration", zero: bool = False) -> int:
    """Return a duration in nanoseconds.

    Parameters
    ----------
    value
        Text such as ``"30s"``, ``"20m"``, ``"1h30m"``, ``"250ms"``, or a `datetime.timedelta`.
    what
        What the duration is for, used in the error.
    zero
        Whether zero is allowed.

    Raises
    ------
    UsageError
        A bare number, an unknown unit, a negative duration, or zero where it makes no sense.

    Examples
    --------
    >>> duration("1h30m")
    5400000000000
    >>> duration(timedelta(milliseconds=2))
    2000000
    """
    hint = "write a number and a unit, such as '250ms', '30s', '20m', '1h30m' or '7d', or pass a timedelta"
    if isinstance(value, timedelta):
        ns = (value.days * 86_400 + value.seconds) * 1_000_000_000 + value.microseconds * 1_000
    elif isinstance(value, str):
        if value.strip().startswith("-"):
            msg = f"{what} {value!r} is negative"
            raise UsageError(msg, hint=hint)
        if value.strip() == "0":
            ns = 0
        elif not _WHOLE.fullmatch(value):
            msg = f"{what} {value!r} is not a duration"
            raise UsageError(msg, hint=hint)
        else:
            ns = sum(round(float(number) * _UNITS[unit]) for number, unit in _PART.findall(value))
    else:
        msg = f"{what} {value!r} has no unit"
        raise UsageError(msg, hint=hint)
    if ns < 0 or (ns == 0 and not zero):
        msg = f"{what} must be {'zero or more' if zero else 'more than zero'}, not {value!r}"
        raise UsageError(msg, hint=hint)
    if ns >= 2**62:
        msg = f"{what} {value!r} is longer than 146 years"
        raise UsageError(msg, hint=hint)
    return ns


def signed_duration(value: str | timedelta, *, what: str = "bound") -> int:
    """Return a duration that may be negative or zero, in nanoseconds.

    Examples
    --------
    >>> signed_duration("-5s"), signed_duration("+1m"), signed_duration("0")
    (-5000000000, 60000000000, 0)
    """
    if isinstance(value, timedelta):
        return -duration(-value, what=what) if value < timedelta(0) else duration(value, what=what, zero=True)
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text[:1] in {"-", "+"}:
        size = duration(text[1:], what=what, zero=True)
        return -size if text[0] == "-" else size
    return duration(text, what=what, zero=True)


def format_duration(ns: int) -> str:
    """Return a duration as the shortest text that `duration` reads back.

    Examples
    --------
    >>> format_duration(5_400_000_000_000)
    '90m'
    """
    if ns < 0:
        return "-" + format_duration(-ns)
    for unit in ("w", "d", "h", "m", "s", "ms", "us"):
        if ns and ns % _UNITS[unit] == 0:
            return f"{ns // _UNITS[unit]}{unit}"
    return f"{ns}ns"


def instant(value: str | datetime | int, *, what: str = "time") -> int:
    """Return an instant in nanoseconds since 1970-01-01 UTC; a naive time is taken as UTC.

    Raises
    ------
    UsageError
        `value` is not an ISO 8601 time.

    Examples
    --------
    >>> instant("1970-01-01T00:00:01")
    1000000000
    """
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            msg = f"{what} {value!r} is not an ISO 8601 time"
            raise UsageError(msg, hint="write it as 2026-05-01T12:00:00Z") from None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def format_time(ns: int) -> str:
    """Return an instant as ISO 8601 text in UTC with as many digits as it needs.

    Examples
    --------
    >>> format_time(1_500_000_000)
    '1970-01-01T00:00:01.5Z'
    """
    if ns <= MIN_TIME:
        return "-inf"
    if ns >= MAX_TIME:
        return "+inf"
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"


@dataclass(frozen=True, slots=True)
class EventTime:
    """The declaration of a stream's event time.

    Parameters
    ----------
    column
        Name of the event-time column, ``timestamp[ns, UTC]`` once read.
    lateness
        How far behind the newest event of its partition an event may arrive, ns. The watermark of a
        partition is its newest event time minus this (bounded out-of-orderness).
    idle
        After this long without events a partition no longer holds the watermark back, ns of
        processing time; 0 means never.
    max_jump
        An event that leaps further than this ahead of the newest event of its partition does not move
        the watermark and goes to quarantine, ns; 0 means no limit.
    """

    column: str
    lateness: int
    idle: int = 0
    max_jump: int = 0

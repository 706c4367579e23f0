"""Units of times of flight: ns in messages of ESS, us in files of ISIS and in calibrations, 0.1 us in ADARA."""

from __future__ import annotations

from eventide.errors import UsageError, near_names

__all__ = ["UNITS", "per_microsecond"]

UNITS = {"ns": 1e-3, "100ns": 1e-1, "us": 1.0, "ms": 1e3, "s": 1e6}
"""How many us each is."""


def per_microsecond(unit: str) -> float:
    """Return how many us a unit of time is.

    Raises
    ------
    UsageError
        It is unknown.

    Examples
    --------
    >>> per_microsecond("ns")
    0.001
    """
    if unit not in UNITS:
        msg = f"{unit!r} is no unit of a time of flight"
        raise UsageError(msg, hint=near_names(str(unit), list(UNITS)))
    return UNITS[unit]

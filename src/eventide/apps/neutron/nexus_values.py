"""What NeXus files hold, as values: text of attributes, times as whole ns, numbers of 32 bits."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError, MissingDependencyError

__all__ = ["UNITS", "fits", "library", "nanoseconds", "text_of"]

Array = npt.NDArray[Any]

UNITS: Final = {
    **dict.fromkeys(("s", "second", "seconds", "sec"), 1e9),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e6),
    **dict.fromkeys(("us", "microsecond", "microseconds", "\N{MICRO SIGN}s"), 1e3),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1.0),
}
"""Units of time, and how many ns they are."""


_INT32, _INT64 = 2**31, 2**63


def library() -> Any:
    """Return h5py, or say how to get it."""
    try:
        import h5py
    except ImportError:
        msg = "NeXus files need h5py, which is not installed"
        raise MissingDependencyError(msg, hint="pip install eventide[neutron]") from None
    return h5py


def text_of(value: Any) -> str:
    """Return an attribute, which is text, bytes or an array of one of them."""
    if value is None:
        return ""
    one = np.asarray(value).ravel()[:1].tolist()
    return "" if not one else one[0].decode("utf-8", "replace") if isinstance(one[0], bytes) else str(one[0])


def nanoseconds(values: Array, dataset: Any, *, without: str, where: str) -> npt.NDArray[np.int64]:
    """Return times as whole ns; refuse what 64 bits do not hold."""
    unit = text_of(dataset.attrs.get("units")) or without
    if unit not in UNITS:
        msg = f"{where} has the unit {unit!r}"
        raise DataError(msg, hint=f"known are {', '.join(sorted(UNITS))}")
    factor = UNITS[unit]
    if not values.size:
        return np.empty(0, np.int64)
    if values.dtype.kind == "f":
        exact = values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            made = np.rint(exact * factor)
        wrong = np.flatnonzero(~(np.abs(made) < float(_INT64)))
    else:
        limit = (_INT64 - 1) // int(factor)
        low = int(values.min()) < -limit
        wrong = np.flatnonzero((values > limit) | (values < -limit if low else False))
        made = values
    if wrong.size:
        at = int(wrong[0])
        msg = f"{where}: number {at}, {values[at]} {unit}, does not fit ns in 64 bits"
        raise DataError(
            msg, hint="a number without a sign that ran over, or the wrong unit: mend or leave out the pulse"
        )
    return made.astype(np.int64) if values.dtype.kind == "f" else made.astype(np.int64) * int(factor)


def fits(values: Array) -> bool:
    """Tell whether numbers are whole ones of 32 bits."""
    small = not values.size or -_INT32 <= int(values.min()) <= int(values.max()) < _INT32
    return values.dtype.kind != "f" and small

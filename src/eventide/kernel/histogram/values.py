"""Where the values of an axis come from: a column, or a time converted with constants of the event's pixel.

Wavelength and d-spacing are ``constant[pixel] * time``, momentum transfer is ``constant[pixel] / time``, energy the
square of such a ratio. A calibrated d-spacing solves ``time = difa d^2 + difc d + tzero``; its inverse is a momentum
transfer. Units are those of the constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = [
    "Calibrated",
    "Column",
    "Ratio",
    "Scaled",
    "Value",
    "calibrated",
    "columns_of",
    "ratio",
    "scaled",
    "value_of",
]

Array = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]

MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Column:
    """The values of a column."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """``constants[pixel - first] * time``."""

    pixel: str
    time: str
    constants: Float64Array
    first: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """``constants[pixel - first] / time``, or the square of that."""

    pixel: str
    time: str
    constants: Float64Array
    first: int = 0
    squared: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """The root d of ``time = difa d^2 + difc d + tzero``, with the constants of the pixel, or one over it."""

    pixel: str
    time: str
    difa: Float64Array
    difc: Float64Array
    tzero: Float64Array
    first: int = 0
    inverse: bool = False


Value: TypeAlias = Column | Scaled | Ratio | Calibrated


def value_of(value: str | Value) -> Value:
    """Return a value as it is, or the name of a column as a `Column`.

    Raises
    ------
    UsageError
        It is neither.

    Examples
    --------
    >>> value_of("tof")
    Column(name='tof')
    """
    if isinstance(value, str):
        return Column(value)
    if isinstance(value, Column | Scaled | Ratio | Calibrated):
        return value
    msg = f"an axis cannot take its values from {value!r}"
    raise UsageError(msg, hint="name a column, or convert one with scaled(), ratio() or calibrated()")


def columns_of(value: Value) -> tuple[str, ...]:
    """Return the columns that a value is made of.

    Examples
    --------
    >>> columns_of(scaled("pixel", "tof", [1.0]))
    ('pixel', 'tof')
    """
    return (value.name,) if isinstance(value, Column) else (value.pixel, value.time)


def scaled(pixel: str, time: str, constants: npt.ArrayLike, *, first: int = 0) -> Scaled:
    """Convert a time with one constant per pixel: ``constants[pixel - first] * time``.

    Parameters
    ----------
    pixel
        Column of integers.
    time
        Column of numbers.
    constants
        One per pixel, float64; NaN where the pixel is masked.
    first
        The pixel of the first constant.

    Raises
    ------
    UsageError
        There are no constants, or they are not numbers in one row.

    Examples
    --------
    >>> wavelength = scaled("pixel_id", "tof", 3.9560340e-3 / np.array([10.0, 10.5]))  # Angstrom from us and m
    >>> wavelength.constants.round(6).tolist()
    [0.000396, 0.000377]
    """
    return Scaled(pixel, time, _constants(constants, "scaled()"), _first(first, "scaled()"))


def ratio(pixel: str, time: str, constants: npt.ArrayLike, *, first: int = 0, squared: bool = False) -> Ratio:
    """Convert a time with one constant per pixel: ``constants[pixel - first] / time``.

    A time of 0 gives infinity, which is above every axis; errors are those of `scaled`.

    Parameters
    ----------
    pixel, time, constants, first
        As in `scaled`.
    squared
        Take the square of the ratio: the energy of a neutron, from the root of its constant.

    Examples
    --------
    >>> ratio("pixel_id", "tof", [1200.0, float("nan")]).constants.tolist()
    [1200.0, nan]
    """
    return Ratio(pixel, time, _constants(constants, "ratio()"), _first(first, "ratio()"), bool(squared))


def calibrated(
    pixel: str,
    time: str,
    *,
    difc: npt.ArrayLike,
    difa: npt.ArrayLike | None = None,
    tzero: npt.ArrayLike | None = None,
    first: int = 0,
    inverse: bool = False,
) -> Calibrated:
    """Convert a time to the d-spacing of a calibration: the d of ``time = difa d^2 + difc d + tzero``.

    Of the two roots the one that becomes ``(time - tzero) / difc`` as `difa` goes to 0, in the form that loses no
    digits to cancellation and needs no other for ``difa = 0``: ``2 t / (difc + sqrt(difc^2 + 4 difa t))`` with
    ``t = time - tzero``, the square root having the sign of `difc`. Where there is no real root, the event counts as
    not a number.

    Parameters
    ----------
    pixel, time, first
        As in `scaled`.
    difc, difa, tzero
        Per pixel; with the time in us: us/Angstrom, us/Angstrom^2 and us. `difc` NaN masks a pixel.
    inverse
        Take 1/d. Times ``f``: with `difc` times f and `difa` times f^2, as that is the d of ``d / f``.

    Raises
    ------
    UsageError
        The constants are not numbers in rows of one length.

    Examples
    --------
    >>> calibrated("pixel_id", "tof", difc=[1000.0, 2000.0]).tzero.tolist()
    [0.0, 0.0]
    """
    c = _constants(difc, "calibrated()")
    a = np.zeros(c.size) if difa is None else _constants(difa, "calibrated()")
    z = np.zeros(c.size) if tzero is None else _constants(tzero, "calibrated()")
    if a.size != c.size or z.size != c.size:
        msg = f"calibrated() got {c.size} difc, {a.size} difa and {z.size} tzero"
        raise UsageError(msg, hint="give one of each per pixel")
    return Calibrated(pixel, time, a, c, z, _first(first, "calibrated()"), bool(inverse))


def _constants(given: npt.ArrayLike, what: str) -> Float64Array:
    try:
        out = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{what} cannot take its constants: {error}"
        raise UsageError(msg, hint="give an array of numbers, one per pixel") from error
    if out.ndim != 1 or not 0 < out.size <= MOST_PIXELS:
        msg = f"{what} needs constants in one row, not of the shape {out.shape}"
        raise UsageError(msg, hint="give an array of numbers, one per pixel")
    out.flags.writeable = False
    return out


def _first(first: int, what: str) -> int:
    if not isinstance(first, int) or isinstance(first, bool) or not -(2**62) <= first <= 2**62:
        msg = f"{what} cannot begin with pixel {first!r}"
        raise UsageError(msg, hint="first= is a whole number between -2**62 and 2**62")
    return first

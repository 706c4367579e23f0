"""Axes as data: where the values come from, and into which bins they go. Bins are half-open, [low, high), all of them.

A value exactly on an edge belongs to the bin above it, and one on the last edge is above the axis. That is what
``np.searchsorted(edges, values, side="right") - 1`` gives, and not what ``np.histogram`` does with the last bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError
from eventide.kernel.histogram.values import Column, Value, columns_of, value_of

__all__ = [
    "MOST_BINS",
    "Axis",
    "Edges",
    "Pixels",
    "Rows",
    "axis_columns",
    "describe_axis",
    "edges",
    "integers",
    "logarithmic",
    "pixels",
    "rows",
    "uniform",
]

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]

MOST_BINS = 2**31 - 64
"""Bins that an axis, and a product, can have."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Bins between ascending edges; `form` is how they were given, for those who read it."""

    name: str
    value: Value
    edges: Float64Array = field(repr=False)
    unit: str = ""
    form: tuple[Any, ...] = ("edges",)

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.edges.size - 1


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """One bin per pixel from `first` on; others are unknown."""

    name: str
    value: Column
    first: int
    bins: int
    unit: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The row ``table[pixel - first]``; a negative one is masked, a pixel beyond the table unknown."""

    name: str
    value: Column
    table: Int32Array = field(repr=False)
    bins: int
    first: int = 0
    unit: str = ""


Axis: TypeAlias = Edges | Pixels | Rows


def uniform(value: str | Value, low: float, high: float, bins: int, *, name: str = "", unit: str = "") -> Edges:
    """Return an axis of equally wide bins, with the edges ``np.linspace(low, high, bins + 1)``.

    Parameters
    ----------
    value
        A column of numbers, or a converted time.
    low, high
        First and last edge, in the unit of the values.
    bins
        Number of bins.
    name
        Name of the axis; left out, that of the (time) column.
    unit
        For readers.

    Raises
    ------
    UsageError
        The edges do not ascend: the range is empty, or narrower than so many doubles.

    Examples
    --------
    >>> axis = uniform("tof", 0, 100, 4, unit="ms")
    >>> axis.edges.tolist(), axis.bins
    ([0.0, 25.0, 50.0, 75.0, 100.0], 4)
    """
    count = _count(bins, "uniform()")
    _finite(low, high, "uniform()")
    with np.errstate(all="ignore"):
        made = np.linspace(float(low), float(high), count + 1)
    return _edges(value, made, name, unit, ("uniform", float(low), float(high), count))


def integers(value: str | Value, first: int, count: int, *, name: str = "", unit: str = "") -> Edges:
    """Return an axis with one bin for each integer from `first` on; others are below or above.

    Raises
    ------
    UsageError
        There is no integer, or they are beyond 2**53, where doubles skip some.

    Examples
    --------
    >>> integers("period", 1, 3).edges.tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    number = _count(count, "integers()")
    if not isinstance(first, int) or isinstance(first, bool) or max(abs(first), abs(first + number)) > 2**53:
        msg = f"integers() cannot have the {number} integers from {first!r} on"
        raise UsageError(msg, hint="first= is a whole number; those beyond 2**53 have no bins of their own")
    return _edges(
        value, np.arange(first, first + number + 1, dtype=np.float64), name, unit, ("integers", first, number)
    )


def logarithmic(value: str | Value, low: float, high: float, bins: int, *, name: str = "", unit: str = "") -> Edges:
    """Return an axis whose bins are equally wide in the logarithm: ``np.geomspace(low, high, bins + 1)``.

    Parameters are those of `uniform`, with ``0 < low < high``.

    Raises
    ------
    UsageError
        The edges do not ascend, or `low` is not above 0.

    Examples
    --------
    >>> logarithmic("q", 0.01, 1, 2).edges.tolist()
    [0.01, 0.1, 1.0]
    """
    count = _count(bins, "logarithmic()")
    _finite(low, high, "logarithmic()")
    if not 0 < low < high:
        msg = f"logarithmic() cannot go from {low!r} to {high!r}"
        raise UsageError(msg, hint="0 < low < high; for an axis with 0 in it use edges()")
    made = np.geomspace(float(low), float(high), count + 1)
    return _edges(value, made, name, unit, ("logarithmic", float(low), float(high), count))


def edges(value: str | Value, edges: npt.ArrayLike, *, name: str = "", unit: str = "") -> Edges:
    """Return an axis with bins between any ascending edges.

    Raises
    ------
    UsageError
        There are fewer than two edges, or they are not finite and ascending.

    Examples
    --------
    >>> axis_of_energy = edges("energy", [0, 1, 10, 100], unit="meV")
    >>> axis_of_energy.bins
    3
    """
    try:
        made = np.array(edges, np.float64)
    except (TypeError, ValueError) as error:
        msg = f"edges() cannot take {edges!r}: {error}"
        raise UsageError(msg, hint="give ascending numbers") from error
    return _edges(value, made, name, unit, ("edges",))


def pixels(column: str, first: int, count: int, *, name: str = "") -> Pixels:
    """Return an axis with one bin per pixel; an event of any other pixel counts as unknown.

    Raises
    ------
    UsageError
        There is no pixel.

    Examples
    --------
    >>> pixels("pixel_id", 1, 750_000).bins
    750000
    """
    number = _count(count, "pixels()")
    if not isinstance(first, int) or isinstance(first, bool) or not -(2**62) <= first <= 2**62:
        msg = f"pixels() cannot begin with {first!r}"
        raise UsageError(msg, hint="first= is a whole number between -2**62 and 2**62")
    return Pixels(name or column, Column(column), first, number)


def rows(column: str, table: npt.ArrayLike, *, bins: int = 0, first: int = 0, name: str = "") -> Rows:
    """Return an axis whose bin is looked up in a table by pixel: regions, banks, any projection.

    Parameters
    ----------
    column
        Column of integers.
    table
        For each pixel from `first` on its bin, from 0; negative: the pixel is masked. `regions` has what makes them.
    bins
        Number of bins; left out, one more than the greatest in the table.
    first
        The pixel of the table's first entry.
    name
        Name of the axis; left out, that of the column.

    Raises
    ------
    UsageError
        The table is empty, not of integers, or has a bin that is not there.

    Examples
    --------
    >>> banks = rows("pixel_id", [0, 0, 1, -1])
    >>> banks.bins
    2
    """
    made = np.asarray(table)
    if made.ndim != 1 or not 0 < made.size < 2**31 or made.dtype.kind not in "iu":
        msg = f"rows() needs a table of whole numbers in one row, not {made.dtype} of the shape {made.shape}"
        raise UsageError(msg, hint="give one bin per pixel, -1 for those that are masked")
    most = max(int(made.max()) + 1, 1)
    number = most if bins == 0 else _count(bins, "rows()")
    if most > number or most > MOST_BINS:
        msg = f"rows() has a table with bin {most - 1}, and {number} bins"
        raise UsageError(msg, hint="bins are numbered from 0; leave out bins= to have as many as the table needs")
    if not isinstance(first, int) or isinstance(first, bool) or not -(2**62) <= first <= 2**62:
        msg = f"rows() cannot begin with pixel {first!r}"
        raise UsageError(msg, hint="first= is a whole number between -2**62 and 2**62")
    small = np.maximum(made, -1).astype(np.int32) if made.dtype.kind == "i" else made.astype(np.int32)
    small.flags.writeable = False
    return Rows(name or column, Column(column), small, number, first)


def axis_columns(axis: Axis) -> tuple[str, ...]:
    """Return the columns that an axis reads.

    Examples
    --------
    >>> axis_columns(pixels("pixel_id", 0, 10))
    ('pixel_id',)
    """
    return columns_of(axis.value)


def describe_axis(axis: Axis) -> dict[str, Any]:
    """Return an axis as plain data: name, unit, number of bins, and how to make its edges again.

    Examples
    --------
    >>> describe_axis(uniform("tof", 0, 100, 4, unit="ms"))
    {'name': 'tof', 'unit': 'ms', 'bins': 4, 'kind': 'uniform', 'low': 0.0, 'high': 100.0}
    """
    out: dict[str, Any] = {"name": axis.name, "unit": axis.unit, "bins": axis.bins}
    if isinstance(axis, Pixels):
        return out | {"kind": "pixels", "first": axis.first}
    if isinstance(axis, Rows):
        return out | {"kind": "rows", "first": axis.first}
    kind, *rest = axis.form
    if kind == "edges":
        return out | {"kind": kind, "edges": axis.edges.tolist()}
    if kind == "integers":
        return out | {"kind": kind, "first": rest[0]}
    return out | {"kind": kind, "low": rest[0], "high": rest[1]}


def _edges(value: str | Value, made: Float64Array, name: str, unit: str, form: tuple[Any, ...]) -> Edges:
    source = value_of(value)
    if made.ndim != 1 or not 2 <= made.size <= MOST_BINS:
        msg = f"an axis needs edges in one row, two at least, not of the shape {made.shape}"
        raise UsageError(msg, hint="n bins have n + 1 edges")
    if not np.isfinite(made).all() or not (made[1:] > made[:-1]).all():
        at = int(np.flatnonzero(~(made[1:] > made[:-1]) | ~np.isfinite(made[1:]))[:1].sum())
        msg = f"edges must be finite and ascend, and those from number {at} on do not: {made[at]!r}, {made[at + 1]!r}"
        raise UsageError(msg, hint="widen the range, or take fewer bins: doubles have 15 to 17 digits")
    made.flags.writeable = False
    return Edges(name or columns_of(source)[-1], source, made, unit, form)


def _count(bins: int, what: str) -> int:
    if not isinstance(bins, int) or isinstance(bins, bool) or not 1 <= bins <= MOST_BINS:
        msg = f"{what} cannot have {bins!r} bins"
        raise UsageError(msg, hint=f"a whole number from 1 to {MOST_BINS:,}")
    return bins


def _finite(low: float, high: float, what: str) -> None:
    for given in (low, high):
        if not isinstance(given, int | float) or isinstance(given, bool) or not math.isfinite(given):
            msg = f"{what} cannot have the edge {given!r}"
            raise UsageError(msg, hint="edges are finite numbers")

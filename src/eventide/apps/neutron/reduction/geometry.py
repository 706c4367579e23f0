"""Where pixels are, as a table: path and scattering angle of each, and which are masked.

A geometry makes the axes' values of histograms: the conversion of an event is then one look-up by pixel and one
multiplication or division, whatever the quantity.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.reduction.constants import ROOT_ENERGY, WAVELENGTH
from eventide.apps.neutron.reduction.convert import difc_of, q_factor
from eventide.apps.neutron.reduction.masks import mask_of
from eventide.apps.neutron.reduction.units import per_microsecond
from eventide.errors import DataError, UsageError
from eventide.kernel.histogram.values import Ratio, Scaled, ratio, scaled

__all__ = ["Geometry", "from_positions", "from_table", "read_table"]

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Path and scattering angle of the pixels from `first` on.

    Parameters
    ----------
    path
        L1 + L2 of each pixel, m, float64; NaN for numbers that are no pixel.
    two_theta
        Scattering angle, radian, float64.
    first
        Number of the first pixel.
    mask
        True for pixels that are not counted.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> bank = Geometry(np.array([10.0, 10.5]), np.array([0.1, 0.2]), first=1)
    >>> bank.masked(pixels=[2]).wavelength(time="tof", unit="us").constants.round(9).tolist()
    [0.000395603, nan]
    """

    path: Float64Array
    two_theta: Float64Array
    first: int = 0
    mask: BoolArray | None = None

    def __post_init__(self) -> None:
        shapes = {np.shape(self.path), np.shape(self.two_theta)}
        if self.mask is not None:
            shapes.add(np.shape(self.mask))
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or not np.size(self.path):
            msg = f"a geometry got arrays of the shapes {', '.join(map(str, sorted(shapes)))}"
            raise UsageError(msg, hint="give path, two_theta and mask of every pixel, in one row each")

    def masked(self, mask: npt.ArrayLike | None = None, *, pixels: Sequence[int] = ()) -> Geometry:
        """Return the geometry with more pixels masked: true in `mask` (one for each pixel), or named in `pixels`."""
        more = mask_of(self.path.size, first=self.first, pixels=pixels)
        for old in (self.mask, mask):
            if old is not None:
                more = more | np.asarray(old, np.bool_)
        return replace(self, mask=more)

    def wavelength(self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns") -> Scaled:
        """Return the wavelength, Angstrom, as the value of an axis.

        Parameters
        ----------
        pixel, time
            Columns of events.
        unit
            Of the time: ``"ns"``, ``"us"``, ``"ms"``, ``"s"``.
        """
        return self._scaled(self.path / WAVELENGTH, pixel, time, unit=unit)

    def d_spacing(self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns") -> Scaled:
        """Return the d-spacing, Angstrom, as the value of an axis; parameters as in `wavelength`."""
        return self._scaled(difc_of(self.path, self.two_theta), pixel, time, unit=unit)

    def momentum_transfer(self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns") -> Ratio:
        """Return the elastic Q, 1/Angstrom, as the value of an axis; parameters as in `wavelength`."""
        return self._ratio(q_factor(self.path, self.two_theta), pixel, time, unit=unit)

    def energy(self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns") -> Ratio:
        """Return the kinetic energy, meV, as the value of an axis; parameters as in `wavelength`."""
        return self._ratio(ROOT_ENERGY * self.path, pixel, time, unit=unit, squared=True)

    def _scaled(self, divisors: Float64Array, pixel: str, time: str, *, unit: str) -> Scaled:
        return scaled(pixel, time, per_microsecond(unit) / self._usable(divisors), first=self.first)

    def _ratio(self, constants: Float64Array, pixel: str, time: str, *, unit: str, squared: bool = False) -> Ratio:
        given = self._usable(constants / per_microsecond(unit))
        return ratio(pixel, time, given, first=self.first, squared=squared)

    def _usable(self, constants: Float64Array) -> Float64Array:
        """Return constants with NaN, which masks a pixel, where they say nothing: no path, no angle."""
        bad = ~np.isfinite(constants) | (constants <= 0)
        return np.where(bad if self.mask is None else bad | self.mask, np.nan, constants)


def from_positions(
    positions: npt.ArrayLike,
    *,
    source: Sequence[float],
    sample: Sequence[float] = (0.0, 0.0, 0.0),
    first: int = 0,
    mask: npt.ArrayLike | None = None,
) -> Geometry:
    """Return the geometry of pixels at some positions.

    Parameters
    ----------
    positions
        x, y, z of each pixel, m: an array of the shape (pixels, 3).
    source, sample
        x, y, z of the moderator (or the chopper that defines the pulse) and of the sample, m.
    first, mask
        As in `Geometry`.

    Raises
    ------
    UsageError
        The shapes are others, or source and sample are at one place.

    Examples
    --------
    >>> bank = from_positions([[0.0, 2.0, 0.0], [0.0, 0.0, 2.0]], source=(0, 0, -10))
    >>> bank.path.tolist(), np.degrees(bank.two_theta).tolist()
    ([12.0, 12.0], [90.0, 0.0])
    """
    place = np.asarray(positions, np.float64)
    begin, middle = np.asarray(source, np.float64), np.asarray(sample, np.float64)
    if place.ndim != 2 or place.shape[1] != 3 or begin.shape != (3,) or middle.shape != (3,):
        msg = f"positions have the shape {place.shape}, source {begin.shape} and sample {middle.shape}"
        raise UsageError(msg, hint="give x, y and z in m: one row of three for every pixel")
    beam = middle - begin
    l1 = float(np.linalg.norm(beam))
    if not l1 > 0:
        msg = f"source and sample are both at {sample!r}"
        raise UsageError(msg, hint="source= is where neutrons start, in m")
    way = place - middle
    l2 = np.linalg.norm(way, axis=1)
    # Of the angle by its tangent: that of the cosine loses half the digits of small angles.
    angle = np.arctan2(np.linalg.norm(np.cross(way, beam), axis=1), way @ beam)
    return Geometry(l1 + l2, angle, first, None if mask is None else np.asarray(mask, np.bool_))


def from_table(pixel: npt.ArrayLike, *, l1: float, l2: npt.ArrayLike, two_theta: npt.ArrayLike) -> Geometry:
    """Return the geometry of a list of pixels in any order; numbers between them that are not listed are masked.

    Parameters
    ----------
    pixel
        Number of each pixel.
    l1, l2
        From the source to the sample, and from there to each pixel, m.
    two_theta
        Scattering angle of each, radian.

    Raises
    ------
    UsageError
        There is no pixel, one is listed twice, or the arrays are of different lengths.

    Examples
    --------
    >>> from_table([7, 5], l1=10.0, l2=[1.0, 2.0], two_theta=[0.1, 0.2]).path.tolist()
    [12.0, nan, 11.0]
    """
    number = np.asarray(pixel)
    second, angle = np.asarray(l2, np.float64), np.asarray(two_theta, np.float64)
    if (
        number.ndim != 1
        or number.dtype.kind not in "iu"
        or not number.size
        or not number.shape == second.shape == angle.shape
    ):
        msg = (
            f"a table of pixels has {number.size} numbers ({number.dtype}), {second.size} l2 and {angle.size} two_theta"
        )
        raise UsageError(msg, hint="give whole numbers of pixels, and l2 and two_theta of each")
    first, last = int(number.min()), int(number.max())
    if np.unique(number).size != number.size or last - first >= 2**31 - 1:
        msg = f"a table of {number.size} pixels from {first} to {last} lists one twice, or spans too many numbers"
        raise UsageError(msg, hint="every pixel has one row; numbers span less than 2**31")
    path, angles = np.full(last - first + 1, np.nan), np.full(last - first + 1, np.nan)
    at = number.astype(np.int64) - first
    path[at], angles[at] = l1 + second, angle
    return Geometry(path, angles, first)


def read_table(
    path: str | Path, *, l1: float, columns: tuple[str, str, str] = ("pixel id", "L2 value", "theta value")
) -> Geometry:
    r"""Read the geometry of pixels from a CSV file, angles in degrees.

    Parameters
    ----------
    path
        The file, with a line of names first.
    l1
        From the source to the sample, m.
    columns
        Names of the columns of pixel, L2 (m) and scattering angle (degree).

    Raises
    ------
    DataError
        A column is missing, or a line holds no such numbers.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "pixels.csv")
    ...     _ = place.write_text("pixel id,L2 value,theta value\n5,2.5,90\n")
    ...     read_table(place, l1=60.0).path.tolist()
    [62.5]
    """
    file = Path(path)
    with file.open(newline="", encoding="utf-8") as lines:
        rows: Any = csv.DictReader(lines)
        missing = [name for name in columns if name not in (rows.fieldnames or ())]
        if missing:
            msg = f"{file} has no column {missing[0]!r}, but {', '.join(rows.fieldnames or ())}"
            raise DataError(msg, hint="columns= names those of pixel, L2 and scattering angle")
        table = []
        for row in rows:
            try:
                table.append((int(row[columns[0]]), float(row[columns[1]]), float(row[columns[2]])))
            except (TypeError, ValueError) as error:
                msg = f"{file}, line {rows.line_num}: {error}"
                raise DataError(msg, hint="a whole number, a length in m and an angle in degrees are needed") from None
    if not table:
        msg = f"{file} holds no pixel"
        raise DataError(msg, hint="one line for each is needed")
    number, l2, angle = (np.array(column) for column in zip(*table, strict=True))
    return from_table(number, l1=l1, l2=l2, two_theta=np.radians(angle))

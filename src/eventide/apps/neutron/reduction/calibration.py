"""Diffraction calibrations: time of flight to d-spacing by constants of each pixel, ``t = DIFA d^2 + DIFC d + TZERO``.

The constants are those of GSAS and Mantid: us / Angstrom^2, us / Angstrom, us.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.reduction.units import per_microsecond
from eventide.errors import UsageError
from eventide.kernel.histogram.values import Calibrated, Ratio, calibrated, ratio

__all__ = ["Calibration", "d_of_time", "time_of_d"]

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def d_of_time(
    time: npt.ArrayLike, *, difc: npt.ArrayLike, difa: npt.ArrayLike = 0.0, tzero: npt.ArrayLike = 0.0
) -> Float64Array:
    """Return the d of ``time = difa d^2 + difc d + tzero``: of two roots that near ``(time - tzero) / difc``.

    It is found as ``2 t / (difc + sqrt(difc^2 + 4 difa t))`` with ``t = time - tzero``, the root having the sign of
    `difc`: no difference of nearly equal numbers, and right for ``difa = 0`` too (W. H. Press et al., Numerical
    Recipes, section 5.6).

    Parameters
    ----------
    time
        Time of flight, us.
    difc, difa, tzero
        us / Angstrom, us / Angstrom^2, us.

    Returns
    -------
    Angstrom, float64; NaN where there is no real root, or a constant is NaN.

    Examples
    --------
    >>> d_of_time([1000.0, 1003.0], difc=[1000.0, 1000.0], difa=[0.0, 2.0], tzero=[0.0, 1.0]).tolist()
    [1.0, 1.0]
    """
    made = [np.asarray(x, np.float64) for x in (time, tzero, difc, difa)]
    t, c, a = made[0] - made[1], made[2], made[3]
    with np.errstate(all="ignore"):
        return np.asarray(2.0 * t / (c + np.copysign(np.sqrt(c * c + 4.0 * a * t), c)))


def time_of_d(
    d: npt.ArrayLike, *, difc: npt.ArrayLike, difa: npt.ArrayLike = 0.0, tzero: npt.ArrayLike = 0.0
) -> Float64Array:
    """Return the time of flight of a d-spacing, us: the inverse of `d_of_time`.

    Examples
    --------
    >>> time_of_d(1.0, difc=1000.0, difa=2.0, tzero=1.0).tolist()
    1003.0
    """
    spacing, c, a, z = (np.asarray(x, np.float64) for x in (d, difc, difa, tzero))
    return np.asarray((a * spacing + c) * spacing + z)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The constants of the pixels from `first` on.

    Parameters
    ----------
    difc, difa, tzero
        float64, one of each per pixel; `difc` NaN for numbers that are no pixel.
    use
        False for pixels that are masked.
    first
        Number of the first pixel.

    Examples
    --------
    >>> one = Calibration(np.array([1000.0]), np.array([2.0]), np.array([1.0]), np.array([True]))
    >>> one.time(0, 1.0).tolist(), one.d(0, 1003.0).tolist()
    (1003.0, 1.0)
    """

    difc: Float64Array
    difa: Float64Array
    tzero: Float64Array
    use: BoolArray = field(repr=False)
    first: int = 0

    def __post_init__(self) -> None:
        sizes = {np.shape(x) for x in (self.difc, self.difa, self.tzero, self.use)}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1 or not np.size(self.difc):
            msg = f"a calibration got arrays of the shapes {', '.join(map(str, sorted(sizes)))}"
            raise UsageError(msg, hint="give difc, difa, tzero and use of every pixel, in one row each")

    @property
    def usable(self) -> BoolArray:
        """Which pixels are counted: in use, with finite constants and a positive difc."""
        finite = np.isfinite(self.difc) & np.isfinite(self.difa) & np.isfinite(self.tzero)
        with np.errstate(invalid="ignore"):
            return np.asarray(finite & (self.difc > 0) & self.use)

    def d(self, pixel: npt.ArrayLike, time: npt.ArrayLike) -> Float64Array:
        """Return the d-spacing of events, Angstrom; NaN for pixels that are masked or unknown.

        Parameters
        ----------
        pixel
            Numbers of pixels.
        time
            Times of flight, us.
        """
        difc, difa, tzero = self._at(pixel)
        return d_of_time(time, difc=difc, difa=difa, tzero=tzero)

    def momentum_transfer(self, pixel: npt.ArrayLike, time: npt.ArrayLike) -> Float64Array:
        """Return ``Q = 2 pi / d`` of events, 1/Angstrom; parameters as in `d`."""
        with np.errstate(all="ignore"):
            return np.asarray(2.0 * np.pi / self.d(pixel, time))

    def time(self, pixel: npt.ArrayLike, d: npt.ArrayLike) -> Float64Array:
        """Return the time of flight in which neutrons of a d-spacing reach pixels, us; parameters as in `d`."""
        difc, difa, tzero = self._at(pixel)
        return time_of_d(d, difc=difc, difa=difa, tzero=tzero)

    def d_spacing(self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns") -> Calibrated:
        """Return the d-spacing, Angstrom, as the value of a histogram's axis.

        Parameters
        ----------
        pixel, time
            Columns of events.
        unit
            Of the time: ``"ns"``, ``"us"``, ``"ms"``, ``"s"``.
        """
        by = 1.0 / per_microsecond(unit)
        difc = np.where(self.usable, self.difc * by, np.nan)
        return calibrated(pixel, time, difc=difc, difa=self.difa * by, tzero=self.tzero * by, first=self.first)

    def momentum_transfer_linear(
        self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns"
    ) -> Ratio:
        """Return ``Q = 2 pi DIFC / t``, 1/Angstrom, as the value of an axis: without DIFA and TZERO, one division.

        With all constants it is `momentum_transfer_whole`. Parameters as in `d_spacing`.
        """
        constants = np.where(self.usable, 2.0 * np.pi * self.difc / per_microsecond(unit), np.nan)
        return ratio(pixel, time, constants, first=self.first)

    def momentum_transfer_whole(
        self, *, pixel: str = "pixel_id", time: str = "time_of_flight", unit: str = "ns"
    ) -> Calibrated | Ratio:
        """Return ``Q = 2 pi / d``, 1/Angstrom, as the value of an axis, d with all constants.

        It is one over the root of ``t = difa 4 pi^2 x^2 + difc 2 pi x + tzero``, x being ``d / (2 pi)``. Parameters as
        in `d_spacing`.
        """
        if not self.difa[self.usable].any() and not self.tzero[self.usable].any():
            return self.momentum_transfer_linear(pixel=pixel, time=time, unit=unit)
        by, turn = 1.0 / per_microsecond(unit), 2.0 * np.pi
        difc = np.where(self.usable, self.difc * (by * turn), np.nan)
        difa, tzero = self.difa * (by * turn * turn), self.tzero * by
        return calibrated(pixel, time, difc=difc, difa=difa, tzero=tzero, first=self.first, inverse=True)

    def within(self, first: int, count: int) -> Calibration:
        """Return the constants of `count` pixels from `first` on; those that this calibration lacks are not in use.

        Examples
        --------
        >>> one = Calibration(np.array([1000.0]), np.array([0.0]), np.array([0.0]), np.array([True]), first=7)
        >>> one.within(6, 3).usable.tolist()
        [False, True, False]
        """
        at = np.arange(first, first + count) - self.first
        known = (at >= 0) & (at < self.difc.size)
        at = np.where(known, at, 0)
        difc = np.where(known, self.difc[at], np.nan)
        difa, tzero = (np.where(known, each[at], 0.0) for each in (self.difa, self.tzero))
        return Calibration(difc, difa, tzero, known & self.use[at], first)

    def _at(self, pixel: npt.ArrayLike) -> tuple[Float64Array, Float64Array, Float64Array]:
        at = np.asarray(pixel).astype(np.int64) - self.first
        known = (at >= 0) & (at < self.difc.size)
        at = np.where(known, at, 0)
        difc = np.where(known & self.usable[at], self.difc[at], np.nan)
        return difc, self.difa[at], self.tzero[at]

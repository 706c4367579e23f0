"""Counts divided by what was sent: monitor counts, proton charge, a reference measurement; with errors.

Counts are Poisson distributed, so the variance of n is n. Errors are propagated to first order for quantities that are
independent of one another: ``var(a / b) = var(a) / b^2 + a^2 var(b) / b^4`` (P. R. Bevington, Data Reduction and Error
Analysis, chapter 3). A bin without counts has the error 0, by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["Measured", "counted", "per"]

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Values and their variances, float64 arrays of one shape.

    Examples
    --------
    >>> sample, background = counted([100, 50]), counted([25, 0])
    >>> (sample - background).values.tolist(), (sample - background).variances.tolist()
    ([75.0, 50.0], [125.0, 50.0])
    """

    values: Float64Array
    variances: Float64Array

    def __post_init__(self) -> None:
        if np.shape(self.values) != np.shape(self.variances):
            msg = f"values of the shape {np.shape(self.values)} have variances of the shape {np.shape(self.variances)}"
            raise UsageError(msg, hint="give one variance for each value")

    @property
    def errors(self) -> Float64Array:
        """Standard deviations: the square roots of the variances."""
        return np.asarray(np.sqrt(self.variances))

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.values + other.values, self.variances + other.variances)

    def __sub__(self, other: Measured) -> Measured:
        return Measured(self.values - other.values, self.variances + other.variances)

    def __truediv__(self, other: Measured) -> Measured:
        """Divide bin by bin, or by one number for all; NaN where the divisor is 0 or less."""
        with np.errstate(all="ignore"):
            below = np.where(other.values > 0, other.values, np.nan)
            values = self.values / below
            return Measured(values, (self.variances + values * values * other.variances) / (below * below))

    def scaled(self, by: float) -> Measured:
        """Return it multiplied by an exact number."""
        return Measured(self.values * by, self.variances * by * by)


def counted(counts: npt.ArrayLike) -> Measured:
    """Return counts with their Poisson variances.

    Raises
    ------
    UsageError
        A count is negative.

    Examples
    --------
    >>> counted([0, 4]).errors.tolist()
    [0.0, 2.0]
    """
    made = np.array(counts, np.float64)
    if (made < 0).any():
        msg = f"a count cannot be {made[made < 0].flat[0]}"
        raise UsageError(msg, hint="differences are made with Measured, which keeps their variances")
    return Measured(made, made.copy())


def per(counts: npt.ArrayLike | Measured, *, monitor: float = 0.0, charge: float = 0.0) -> Measured:
    """Return counts divided by those of a monitor, or by the proton charge.

    Parameters
    ----------
    counts
        Counts, or what was made of them.
    monitor
        Counts of the monitor in the same pulses; they have a Poisson error of their own.
    charge
        Proton charge of the same pulses, uAh; it is taken as exact.

    Raises
    ------
    UsageError
        Not one of the two is given, or it is not above 0.

    Examples
    --------
    >>> per([100, 0], monitor=400).values.tolist(), per([100, 0], charge=2.0).errors.tolist()
    ([0.25, 0.0], [5.0, 0.0])
    """
    top = counts if isinstance(counts, Measured) else counted(counts)
    if not ((monitor > 0) ^ (charge > 0)) or monitor < 0 or charge < 0 or not np.isfinite(monitor + charge):
        msg = f"counts cannot be divided by monitor={monitor!r}, charge={charge!r}"
        raise UsageError(msg, hint="give one of them, above 0: of the same pulses, without those that are vetoed")
    if charge > 0:
        return top.scaled(1.0 / charge)
    return top / Measured(np.float64(monitor), np.float64(monitor))  # type: ignore[arg-type]

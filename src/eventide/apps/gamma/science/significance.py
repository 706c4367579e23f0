"""Significance of counts, and what many looks at the same data make of it.

Li & Ma: *Analysis methods for results in gamma-ray astronomy*, ApJ 272 (1983) 317, equation 17.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["excess", "li_ma", "p_value", "pre_trial", "post_trial"]

FloatArray = npt.NDArray[np.float64]

_FAR_TAIL = 8.0
"""From so many sigma on, tails are taken from their asymptotic form: their complements are one."""


def li_ma(n_on: npt.ArrayLike, n_off: npt.ArrayLike, alpha: npt.ArrayLike) -> FloatArray:
    """Return the significance of an excess by Li & Ma (1983, equation 17), negative for a deficit.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region, zero or more.
    alpha
        Ratio of the exposures, on to off, above zero.

    Returns
    -------
    float64 array
        Of the shape that the arguments have together; in standard deviations, before trials.

    Raises
    ------
    UsageError
        A count is negative, or `alpha` is not above zero.

    Examples
    --------
    >>> np.round(li_ma([691, 4, 0], [1351, 20, 5], 0.2), 2).tolist()
    [18.85, 0.0, -1.35]
    """
    on, off, ratio = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (n_on, n_off, alpha)))
    if not (ratio > 0).all() or not np.isfinite(ratio).all():
        msg = "li_ma(): alpha must be above zero"
        raise UsageError(msg, hint="alpha is on exposure divided by off exposure, such as 1/5 for five off regions")
    if not ((on >= 0).all() and (off >= 0).all()):
        msg = "li_ma(): counts must be zero or more"
        raise UsageError(msg, hint="give counts of events, not excesses")
    total = on + off
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(on > 0, on * np.log((1 + ratio) / ratio * (on / total)), 0.0)
        second = np.where(off > 0, off * np.log((1 + ratio) * (off / total)), 0.0)
    size = np.sqrt(2.0 * np.maximum(first + second, 0.0))
    out: FloatArray = np.where(on < ratio * off, -size, size)
    return out


def excess(n_on: npt.ArrayLike, n_off: npt.ArrayLike, alpha: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the excess and its standard deviation (Li & Ma 1983, equations 4 and 5).

    Examples
    --------
    >>> n, error = excess(691, 1351, 0.2)
    >>> round(float(n), 1), round(float(error), 1)
    (420.8, 27.3)
    """
    on, off, ratio = (np.asarray(v, np.float64) for v in (n_on, n_off, alpha))
    return on - ratio * off, np.sqrt(on + ratio**2 * off)


def p_value(sigma: float) -> float:
    """Return the chance of a normal variable to lie above `sigma`.

    Examples
    --------
    >>> f"{p_value(5.0):.3g}"
    '2.87e-07'
    """
    return 0.5 * math.erfc(sigma / math.sqrt(2.0))


def _sigma(p: float) -> float:
    """Return the significance of a one-sided chance."""
    if p >= 1.0:
        return -math.inf
    return -NormalDist().inv_cdf(p) if p > 0 else math.inf


def _log_tail(sigma: float) -> float:
    """Return the logarithm of the chance above a large `sigma`, to one part in sigma to the sixth."""
    square = sigma * sigma
    return -square / 2 - math.log(sigma * math.sqrt(2 * math.pi)) + math.log1p(-1 / square + 3 / square**2)


def post_trial(sigma: float, trials: float) -> float:
    """Return what is left of a significance after so many independent trials.

    Parameters
    ----------
    sigma
        Significance of the best one.
    trials
        Number of independent looks, one or more.

    Notes
    -----
    The chance of at least one such excess is ``1 - (1 - p) ** trials``.

    Examples
    --------
    >>> round(post_trial(5.0, 1), 6), round(post_trial(6.5, 10_000), 2)
    (5.0, 4.93)
    """
    if trials < 1:
        msg = f"trials must be one or more, not {trials}"
        raise UsageError(msg, hint="one trial is a single look, planned beforehand")
    if sigma <= _FAR_TAIL:
        return _sigma(-math.expm1(trials * math.log1p(-p_value(sigma))))
    # ln(N p) is solved for sigma: p itself underflows from 38 sigma on, and 1 - p is one long before.
    goal = _log_tail(sigma) + math.log(trials)
    if goal > _log_tail(_FAR_TAIL):
        return _sigma(-math.expm1(-math.exp(goal)))
    low, high = _FAR_TAIL, sigma
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_tail(middle) > goal else (low, middle)
    return (low + high) / 2


def pre_trial(sigma: float, trials: float) -> float:
    """Return the significance that one look must have for `sigma` to be left after `trials`.

    Examples
    --------
    >>> round(pre_trial(post_trial(6.5, 10_000), 10_000), 6)
    6.5
    """
    low, high = sigma, sigma + 1.0
    while post_trial(high, trials) < sigma:
        high += 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if post_trial(middle, trials) < sigma else (low, middle)
    return (low + high) / 2

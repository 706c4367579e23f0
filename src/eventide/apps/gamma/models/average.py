"""What telescopes say of an event, averaged over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["Averages", "average"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


class Averages(NamedTuple):
    """Weighted mean, weighted standard deviation and number of telescopes of every event.

    Examples
    --------
    >>> average(np.array([1.0, 3.0]), np.ones(2), np.array([0, 2]))
    Averages(mean=array([2.]), std=array([1.]), n_tels=array([2]))
    """

    mean: FloatArray
    std: FloatArray
    n_tels: Int64Array


def average(values: FloatArray, weights: FloatArray, offsets: Int64Array, *, log: bool = False) -> Averages:
    """Average over the telescopes of every event.

    Parameters
    ----------
    values
        What each telescope says; NaN where it says nothing.
    weights
        Of each, such as the intensity of its image; it counts where this is above zero.
    offsets
        int64: the telescopes of event ``i`` are ``offsets[i]`` to ``offsets[i + 1]``.
    log
        Whether the mean is that of logarithms, as is usual for energies; the deviation then is that of ``ln``.

    Returns
    -------
    Averages
        NaN for events of which no telescope counts.

    Examples
    --------
    >>> found = average(np.array([1.0, 0.0, np.nan]), np.array([300.0, 100.0, 50.0]), np.array([0, 2, 3]))
    >>> found.mean.tolist(), found.n_tels.tolist()
    ([0.75, nan], [2, 0])
    """
    if values.shape != weights.shape or offsets.size < 1 or offsets[0] != 0 or offsets[-1] != values.size:
        msg = f"average(): {values.size} values, {weights.size} weights, and offsets that end at {offsets[-1:]}"
        raise UsageError(msg, hint="every telescope has a value and a weight; offsets end at their number")
    events = offsets.size - 1
    owner = np.repeat(np.arange(events), np.diff(offsets))
    with np.errstate(all="ignore"):
        said = np.log(values) if log else values
        counts = np.isfinite(said) & (weights > 0) & np.isfinite(weights)
        owner, said, weights = owner[counts], said[counts], weights[counts]
        total = np.bincount(owner, weights, events)
        mean = np.bincount(owner, weights * said, events) / total
        spread = np.bincount(owner, weights * (said - mean[owner]) ** 2, events) / total
    return Averages(np.exp(mean) if log else mean, np.sqrt(spread), np.bincount(owner, minlength=events))

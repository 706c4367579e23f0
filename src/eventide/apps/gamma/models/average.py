"""What telescopes say of an event, averaged over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["Averages", "Weights", "average"]

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


class Weights:
    """Weights of telescopes by their events, for averages of several columns.

    Parameters
    ----------
    weights
        Of each telescope, such as the intensity of its image; it counts where this is above zero.
    offsets
        int64: the telescopes of event ``i`` are ``offsets[i]`` to ``offsets[i + 1]``.

    Examples
    --------
    >>> weights = Weights(np.array([300.0, 100.0, 50.0]), np.array([0, 2, 3]))
    >>> weights.average(np.array([0.75, 0.5, 1.0])).mean.tolist()
    [0.6875, 1.0]
    """

    def __init__(self, weights: FloatArray, offsets: Int64Array) -> None:
        if offsets.size < 1 or offsets[0] != 0 or offsets[-1] != weights.size:
            msg = f"{weights.size} weights, and offsets that end at {offsets[-1:]}"
            raise UsageError(msg, hint="every telescope has a weight; offsets end at their number")
        self.size, self.events = weights.size, offsets.size - 1
        with np.errstate(invalid="ignore"):
            good = (weights > 0) & np.isfinite(weights)
        self._good = None if good.all() else np.flatnonzero(good)
        owner = np.repeat(np.arange(self.events), np.diff(offsets))
        self._owner = owner if self._good is None else owner[self._good]
        self._weights = weights if self._good is None else weights[self._good]
        self._total = np.bincount(self._owner, self._weights, self.events)
        self._counts = np.bincount(self._owner, minlength=self.events)

    def average(self, values: FloatArray, *, log: bool = False) -> Averages:
        """Average a column; see `average`."""
        if values.shape != (self.size,):
            msg = f"{values.size} values, and {self.size} weights"
            raise UsageError(msg, hint="every telescope has a value and a weight")
        owner, weights, total, counts = self._owner, self._weights, self._total, self._counts
        with np.errstate(all="ignore"):
            said = values if self._good is None else values[self._good]
            said = np.log(said) if log else said
            finite = np.isfinite(said)
            if not finite.all():
                owner, weights, said = owner[finite], weights[finite], said[finite]
                total = np.bincount(owner, weights, self.events)
                counts = np.bincount(owner, minlength=self.events)
            mean = np.bincount(owner, weights * said, self.events) / total
            spread = np.bincount(owner, weights * (said - mean[owner]) ** 2, self.events) / total
            return Averages(np.exp(mean) if log else mean, np.sqrt(spread), counts)


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
    return Weights(weights, offsets).average(values, log=log)

"""Counts and significances in windows that end at every event, for many lengths of window at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.science.significance import li_ma

__all__ = ["Counts", "rising_edges", "window_counts"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class Counts(NamedTuple):
    """Of every window (row: event, column: length): the place of its first event, and what is in it.

    Examples
    --------
    >>> window_counts(np.array([0, 5]), np.array([True, False]), since=1, scales=(10,), alpha=1.0).n_off.tolist()
    [[1]]
    """

    first: Int64Array
    n_on: Int64Array
    n_off: Int64Array
    significance: FloatArray


def window_counts(times: Int64Array, on: BoolArray, *, since: int, scales: tuple[int, ...], alpha: float) -> Counts:
    """Count on and off events in the windows ``(t - scale, t]`` that end at events.

    Parameters
    ----------
    times
        Event times, ns, ascending.
    on
        Whether each event is in the on region; the others are off events.
    since
        The first event whose windows are wanted. Events at the same time are in each other's windows.
    scales
        Lengths of the windows, ns.
    alpha
        Ratio of the exposures.

    Examples
    --------
    >>> times, on = np.array([0, 4, 9, 10]), np.array([True, False, True, True])
    >>> counts = window_counts(times, on, since=0, scales=(2, 10), alpha=0.5)
    >>> counts.n_on.tolist(), counts.n_off[:, 1].tolist()
    ([[1, 1], [0, 1], [1, 2], [2, 2]], [0, 1, 1, 1])
    """
    before = np.concatenate(([0], np.cumsum(on)))
    ends = times[since:]
    stop = np.searchsorted(times, ends, side="right")
    first = np.stack([np.searchsorted(times, ends - scale, side="right") for scale in scales], axis=1)
    n_on = before[stop][:, None] - before[first]
    n_off = stop[:, None] - first - n_on
    return Counts(first, n_on, n_off, li_ma(n_on, n_off, alpha))


def rising_edges(values: FloatArray, *, up: bool, level: float, release: float) -> tuple[BoolArray, BoolArray]:
    """Find where values reach `level`, each time once until they have been below `release`.

    Parameters
    ----------
    values
        One after the other.
    up
        Whether they were up before.

    Returns
    -------
    tuple
        Which values are rises, and after which they are up.

    Examples
    --------
    >>> rises, up = rising_edges(np.array([1.0, 5.0, 4.5, 5.5, 3.0, 6.0]), up=False, level=5.0, release=4.0)
    >>> np.flatnonzero(rises).tolist(), np.flatnonzero(up).tolist()
    ([1, 5], [1, 2, 3, 5])
    """
    above = values >= level
    decided = np.where(above | (values < release), np.arange(1, values.size + 1), 0)
    last = np.maximum.accumulate(decided)
    state: BoolArray = np.concatenate(([up], above))[last]
    rises: BoolArray = state & ~np.concatenate(([up], state[:-1]))
    return rises, state

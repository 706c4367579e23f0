"""Counts and significances in windows that end at every event, for many lengths of window at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.science.significance import li_ma

__all__ = ["Counts", "Excess", "alerts_of", "rising_edges", "window_counts"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_NEWS = 1.0
"""By so many standard deviations another window must surpass those before to be worth an update."""


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


class Excess(NamedTuple):
    """What is remembered of an excess: how many alerts it had, its largest significance, and which windows rose.

    Examples
    --------
    >>> Excess(0, 0.0, np.zeros(3, bool)).alerts
    0
    """

    alerts: int
    best: float
    seen: BoolArray


def alerts_of(
    significance: FloatArray, rises: BoolArray, states: BoolArray, *, up: bool, excess: Excess
) -> tuple[list[tuple[int, int, int]], Excess]:
    """Group rises of windows into excesses: one alert each, and updates that tell something new.

    An excess lasts as long as any window is up. New is a window with a standard deviation more than any before, a
    shorter one than any before (it has become brighter: flares of a steady source do that), and one that rises again.

    Parameters
    ----------
    significance, rises, states
        Of every event (row) and length (column, ascending): of the window that ends there; see `rising_edges`.
    up
        Whether any window was up before.
    excess
        The one before.

    Returns
    -------
    tuple
        Alerts as (event, length, number of the update, 0 for the first one), and the excess after the last event.

    Examples
    --------
    >>> values = np.array([[6.0, 0.0], [6.0, 6.5], [6.0, 7.5], [0.0, 0.0], [0.0, 6.0]])
    >>> edges = [rising_edges(v, up=False, level=5.0, release=4.0) for v in values.T]
    >>> rises, states = (np.stack(parts, axis=1) for parts in zip(*edges))
    >>> alerts_of(values, rises, states, up=False, excess=Excess(0, 0.0, np.zeros(2, bool)))[0]
    [(0, 0, 0), (4, 1, 0)]
    """
    count, best, seen = excess.alerts, excess.best, excess.seen.copy()
    after: BoolArray = np.any(states, axis=1)
    lasts = np.empty(after.size, np.bool_)  # whether an excess goes on when the event comes
    lasts[:1], lasts[1:] = up, after[:-1]
    out: list[tuple[int, int, int]] = []
    for at in np.flatnonzero(rises.any(axis=1)).tolist():
        number = int(np.argmax(np.where(rises[at], significance[at], -np.inf)))
        sigma = float(significance[at, number])
        if not lasts[at]:
            count, best, seen = 0, 0.0, np.zeros_like(seen)
        shorter = seen.any() and np.argmax(rises[at]) < np.argmax(seen)
        news = not count or shorter or sigma >= best + _NEWS or (rises[at] & seen).any()
        seen, best = seen | rises[at], max(best, sigma)
        if news:
            out.append((at, number, count))
            count += 1
    return out, Excess(count, best, seen)

"""How often background alone makes an alert: background events at scrambled times, watched like real ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.science.regions import ON
from eventide.apps.gamma.science.rolling import SCALES
from eventide.apps.gamma.science.significance import p_value
from eventide.apps.gamma.science.windows import Excess, alerts_of, rising_edges, window_counts
from eventide.errors import UsageError
from eventide.model.batch import Int64Array
from eventide.model.time import duration

__all__ = ["FalseAlarms", "count_alarms", "false_alarms", "scramble"]

_HOUR = 3_600_000_000_000


class FalseAlarms(NamedTuple):
    """What background alone did.

    Attributes
    ----------
    hours
        How long it was watched.
    events
        How many events there were in all regions.
    alarms
        How often the window of each scale rose to the level asked for.
    excesses, updates
        How many excesses that makes, an alert each, and how many updates of them.
    per_100_hours
        How often windows rose on all scales together, in a hundred hours: no fewer than there are alerts and updates.
    looks
        How many independent looks a window of each length is worth: alarms at 3 standard deviations, compared with
        windows side by side.
    largest
        The largest significance on each scale, before trials.

    Examples
    --------
    >>> false_alarms(hours=20).hours
    20
    """

    hours: float
    events: int
    alarms: list[int]
    per_100_hours: float
    looks: list[float]
    largest: list[float]
    excesses: int = 0
    updates: int = 0


def scramble(rate: float, *, hours: float, n_off: int, seed: int) -> tuple[Int64Array, npt.NDArray[np.int8]]:
    """Return times (ns, ascending) and regions of background events that know nothing of each other.

    Parameters
    ----------
    rate
        Events per hour in one region; the on region gets its share.
    hours
        For how long.
    n_off
        Number of off regions.
    seed
        The same for the same events.

    Examples
    --------
    >>> times, region = scramble(30.0, hours=10, n_off=5, seed=1)
    >>> bool((np.diff(times) >= 0).all()), sorted(set(region.tolist()))
    (True, [0, 1, 2, 3, 4, 5])
    """
    if not (rate > 0 and hours > 0 and n_off > 0):
        msg = f"scramble(): rate {rate}, hours {hours} and n_off {n_off} must be above zero"
        raise UsageError(msg, hint="rate is in events per hour in one region")
    random = np.random.default_rng(seed)
    count = int(random.poisson(rate * hours * (n_off + 1)))
    times = np.sort(random.integers(0, round(hours * _HOUR), count))
    return times, random.integers(ON, n_off + 1, count).astype(np.int8)


def count_alarms(
    times: Int64Array, region: npt.NDArray[np.int8], *, hours: float, scales: tuple[int, ...], n_off: int, level: float
) -> FalseAlarms:
    """Count the alerts in events without a source, as `watch` would make them.

    Parameters
    ----------
    times, region
        Events, ascending in time (ns), and their regions; from `scramble`, or real ones with their times shuffled.
    hours
        Time watched.
    scales
        Lengths of windows, ns.
    n_off
        Number of off regions.
    level
        Significance of a window that makes an alert, before trials.

    Examples
    --------
    >>> times, region = scramble(30.0, hours=50, n_off=5, seed=1)
    >>> count_alarms(times, region, hours=50, scales=(10**10, 10**12), n_off=5, level=5.0).alarms
    [0, 0]
    """
    counts = window_counts(times, region == ON, since=0, scales=scales, alpha=1.0 / n_off)
    looks: list[float] = []
    rises, states = np.zeros((2, *counts.significance.shape), np.bool_)
    for number, scale in enumerate(scales):
        values = np.ascontiguousarray(counts.significance[:, number])
        rises[:, number], states[:, number] = _edges(values, level)
        looks.append(np.count_nonzero(_edges(values, 3.0)[0]) / (p_value(3.0) * hours * _HOUR / scale))
    alarms = [int(n) for n in rises.sum(axis=0)]
    told, _ = alerts_of(
        counts.significance, rises, states, up=False, excess=Excess(0, 0.0, np.zeros(len(scales), np.bool_))
    )
    excesses = sum(update == 0 for *_, update in told)
    largest = counts.significance.max(axis=0, initial=0.0).tolist()
    per_100_hours = 100.0 * sum(alarms) / hours
    return FalseAlarms(hours, int(times.size), alarms, per_100_hours, looks, largest, excesses, len(told) - excesses)


def false_alarms(
    hours: float = 1000.0,
    *,
    rate: float = 26.7,
    n_off: int = 5,
    scales: Sequence[str | timedelta] = SCALES,
    level: float = 5.0,
    seed: int = 1,
) -> FalseAlarms:
    """Watch scrambled background for a while and count the alerts.

    Parameters
    ----------
    hours
        For how long.
    rate
        Background events per hour in one region; that of FACT's Crab runs.
    n_off, scales
        As for `watch`.
    level
        Significance of a window that makes an alert, before trials. `watch` asks for more: what is left after trials.
    seed
        The same for the same events.

    Examples
    --------
    >>> false_alarms(hours=100).per_100_hours < 1
    True
    """
    lengths = tuple(sorted({duration(s, what="scale") for s in scales}))
    times, region = scramble(rate, hours=hours, n_off=n_off, seed=seed)
    return count_alarms(times, region, hours=hours, scales=lengths, n_off=n_off, level=level)


def _edges(values: npt.NDArray[np.float64], level: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    if not values.size:
        return np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    return rising_edges(values, up=False, level=level, release=level - 1.0)

"""CUSUM: add up small deviations until they are too many to be chance.

Two-sided tabular cumulative sum (E. S. Page 1954, "Continuous inspection schemes", Biometrika 41;
the reference value and decision interval as in D. C. Montgomery, "Introduction to Statistical Quality
Control", chapter 9). Values are standardised by an exponentially weighted mean and standard deviation,
so that the scheme follows slow change; both sums start again from 0 after an alarm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array

__all__ = ["cusum"]


class _State(NamedTuple):
    seen: Int64Array
    mean: Float64Array
    variance: Float64Array
    above: Float64Array
    below: Float64Array
    weight: float
    drift: float
    limit: float
    warmup: int
    resolution: float


def cusum(
    *,
    memory: int = 500,
    drift: float = 0.5,
    limit: float = 10.0,
    warmup: int | None = None,
    resolution: float = 1e-9,
) -> Detector:
    """Flag the value at which the sum of deviations in one direction passes a limit.

    Parameters
    ----------
    memory
        Number of values N that mean and variance reach back over; the newest weighs 2 / (N + 1).
    drift
        Part of each deviation that is forgiven, in standard deviations: half the shift to be found.
    limit
        Sum at which an alarm is raised, in standard deviations.
    warmup
        Items of a key that are never flagged and not summed; left out: `memory`.
    resolution
        Smallest standard deviation, relative to the mean.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> sums = cusum(memory=10, limit=3)
    >>> values = np.r_[np.tile([0.9, 1.1], 10), [1.2] * 4]
    >>> np.flatnonzero(sums.update(np.zeros(24, np.int64), np.arange(24), values).flag).tolist()
    [22]
    """
    check_options(
        "cusum", memory=(memory, 2, 1e9), drift=(drift, 0, 1e3), limit=(limit, 1e-6, 1e6), resolution=(resolution, 0, 1)
    )
    options = {
        "weight": 2 / (memory + 1),
        "drift": drift,
        "limit": limit,
        "warmup": memory if warmup is None else warmup,
        "resolution": resolution,
    }
    fields: dict[str, Field] = {
        "seen": (np.int64, 0),
        "mean": (np.float64, 0),
        "variance": (np.float64, 0),
        "above": (np.float64, 0),
        "below": (np.float64, 0),
    }
    return ScanDetector(_State, fields, options, scan=_scan, step=_step)


def _scan(rows: Rows, state: _State, out: Verdict) -> None:
    for i in range(len(rows.values)):
        x = rows.values[i]
        if not np.isfinite(x):
            continue
        slot = rows.slots[i]
        n = state.seen[slot]
        mean, variance = state.mean[slot], state.variance[slot]
        if n == 0:
            mean = x
        sigma = max(np.sqrt(variance), state.resolution * abs(mean))
        d = x - mean
        z = d / sigma if sigma > 0 else 0.0
        before, beneath = state.above[slot], state.below[slot]
        above, below = max(0.0, before + z - state.drift), max(0.0, beneath - z - state.drift)
        if n < state.warmup:
            above, below = 0.0, 0.0
        out.prediction[i] = mean
        out.low[i] = mean - sigma * (state.limit + state.drift - beneath)
        out.high[i] = mean + sigma * (state.limit + state.drift - before)
        out.score[i] = max(above, below) / state.limit
        alarm = max(above, below) > state.limit
        out.flag[i] = alarm
        state.above[slot] = 0.0 if alarm else above
        state.below[slot] = 0.0 if alarm else below
        weight = max(state.weight, 1.0 / (n + 1))
        state.mean[slot] = mean + weight * d
        state.variance[slot] = (1 - weight) * (variance + weight * (d * d))
        state.seen[slot] = n + 1


def _step(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values
    n, variance = state.seen[slots], state.variance[slots]
    mean = np.where(n == 0, x, state.mean[slots])
    sigma = np.maximum(np.sqrt(variance), state.resolution * np.abs(mean))
    d = x - mean
    z = np.where(sigma > 0, d / sigma, 0.0)
    before, beneath = state.above[slots], state.below[slots]
    armed = n >= state.warmup
    above = np.where(armed, np.maximum(0.0, before + z - state.drift), 0.0)
    below = np.where(armed, np.maximum(0.0, beneath - z - state.drift), 0.0)
    most = np.maximum(above, below)
    alarm = most > state.limit
    state.above[slots] = np.where(alarm, 0.0, above)
    state.below[slots] = np.where(alarm, 0.0, below)
    weight = np.maximum(state.weight, 1.0 / (n + 1))
    state.mean[slots] = mean + weight * d
    state.variance[slots] = (1 - weight) * (variance + weight * (d * d))
    state.seen[slots] = n + 1
    low = mean - sigma * (state.limit + state.drift - beneath)
    high = mean + sigma * (state.limit + state.drift - before)
    return Verdict(most / state.limit, low, high, mean, alarm)

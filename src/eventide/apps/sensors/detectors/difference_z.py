"""Difference z: is the step from the last value larger than the steps of this key usually are.

The z score of first differences, with exponentially weighted mean and variance of the differences
(incremental form after T. Finch 2009). It sees jumps at once and ignores slow change altogether.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, around, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array

__all__ = ["difference_z"]


class _State(NamedTuple):
    seen: Int64Array
    last: Float64Array
    mean: Float64Array
    variance: Float64Array
    weight: float
    k: float
    warmup: int
    resolution: float


def difference_z(*, memory: int = 500, k: float = 6.0, warmup: int | None = None, resolution: float = 1e-9) -> Detector:
    """Flag values whose step from the last value is out of the ordinary.

    Parameters
    ----------
    memory
        Number of differences N that mean and variance reach back over; the newest weighs 2 / (N + 1).
    k
        Half width of the band in standard deviations of the differences.
    warmup
        Items of a key that are never flagged; left out: `memory`.
    resolution
        Smallest half width of the band, relative to the last value.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> steps = difference_z(memory=4, k=3)
    >>> values = np.array([1.0, 1.1, 0.9, 1.0, 1.1, 5.0])
    >>> steps.update(np.zeros(6, np.int64), np.arange(6), values).flag.tolist()
    [False, False, False, False, False, True]
    """
    check_options("difference_z", memory=(memory, 2, 1e9), k=(k, 1e-6, 1e6), resolution=(resolution, 0, 1))
    options = {
        "weight": 2 / (memory + 1),
        "k": k,
        "warmup": memory if warmup is None else warmup,
        "resolution": resolution,
    }
    fields: dict[str, Field] = {
        "seen": (np.int64, 0),
        "last": (np.float64, 0),
        "mean": (np.float64, 0),
        "variance": (np.float64, 0),
    }
    return ScanDetector(_State, fields, options, scan=_scan, step=_step)


def _scan(rows: Rows, state: _State, out: Verdict) -> None:
    for i in range(len(rows.values)):
        x = rows.values[i]
        if not np.isfinite(x):
            continue
        slot = rows.slots[i]
        n = state.seen[slot]
        last = x if n == 0 else state.last[slot]
        mean, variance = state.mean[slot], state.variance[slot]
        prediction = last + mean
        half = max(state.k * np.sqrt(variance), state.resolution * abs(last))
        away = abs(x - prediction)
        out.prediction[i] = prediction
        out.low[i] = prediction - half
        out.high[i] = prediction + half
        out.score[i] = away / half if half > 0 else (0.0 if away == 0 else np.inf)
        out.flag[i] = n >= state.warmup and (x < out.low[i] or x > out.high[i])
        if n > 0:
            weight = max(state.weight, 1.0 / n)
            d = (x - last) - mean
            state.mean[slot] = mean + weight * d
            state.variance[slot] = (1 - weight) * (variance + weight * (d * d))
        state.last[slot] = x
        state.seen[slot] = n + 1


def _step(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values
    n, mean, variance = state.seen[slots], state.mean[slots], state.variance[slots]
    last = np.where(n == 0, x, state.last[slots])
    prediction = last + mean
    half = np.maximum(state.k * np.sqrt(variance), state.resolution * np.abs(last))
    weight = np.maximum(state.weight, 1.0 / np.maximum(n, 1))
    d = (x - last) - mean
    state.mean[slots] = np.where(n > 0, mean + weight * d, mean)
    state.variance[slots] = np.where(n > 0, (1 - weight) * (variance + weight * (d * d)), variance)
    state.last[slots] = x
    state.seen[slots] = n + 1
    return around(x, prediction, half=half, armed=n >= state.warmup)

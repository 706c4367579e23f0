"""Gaussian tail: how unlikely is the value under the recent mean and spread of its key.

Mean and variance are exponentially weighted (S. W. Roberts 1959, "Control chart tests based on geometric
moving averages", Technometrics 1; incremental variance after T. Finch 2009, "Incremental calculation of
weighted mean and variance"). Until the memory is full all values so far weigh the same.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, around, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array

__all__ = ["gaussian_tail"]


class _State(NamedTuple):
    seen: Int64Array
    mean: Float64Array
    variance: Float64Array
    weight: float
    k: float
    warmup: int
    resolution: float


def gaussian_tail(
    *, memory: int = 500, tail: float = 1e-6, warmup: int | None = None, resolution: float = 1e-9
) -> Detector:
    """Flag values in the far tails of a normal distribution with exponentially weighted mean and variance.

    Parameters
    ----------
    memory
        Number of values N that the mean reaches back over; the newest value weighs 2 / (N + 1).
    tail
        Probability, both sides together, below which a value is an anomaly.
    warmup
        Items of a key that are never flagged; left out: `memory`.
    resolution
        Smallest half width of the band, relative to the prediction.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> tail = gaussian_tail(memory=4, tail=1e-3)
    >>> values = np.array([1.0, 1.1, 0.9, 1.0, 1.1, 5.0])
    >>> tail.update(np.zeros(6, np.int64), np.arange(6), values).flag.tolist()
    [False, False, False, False, False, True]
    """
    check_options("gaussian_tail", memory=(memory, 2, 1e9), tail=(tail, 1e-300, 0.999), resolution=(resolution, 0, 1))
    options = {
        "weight": 2 / (memory + 1),
        "k": -NormalDist().inv_cdf(tail / 2),
        "warmup": memory if warmup is None else warmup,
        "resolution": resolution,
    }
    fields: dict[str, Field] = {"seen": (np.int64, 0), "mean": (np.float64, 0), "variance": (np.float64, 0)}
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
        half = max(state.k * np.sqrt(variance), state.resolution * abs(mean))
        d = x - mean
        away = abs(d)
        out.prediction[i] = mean
        out.low[i] = mean - half
        out.high[i] = mean + half
        out.score[i] = away / half if half > 0 else (0.0 if away == 0 else np.inf)
        out.flag[i] = n >= state.warmup and (x < out.low[i] or x > out.high[i])
        weight = max(state.weight, 1.0 / (n + 1))
        state.mean[slot] = mean + weight * d
        state.variance[slot] = (1 - weight) * (variance + weight * (d * d))
        state.seen[slot] = n + 1


def _step(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values
    n, variance = state.seen[slots], state.variance[slots]
    mean = np.where(n == 0, x, state.mean[slots])
    half = np.maximum(state.k * np.sqrt(variance), state.resolution * np.abs(mean))
    d = x - mean
    weight = np.maximum(state.weight, 1.0 / (n + 1))
    state.mean[slots] = mean + weight * d
    state.variance[slots] = (1 - weight) * (variance + weight * (d * d))
    state.seen[slots] = n + 1
    return around(x, mean, half=half, armed=n >= state.warmup)

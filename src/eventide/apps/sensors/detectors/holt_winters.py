"""Holt-Winters: level, trend and a daily (or other) season, each smoothed, and a band of past residuals.

Additive form of P. R. Winters 1960, "Forecasting sales by exponentially weighted moving averages",
Management Science 6, and C. C. Holt 1957. The season is kept in bins of event time, not of samples, so
that gaps and uneven sampling do not shift it. The first period of a key is its training: the level is
its mean and each bin starts as the mean of its values minus the level; a bin without values takes the
one before it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, around, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array
from eventide.model.time import duration

__all__ = ["holt_winters"]


class _State(NamedTuple):
    seen: Int64Array
    started: Int64Array
    trained: Int64Array
    level: Float64Array
    trend: Float64Array
    variance: Float64Array
    season: Float64Array
    filled: Int64Array
    period: int
    alpha: float
    beta: float
    gamma: float
    weight: float
    k: float
    warmup: int
    resolution: float


def holt_winters(
    *,
    period: str | timedelta = "1d",
    bins: int = 144,
    alpha: float = 0.05,
    beta: float = 0.0005,
    gamma: float = 0.1,
    memory: int = 500,
    k: float = 5.0,
    warmup: int = 100,
    resolution: float = 1e-9,
) -> Detector:
    """Flag values far from a forecast of level, trend and season.

    Parameters
    ----------
    period
        Length of the season; nothing is flagged before one period has passed.
    bins
        Parts that the season is cut into.
    alpha, beta, gamma
        Weight of the newest value in level, trend and season; between 0 and 1.
    memory
        Number of residuals N that their variance reaches back over; the newest weighs 2 / (N + 1).
    k
        Half width of the band in standard deviations of the residuals.
    warmup
        Items of a key after training that are not flagged, while the variance of residuals is learned.
    resolution
        Smallest half width of the band, relative to the prediction.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> winters = holt_winters(period="4s", bins=4, warmup=8)
    >>> values = np.tile([1.0, 2.0, 3.0, 2.0], 5) + 0.01 * np.sin(np.arange(20.0))
    >>> values[18] = 9.0
    >>> verdict = winters.update(np.zeros(20, np.int64), np.arange(20) * 10**9, values)
    >>> np.flatnonzero(verdict.flag).tolist()
    [18]
    """
    check_options("holt_winters", bins=(bins, 1, 1e6), alpha=(alpha, 0, 1), beta=(beta, 0, 1), gamma=(gamma, 0, 1))
    check_options("holt_winters", memory=(memory, 2, 1e9), k=(k, 1e-6, 1e6), resolution=(resolution, 0, 1))
    one, many = (np.float64, 0), (np.float64, bins)
    fields: dict[str, Field] = {
        "seen": (np.int64, 0),
        "started": (np.int64, 0),
        "trained": (np.int64, 0),
        "level": one,
        "trend": one,
        "variance": one,
        "season": many,
        "filled": (np.int64, bins),
    }
    options = {
        "period": duration(period, what="season"),
        "alpha": alpha,
        "beta": beta,
        "gamma": gamma,
        "weight": 2 / (memory + 1),
        "k": k,
        "warmup": warmup,
        "resolution": resolution,
    }
    return ScanDetector(_State, fields, options, scan=_scan, step=_step)


def _scan(rows: Rows, state: _State, out: Verdict) -> None:
    bins = state.season.shape[1]
    for i in range(len(rows.values)):
        x = rows.values[i]
        if not np.isfinite(x):
            continue
        slot = rows.slots[i]
        n = state.seen[slot]
        season, filled = state.season[slot], state.filled[slot]
        if n == 0:
            state.started[slot] = rows.times[i]
            state.level[slot] = x
        at = (rows.times[i] % state.period) * bins // state.period
        if state.trained[slot] == 0 and rows.times[i] - state.started[slot] >= state.period:
            held = 0.0
            for lap in range(2):  # the second lap fills empty bins before the first full one
                for j in range(bins):
                    if lap == 0 and filled[j] > 0:
                        season[j] = season[j] / filled[j] - state.level[slot]
                    if filled[j] > 0:
                        held = season[j]
                    else:
                        season[j] = held
            state.trained[slot] = 1
        level, trend = state.level[slot], state.trend[slot]
        trained = state.trained[slot]
        prediction = level + trend + season[at] if trained > 0 else level
        half = max(state.k * np.sqrt(state.variance[slot]), state.resolution * abs(prediction))
        d = x - prediction
        away = abs(d)
        out.prediction[i] = prediction
        out.low[i] = prediction - half
        out.high[i] = prediction + half
        out.score[i] = away / half if half > 0 else (0.0 if away == 0 else np.inf)
        out.flag[i] = trained > state.warmup and (x < out.low[i] or x > out.high[i])
        if trained > 0:
            weight = max(state.weight, 1.0 / trained)
            state.variance[slot] = (1 - weight) * (state.variance[slot] + weight * (d * d))
            moved = state.alpha * (x - season[at]) + (1 - state.alpha) * (level + trend)
            state.trend[slot] = state.beta * (moved - level) + (1 - state.beta) * trend
            season[at] = state.gamma * (x - moved) + (1 - state.gamma) * season[at]
            state.level[slot] = moved
            state.trained[slot] = trained + 1
        else:
            season[at] += x
            filled[at] += 1
            state.level[slot] = level + d / (n + 1)
        state.seen[slot] = n + 1


def _step(rows: Rows, state: _State) -> Verdict:
    slots, x, times = rows.slots, rows.values, rows.times
    bins = state.season.shape[1]
    n = state.seen[slots]
    new = n == 0
    state.started[slots[new]], state.level[slots[new]] = times[new], x[new]
    at = (times % state.period) * bins // state.period
    ready = (state.trained[slots] == 0) & (times - state.started[slots] >= state.period)
    if ready.any():
        _train(state, slots[ready])
    level, trend, trained = state.level[slots], state.trend[slots], state.trained[slots]
    season, variance = state.season[slots, at], state.variance[slots]
    on = trained > 0
    prediction = np.where(on, level + trend + season, level)
    half = np.maximum(state.k * np.sqrt(variance), state.resolution * np.abs(prediction))
    d = x - prediction
    weight = np.maximum(state.weight, 1.0 / np.maximum(trained, 1))
    moved = state.alpha * (x - season) + (1 - state.alpha) * (level + trend)
    state.variance[slots] = np.where(on, (1 - weight) * (variance + weight * (d * d)), variance)
    state.trend[slots] = np.where(on, state.beta * (moved - level) + (1 - state.beta) * trend, trend)
    learned = state.gamma * (x - moved) + (1 - state.gamma) * season
    state.season[slots, at] = np.where(on, learned, season + x)
    state.filled[slots, at] += np.where(on, 0, 1)
    state.level[slots] = np.where(on, moved, level + d / (n + 1))
    state.trained[slots] = np.where(on, trained + 1, 0)
    state.seen[slots] = n + 1
    return around(x, prediction, half=half, armed=trained > state.warmup)


def _train(state: _State, slots: Int64Array) -> None:
    season, filled = state.season[slots], state.filled[slots]
    full = filled > 0
    season = np.where(full, season / np.maximum(filled, 1) - state.level[slots][:, None], 0.0)
    held = np.zeros(len(slots))
    for _ in range(2):
        for j in range(season.shape[1]):
            held = np.where(full[:, j], season[:, j], held)
            season[:, j] = held
    state.season[slots] = season
    state.trained[slots] = 1

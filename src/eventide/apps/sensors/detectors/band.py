"""The band of the chapter: an exponentially smoothed prediction and a band of recent deviation around it.

Source: I. Foster, D. B. Gannon, "Cloud Computing for Science and Engineering", MIT Press 2017, chapter 9
and its notebook 17. The text and the program that made the printed result follow different rules, so
both are here:

``textbook``
    The value is held against the smoothed value that already contains it, with the population standard
    deviation of the last M values (itself among them). Very many flags.
``notebook17``
    The value is held against the smoothed value before it. The deviation is the square root of the *sum*
    of squares over the M values before it (not divided by M: larger by the square root of M), smoothed
    with weight 0.01 and starting from 0. The first five values get weight 0.9 in the prediction, later
    ones 1 - alpha. Nothing is flagged up to and including item 50 M.

Both compare strictly. A half width below `resolution` times the prediction counts as that much: on a
constant stream rounding alone would otherwise decide.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, around, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array
from eventide.errors import ConfigError

__all__ = ["band"]

_EARLY_ITEMS = 5
_EARLY_WEIGHT = 0.9
_SIGMA_WEIGHT = 0.01


class _State(NamedTuple):
    seen: Int64Array
    smoothed: Float64Array
    sigma: Float64Array
    recent: Float64Array
    weight: float
    k: float
    warmup: int
    resolution: float


def band(
    *,
    band: str = "notebook17",
    k: float = 1.3,
    window: int = 20,
    alpha: float = 0.96,
    warmup: int | None = None,
    resolution: float = 1e-9,
) -> Detector:
    """Flag values outside a band around an exponentially smoothed prediction.

    Parameters
    ----------
    band
        ``"notebook17"`` or ``"textbook"``.
    k
        Half width of the band in units of the deviation.
    window
        M, the number of values in the deviation.
    alpha
        Weight of the past in the smoothed value, between 0 and 1.
    warmup
        Items of a key that are never flagged; left out: 50 M + 1 for ``notebook17`` (its test is
        "item count above 50 M", counted from 0), 0 for ``textbook``.
    resolution
        Smallest half width, relative to the prediction.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> textbook = band(band="textbook", window=4)
    >>> values = np.array([1.0, 1.1, 0.9, 1.0, 5.0])
    >>> textbook.update(np.zeros(5, np.int64), np.arange(5), values).flag.tolist()
    [False, True, False, False, True]
    """
    if band not in {"notebook17", "textbook"}:
        msg = f"the detector 'band' has no variant {band!r}"
        raise ConfigError(msg, hint="band is 'notebook17' or 'textbook'")
    check_options("band", k=(k, 1e-6, 1e6), window=(window, 2, 1e5), alpha=(alpha, 0, 1), resolution=(resolution, 0, 1))
    textbook = band == "textbook"
    default = 0 if textbook else 50 * window + 1
    fields: dict[str, Field] = {
        "seen": (np.int64, 0),
        "smoothed": (np.float64, 0),
        "sigma": (np.float64, 0),
        "recent": (np.float64, window),
    }
    options = {
        "weight": 1 - alpha,
        "k": k,
        "warmup": default if warmup is None else warmup,
        "resolution": resolution,
    }
    scan, step = (_scan_textbook, _step_textbook) if textbook else (_scan_notebook17, _step_notebook17)
    return ScanDetector(_State, fields, options, scan=scan, step=step)


def _scan_textbook(rows: Rows, state: _State, out: Verdict) -> None:
    size = state.recent.shape[1]
    for i in range(len(rows.values)):
        x = rows.values[i]
        if not np.isfinite(x):
            continue
        slot = rows.slots[i]
        n = state.seen[slot]
        state.recent[slot, n % size] = x
        have = min(n + 1, size)
        # Deviations from x itself: a constant stretch has exactly no deviation, and x adds no term of its own.
        total = 0.0
        for j in range(have):
            total += state.recent[slot, j] - x
        mean = total / have
        squares = 0.0
        for j in range(have):
            d = state.recent[slot, j] - x - mean
            squares += d * d
        sigma = np.sqrt(squares / have)
        # s + w (x - s) is (1 - w) s + w x, and stays on a constant exactly.
        previous = x if n == 0 else state.smoothed[slot]
        smoothed = previous + state.weight * (x - previous)
        half = max(state.k * sigma, state.resolution * abs(smoothed))
        away = abs(x - smoothed)
        out.prediction[i] = smoothed
        out.low[i] = smoothed - half
        out.high[i] = smoothed + half
        out.score[i] = away / half if half > 0 else (0.0 if away == 0 else np.inf)
        out.flag[i] = n >= state.warmup and (x < out.low[i] or x > out.high[i])
        state.smoothed[slot] = smoothed
        state.sigma[slot] = sigma
        state.seen[slot] = n + 1


def _step_textbook(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values
    n, size = state.seen[slots], state.recent.shape[1]
    state.recent[slots, n % size] = x
    have = np.minimum(n + 1, size)
    total, squares = np.zeros(len(x)), np.zeros(len(x))
    for j in range(size):
        total += np.where(j < have, state.recent[slots, j] - x, 0.0)
    mean = total / have
    for j in range(size):
        d = state.recent[slots, j] - x - mean
        squares += np.where(j < have, d * d, 0.0)
    sigma = np.sqrt(squares / have)
    previous = np.where(n == 0, x, state.smoothed[slots])
    smoothed = previous + state.weight * (x - previous)
    state.smoothed[slots], state.sigma[slots], state.seen[slots] = smoothed, sigma, n + 1
    half = np.maximum(state.k * sigma, state.resolution * np.abs(smoothed))
    return around(x, smoothed, half=half, armed=n >= state.warmup)


def _scan_notebook17(rows: Rows, state: _State, out: Verdict) -> None:
    size = state.recent.shape[1]
    for i in range(len(rows.values)):
        x = rows.values[i]
        if not np.isfinite(x):
            continue
        slot = rows.slots[i]
        n = state.seen[slot]
        if n == 0:
            state.smoothed[slot] = x
            state.recent[slot, :] = x
        mean = 0.0
        for j in range(size):
            mean += state.recent[slot, j]
        mean /= size
        squares = 0.0
        for j in range(size):
            d = state.recent[slot, j] - mean
            squares += d * d
        sigma = _SIGMA_WEIGHT * np.sqrt(squares) + (1 - _SIGMA_WEIGHT) * state.sigma[slot]
        prediction = state.smoothed[slot]
        weight = _EARLY_WEIGHT if n < _EARLY_ITEMS else state.weight
        half = max(state.k * sigma, state.resolution * abs(prediction))
        away = abs(x - prediction)
        out.prediction[i] = prediction
        out.low[i] = prediction - half
        out.high[i] = prediction + half
        out.score[i] = away / half if half > 0 else (0.0 if away == 0 else np.inf)
        out.flag[i] = n >= state.warmup and (x < out.low[i] or x > out.high[i])
        state.recent[slot, n % size] = x
        state.smoothed[slot] = weight * x + (1 - weight) * prediction
        state.sigma[slot] = sigma
        state.seen[slot] = n + 1


def _step_notebook17(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values
    n, size = state.seen[slots], state.recent.shape[1]
    new = n == 0
    state.smoothed[slots[new]] = x[new]
    state.recent[slots[new]] = x[new, None]
    mean, squares = np.zeros(len(x)), np.zeros(len(x))
    for j in range(size):
        mean += state.recent[slots, j]
    mean /= size
    for j in range(size):
        d = state.recent[slots, j] - mean
        squares += d * d
    sigma = _SIGMA_WEIGHT * np.sqrt(squares) + (1 - _SIGMA_WEIGHT) * state.sigma[slots]
    prediction = state.smoothed[slots]
    weight = np.where(n < _EARLY_ITEMS, _EARLY_WEIGHT, state.weight)
    state.recent[slots, n % size] = x
    state.smoothed[slots] = weight * x + (1 - weight) * prediction
    state.sigma[slots], state.seen[slots] = sigma, n + 1
    half = np.maximum(state.k * sigma, state.resolution * np.abs(prediction))
    return around(x, prediction, half=half, armed=n >= state.warmup)

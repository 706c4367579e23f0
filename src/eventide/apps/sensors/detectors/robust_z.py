"""Robust z: distance from the median in units of the median absolute deviation.

B. Iglewicz, D. C. Hoaglin 1993, "How to Detect and Handle Outliers", ASQC: for normal data 1.4826 times
the median absolute deviation estimates the standard deviation. A stream that repeats one value has no
such deviation at all, so the scale has a floor; without it every change would be an anomaly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, around, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array

__all__ = ["robust_z"]

_NORMAL = 1.4826


class _State(NamedTuple):
    seen: Int64Array
    recent: Float64Array
    ordered: Float64Array
    k: float
    warmup: int
    floor: float
    relative_floor: float


def robust_z(
    *,
    window: int = 500,
    k: float = 6.0,
    floor: float = 0.0,
    relative_floor: float = 1e-3,
    warmup: int | None = None,
) -> Detector:
    """Flag values far from the median of the values before them.

    Parameters
    ----------
    window
        Values in median and median absolute deviation.
    k
        Half width of the band in robust standard deviations.
    floor
        Smallest standard deviation, in the value's unit.
    relative_floor
        Smallest standard deviation, relative to the median.
    warmup
        Items of a key that are never flagged; left out: `window`.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> robust = robust_z(window=4)
    >>> values = np.array([1.0, 1.1, 0.9, 1.0, 1.1, 5.0])
    >>> robust.update(np.zeros(6, np.int64), np.arange(6), values).flag.tolist()
    [False, False, False, False, False, True]
    """
    check_options("robust_z", window=(window, 2, 1e5), k=(k, 1e-6, 1e6), floor=(floor, 0, 1e300))
    check_options("robust_z", relative_floor=(relative_floor, 0, 1e6))
    fields: dict[str, Field] = {"seen": (np.int64, 0), "recent": (np.float64, window), "ordered": (np.float64, window)}
    options = {
        "k": k,
        "warmup": window if warmup is None else warmup,
        "floor": floor,
        "relative_floor": relative_floor,
    }
    return ScanDetector(_State, fields, options, scan=_scan, step=_step)


def _scan(rows: Rows, state: _State, out: Verdict) -> None:
    size = state.recent.shape[1]
    for i in range(len(rows.values)):
        if not np.isfinite(rows.values[i]):
            continue
        x = rows.values[i] + 0.0  # -0.0 becomes 0.0: equal values must be equal bits
        slot = rows.slots[i]
        n = state.seen[slot]
        have = min(n, size)
        ordered = state.ordered[slot]
        median, deviation = x, 0.0
        if have > 0:
            median = 0.5 * (ordered[(have - 1) // 2] + ordered[have // 2])
            # Deviations in rising order: from the middle outwards, the nearer side first.
            left, right = have // 2 - 1, have // 2
            lower = 0.0
            for _rank in range(have // 2 + 1):
                lower = deviation
                if left < 0 or (right < have and ordered[right] - median < median - ordered[left]):
                    deviation = abs(ordered[right] - median)
                    right += 1
                else:
                    deviation = abs(median - ordered[left])
                    left -= 1
            if have % 2 == 0:
                deviation = 0.5 * (lower + deviation)
        scale = max(_NORMAL * deviation, state.floor, state.relative_floor * abs(median))
        half = state.k * scale
        away = abs(x - median)
        out.prediction[i] = median
        out.low[i] = median - half
        out.high[i] = median + half
        out.score[i] = away / half if half > 0 else (0.0 if away == 0 else np.inf)
        out.flag[i] = n >= state.warmup and (x < out.low[i] or x > out.high[i])
        end = have
        if n >= size:
            hole = np.searchsorted(ordered, state.recent[slot, n % size])
            ordered[hole : size - 1] = ordered[hole + 1 : size].copy()
            end = size - 1
        place = np.searchsorted(ordered[:end], x)
        ordered[place + 1 : end + 1] = ordered[place:end].copy()
        ordered[place] = x
        state.recent[slot, n % size] = x
        state.seen[slot] = n + 1


def _step(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values + 0.0
    size = state.recent.shape[1]
    n = state.seen[slots]
    have = np.minimum(n, size)
    used = np.arange(size) < have[:, None]
    ordered = np.where(used, state.ordered[slots], np.inf)
    median = np.where(have > 0, _middle(ordered, have), x)
    deviations = np.sort(np.where(used, np.abs(ordered - median[:, None]), np.inf), axis=1)
    deviation = np.where(have > 0, _middle(deviations, have), 0.0)
    floor = np.maximum(state.floor, state.relative_floor * np.abs(median))
    half = state.k * np.maximum(_NORMAL * deviation, floor)
    state.recent[slots, n % size] = x
    window = np.sort(np.where(np.arange(size) <= n[:, None], state.recent[slots], np.inf), axis=1)
    state.ordered[slots] = np.where(np.isfinite(window), window, 0.0)
    state.seen[slots] = n + 1
    return around(x, median, half=half, armed=n >= state.warmup)


def _middle(ordered: Float64Array, have: Int64Array) -> Float64Array:
    row = np.arange(len(have))
    middle: Float64Array = 0.5 * (ordered[row, np.maximum(have - 1, 0) // 2] + ordered[row, have // 2])
    return middle

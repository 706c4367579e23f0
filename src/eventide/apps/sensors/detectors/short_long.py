"""Short against long: does the mean of the newest few values leave the spread of a long window.

A mean of `short` values is held against mean and standard deviation of the `long` values before the
newest one. Sums over the long window are kept by Welford's update for a moving window (B. P. Welford
1962, "Note on a method for calculating corrected sums of squares and products", Technometrics 4) and
taken afresh from the window once every `long` values, so that rounding cannot pile up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventide.apps.sensors.detector import Detector, Rows, ScanDetector, Verdict, around, check_options
from eventide.apps.sensors.slots import Field, Float64Array, Int64Array

__all__ = ["short_long"]


class _State(NamedTuple):
    seen: Int64Array
    mean: Float64Array
    squares: Float64Array
    recent: Float64Array
    short: int
    k: float
    warmup: int
    resolution: float


def short_long(
    *, short: int = 12, long: int = 1000, k: float = 3.0, warmup: int | None = None, resolution: float = 1e-9
) -> Detector:
    """Flag values at which the short mean leaves the band of the long window.

    `low` and `high` bound the short mean, and `score` is its distance; the flag belongs to the value
    that completed the short mean.

    Parameters
    ----------
    short
        Values in the short mean, the newest included.
    long
        Values in the long window, the newest not included.
    k
        Half width of the band in standard deviations of the long window.
    warmup
        Items of a key that are never flagged; left out: `long`.
    resolution
        Smallest half width of the band, relative to the prediction.

    Raises
    ------
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> means = short_long(short=2, long=6)
    >>> values = np.array([1.0, 1.1, 0.9, 1.0, 1.1, 1.0, 1.3, 1.6])
    >>> means.update(np.zeros(8, np.int64), np.arange(8), values).flag.tolist()
    [False, False, False, False, False, False, False, True]
    """
    check_options("short_long", short=(short, 1, long), long=(long, 2, 1e6), k=(k, 1e-6, 1e6))
    fields: dict[str, Field] = {
        "seen": (np.int64, 0),
        "mean": (np.float64, 0),
        "squares": (np.float64, 0),
        "recent": (np.float64, long),
    }
    options = {"short": short, "k": k, "warmup": long if warmup is None else warmup, "resolution": resolution}
    return ScanDetector(_State, fields, options, scan=_scan, step=_step)


def _scan(rows: Rows, state: _State, out: Verdict) -> None:
    size = state.recent.shape[1]
    for i in range(len(rows.values)):
        x = rows.values[i]
        if not np.isfinite(x):
            continue
        slot = rows.slots[i]
        n = state.seen[slot]
        have = min(n, size)
        mean, squares = state.mean[slot], state.squares[slot]
        if n >= size and n % size == 0:
            base = state.recent[slot, 0]
            total = 0.0
            for j in range(size):
                total += state.recent[slot, j] - base
            mean = base + total / size
            squares = 0.0
            for j in range(size):
                e = state.recent[slot, j] - mean
                squares += e * e
        if n == 0:
            mean = x
        half = max(state.k * np.sqrt(squares / max(have, 1)), state.resolution * abs(mean))
        old = state.recent[slot, n % size]
        state.recent[slot, n % size] = x
        few = min(n + 1, state.short)
        total = 0.0
        for j in range(few):
            total += state.recent[slot, (n - j) % size] - mean
        away = total / few
        short = mean + away
        out.prediction[i] = mean
        out.low[i] = mean - half
        out.high[i] = mean + half
        out.score[i] = abs(short - mean) / half if half > 0 else (0.0 if short == mean else np.inf)
        out.flag[i] = n >= state.warmup and (short < out.low[i] or short > out.high[i])
        if n < size:
            moved = mean + (x - mean) / (n + 1)
            squares += (x - mean) * (x - moved)
        else:
            moved = mean + (x - old) / size
            squares = max(0.0, squares + (x - old) * ((x - moved) + (old - mean)))
        state.mean[slot] = moved
        state.squares[slot] = squares
        state.seen[slot] = n + 1


def _step(rows: Rows, state: _State) -> Verdict:
    slots, x = rows.slots, rows.values
    size = state.recent.shape[1]
    n, squares = state.seen[slots], state.squares[slots]
    mean = np.where(n == 0, x, state.mean[slots])
    wrap = np.flatnonzero((n >= size) & (n % size == 0))
    if len(wrap):
        mean[wrap], squares[wrap] = _afresh(state.recent, slots[wrap])
    half = np.maximum(state.k * np.sqrt(squares / np.clip(n, 1, size)), state.resolution * np.abs(mean))
    old = state.recent[slots, n % size]
    state.recent[slots, n % size] = x
    few, total = np.minimum(n + 1, state.short), np.zeros(len(x))
    for j in range(state.short):
        total += np.where(j < few, state.recent[slots, (n - j) % size] - mean, 0.0)
    short = mean + total / few
    growing = n < size
    moved = mean + np.where(growing, (x - mean) / (n + 1), (x - old) / size)
    grown = squares + (x - mean) * (x - moved)
    slid = np.maximum(0.0, squares + (x - old) * ((x - moved) + (old - mean)))
    state.mean[slots], state.squares[slots], state.seen[slots] = moved, np.where(growing, grown, slid), n + 1
    return around(short, mean, half=half, armed=n >= state.warmup)


def _afresh(recent: Float64Array, slots: Int64Array) -> tuple[Float64Array, Float64Array]:
    size, base = recent.shape[1], recent[slots, 0]
    total, squares = np.zeros(len(slots)), np.zeros(len(slots))
    for j in range(size):
        total += recent[slots, j] - base
    mean = base + total / size
    for j in range(size):
        e = recent[slots, j] - mean
        squares += e * e
    return mean, squares

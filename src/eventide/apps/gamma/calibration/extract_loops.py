"""Raw waveforms to charge and peak time, compiled. Imported only behind `have_compiler()`; twins in `extract`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["extract_all"]


@compiled
def greatest(values: Any, lanes: Any) -> Any:
    """Return the place of the greatest value, of the first NaN if there is one."""
    # Eight at a time, without branches: the compiler compares them at once.
    size = values.size
    whole = size - size % 8
    odd = np.int64(0)
    for k in range(size):
        odd |= np.int64(values[k] != values[k])
    most = values[0]
    if whole:
        for j in range(8):
            lanes[j] = values[j]
        for begin in range(8, whole, 8):
            for j in range(8):
                v = values[begin + j]
                lanes[j] = v if v > lanes[j] else lanes[j]
        for j in range(8):
            most = max(most, lanes[j])
    for k in range(whole, size):
        most = max(most, values[k])
    for k in range(size):
        if values[k] != values[k] or (values[k] == most and not odd):
            return k
    return 0


@compiled
def loud(raw: Any, threshold: Any) -> Any:
    """Return 1 if a sample is above the threshold, else 0."""
    above = np.int64(0)
    for s in range(raw.size):
        above |= np.int64(np.float32(raw[s]) > threshold)
    return above


@compiled
def scaled(raw: Any, pedestal: Any, factor: Any, out: Any) -> None:
    """Write photo-electrons."""
    for s in range(out.size):
        out[s] = (np.float32(raw[s]) - pedestal) * factor


@compiled
def times_weight(r1: Any, weight: int, out: Any) -> None:
    """Write a waveform so many times."""
    for s in range(out.size):
        out[s] = np.float64(r1[s]) * weight


@compiled
def add(r1: Any, out: Any) -> None:
    """Add a waveform."""
    for s in range(out.size):
        out[s] += np.float64(r1[s])


@compiled
def around(r1: Any, peak: int, width: int, shift: int, rate: float) -> Any:
    """Return charge and mean time in the window about a peak."""
    charge, late, light = 0.0, 0.0, 0.0
    for at in range(max(0, peak - shift), min(r1.size, peak - shift + width)):
        value = np.float64(r1[at])
        charge += value
        if value > 0.0:
            late += value * at
            light += value
    time = np.float32(late / light if light > 0.0 else peak)
    return np.float32(charge), np.float32(time / rate)


@compiled
def extract_all(
    raw: Any, only: Any, threshold: Any, pedestal: Any, factor: Any, broken: Any, beside: bool, width: int,
    shift: int, weight: int, rate: float, starts: Any, neighbours: Any, gain: Any, charges: Any, times: Any,
) -> None:  # fmt: skip
    """Write gain, charge and time of every pixel; `only` is the one gain for all, or -1 to choose one a pixel."""
    events, gains, pixels, samples = raw.shape
    r1 = np.empty((pixels, samples), np.float32)
    total, lanes, narrow = np.empty(samples, np.float64), np.empty(8, np.float64), np.empty(8, np.float32)
    for i in range(events):
        for p in range(pixels):
            g: Any = max(only, 0)
            if only < 0 and gains > 1:
                g = loud(raw[i, 0, p], threshold)
            gain[i, p] = g
            scaled(raw[i, g, p], pedestal[g, p], factor[g, p], r1[p])
        for p in range(pixels):
            if beside:
                times_weight(r1[p], weight, total)
                for k in range(starts[p], starts[p + 1]):
                    q = neighbours[k]
                    if not broken[gain[i, q], q]:
                        add(r1[q], total)
                peak = greatest(total, lanes)
            else:
                peak = greatest(r1[p], narrow)
            charges[i, p], times[i, p] = around(r1[p], peak, width, shift, rate)

"""Raw waveforms to charge and peak time, compiled. Imported only behind `have_compiler()`; twins in `extract`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["extract_all"]


@compiled
def greatest(values: Any) -> Any:
    """Return the place of the greatest value, of the first NaN if there is one."""
    at, most = 0, values[0]
    for k in range(values.size):
        if values[k] != values[k]:
            return k
        if values[k] > most:
            at, most = k, values[k]
    return at


@compiled
def greatest_of_four(values: Any, out: Any) -> None:
    """Write the places of the greatest values of four rows without NaN; four, as each comparison waits for the last."""
    at_0, at_1, at_2, at_3 = 0, 0, 0, 0
    most_0, most_1, most_2, most_3 = values[0, 0], values[1, 0], values[2, 0], values[3, 0]
    for k in range(1, values.shape[1]):
        if values[0, k] > most_0:
            at_0, most_0 = k, values[0, k]
        if values[1, k] > most_1:
            at_1, most_1 = k, values[1, k]
        if values[2, k] > most_2:
            at_2, most_2 = k, values[2, k]
        if values[3, k] > most_3:
            at_3, most_3 = k, values[3, k]
    out[0], out[1], out[2], out[3] = at_0, at_1, at_2, at_3


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
def of_six(r1: Any, p: int, weight: int, table: Any, out: Any) -> None:
    """Write the sum of six neighbours of a pixel, and of itself so many times; the last row of r1 is 0, for none."""
    a, b, c, d, e, f = table[p, 0], table[p, 1], table[p, 2], table[p, 3], table[p, 4], table[p, 5]
    for s in range(out.size):
        out[s] = (
            np.float64(r1[p, s]) * weight + np.float64(r1[a, s]) + np.float64(r1[b, s]) + np.float64(r1[c, s])
            + np.float64(r1[d, s]) + np.float64(r1[e, s]) + np.float64(r1[f, s])
        )  # fmt: skip


@compiled
def of_any(r1: Any, p: int, weight: int, table: Any, broken: Any, gain: Any, out: Any) -> None:
    """Write the same for any number of neighbours, without broken ones."""
    for s in range(out.size):
        out[s] = np.float64(r1[p, s]) * weight
    for k in range(table.shape[1]):
        q = table[p, k]
        if q < gain.size and not broken[gain[q], q]:
            for s in range(out.size):
                out[s] += np.float64(r1[q, s])


@compiled
def around(r1: Any, peak: int, width: int, shift: int, rate: float) -> Any:
    """Return charge and mean time in the window about a peak."""
    charge, late, light = 0.0, 0.0, 0.0
    for at in range(max(0, peak - shift), min(r1.size, peak - shift + width)):
        value: Any = np.float64(r1[at])
        charge += value
        value = value if value > 0.0 else 0.0
        late += value * at
        light += value
    time = np.float32(late / light if light > 0.0 else peak)
    return np.float32(charge), np.float32(time / rate)


@compiled
def extract_all(
    raw: Any, only: Any, threshold: Any, pedestal: Any, factor: Any, broken: Any, finite: bool, beside: bool,
    width: int, shift: int, weight: int, rate: float, table: Any, correction: Any, late: Any, gain: Any,
    charges: Any, times: Any,
) -> None:  # fmt: skip
    """Write gain, charge and time of every pixel; `only` is the one gain for all, or -1 to choose one a pixel.

    `table` has a row of neighbours for each pixel, filled up with the number of pixels. Without `finite` values may be
    infinite or not numbers.
    """
    events, gains, pixels, samples = raw.shape
    r1 = np.zeros((pixels + 1, samples), np.float32)
    total, peaks = np.zeros((4, samples), np.float64), np.zeros(4, np.int64)
    six = table.shape[1] == 6 and not broken.any()
    for i in range(events):
        for p in range(pixels):
            g: Any = max(only, 0)
            if only < 0 and gains > 1:
                g = loud(raw[i, 0, p], threshold)
            gain[i, p] = g
            scaled(raw[i, g, p], pedestal[g, p], factor[g, p], r1[p])
        for first in range(0, pixels, 4):
            for j in range(4):
                p = min(first + j, pixels - 1)
                if beside and six:
                    of_six(r1, p, weight, table, total[j])
                elif beside:
                    of_any(r1, p, weight, table, broken, gain[i], total[j])
                else:
                    for s in range(samples):
                        total[j, s] = r1[p, s]
            if finite:
                greatest_of_four(total, peaks)
            else:
                for j in range(4):
                    peaks[j] = greatest(total[j])
            for j in range(min(4, pixels - first)):
                p = first + j
                charge, time = around(r1[p], peaks[j], width, shift, rate)
                charges[i, p] = np.float32(np.float64(charge) * correction[gain[i, p]])
                times[i, p] = time - late[gain[i, p], p]

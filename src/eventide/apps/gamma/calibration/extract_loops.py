"""Raw waveforms to charge and peak time, compiled. Imported only behind `have_compiler()`; twins in `extract`.

The peak of a pixel's neighbours is looked for in whole numbers, which add up in many lanes at once and say
themselves when they cannot decide: only then are the sums made in float64 (`exact_peak`), which is what counts.
"""

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
def loud(raw: Any, i: int, p: int, threshold: Any) -> Any:
    """Return 1 if a sample of the high gain is above the threshold, else 0."""
    above = np.int64(0)
    for s in range(raw.shape[3]):
        above |= np.int64(np.float32(raw[i, 0, p, s]) > threshold)
    return above


@compiled
def whole(raw: Any, i: int, g: int, p: int, pedestal: Any, factor: Any, scale: Any, q: Any) -> None:
    """Write photo-electrons as whole numbers of a small part of one."""
    for s in range(raw.shape[3]):
        q[p, s] = np.int32(((np.float32(raw[i, g, p, s]) - pedestal) * factor) * scale)


@compiled
def of_six(q: Any, table: Any, p: int, weight: Any, total: Any) -> Any:
    """Write the sums of six neighbours of a pixel, and of itself so many times; return the greatest."""
    a, b, c, d, e, f = table[p, 0], table[p, 1], table[p, 2], table[p, 3], table[p, 4], table[p, 5]
    most = np.int32(-2147483648)
    if weight == 0:
        for s in range(total.size):
            t = np.int32(q[a, s] + q[b, s] + q[c, s] + q[d, s] + q[e, s] + q[f, s])
            total[s] = t
            most = max(most, t)
        return most
    for s in range(total.size):
        t = np.int32(np.int32(q[p, s] * weight) + q[a, s] + q[b, s] + q[c, s] + q[d, s] + q[e, s] + q[f, s])
        total[s] = t
        most = max(most, t)
    return most


@compiled
def of_any(q: Any, table: Any, p: int, weight: Any, total: Any) -> Any:
    """Write the same for any number of neighbours."""
    for s in range(total.size):
        total[s] = q[p, s] * weight
    for k in range(table.shape[1]):
        beside = table[p, k]
        for s in range(total.size):
            total[s] += q[beside, s]
    most = np.int32(-2147483648)
    for s in range(total.size):
        most = max(most, total[s])
    return most


@compiled
def only_one(total: Any, least: Any) -> Any:
    """Return the place of the only sum from a number on, or -1 if there are more."""
    found, place = np.int32(0), np.int32(0)
    for s in range(total.size):
        from_it = np.int32(total[s] >= least)
        found += from_it
        place += from_it * np.int32(s)
    return np.int64(place) if found == 1 else -1


@compiled
def exact_peak(
    raw: Any, i: int, p: int, gain: Any, pedestal: Any, factor: Any, broken: Any, table: Any, weight: int, sums: Any
) -> Any:
    """Return the peak of the sums of the neighbours that are not broken, and of the pixel itself so many times."""
    g = gain[i, p]
    for s in range(sums.size):
        sums[s] = np.float64((np.float32(raw[i, g, p, s]) - pedestal[g, p]) * factor[g, p]) * weight
    for k in range(table.shape[1]):
        q = table[p, k]
        if q < gain.shape[1] and not broken[gain[i, q], q]:
            g = gain[i, q]
            for s in range(sums.size):
                sums[s] += np.float64((np.float32(raw[i, g, q, s]) - pedestal[g, q]) * factor[g, q])
    return greatest(sums)


@compiled
def around(
    raw: Any, i: int, g: int, p: int, pedestal: Any, factor: Any, peak: int, width: int, shift: int, rate: float
) -> Any:
    """Return charge and mean time in the window about a peak."""
    charge, late, light = 0.0, 0.0, 0.0
    for at in range(max(0, peak - shift), min(raw.shape[3], peak - shift + width)):
        value: Any = np.float64((np.float32(raw[i, g, p, at]) - pedestal) * factor)
        charge += value
        value = value if value > 0.0 else 0.0
        late += value * at
        light += value
    time = np.float32(late / light if light > 0.0 else peak)
    return np.float32(charge), np.float32(time / rate)


@compiled
def take(
    raw: Any, i: int, only: Any, threshold: Any, pedestal: Any, factor: Any, broken: Any, scale: Any, gain: Any, q: Any
) -> None:
    """Write the gains of an event, and its whole numbers: 0 for broken pixels."""
    for p in range(raw.shape[2]):
        g: Any = max(only, 0)
        if only < 0 and raw.shape[1] > 1:
            g = loud(raw, i, p, threshold)
        gain[i, p] = g
        if broken[g, p]:
            for s in range(raw.shape[3]):
                q[p, s] = 0
        elif scale > 0:
            whole(raw, i, g, p, pedestal[g, p], factor[g, p], scale, q)


@compiled
def peaks_of_six(q: Any, table: Any, weight: Any, unsure: Any, total: Any, peaks: Any) -> None:
    """Write the peaks of the sums of six neighbours, -1 where they cannot be told."""
    for p in range(peaks.size):
        most = of_six(q, table, p, weight, total)
        peaks[p] = only_one(total, np.int32(most - unsure))


@compiled
def peaks_of_any(q: Any, table: Any, weight: Any, unsure: Any, total: Any, peaks: Any) -> None:
    """Write the same for any number of neighbours."""
    for p in range(peaks.size):
        most = of_any(q, table, p, weight, total)
        peaks[p] = only_one(total, np.int32(most - unsure))


@compiled
def around_all(
    raw: Any, i: int, gain: Any, pedestal: Any, factor: Any, peaks: Any, width: int, shift: int, rate: float,
    correction: Any, late: Any, charges: Any, times: Any,
) -> None:  # fmt: skip
    """Write charges and times of the pixels of an event."""
    for p in range(peaks.size):
        g = gain[i, p]
        charge, time = around(raw, i, g, p, pedestal[g, p], factor[g, p], peaks[p], width, shift, rate)
        charges[i, p] = np.float32(np.float64(charge) * correction[g])
        times[i, p] = time - late[g, p]


@compiled
def extract_all(
    raw: Any, only: Any, threshold: Any, pedestal: Any, factor: Any, broken: Any, scale: Any,
    width: int, shift: int, weight: int, rate: float, table: Any, correction: Any, late: Any, gain: Any,
    charges: Any, times: Any,
) -> None:  # fmt: skip
    """Write gain, charge and time of every pixel; `only` is the one gain for all, or -1 to choose one a pixel.

    `table` has a row of neighbours for each pixel, filled up with the number of pixels. With the scale 0 no sums of
    whole numbers are tried. Without neighbours and with the weight 1 the peak is that of the pixel itself.
    """
    events, _, pixels, samples = raw.shape
    q, total, sums = np.zeros((pixels + 1, samples), np.int32), np.zeros(samples, np.int32), np.zeros(samples)
    peaks = np.full(pixels, -1, np.int64)
    times_itself = np.int32(weight)
    unsure = np.int32(2 * (table.shape[1] + weight) + 1)  # each number is cut by less than one
    for i in range(events):
        take(raw, i, only, threshold, pedestal, factor, broken, scale, gain, q)
        if scale > 0 and table.shape[1] == 6:
            peaks_of_six(q, table, times_itself, unsure, total, peaks)
        elif scale > 0:
            peaks_of_any(q, table, times_itself, unsure, total, peaks)
        for p in range(pixels):
            # A broken pixel counts for itself, but not for its neighbours.
            if peaks[p] < 0 or (weight > 0 and broken[gain[i, p], p]):
                peaks[p] = exact_peak(raw, i, p, gain, pedestal, factor, broken, table, weight, sums)
        around_all(raw, i, gain, pedestal, factor, peaks, width, shift, rate, correction, late, charges, times)
        if not scale > 0:
            peaks[:] = -1

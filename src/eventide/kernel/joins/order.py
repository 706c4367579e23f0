"""Order by (slot, time): a stable sort and a search, compiled or in numpy, with one result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled, have_compiler
from eventide.model.batch import Int64Array

__all__ = ["numpy_positions", "positions", "sort_order"]

Slots = npt.NDArray[np.int32]

_SMALL = 64


def _radix_loop(keys: Any, bits: int) -> Any:  # pragma: no cover - compiled; tested against numpy
    n = len(keys)
    order = np.arange(n)
    spare_keys = np.empty_like(keys)
    spare_order = np.empty_like(order)
    counts = np.empty(2048, np.int64)
    shift = 0
    while shift < bits:
        counts[:] = 0
        for i in range(n):
            counts[np.int64((keys[i] >> np.uint64(shift)) & np.uint64(2047))] += 1
        total = 0
        for d in range(2048):
            counts[d], total = total, total + counts[d]
        for i in range(n):
            digit = np.int64((keys[i] >> np.uint64(shift)) & np.uint64(2047))
            spare_keys[counts[digit]] = keys[i]
            spare_order[counts[digit]] = order[i]
            counts[digit] += 1
        keys, spare_keys = spare_keys, keys
        order, spare_order = spare_order, order
        shift += 11
    return order


@functools.cache
def _compiled_radix() -> Callable[..., Int64Array]:
    return compiled(_radix_loop)


def sort_order(slots: Slots | Int64Array, times: Int64Array) -> Int64Array:
    """Return the stable order of rows by slot, then time.

    Slots and times are packed into one unsigned word where they fit, for a radix sort.

    Parameters
    ----------
    slots
        Non-negative numbers.
    times
        Event times, ns.

    Examples
    --------
    >>> sort_order(np.array([1, 0, 1], np.int32), np.array([5, 9, 3])).tolist()
    [1, 2, 0]
    """
    if len(slots) > _SMALL and have_compiler():
        low = int(times.min())
        time_bits = (int(times.max()) - low).bit_length()
        bits = time_bits + int(slots.max()).bit_length()
        if bits <= 64 and time_bits < 64:
            keys = (slots.astype(np.uint64) << np.uint64(time_bits)) | (times - low).view(np.uint64)
            return _compiled_radix()(keys, bits)
    return np.lexsort((times, slots))


def numpy_positions(slots: Slots, times: Int64Array, *, of: tuple[Slots, Int64Array], right: bool) -> Int64Array:
    """Do what `positions` does, without compiled code."""
    low = np.searchsorted(slots, of[0], "left").astype(np.int64)
    high = np.searchsorted(slots, of[0], "right").astype(np.int64)
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = (low + high) >> 1
        at = times[np.where(open_, middle, 0)]
        before = open_ & ((at <= of[1]) if right else (at < of[1]))
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)


def _positions_loop(
    slots: Any, times: Any, of_slots: Any, of_times: Any, right: bool
) -> Any:  # pragma: no cover - compiled; tested against numpy_positions
    n = len(slots)
    out = np.empty(len(of_slots), np.int64)
    last = 0
    for q in range(len(of_slots)):
        slot = of_slots[q]
        time = of_times[q]
        # Queries mostly come in order, so the search gallops on from the last answer.
        ordered = q > 0 and (slot > of_slots[q - 1] or (slot == of_slots[q - 1] and time >= of_times[q - 1]))
        low = last if ordered else 0
        step = 1 if ordered else n
        high = low
        while high < n and (
            slots[high] < slot or (slots[high] == slot and (times[high] < time or (right and times[high] == time)))
        ):
            low = high + 1
            high = low + step
            step *= 2
        high = min(high, n)
        while low < high:
            middle = (low + high) >> 1
            if slots[middle] < slot or (
                slots[middle] == slot and (times[middle] < time or (right and times[middle] == time))
            ):
                low = middle + 1
            else:
                high = middle
        out[q] = low
        last = low
    return out


@functools.cache
def _compiled_positions() -> Callable[..., Int64Array]:
    return compiled(_positions_loop)


def positions(slots: Slots, times: Int64Array, *, of: tuple[Slots, Int64Array], right: bool) -> Int64Array:
    """Return how many of some ordered rows come before each (slot, time).

    Parameters
    ----------
    slots, times
        Rows in order of slot, then time.
    of
        The slots and times asked for; fastest when they are in order too.
    right
        Whether a row equal to what is asked for counts.

    Examples
    --------
    >>> slots, times = np.array([0, 0, 1], np.int32), np.array([3, 5, 4])
    >>> positions(slots, times, of=(np.array([0, 1], np.int32), np.array([5, 9])), right=False).tolist()
    [1, 3]
    """
    if have_compiler():
        return _compiled_positions()(slots, times, of[0], of[1], right)
    return numpy_positions(slots, times, of=of, right=right)

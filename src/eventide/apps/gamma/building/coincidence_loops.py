"""Compiled loops of `eventide.apps.gamma.building.coincidence`, which has their numpy twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled

__all__ = ["arrange_loop", "starts_loop"]

Int64Array = npt.NDArray[np.int64]


@compiled
def starts_loop(times: Int64Array, window: int, starts: Int64Array) -> int:
    """Fill in where events begin in ascending times, and return how many there are."""
    if times.size == 0:
        return 0
    starts[0] = 0
    count = 1
    # Differences of two int64 may need 64 bits without a sign.
    first, width = np.uint64(times[0]), np.uint64(window)
    for i in range(1, times.size):
        time = np.uint64(times[i])
        if time - first > width:
            starts[count] = i
            count += 1
            first = time
    return count


@compiled
def arrange_loop(starts: Int64Array, order: Int64Array, tels: Any, repeat: Any) -> None:
    """Bring the rows of every event into the order of their telescopes, and mark repeats of one telescope."""
    for event in range(starts.size):
        begin = starts[event]
        end = starts[event + 1] if event + 1 < starts.size else order.size
        for i in range(begin + 1, end):
            row = order[i]
            tel = tels[row]
            j = i - 1
            while j >= begin and tels[order[j]] > tel:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = row
        for i in range(begin + 1, end):
            repeat[i] = tels[order[i]] == tels[order[i - 1]]

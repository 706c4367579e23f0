"""Compiled loops of `order`. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["by_hash", "span"]


@compiled
def span(times: Any) -> Any:
    """Return the earliest and the latest time."""
    low = times[0]
    high = times[0]
    for i in range(times.size):
        low = min(low, times[i])
        high = max(high, times[i])
    return low, high


@compiled
def by_hash(hashes: Any, low: Any, shift: Any, ends: Any, order: Any) -> None:
    """Sort by counting the leading bits, which hashes spread evenly, then by insertion within a bucket."""
    for i in range(hashes.size):
        ends[np.int64((hashes[i] - low) >> shift) + 1] += 1
    for b in range(1, ends.size):
        ends[b] += ends[b - 1]
    for i in range(hashes.size):
        b = int((hashes[i] - low) >> shift)
        order[ends[b]] = i
        ends[b] += 1
    # ends[b] is now where bucket b ends, so that the bucket before ends where it begins.
    begin = 0
    for b in range(ends.size - 1):
        for i in range(begin + 1, ends[b]):
            row = order[i]
            j = i - 1
            while j >= begin and hashes[order[j]] > hashes[row]:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = row
        begin = ends[b]

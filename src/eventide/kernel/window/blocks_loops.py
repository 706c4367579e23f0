"""Compiled loops of `blocks`. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["pair_times", "pick"]


@compiled
def pair_times(keys: Any, times: Any, low: int, pane: int, shift: int, out: Any) -> None:
    """Write key slot and pane of every row as one word; the rows with a key lie in panes from time `low` on."""
    per = 1.0 / pane
    for i in range(keys.size):
        if keys[i] < 0:
            out[i] = 0
            continue
        since = times[i] - low
        # A product is ten times as fast as a division and off by one at most.
        place = np.int64(since * per)
        if place * pane > since:
            place -= 1
        elif (place + 1) * pane <= since:
            place += 1
        out[i] = (np.int64(keys[i]) << shift) | place


@compiled
def pick(words: Any, low: int, high: int, shift: int, slots: Any, places: Any, keys: Any) -> int:
    """Write the slots whose place, the low bits of their word, lies between `low` and `high`; return how many."""
    mask = (np.int64(1) << shift) - 1
    found = 0
    for i in range(words.size):
        place = words[i] & mask
        if low <= place < high:
            slots[found] = i
            places[found] = place
            keys[found] = words[i] >> shift
            found += 1
    return found

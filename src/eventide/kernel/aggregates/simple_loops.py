"""Counts, integer sums, extremes and edges, compiled. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["add", "count", "edge", "extreme", "merge_sums", "order_floats"]

_REST = np.int64(2**63 - 1)


@compiled
def count(slots: Any, valid: Any, counts: Any) -> None:
    """Count the rows of every slot."""
    if valid.size == 0:
        for i in range(slots.size):
            if slots[i] >= 0:
                counts[np.uint64(slots[i])] += 1
    else:
        for i in range(slots.size):
            if slots[i] >= 0 and valid[i]:
                counts[np.uint64(slots[i])] += 1


@compiled
def add(slots: Any, values: Any, valid: Any, sums: Any) -> None:
    """Add integers to the sums of their slots, modulo 2**64."""
    any_null = valid.size > 0
    for i in range(slots.size):
        if slots[i] >= 0 and not (any_null and not valid[i]):
            sums[np.uint64(slots[i])] += np.int64(values[i])


@compiled
def merge_sums(into: Any, source: Any, sums: Any, others: Any) -> None:
    """Add the sums of slots of one state to those of another."""
    for i in range(into.size):
        sums[np.uint64(into[i])] += others[np.uint64(source[i])]


@compiled
def order_floats(values: Any, out: Any) -> None:
    """Write int64 words that are ordered as the floats are."""
    for i in range(values.size):
        x = np.float64(values[i])
        if x != x:
            out[i] = 0x7FF8000000000000
        else:
            bits = x.view(np.int64)
            out[i] = bits ^ ((bits >> 63) & _REST)


@compiled
def extreme(slots: Any, words: Any, valid: Any, largest: bool, best: Any, has: Any) -> None:
    """Keep the smallest or the largest word of every slot."""
    any_null = valid.size > 0
    for i in range(slots.size):
        if slots[i] < 0 or (any_null and not valid[i]):
            continue
        s = np.uint64(slots[i])
        w = words[i]
        if not has[s]:
            has[s] = True
            best[s] = w
        elif largest:
            best[s] = max(best[s], w)
        else:
            best[s] = min(best[s], w)


@compiled
def edge(slots: Any, times: Any, words: Any, valid: Any, latest: bool, best: Any, word: Any, has: Any) -> None:
    """Keep the word of the earliest or the latest time of every slot; of equal times the smallest or the largest."""
    any_null = valid.size > 0
    for i in range(slots.size):
        if slots[i] < 0 or (any_null and not valid[i]):
            continue
        s = np.uint64(slots[i])
        t = times[i]
        w = words[i]
        if has[s]:
            if latest:
                if t < best[s] or (t == best[s] and w <= word[s]):
                    continue
            elif t > best[s] or (t == best[s] and w >= word[s]):
                continue
        has[s] = True
        best[s] = t
        word[s] = w

"""One compiled pass from rows to counts and moments by key. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.aggregates.binned import CUT
from eventide.kernel.aggregates.binned_add import add_moments
from eventide.kernel.aggregates.binned_loops import merge_moments
from eventide.kernel.compiled import compiled
from eventide.kernel.keys_loops import FREE, NEXT, mix

__all__ = ["add_groups", "add_rows", "add_same"]

_S56 = np.uint64(56)


@compiled
def _in_groups(words: Any, start: int, stop: int, low: int, high: int, rows: Any) -> int:
    """Write the numbers of the rows in the key groups [low, high); no branch depends on a row."""
    count = 0
    for i in range(start, stop):
        group = np.int64(mix(np.uint64(words[i])) >> _S56)
        rows[count] = i
        count += int((group >= low) & (group < high))
    return count


@compiled
def _in_time(times: Any, start: int, stop: int, since: int, until: int, rows: Any) -> int:
    """Write the numbers of the rows with a time in [since, until)."""
    count = 0
    for i in range(start, stop):
        rows[count] = i
        count += int((times[i] >= since) & (times[i] < until))
    return count


@compiled
def _of_those(words: Any, count: int, low: int, high: int, rows: Any) -> int:
    """Keep of some rows those in the key groups [low, high)."""
    kept = 0
    for k in range(count):
        i = rows[k]
        group = np.int64(mix(np.uint64(words[i])) >> _S56)
        rows[kept] = i
        kept += int((group >= low) & (group < high))
    return kept


@compiled
def _slots(words: Any, table: Any, keys: Any, free: Any, meta: Any, out: Any) -> None:
    """Find or insert words; there is room for all of them."""
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for k in range(words.size):
        key = words[k]
        j = mix(np.uint64(key)) & mask
        while True:
            slot = table[j]
            if slot < 0:
                if meta[FREE] > 0:
                    meta[FREE] -= 1
                    slot = free[meta[FREE]]
                else:
                    slot = np.int32(meta[NEXT])
                    meta[NEXT] += 1
                keys[slot] = key
                table[j] = slot
                break
            if keys[slot] == key:
                break
            j = (j + one) & mask
        out[k] = slot


@compiled
def _span(times: Any, start: int, stop: int) -> Any:
    """Return the earliest and the latest of some times."""
    low = times[start]
    high = low
    for i in range(start, stop):
        low = min(low, times[i])
        high = max(high, times[i])
    return low, high


@compiled
def add_rows(
    words: Any, values: Any, times: Any, since: int, until: int, low: int, high: int, start: int,
    table: Any, keys: Any, free: Any, meta: Any, order: int, ints: Any, floats: Any,
) -> int:  # fmt: skip
    """Add rows from `start` on; return the row at which the table must grow, else the row count.

    Parameters
    ----------
    words, values
        int64 keys and float64 values, no nulls.
    times, since, until
        int64 event times; rows with a time in [since, until) count. Empty: all rows.
    low, high
        The key groups that count.
    start
        The first row.
    table, keys, free, meta
        The hash table (see `keys_table`).
    order, ints, floats
        Moments by slot (see `aggregates.binned`).
    """
    all_groups = low == 0 and high == 256
    rows = np.empty(CUT + 1, np.int64)
    some_words = np.empty(CUT, np.int64)
    some_values = np.empty(CUT, np.float64)
    slots = np.empty(CUT, np.int32)
    digits = np.empty(11 * CUT, np.int64)
    odd = np.zeros(CUT + 1, np.int64)
    for begin in range(start, words.size, CUT):
        stop = min(begin + CUT, words.size)
        all_times = times.size == 0
        if not all_times:  # most parts of a batch lie in one pane or two
            first, last = _span(times, begin, stop)
            if last < since or first >= until:
                continue
            all_times = since <= first and last < until
        if keys.size - meta[NEXT] + meta[FREE] < stop - begin:
            return begin
        if all_groups and all_times:
            count = stop - begin
            _slots(words[begin:stop], table, keys, free, meta, slots)
            add_moments(slots[:count], values[begin:stop], order, ints, floats, digits, odd)
            continue
        if all_times:
            count = _in_groups(words, begin, stop, low, high, rows)
        else:
            count = _in_time(times, begin, stop, since, until, rows)
            if not all_groups:
                count = _of_those(words, count, low, high, rows)
        for k in range(count):
            some_words[k] = words[rows[k]]
            some_values[k] = values[rows[k]]
        _slots(some_words[:count], table, keys, free, meta, slots)
        add_moments(slots[:count], some_values[:count], order, ints, floats, digits, odd)
    return int(words.size)


@compiled
def add_groups(
    words: Any, start: int, table: Any, keys: Any, free: Any, meta: Any,
    order: int, ints: Any, floats: Any, other_ints: Any, other_floats: Any,
) -> int:  # fmt: skip
    """Add the state of another block, whose keys by slot are `words`; return the slot at which the table must grow."""
    slots = np.empty(CUT, np.int32)
    source = np.empty(CUT, np.int32)
    for begin in range(start, words.size, CUT):
        count = min(CUT, words.size - begin)
        if keys.size - meta[NEXT] + meta[FREE] < count:
            return begin
        _slots(words[begin : begin + count], table, keys, free, meta, slots)
        for k in range(count):
            source[k] = begin + k
        merge_moments(slots[:count], source[:count], order, ints, floats, other_ints, other_floats)
    return int(words.size)


@compiled
def add_same(count: int, order: int, ints: Any, floats: Any, other_ints: Any, other_floats: Any) -> None:
    """Add the first groups of another block whose keys have the same slots there."""
    source = np.empty(CUT, np.int32)
    for begin in range(0, count, CUT):
        some = min(CUT, count - begin)
        for k in range(some):
            source[k] = begin + k
        merge_moments(source[:some], source[:some], order, ints, floats, other_ints, other_floats)

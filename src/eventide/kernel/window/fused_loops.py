"""One compiled pass from rows to counts and moments by key. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.aggregates.binned import CUT
from eventide.kernel.aggregates.binned_add import add_moments
from eventide.kernel.aggregates.binned_loops import merge_moments
from eventide.kernel.compiled import compiled
from eventide.kernel.keys_loops import FREE, NEXT, mix

__all__ = ["add_groups", "add_rows", "add_same", "split_rows"]

_S56 = np.uint64(56)
_NEAR = 4096
_NEAR_MASK = np.int64(_NEAR - 1)


@compiled
def _split_in_two(words: Any, values: Any, times: Any, edge: int, ends: Any, out_words: Any, out_values: Any) -> None:
    """Write the rows before an edge, then the others; no branch depends on a row."""
    count = 0
    for i in range(times.size):
        count += int(times[i] < edge)
    first, second = 0, count
    for i in range(words.size):
        before = int(times[i] < edge)
        at = second - before * (second - first)
        out_words[at] = words[i]
        out_values[at] = values[i]
        first += before
        second += 1 - before
    ends[0], ends[1] = count, words.size


@compiled
def split_rows(
    words: Any, values: Any, times: Any, low: int, pane: int, ends: Any, out_words: Any, out_values: Any
) -> None:
    """Write rows pane after pane, each in the order it has; every time lies in one of the panes from `low` on.

    Parameters
    ----------
    words, values, times
        The rows.
    low, pane
        Time of the first pane and length of a pane, ns.
    ends
        int64, zeros, as many as panes: what is written is where each ends.
    out_words, out_values
        Room for all rows.
    """
    if ends.size == 2:
        _split_in_two(words, values, times, low + pane, ends, out_words, out_values)
        return
    per = 1.0 / pane
    places = np.empty(words.size, np.uint8)
    starts = np.zeros(ends.size + 1, np.int64)
    for i in range(words.size):
        since = times[i] - low
        # A product is ten times as fast as a division and off by one at most.
        place = np.int64(since * per)
        place -= int(place * pane > since)
        place += int((place + 1) * pane <= since)
        places[i] = place
        starts[place + 1] += 1
    for k in range(ends.size):
        starts[k + 1] += starts[k]
        ends[k] = starts[k + 1]
    for i in range(words.size):
        at = starts[places[i]]
        starts[places[i]] = at + 1
        out_words[at] = words[i]
        out_values[at] = values[i]


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
def _slot(key: Any, table: Any, keys: Any, free: Any, meta: Any) -> Any:
    """Find or insert a word; there is room for it."""
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
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
            return slot
        if keys[slot] == key:
            return slot
        j = (j + one) & mask


@compiled
def _slots(words: Any, table: Any, keys: Any, free: Any, meta: Any, out: Any) -> None:
    """Find or insert words; there is room for all of them."""
    for k in range(words.size):
        out[k] = _slot(words[k], table, keys, free, meta)


@compiled
def _slots_near(words: Any, table: Any, keys: Any, free: Any, meta: Any, out: Any, tags: Any, near: Any) -> None:
    """Do what `_slots` does with a memory of the last word and slot for each value of the lowest bits.

    Where keys are few, and are numbers of channels, pixels or nodes, this takes a third of the time.
    """
    for k in range(words.size):
        key = words[k]
        at = key & _NEAR_MASK
        slot = near[at]
        if tags[at] != key or slot < 0:
            slot = _slot(key, table, keys, free, meta)
            tags[at] = key
            near[at] = slot
        out[k] = slot


@compiled
def add_rows(
    words: Any, values: Any, low: int, high: int, start: int,
    table: Any, keys: Any, free: Any, meta: Any, order: int, ints: Any, floats: Any,
) -> int:  # fmt: skip
    """Add rows from `start` on; return the row at which the table must grow, else the row count.

    Parameters
    ----------
    words, values
        int64 keys and float64 values, no nulls.
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
    few = words.size - start >= _NEAR and meta[NEXT] <= _NEAR // 2
    tags = np.empty(_NEAR if few else 0, np.int64)
    near = np.full(tags.size, -1, np.int32)
    for begin in range(start, words.size, CUT):
        stop = min(begin + CUT, words.size)
        if keys.size - meta[NEXT] + meta[FREE] < stop - begin:
            return begin
        if all_groups:
            if few:
                _slots_near(words[begin:stop], table, keys, free, meta, slots, tags, near)
            else:
                _slots(words[begin:stop], table, keys, free, meta, slots)
            add_moments(slots[: stop - begin], values[begin:stop], order, ints, floats, digits, odd)
            continue
        count = _in_groups(words, begin, stop, low, high, rows)
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

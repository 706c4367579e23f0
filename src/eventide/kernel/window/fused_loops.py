"""One compiled pass from rows to counts and moments by key. Imported only behind `have_compiler()`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.aggregates.binned import CUT
from eventide.kernel.aggregates.binned_add import add_moments
from eventide.kernel.aggregates.binned_loops import merge_moments
from eventide.kernel.compiled import compiled
from eventide.kernel.keys_loops import FREE, NEXT, mix
from eventide.kernel.window.fused import PART

__all__ = ["add_groups", "add_rows", "add_rows_in_pane", "add_same", "sum_same"]

_S56 = np.uint64(56)
_NEAR = 4096
_NEAR_MASK = np.int64(_NEAR - 1)


@compiled
def _places(times: Any, edges: Any, places: Any) -> tuple[int, int]:
    """Write which panes times lie in, 1 for the first, 0 before it, 5 behind the last; return the extremes."""
    e0, e1, e2, e3, e4 = edges[0], edges[1], edges[2], edges[3], edges[4]
    low = high = np.int64(times[0])
    for i in range(times.size):
        t = times[i]
        low, high = min(low, t), max(high, t)
        places[i] = int(t >= e0) + int(t >= e1) + int(t >= e2) + int(t >= e3) + int(t >= e4)
    first = int(low >= e0) + int(low >= e1) + int(low >= e2) + int(low >= e3) + int(low >= e4)
    last = int(high >= e0) + int(high >= e1) + int(high >= e2) + int(high >= e3) + int(high >= e4)
    return first, last


@compiled
def _sort(places: Any, first: int, last: int, words: Any, values: Any, ends: Any, out: Any, out_values: Any) -> None:
    """Write rows place after place, each in the order it has, and where each place ends."""
    ends[:] = 0
    if last - first == 1:  # no branch and no memory depends on a row
        count = 0
        for i in range(places.size):
            count += int(places[i] == first)
        ahead, behind = 0, count
        for i in range(places.size):
            before = int(places[i] == first)
            at = behind - before * (behind - ahead)
            out[at] = words[i]
            out_values[at] = values[i]
            ahead += before
            behind += 1 - before
        ends[first], ends[last] = ahead, behind
        return
    for i in range(places.size):
        ends[places[i]] += 1
    total = 0
    for k in range(ends.size):
        total, ends[k] = total + ends[k], total
    for i in range(places.size):
        at = ends[places[i]]
        ends[places[i]] = at + 1
        out[at] = words[i]
        out_values[at] = values[i]


@compiled
def _in_groups(words: Any, low: int, high: int, rows: Any) -> int:
    """Write the numbers of the rows in the key groups [low, high); no branch depends on a row."""
    count = 0
    for i in range(words.size):
        group = np.int64(mix(np.uint64(words[i])) >> _S56)
        rows[count] = i
        count += int((group >= low) & (group < high))
    return count


@compiled
def _slots(words: Any, table: Any, keys: Any, free: Any, meta: Any, out: Any, some: bool) -> None:
    """Find or insert words; there is room for all of them. With `some`, only those that have -1 so far."""
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for k in range(words.size):
        if some and out[k] >= 0:
            continue
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
def _slots_near(words: Any, table: Any, keys: Any, free: Any, meta: Any, out: Any, tags: Any, near: Any) -> None:
    """Do what `_slots` does with a memory of the last word and slot for each value of the lowest bits.

    Where keys are few, and are numbers of channels, pixels or nodes, this takes a third of the time.
    """
    unknown = 0
    for k in range(words.size):
        at = words[k] & _NEAR_MASK
        slot = np.int32(near[at]) if tags[at] == words[k] else np.int32(-1)
        unknown += int(slot < 0)
        out[k] = slot
    if not unknown:
        return
    _slots(words, table, keys, free, meta, out, True)
    for k in range(words.size):
        at = words[k] & _NEAR_MASK
        tags[at] = words[k]
        near[at] = out[k]


@compiled
def _add_some(
    words: Any, values: Any, low: int, high: int, order: int,
    table: Any, keys: Any, free: Any, meta: Any, ints: Any, floats: Any,
    tags: Any, near: Any, scratch: Any, odd: Any,
) -> None:  # fmt: skip
    """Add rows of one pane to a block that has room for all of them."""
    slots, digits, rows, some_words, some_values = scratch
    for begin in range(0, words.size, CUT):
        stop = min(begin + CUT, words.size)
        cut_words, cut_values = words[begin:stop], values[begin:stop]
        if low > 0 or high < 256:
            count = _in_groups(cut_words, low, high, rows)
            for i in range(count):
                some_words[i] = cut_words[rows[i]]
                some_values[i] = cut_values[rows[i]]
            cut_words, cut_values = some_words[:count], some_values[:count]
        if near.size and meta[NEXT] <= _NEAR // 2:
            _slots_near(cut_words, table, keys, free, meta, slots, tags, near)
        else:
            _slots(cut_words, table, keys, free, meta, slots, False)
        add_moments(slots[: cut_words.size], cut_values, order, ints, floats, digits, odd)


@compiled
def _scratch() -> tuple[Any, Any, Any, Any, Any]:
    return (
        np.empty(CUT, np.int32),
        np.empty(11 * CUT, np.int64),
        np.empty(CUT + 1, np.int64),
        np.empty(CUT, np.int64),
        np.empty(CUT, np.float64),
    )


@compiled
def add_rows_in_pane(
    words: Any, values: Any, start: int, low: int, high: int, order: int,
    table: Any, keys: Any, free: Any, meta: Any, ints: Any, floats: Any,
) -> int:  # fmt: skip
    """Do what `add_rows` does where all rows lie in one pane; return -1, or the row before which the table must grow.

    Small batches nearly always lie in one pane, and to hand over the arrays of four takes as long as 500 rows.
    """
    scratch = _scratch()
    odd = np.zeros(CUT + 1, np.int64)
    many = words.size - start >= 2 * _NEAR
    tags = np.empty(_NEAR if many else 0, np.int64)
    near = np.full(_NEAR if many else 0, -1, np.int16)
    for begin in range(start, words.size, PART):
        stop = min(begin + PART, words.size)
        if keys.size - meta[NEXT] + meta[FREE] < stop - begin:
            return begin
        _add_some(
            words[begin:stop], values[begin:stop], low, high, order,
            table, keys, free, meta, ints, floats, tags, near, scratch, odd,
        )  # fmt: skip
    return -1


@compiled
def add_rows(
    words: Any, values: Any, times: Any, start: int, edges: Any, low: int, high: int, order: int,
    tables: Any, keys: Any, free: Any, meta: Any, ints: Any, floats: Any,
) -> int:  # fmt: skip
    """Add the rows of some panes to their blocks, from `start` on, so few at a time that they stay in the cache.

    Parameters
    ----------
    words, values, times
        int64 keys, float64 values and event times, ns; no nulls.
    start
        The first row.
    edges
        Where the four panes begin, and the end of the last.
    low, high
        The key groups that count.
    order
        1: sums; 2: sums of squares too.
    tables, keys, free, meta
        The hash tables (see `keys_table`), a tuple of four each.
    ints, floats
        Moments by slot (see `aggregates.binned`), a tuple of four each.

    Returns
    -------
    -1, or 4 r + k where table k must grow before row r can be added.
    """
    places = np.empty(PART, np.uint8)
    ends = np.zeros(6, np.int64)
    some_words = np.empty(PART, np.int64)
    some_values = np.empty(PART, np.float64)
    scratch = _scratch()
    odd = np.zeros((4, CUT + 1), np.int64)
    many = words.size - start >= 2 * _NEAR
    tags = np.empty((4, _NEAR if many else 0), np.int64)
    near = np.full((4, _NEAR if many else 0), -1, np.int16)
    for begin in range(start, words.size, PART):
        stop = min(begin + PART, words.size)
        part_words, part_values = words[begin:stop], values[begin:stop]
        first, last = _places(times[begin:stop], edges, places)
        panes = range(max(first, 1) - 1, min(last, 4))
        for k in panes:
            if keys[k].size - meta[k][NEXT] + meta[k][FREE] < stop - begin:
                return 4 * begin + k
        if first == last:
            ends[first - 1], ends[first] = 0, stop - begin
        else:
            _sort(places[: stop - begin], first, last, part_words, part_values, ends, some_words, some_values)
            part_words, part_values = some_words, some_values
        for k in panes:
            _add_some(
                part_words[ends[k] : ends[k + 1]], part_values[ends[k] : ends[k + 1]], low, high, order,
                tables[k], keys[k], free[k], meta[k], ints[k], floats[k], tags[k], near[k], scratch, odd[k],
            )  # fmt: skip
    return -1


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
        _slots(words[begin : begin + count], table, keys, free, meta, slots, False)
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


@compiled
def sum_same(count: int, order: int, ints: Any, floats: Any, number: int, others: Any, other_floats: Any) -> None:
    """Write the sum of the first groups of some states (tuples of `SUMMED`) whose keys have the same slots."""
    slots = np.empty(CUT, np.int32)
    for begin in range(0, count, CUT):  # few groups at a time: their sum stays in the first-level cache
        some = slots[: min(CUT, count - begin)]
        for k in range(some.size):
            some[k] = begin + k
        ints[begin : begin + some.size] = others[0][begin : begin + some.size]
        for n in range(1, number):
            merge_moments(some, some, order, ints, floats, others[n], other_floats[n])

"""Compiled loops of `_events_decode`: find what messages hold, and copy it. Imported only behind `have_compiler()`.

Nothing here looks at a byte before it is known to lie inside its message. What is accepted is exactly what `_events`
accepts, which says in words why a message is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["copy_runs", "number_sources", "repeat_runs", "scan_ev42", "scan_ev44"]

_NO_TIME = -(2**63)
_PRIME = np.uint64(0x100000001B3)
_BASIS = np.uint64(0xCBF29CE484222325)


@compiled
def _u16(data: Any, at: int) -> Any:
    return np.int64(data[at]) | (np.int64(data[at + 1]) << 8)


@compiled
def _u32(data: Any, at: int) -> Any:
    low = np.int64(data[at]) | (np.int64(data[at + 1]) << 8)
    return low | (np.int64(data[at + 2]) << 16) | (np.int64(data[at + 3]) << 24)


@compiled
def _i64(data: Any, at: int) -> Any:
    return _u32(data, at) | (_u32(data, at + 4) << 32)


@compiled
def _table(data: Any, at: int, start: int, stop: int) -> tuple[int, int, int]:
    """Return the vtable of a table, how many fields it has, and the size of the table; -1 where it is broken."""
    if at < start or at + 4 > stop:
        return -1, 0, 0
    back = _u32(data, at)
    if back >= 1 << 31:
        back -= 1 << 32
    vtable = at - back
    if vtable < start or vtable + 4 > stop:
        return -1, 0, 0
    own, size = _u16(data, vtable), _u16(data, vtable + 2)
    if own < 4 or own % 2 != 0 or vtable + own > stop or size < 4 or at + size > stop:
        return -1, 0, 0
    return vtable, (own - 4) // 2, size


@compiled
def _outermost(data: Any, at: int, start: int, stop: int) -> tuple[int, int, int]:
    """Return what `_table` does for the outermost table, over whose vtable some writers wrote the name."""
    vtable, fields, size = _table(data, at, start, stop)
    if at < start or at + 4 > stop:
        return -1, 0, 0
    under = at - start - _u32(data, at)
    if under not in (4, 6):
        return vtable, fields, size
    vtable = start + under
    if under == 4:
        size = min(stop - at, (1 << 16) - 1)
    else:
        size = _u16(data, vtable + 2)
    own = at - vtable
    if own < 4 or own % 2 != 0 or vtable + own > stop or size < 4 or at + size > stop:
        return -1, 0, 0
    return vtable, (own - 4) // 2, size


@compiled
def _field(data: Any, at: int, vtable: int, fields: int, size: int, slot: int, width: int) -> Any:
    """Return where a field stands, -1 where it was left out, -2 where it is not inside its table."""
    if slot >= fields:
        return -1
    inside = _u16(data, vtable + 4 + 2 * slot)
    if inside == 0:
        return -1
    if inside < 4 or inside + width > size:
        return -2
    return at + inside


@compiled
def _follow(data: Any, place: int, stop: int) -> Any:
    """Return where an offset leads, -2 where that is out of the message."""
    target = place + _u32(data, place)
    if target + 4 > stop or target == place:
        return -2
    return target


@compiled
def _vector(
    data: Any, at: int, vtable: int, fields: int, size: int, slot: int, width: int, stop: int
) -> tuple[int, int]:
    """Return where a vector's elements begin and how many there are; -1 left out, -2 broken."""
    place = _field(data, at, vtable, fields, size, slot, 4)
    if place < 0:
        return place, 0
    target = _follow(data, place, stop)
    if target < 0:
        return -2, 0
    count = _u32(data, target)
    if target + 4 + count * width > stop:
        return -2, 0
    return target + 4, count


@compiled
def _begin(data: Any, start: int, stop: int, name: int) -> Any:
    """Return where the outermost table of a message is, -2 where this is no message of that schema."""
    if stop - start < 8 or _u32(data, start + 4) != name:
        return -2
    return start + _u32(data, start)


@compiled
def _pulses_fit(data: Any, begin: int, count: int, times: int, events: int) -> bool:
    """Tell whether pulses begin at 0, never go back, and stay inside the events; and have times."""
    before = 0
    for k in range(count):
        first = _u32(data, begin + 4 * k)
        if first < before or first > events or (k == 0 and first != 0):
            return False
        if _i64(data, times + 8 * k) == _NO_TIME:
            return False
        before = first
    return True


@compiled
def scan_ev44(data: Any, starts: Any, stops: Any, name: int, weights: bool, head: Any) -> None:
    """Find what each message of the schemas ev44 and an44 holds; the columns of `head` are those of `_events`."""
    for i in range(starts.size):
        start, stop = starts[i], stops[i]
        head[i, 0] = 0
        at = _begin(data, start, stop, name)
        vtable, fields, size = _outermost(data, at, start, stop)
        if at < 0 or vtable < 0:
            continue
        source, letters = _vector(data, at, vtable, fields, size, 0, 1, stop)
        number = _field(data, at, vtable, fields, size, 1, 8)
        times, pulses = _vector(data, at, vtable, fields, size, 2, 8, stop)
        index, indices = _vector(data, at, vtable, fields, size, 3, 4, stop)
        flights, events = _vector(data, at, vtable, fields, size, 4, 4, stop)
        pixels, ids = _vector(data, at, vtable, fields, size, 5, 4, stop)
        weight, weighed = -1, 0
        if weights:
            weight, weighed = _vector(data, at, vtable, fields, size, 6, 2, stop)
        if source < 0 or times < 0 or index < 0 or number == -2 or flights == -2 or pixels == -2 or weight == -2:
            continue
        if pulses != indices or (events > 0 and pulses == 0):
            continue
        if (ids != events and ids != 0) or (weighed != events and weighed != 0):
            continue
        if not _pulses_fit(data, index, pulses, times, events):
            continue
        head[i, 0] = 1
        head[i, 1] = _i64(data, number) if number >= 0 else 0
        head[i, 2], head[i, 3] = source, letters
        head[i, 4], head[i, 5] = flights, events
        head[i, 6] = pixels if ids > 0 else -1
        head[i, 7] = weight if weighed > 0 else -1
        head[i, 8], head[i, 9], head[i, 10] = times, index, pulses


@compiled
def scan_ev42(data: Any, starts: Any, stops: Any, name: int, head: Any) -> None:
    """Find what each message of the schema ev42 holds, with the part of ISIS where it is there."""
    for i in range(starts.size):
        start, stop = starts[i], stops[i]
        head[i, 0] = 0
        at = _begin(data, start, stop, name)
        vtable, fields, size = _outermost(data, at, start, stop)
        if at < 0 or vtable < 0:
            continue
        source, letters = _vector(data, at, vtable, fields, size, 0, 1, stop)
        number = _field(data, at, vtable, fields, size, 1, 8)
        time = _field(data, at, vtable, fields, size, 2, 8)
        flights, events = _vector(data, at, vtable, fields, size, 3, 4, stop)
        pixels, ids = _vector(data, at, vtable, fields, size, 4, 4, stop)
        kind = _field(data, at, vtable, fields, size, 5, 1)
        if source == -2 or number == -2 or time == -2 or flights == -2 or pixels == -2 or kind == -2:
            continue
        if ids not in (0, events):
            continue
        if (number >= 0 and data[number + 7] >= 128) or (time >= 0 and data[time + 7] >= 128):
            continue
        head[i, 11], head[i, 12], head[i, 13] = -1, 0, 0
        if kind >= 0 and data[kind] == 1:
            place = _field(data, at, vtable, fields, size, 6, 4)
            if place < 0:
                continue
            part = _follow(data, place, stop)
            if part < 0:
                continue
            v, f, s = _table(data, part, start, stop)
            if v < 0:
                continue
            period = _field(data, part, v, f, s, 0, 4)
            state = _field(data, part, v, f, s, 1, 1)
            charge = _field(data, part, v, f, s, 2, 4)
            if period == -2 or state == -2 or charge == -2:
                continue
            head[i, 11] = _u32(data, period) if period >= 0 else 0
            head[i, 12] = data[state] if state >= 0 else 0
            head[i, 13] = _u32(data, charge) if charge >= 0 else 0
        head[i, 0] = 1
        head[i, 1] = _i64(data, number) if number >= 0 else 0
        head[i, 2], head[i, 3] = source, letters
        head[i, 4], head[i, 5] = flights, events
        head[i, 6] = pixels if ids > 0 else -1
        head[i, 7] = -1
        head[i, 8], head[i, 9], head[i, 10] = time, -1, 1


@compiled
def number_sources(data: Any, begins: Any, lengths: Any, table: Any, firsts: Any, codes: Any) -> int:
    """Number different texts in the order in which they come; `table` is a power of two of -1, `firsts` their rows."""
    mask = table.size - 1
    known = 0
    for i in range(begins.size):
        begin, length = begins[i], lengths[i]
        if i > 0 and length == lengths[i - 1]:
            other, same = begins[i - 1], True
            for k in range(length):
                if data[begin + k] != data[other + k]:
                    same = False
                    break
            if same:
                codes[i] = codes[i - 1]
                continue
        mixed = _BASIS
        for k in range(length):
            mixed = (mixed ^ np.uint64(data[begin + k])) * _PRIME
        slot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(mask))
        while True:
            code = table[slot]
            if code < 0:
                table[slot] = known
                firsts[known] = i
                codes[i] = known
                known += 1
                break
            other = firsts[code]
            same = lengths[other] == length
            if same:
                for k in range(length):
                    if data[begin + k] != data[begins[other] + k]:
                        same = False
                        break
            if same:
                codes[i] = code
                break
            slot = (slot + 1) & mask
    return known


@compiled
def copy_runs(data: Any, begins: Any, sizes: Any, out: Any) -> None:
    """Copy runs of bytes one behind the other; zeros for a run that begins nowhere (-1)."""
    at = 0
    for i in range(begins.size):
        size = sizes[i]
        to = out[at : at + size]
        if begins[i] < 0:
            to[:] = 0
        else:
            run = data[begins[i] : begins[i] + size]
            for k in range(size):  # becomes a plain copy of memory, which the assignment of a slice does not
                to[k] = run[k]
        at += size


@compiled
def repeat_runs(values: Any, counts: Any, out: Any) -> None:
    """Write each value as often as its count says."""
    at = 0
    for i in range(values.size):
        value, to = values[i], out[at : at + counts[i]]
        for k in range(to.size):
            to[k] = value
        at += counts[i]

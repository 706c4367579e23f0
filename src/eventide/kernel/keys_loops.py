"""Compiled loops over keys, imported only behind `have_compiler()`; the numpy twins are in `keys_plain`, `hashing`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = [
    "assign_bytes",
    "assign_words",
    "fill_spread",
    "fnv",
    "mix_words",
    "pack_bytes",
    "pack_words",
    "release_slots",
    "release_words",
    "take_bytes",
]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S56 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(56)
_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)

# The state of a table that its loops write, in one small array: see `keys_table`.
NEXT, FREE, NULL, USED, NEED, DEAD = 0, 1, 2, 3, 4, 5


@compiled
def mix(x: Any) -> Any:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014, OOPSLA): a bijection of 64-bit words."""
    z = x + _GOLDEN
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@compiled
def mix_words(words: Any, out: Any) -> None:
    """Hash 64-bit words."""
    for i in range(words.size):
        out[i] = mix(np.uint64(words[i]))


@compiled
def fnv(offsets: Any, data: Any, out: Any) -> None:
    """FNV-1a 64 (Fowler, Noll and Vo) of every row's bytes, finished with `mix` so that all bits are good."""
    for i in range(out.size):
        h = _FNV_START
        for j in range(offsets[i], offsets[i + 1]):
            h = (h ^ np.uint64(data[j])) * _FNV_PRIME
        out[i] = mix(h)


@compiled
def _new_slot(keys_size: int, free: Any, meta: Any) -> int:
    if meta[FREE] > 0:
        meta[FREE] -= 1
        return int(free[meta[FREE]])
    if meta[NEXT] >= keys_size:
        return -1
    meta[NEXT] += 1
    return int(meta[NEXT] - 1)


@compiled
def assign_words(
    words: Any, valid: Any, select: Any, low: int, high: int, insert: bool, null_group: int, start: int,
    table: Any, keys: Any, free: Any, meta: Any, out: Any,
) -> int:  # fmt: skip
    """Find or insert words from row `start`; return the row at which the table is full, else the row count."""
    mask = np.uint64(table.size - 1)
    every = low == 0 and high == 256
    any_select = select.size > 0
    any_null = valid.size > 0
    one = np.uint64(1)
    for i in range(start, words.size):
        if any_select and not select[i]:
            out[i] = -1
            continue
        if any_null and not valid[i]:
            slot = -1
            if low <= null_group < high:
                slot = meta[NULL]
                if slot < 0 and insert:
                    slot = _new_slot(keys.size, free, meta)
                    if slot < 0:
                        return i
                    keys[slot] = 0
                    meta[NULL] = slot
            out[i] = slot
            continue
        key = words[i]
        h = mix(np.uint64(key))
        if not every:
            group = np.int64(h >> _S56)
            if group < low or group >= high:
                out[i] = -1
                continue
        j = h & mask
        while True:
            slot = table[j]
            if slot < 0:
                if insert:
                    slot = _new_slot(keys.size, free, meta)
                    if slot < 0:
                        return i
                    keys[slot] = key
                    table[j] = slot
                break
            if keys[np.uint64(slot)] == key:
                break
            j = (j + one) & mask
        out[i] = slot
    return int(words.size)


@compiled
def _same(data: Any, a: int, arena: Any, b: int, length: int) -> bool:
    for i in range(length):  # noqa: SIM110 - numba compiles no generator
        if data[a + i] != arena[b + i]:
            return False
    return True


@compiled
def assign_bytes(
    hashes: Any, offsets: Any, data: Any, valid: Any, select: Any, low: int, high: int, insert: bool, start: int,
    table: Any, kept: Any, starts: Any, lengths: Any, arena: Any, free: Any, meta: Any, out: Any,
) -> int:  # fmt: skip
    """Find or insert rows of bytes from row `start`; return the row at which the table or its arena is full."""
    mask = np.uint64(table.size - 1)
    any_select = select.size > 0
    any_null = valid.size > 0
    one = np.uint64(1)
    for i in range(start, hashes.size):
        if any_select and not select[i]:
            out[i] = -1
            continue
        h = hashes[i]
        group = np.int64(h >> _S56)
        if group < low or group >= high:
            out[i] = -1
            continue
        if any_null and not valid[i]:
            slot = meta[NULL]
            if slot < 0 and insert:
                slot = _new_slot(kept.size, free, meta)
                if slot < 0:
                    return i
                kept[slot] = h
                starts[slot] = meta[USED]
                lengths[slot] = 0
                meta[NULL] = slot
            out[i] = slot
            continue
        a = offsets[i]
        length = offsets[i + 1] - a
        j = h & mask
        while True:
            slot = table[j]
            if slot < 0:
                if insert:
                    if meta[USED] + length > arena.size:
                        meta[NEED] = meta[USED] + length
                        return i
                    slot = _new_slot(kept.size, free, meta)
                    if slot < 0:
                        return i
                    kept[slot] = h
                    begin = meta[USED]
                    starts[slot] = begin
                    lengths[slot] = length
                    for k in range(length):
                        arena[begin + k] = data[a + k]
                    meta[USED] = begin + length
                    table[j] = slot
                break
            at = np.uint64(slot)
            if kept[at] == h and lengths[at] == length and _same(data, a, arena, starts[at], length):
                break
            j = (j + one) & mask
        out[i] = slot
    return int(hashes.size)


@compiled
def release_slots(slots: Any, hashes: Any, table: Any, free: Any, meta: Any) -> None:
    """Take slots out of a table with linear probing by shifting back (Knuth, TAOCP 3, 6.4, algorithm R).

    `hashes` are those of all slots, by slot.
    """
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for i in range(slots.size):
        slot = slots[i]
        free[meta[FREE]] = slot
        meta[FREE] += 1
        if slot == meta[NULL]:
            meta[NULL] = -1
            continue
        j = hashes[slot] & mask
        while table[j] != slot:
            j = (j + one) & mask
        hole = j
        while True:
            j = (j + one) & mask
            other = table[j]
            if other < 0:
                break
            home = hashes[other] & mask
            if ((j - home) & mask) >= ((j - hole) & mask):
                table[hole] = other
                hole = j
        table[hole] = -1


@compiled
def release_words(slots: Any, keys: Any, table: Any, free: Any, meta: Any) -> None:
    """Do what `release_slots` does, of keys that are words."""
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for i in range(slots.size):
        slot = slots[i]
        free[meta[FREE]] = slot
        meta[FREE] += 1
        if slot == meta[NULL]:
            meta[NULL] = -1
            continue
        j = mix(np.uint64(keys[slot])) & mask
        while table[j] != slot:
            j = (j + one) & mask
        hole = j
        while True:
            j = (j + one) & mask
            other = table[j]
            if other < 0:
                break
            home = mix(np.uint64(keys[other])) & mask
            if ((j - home) & mask) >= ((j - hole) & mask):
                table[hole] = other
                hole = j
        table[hole] = -1


@compiled
def fill_words(table: Any, keys: Any, count: int, skip: int) -> None:
    """Enter slots 0 to count, of which none is free, into an empty table of words; `skip` is the slot of null."""
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for slot in range(count):
        if slot == skip:
            continue
        j = mix(np.uint64(keys[slot])) & mask
        while table[j] >= 0:
            j = (j + one) & mask
        table[j] = slot


@compiled
def fill_spread(table: Any, hashes: Any, skip: int, bits: int) -> None:
    """Enter slots 0, 1, 2 ... of distinct keys into an empty table, also where it is too large for any cache.

    Slots are first put in order of the part of the table that they go to, parts that a cache holds.

    Parameters
    ----------
    table, hashes
        The empty table, and hashes by slot.
    skip
        A slot that is left out, or -1.
    bits
        The table is taken in 2**bits parts.
    """
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    width = 0
    while (1 << width) < table.size:
        width += 1
    shift = np.uint64(width - bits)
    starts = np.zeros((1 << bits) + 1, np.int64)
    for slot in range(hashes.size):
        starts[np.int64((hashes[slot] & mask) >> shift) + 1] += 1
    for k in range(1 << bits):
        starts[k + 1] += starts[k]
    slots = np.empty(hashes.size, np.int32)
    homes = np.empty(hashes.size, np.uint32)
    for slot in range(hashes.size):
        home = hashes[slot] & mask
        part = np.int64(home >> shift)
        at = starts[part]
        starts[part] = at + 1
        slots[at] = slot
        homes[at] = np.uint32(home)
    for i in range(hashes.size):
        if slots[i] == skip:
            continue
        j = np.uint64(homes[i])
        while table[j] >= 0:
            j = (j + one) & mask
        table[j] = slots[i]


@compiled
def take_bytes(starts: Any, lengths: Any, data: Any, out: Any) -> None:
    """Copy rows of bytes one after another."""
    cursor = 0
    for i in range(starts.size):
        a = starts[i]
        for j in range(lengths[i]):
            out[cursor + j] = data[a + j]
        cursor += lengths[i]


@compiled
def pack_words(words: Any, valid: Any, cursor: Any, out: Any) -> None:
    """Write a byte of validity and eight of value at every row's cursor, and move it on."""
    for i in range(words.size):
        at = cursor[i]
        good = valid.size == 0 or valid[i]
        out[at] = np.uint8(1 if good else 0)
        word = np.uint64(words[i] if good else 0)
        for j in range(8):
            out[at + 1 + j] = np.uint8((word >> np.uint64(8 * j)) & np.uint64(255))
        cursor[i] = at + 9


@compiled
def pack_bytes(offsets: Any, data: Any, valid: Any, cursor: Any, out: Any) -> None:
    """Write a byte of validity, four of length and the bytes at every row's cursor, and move it on."""
    for i in range(cursor.size):
        at = cursor[i]
        good = valid.size == 0 or valid[i]
        a = offsets[i]
        length = offsets[i + 1] - a if good else 0
        out[at] = np.uint8(1 if good else 0)
        for j in range(4):
            out[at + 1 + j] = np.uint8((length >> (8 * j)) & 255)
        for j in range(length):
            out[at + 5 + j] = data[a + j]
        cursor[i] = at + 5 + length

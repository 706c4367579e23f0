"""Words of binned sums as narrow columns and back, compiled. Imported only behind `have_compiler()`.

See `narrow` for the format.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.aggregates.binned_words import BOUND1, BOUND2, bits_of, bound_of, float_of, top_of
from eventide.kernel.compiled import compiled

__all__ = ["narrow", "ranges", "widen"]

_TILE = 256
_ROOM = _TILE + 8  # a power of two would put all words of a slot into the same places of the cache
_NO_TOP = -128
_LOW = np.int64(0xFFFFFFFF)


@compiled
def _take(slots: Any, begin: int, count: int, ints: Any, out: Any) -> None:
    """Write what is kept of some slots, word after word: of a bound the index of its top bin."""
    for i in range(count):
        s = np.uint64(slots[begin + i])
        for k in range(ints.shape[1]):
            out[k * _ROOM + i] = ints[s, k]
    for k in (BOUND1, BOUND2):
        if k < ints.shape[1]:
            tops = out[k * _ROOM : k * _ROOM + count]
            for i in range(count):
                bound = float_of(tops[i])
                tops[i] = _NO_TOP if bound == 0.0 else top_of(bound)


@compiled
def ranges(slots: Any, ints: Any, lows: Any, highs: Any) -> None:
    """Write the least and the greatest of every word; with 0 among them."""
    tile = np.empty(ints.shape[1] * _ROOM, np.int64)
    for begin in range(0, slots.size, _TILE):
        count = min(_TILE, slots.size - begin)
        _take(slots, begin, count, ints, tile)
        for k in range(ints.shape[1]):
            words = tile[k * _ROOM :]
            low, high = lows[k], highs[k]
            for i in range(count):
                low = min(low, words[i])
                high = max(high, words[i])
            lows[k], highs[k] = low, high


@compiled
def narrow(slots: Any, ints: Any, widths: Any, starts: Any, out: Any) -> bool:
    """Write columns of given widths; False as soon as a word does not fit.

    Parameters
    ----------
    slots, ints
        What is written.
    widths
        Bytes of every column: 0, 1, 2, 4 or 8; 5 and 6 are the lower four bytes, then the others.
    starts
        Where each column begins in `out`, a multiple of 8.
    out
        uint8.
    """
    n = slots.size
    out1, out2, out4 = out.view(np.int8), out.view(np.int16), out.view(np.int32)
    low4, out8 = out.view(np.uint32), out.view(np.int64)
    tile = np.empty(ints.shape[1] * _ROOM, np.int64)
    for begin in range(0, n, _TILE):
        count = min(_TILE, n - begin)
        _take(slots, begin, count, ints, tile)
        for k in range(ints.shape[1]):
            width, at = widths[k], starts[k]
            words = tile[k * _ROOM : k * _ROOM + count]
            bad = np.int64(0)
            if width == 5 or width == 6:
                low = low4[(at >> 2) + begin :]
                for i in range(count):
                    low[i] = np.uint32(words[i] & _LOW)
                    words[i] >>= 32
                at = (at + 4 * n + 7) & ~7
                width -= 4
            if width == 0:
                for i in range(count):
                    bad |= words[i]
            elif width == 1:
                part1 = out1[at + begin :]
                for i in range(count):
                    part1[i] = np.int8(words[i])
                    bad |= words[i] - np.int64(np.int8(words[i]))
            elif width == 2:
                part2 = out2[(at >> 1) + begin :]
                for i in range(count):
                    part2[i] = np.int16(words[i])
                    bad |= words[i] - np.int64(np.int16(words[i]))
            elif width == 4:
                part4 = out4[(at >> 2) + begin :]
                for i in range(count):
                    part4[i] = np.int32(words[i])
                    bad |= words[i] - np.int64(np.int32(words[i]))
            else:
                out8[(at >> 3) + begin : (at >> 3) + begin + count] = words[:count]
            if bad != 0:
                return False
    return True


@compiled
def _give(slots: Any, begin: int, count: int, ints: Any, tile: Any) -> None:
    """Do the reverse of `_take`; rows with slot -1 are passed over."""
    for k in (BOUND1, BOUND2):
        if k < ints.shape[1]:
            tops = tile[k * _ROOM : k * _ROOM + count]
            for i in range(count):
                tops[i] = 0 if tops[i] == _NO_TOP else bits_of(bound_of(tops[i]))
    for i in range(count):
        if slots[begin + i] >= 0:
            s = np.uint64(slots[begin + i])
            for k in range(ints.shape[1]):
                ints[s, k] = tile[k * _ROOM + i]


@compiled
def widen(slots: Any, ints: Any, widths: Any, starts: Any, data: Any, room: int) -> None:
    """Do the reverse of `narrow`; rows with slot -1 are passed over.

    Parameters
    ----------
    slots, ints
        Where words go to.
    widths, starts, data
        The columns, as for `narrow`.
    room
        Columns in two parts have their second where the first would end with so many rows.
    """
    n = slots.size
    in1, in2, in4 = data.view(np.int8), data.view(np.int16), data.view(np.int32)
    low4, in8 = data.view(np.uint32), data.view(np.int64)
    tile = np.empty(ints.shape[1] * _ROOM, np.int64)
    for begin in range(0, n, _TILE):
        count = min(_TILE, n - begin)
        for k in range(ints.shape[1]):
            width, at = widths[k], starts[k]
            words = tile[k * _ROOM :]
            if width == 0:
                words[:count] = 0
            elif width == 1:
                words[:count] = in1[at + begin : at + begin + count]
            elif width == 2:
                words[:count] = in2[(at >> 1) + begin : (at >> 1) + begin + count]
            elif width == 4:
                words[:count] = in4[(at >> 2) + begin : (at >> 2) + begin + count]
            elif width == 8:
                words[:count] = in8[(at >> 3) + begin : (at >> 3) + begin + count]
            else:
                rest = (at + 4 * room + 7) & ~7
                if width == 5:
                    words[:count] = in1[rest + begin : rest + begin + count]
                else:
                    words[:count] = in2[(rest >> 1) + begin : (rest >> 1) + begin + count]
                low = low4[(at >> 2) + begin :]
                for i in range(count):
                    words[i] = (words[i] << 32) | np.int64(low[i])
        _give(slots, begin, count, ints, tile)

"""All products of a chunk in one call, compiled. Imported only behind `have_compiler()`; see `program`.

The steps are those of `place` and `counters`, in the same loops; here they follow one another over so few events that
what one step leaves is still in the first cache when the next one reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled
from eventide.kernel.histogram import cells_loops as by_cells
from eventide.kernel.histogram import place_loops as place
from eventide.kernel.histogram.codes import HEAD, MASKED, NAN, UNKNOWN
from eventide.kernel.histogram.counters_loops import combine, count, count_pixels, count_spread
from eventide.kernel.histogram.steps import (
    AT_ONCE,
    COMBINE,
    COUNT,
    COUNT_PIXELS,
    COUNT_ROWS,
    COUNT_SURE,
    COUNT_TIMES,
    DIVIDED,
    FAMILY,
    FOUR,
    GATHER,
    LOOK_ROWS,
    NUMBERS,
    OVER,
    PIXEL,
    PIXELS,
    REACH,
    REACH_EVENLY,
    ROWS,
    SCALED,
    SEARCH,
    SQUARED,
    TIME,
    TOGETHER,
    UNPACK,
    UNPACK_ROWS,
    WORDS,
)

__all__ = ["run", "share"]

_HEAD = np.int64(HEAD)
_NAN, _MASKED, _UNKNOWN = np.int32(NAN), np.int32(MASKED), np.int32(UNKNOWN)

_EVEN, _BITS = 0, 2
_MOST_STEPS = 4
_LINE = 16

_gather_four, _solve, _under = place.gather_four, place.solve, place.under
_even, _linear, _bits = place.place_even, place.cells_linear, place.cells_bits
_compare, _finish, _halve, _step = place.compare, place.finish, place.halve, place.step
_pixels, _rows = place.place_pixels, place.place_rows
_number_pixels, _number_times, _scale = by_cells.number_pixels, by_cells.number_times, by_cells.scale_times
_reach, _reach_evenly, _count_scaled = by_cells.reach, by_cells.reach_evenly, by_cells.count_scaled
_count_times, _count_sure, _count_rows = by_cells.count_times, by_cells.count_sure, by_cells.count_rows
_gather_constants, _look_rows = by_cells.gather_constants, by_cells.look_rows
_take_words, _unpack_constants, _unpack_rows = by_cells.take_words, by_cells.unpack_constants, by_cells.unpack_rows


@compiled
def _search(x: Any, out: Any, s: Any, f: Any, doubles: Any, ints: Any) -> None:
    """Write the bin of each value: what `Place` does, by the numbers of one step."""
    kind, bins = s[6], s[7]
    if kind == _EVEN:
        _even(x, out, f[0], f[1], f[2], f[3], bins)
        return
    if kind == _BITS:
        _bits(x, out, s[9], s[10], s[8])
    else:
        _linear(x, out, f[0], f[1], s[8])
    cells = s[8] + 1
    first, edges = ints[s[11] : s[11] + cells + 1], doubles[s[13] : s[13] + bins + 1 + _MOST_STEPS + 1]
    if s[14] > _MOST_STEPS:
        _halve(x, out, edges, first)
    else:
        _compare(x, out, first, doubles[s[12] : s[12] + cells])
        for _ in range(s[14] - 1):
            _step(x, out, edges)
    _finish(x, out, bins)


@compiled
def _gather(pixel: Any, out: Any, first: int, table: Any, stride: int, column: int) -> None:
    """Write the constant of each pixel, out of a table that has several side by side."""
    by, of, last = np.uint64(stride), np.uint64(column), np.uint64(table.size // stride - 1)
    for i in range(out.size):
        at = np.uint64(np.int64(pixel[i]) - first)
        out[i] = table[(at if at < last else last) * by + of]


@compiled
def _convert(kind: int, pixel: Any, time: Any, rooms: Any, first: int, table: Any, stride: int, column: int) -> None:
    """Write the values of a converted axis."""
    size = pixel.size
    out = rooms[0, :size]
    if kind in (FOUR, OVER):
        linear, inner = rooms[1, :size], rooms[2, :size]
        _gather_four(pixel, time, linear, inner, out, first, table.reshape(table.size // 4, 4))
        _solve(linear, inner, out)
        if kind == OVER:
            for i in range(size):
                out[i] = np.divide(1.0, out[i])
    else:
        _gather(pixel, out, first, table, stride, column)
        if kind == SCALED:
            for i in range(size):
                out[i] = out[i] * np.float64(time[i])
        elif kind == DIVIDED:
            for i in range(size):
                out[i] = np.divide(np.float64(time[i]), out[i])
        else:
            _under(time, out)
        if kind == SQUARED:
            for i in range(size):
                out[i] = out[i] * out[i]


@compiled
def _tell(pixel: Any, out: Any, first: int, table: Any, stride: int, column: int) -> None:
    """Say why an event has no value: its pixel is unknown, or masked, or neither is so."""
    least = np.int32(0)
    for i in range(out.size):
        least = out[i] if out[i] < least else least
    if least != _NAN:
        return
    known = np.uint64(table.size // stride - 1)
    for i in range(out.size):
        if out[i] == _NAN:
            at = np.uint64(np.int64(pixel[i]) - first)
            if at >= known:
                out[i] = _UNKNOWN
            else:
                constant = table[np.int64(at) * stride + column]
                if constant != constant:
                    out[i] = _MASKED


@compiled
def share(staged: Any, places: Any, counts: Any) -> None:
    """Add what is counted in a stage to the counters of a product."""
    for i in range(staged.size):
        counts[places[i]] += staged[i]


@compiled
def _mark(codes: Any, shift: int, changed: Any) -> None:
    """Mark the blocks from that of the lowest code to that of the highest one."""
    low, high = codes[0], codes[0]
    for i in range(codes.size):
        low = codes[i] if codes[i] < low else low
        high = codes[i] if codes[i] > high else high
    for block in range((low + _HEAD) >> shift, ((high + _HEAD) >> shift) + 1):
        changed[block] = 1


@compiled
def _steps(
    p: Any, t: Any, first: int, last: int, steps: Any, numbers: Any,
    doubles: Any, ints: Any, singles: Any, shorts: Any, longs: Any, words: Any,
    codes: Any, rooms: Any, constants: Any, bits: Any, units: Any, taken: Any, left: Any, many: Any,
    counts: Any, changed: Any,
) -> None:  # fmt: skip
    """Take at most `TOGETHER` events through some steps."""
    size = p.size
    for k in range(first, last):
        s = steps[k]
        what, out = s[0], codes[s[1], :size]
        if what == SEARCH:
            kind, begin = s[2], s[3]
            if kind == TIME:
                _search(t, out, s, numbers[k], doubles, ints)
            elif kind == PIXEL:
                _search(p, out, s, numbers[k], doubles, ints)
            else:
                table = doubles[s[4] : s[4] + s[5]]
                _convert(kind, p, t, rooms, begin, table, s[15], s[16])
                _search(rooms[0, :size], out, s, numbers[k], doubles, ints)
                _tell(p, out, begin, table, s[15], s[16])
        elif what == PIXELS:
            _pixels(p, out, s[3], s[5])
        elif what == ROWS:
            _rows(p, out, s[3], ints[s[4] : s[4] + s[5]])
        elif what == COMBINE:
            combine(codes[s[2], :size], codes[s[3], :size], s[4], out)
        elif what == NUMBERS:
            _number_pixels(p, out, s[2], s[3])
        elif what == WORDS:
            _take_words(p, s[2], words[s[3] : s[3] + s[4]], taken[:size])
        elif what == REACH:
            _number_times(t, units[:size], s[2], s[3])
            _reach(units[:size], ints[s[5] : s[5] + s[6]], s[4], 0, out)
        elif what == REACH_EVENLY:
            _reach_evenly(t, s[2], s[3], s[4], s[5], s[6], out)
        elif what == COUNT_SURE:
            _count_sure(out, counts[s[4] : s[4] + s[5]])
        elif what == COUNT_TIMES:
            _count_times(out, t, longs[s[2] : s[2] + s[3]], counts[s[4] : s[4] + s[5]])
        elif what == LOOK_ROWS:
            _look_rows(codes[s[2], :size], shorts[s[3] : s[3] + s[4]], out)
        elif what == UNPACK_ROWS:
            _unpack_rows(taken[:size], s[2], s[3], out)
        elif what == COUNT_ROWS:
            reached, own = longs[s[2] : s[2] + s[3]], counts[s[4] : s[4] + s[5]]
            _count_rows(out, t, reached, codes[s[6], :size], s[7], own)
        elif what == GATHER:
            _gather_constants(codes[s[2], :size], singles[s[3] : s[3] + s[4]], constants[:size])
        elif what == UNPACK:
            _unpack_constants(taken[:size], s[2], s[3], s[4], s[5], bits[:size])
        elif what == FAMILY:
            f = s[2]
            _scale(constants[:size], t, units[:size], numbers[k][0])
            _reach(units[:size], ints[s[4] : s[4] + s[5]], s[3], s[8], out)
            many[f] = _count_scaled(out, p, t, left[f], many[f], counts[s[6] : s[6] + s[7]])
        elif what == COUNT_PIXELS:
            count_pixels(p, s[2], s[3], counts[s[4] : s[4] + s[3] + _HEAD])
            changed[s[5]] = 1
        elif what == COUNT:
            copies, slots = s[2], s[3]
            own = counts[s[4] : s[4] + copies * slots]
            if copies > 1:
                count_spread(out, own.reshape(4, slots))
            else:
                count(out, own)
            if s[6] == 1:
                changed[s[5]] = 1
            else:
                _mark(out, s[7], changed[s[5] : s[5] + s[6]])


@compiled
def run(
    pixel: Any, time: Any, groups: Any, steps: Any, numbers: Any,
    doubles: Any, ints: Any, singles: Any, shorts: Any, longs: Any, words: Any,
    codes: Any, rooms: Any, constants: Any, bits: Any, units: Any, taken: Any, left: Any, many: Any,
    counts: Any, changed: Any,
) -> Any:  # fmt: skip
    """Count events into all products of a program.

    Parameters
    ----------
    pixel, time
        int32.
    groups, steps, numbers
        The program, a row for each step; and for each group of steps where it begins, where it ends, and whether it is
        for all events (-1) or for those that a family has left (its number); see `program`.
    doubles, ints, singles, shorts, longs, words
        Its tables.
    codes, rooms, constants, bits, units, taken
        Memory for `TOGETHER` events: int32 (places, TOGETHER), float64 (3, TOGETHER), float32, the same memory as
        uint32, uint32, and uint64.
    left, many
        Memory for what families leave, int32 (families, 2, AT_ONCE), and how many events there are, zeros.
    counts, changed
        The counters of all products, and whether their blocks have changed.
    """
    total = np.int32(0)
    for start in range(0, pixel.size, AT_ONCE):
        stop = min(start + AT_ONCE, pixel.size)
        for group in range(groups.shape[0]):
            first, last, of = groups[group]
            if of < 0:
                for begin in range(start, stop, TOGETHER):
                    # All lines of memory of the next events are asked for at once; a step would wait for every page.
                    for i in range(begin + TOGETHER, min(begin + 2 * TOGETHER, stop) if group == 0 else 0, _LINE):
                        total ^= pixel[i] ^ time[i]
                    p, t = pixel[begin : min(begin + TOGETHER, stop)], time[begin : min(begin + TOGETHER, stop)]
                    _steps(
                        p, t, first, last, steps, numbers, doubles, ints, singles, shorts, longs, words,
                        codes, rooms, constants, bits, units, taken, left, many, counts, changed,
                    )  # fmt: skip
                continue
            end, many[of] = many[of], 0
            for begin in range(0, end, TOGETHER):
                p, t = left[of, 0, begin : min(begin + TOGETHER, end)], left[of, 1, begin : min(begin + TOGETHER, end)]
                _steps(
                    p, t, first, last, steps, numbers, doubles, ints, singles, shorts, longs, words,
                    codes, rooms, constants, bits, units, taken, left, many, counts, changed,
                )  # fmt: skip
    return total

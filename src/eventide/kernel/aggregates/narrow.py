"""The words of binned sums as columns of a snapshot that are as narrow as what they hold.

A slot takes 7 or 13 words of eight bytes, most of which are small: a column whose words all fit takes one, two or four
bytes a row, a column of zeros none. Bins of a few dozen values need five or six; these are two columns, ``name`` with
the lower four bytes (uint32) and ``name.high`` with the others. Of a bound the index of its top bin is kept, -128
where nothing was added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Slots, State, plain_array
from eventide.kernel.aggregates.binned_plain import NO_TOP, bounds_of, tops_of
from eventide.kernel.compiled import have_compiler
from eventide.kernel.recycled import Recycled

__all__ = ["narrow_columns", "widen_columns"]

Int64Array = npt.NDArray[np.int64]

_TOPS = ("top1", "top2")
_NO_TOP = -128
_SAMPLE = 16_384
_SPREAD = 2_654_435_761
_CHUNK = 16_384
_TYPES = {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}


def narrow_columns(names: Sequence[str], slots: Slots, ints: Int64Array, memory: Recycled) -> State:
    """Return words of slots as columns that own their memory.

    Parameters
    ----------
    names
        Names of the words.
    slots
        Which slots, in order.
    ints
        The words by slot.
    memory
        Where the columns are put.
    """
    if not have_compiler():
        return _narrow_plain(names, slots, ints)
    from eventide.kernel.aggregates.narrow_loops import narrow

    # A sample says how wide the columns must be; where it was wrong, all rows are asked.
    sample = slots
    if slots.size > 2 * _SAMPLE:
        sample = slots[np.sort(np.arange(_SAMPLE, dtype=np.int64) * _SPREAD % slots.size)]
    for asked in (sample, slots):
        widths = _widths(asked, ints)
        sizes = [_room(int(width), slots.size) for width in widths]
        starts = np.zeros(widths.size, np.int64)
        starts[1:] = np.cumsum(sizes[:-1])
        out = memory.take(sum(sizes))
        if narrow(slots, ints, widths, starts, out):
            break
    columns: State = {}
    whole = pa.py_buffer(out)
    for name, width, start in zip(names, widths.tolist(), starts.tolist(), strict=True):
        if width in _TYPES:
            columns[name] = _array(_TYPES[width], whole, start, slots.size)
        elif width:
            columns[name] = _array(pa.uint32(), whole, start, slots.size)
            columns[f"{name}.high"] = _array(_TYPES[width - 4], whole, start + _round(4 * slots.size), slots.size)
    return columns


def widen_columns(names: Sequence[str], slots: Slots, ints: Int64Array, columns: Mapping[str, pa.Array]) -> None:
    """Put such columns into slots; rows with slot -1 are passed over.

    Parameters
    ----------
    names
        Names of the words.
    slots
        Slot of every row.
    ints
        The words by slot.
    columns
        What `narrow_columns` returned.
    """
    if not have_compiler():
        _widen_plain(names, slots, ints, columns)
        return
    from eventide.kernel.aggregates.narrow_loops import widen

    held = [[_values(columns, name), _values(columns, f"{name}.high")] for name in names]
    widths = np.array([sum(part.itemsize for part in parts if part.size) for parts in held], np.int64)
    rows = min(_CHUNK, max(slots.size, 1))
    starts = np.zeros(widths.size, np.int64)
    starts[1:] = np.cumsum([_room(int(width), rows) for width in widths[:-1]])
    data = np.empty(int(starts[-1]) + _room(int(widths[-1]), rows), np.uint8)
    for begin in range(0, slots.size, rows):
        some = slots[begin : begin + rows]
        for parts, start in zip(held, starts.tolist(), strict=True):
            at = start
            for part in parts:
                chunk = part[begin : begin + some.size].view(np.uint8)
                data[at : at + chunk.size] = chunk
                at += _round(rows * part.itemsize)
        widen(some, ints, widths, starts, data, rows)


def _values(columns: Mapping[str, pa.Array], name: str) -> npt.NDArray[np.generic]:
    return plain_array(columns[name]).to_numpy() if name in columns else np.empty(0, np.uint8)


def _narrow_plain(names: Sequence[str], slots: Slots, ints: Int64Array) -> State:
    columns: State = {}
    for k, name in enumerate(names):
        words = ints[slots, k]
        if name in _TOPS:
            words = np.where(words == 0, _NO_TOP, tops_of(words.view(np.float64)))
        width = _width(int(words.min(initial=0)), int(words.max(initial=0)))
        if width in _TYPES:
            columns[name] = pa.array(words.astype(f"i{width}"))
        elif width:
            columns[name] = pa.array((words & 0xFFFFFFFF).astype(np.uint32))
            columns[f"{name}.high"] = pa.array((words >> 32).astype(f"i{width - 4}"))
    return columns


def _widen_plain(names: Sequence[str], slots: Slots, ints: Int64Array, columns: Mapping[str, pa.Array]) -> None:
    mine = slots >= 0
    for k, name in enumerate(names):
        words = np.zeros(slots.size, np.int64)
        if name in columns:
            words = plain_array(columns[name]).to_numpy().astype(np.int64)
        if f"{name}.high" in columns:
            words |= plain_array(columns[f"{name}.high"]).to_numpy().astype(np.int64) << 32
        if name in _TOPS:
            words = bounds_of(np.where(words == _NO_TOP, NO_TOP, words)).view(np.int64)
        ints[slots[mine], k] = words[mine]


def _widths(slots: Slots, ints: Int64Array) -> Int64Array:
    from eventide.kernel.aggregates.narrow_loops import ranges

    lows, highs = np.zeros(ints.shape[1], np.int64), np.zeros(ints.shape[1], np.int64)
    ranges(slots, ints, lows, highs)
    return np.array([_width(int(low), int(high)) for low, high in zip(lows, highs, strict=True)], np.int64)


def _width(low: int, high: int) -> int:
    if low == high == 0:
        return 0
    for width in (1, 2, 4, 5, 6):
        if -(1 << (8 * width - 1)) <= low and high < 1 << (8 * width - 1):
            return width
    return 8


def _round(size: int) -> int:
    return size + 7 & ~7


def _room(width: int, rows: int) -> int:
    return _round(4 * rows) + _round((width - 4) * rows) if width in (5, 6) else _round(width * rows)


def _array(kind: pa.DataType, whole: pa.Buffer, start: int, rows: int) -> pa.Array:
    return pa.Array.from_buffers(kind, rows, [None, whole.slice(start, rows * kind.bit_width // 8)])

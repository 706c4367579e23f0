"""From times to bins by tables of cells: one look and one comparison, in whole numbers and without a branch.

A time is a whole number, and reaches an edge where it reaches the least whole number that does. Times are cut into
cells of a power of two, and a table has for each cell how many edges its first time has reached, and where in it the
next one lies. Cells with more edges are rare where there are enough cells; their times are searched. Where edges are
evenly spaced no table is needed: one multiplication says how many are reached, by numbers that were tried out at every
edge.

A time that is scaled by a constant of its pixel becomes a whole number too, in 32 bits, which is quick and off by a few
units. An edge has a window that is wider than this error can be: beside all windows the number of edges below is
certain, and what falls into one is computed again in 64 bits, by the steps that define the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["BAD", "WINDOW", "EvenTimes", "ScaledCells", "TimeCells", "even_times", "scaled_cells", "time_cells"]

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

BAD = 1 << 24
"""The number of a scaled time that is negative or no number; others are below, and so are exact in 32 bits."""

WINDOW = 9
"""Units that a scaled time and an edge are apart at least, where their order is certain: five roundings to 24 bits and
one to whole numbers can amount to six of them, and one is for the edge's own."""

_CELLS = 1 << 12
_MOST_CELLS = 1 << 14
_RARE = 512
_BITS = 31
_MOST_EDGES = 1 << 12
_LOW, _HIGH = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class TimeCells:
    """Cells of int32; see the module.

    Parameters
    ----------
    start, most
        The number of t is ``t - start``, from 0 to `most`.
    shift
        Its cell is the number without the last bits.
    words
        int32, for each cell the edges reached before, and in the last ``shift + 1`` bits where the next one lies; more
        than a cell is long where there is none, all bits where there are several.
    reached
        int64, the least whole number at or above each edge, ascending.
    """

    start: int
    most: int
    shift: int
    words: Int32Array = field(repr=False)
    reached: Int64Array = field(repr=False)


def time_cells(edges: Float64Array) -> TimeCells | None:
    """Return cells for edges, or None where there are too many of them for words of 31 bits.

    Examples
    --------
    >>> cells = time_cells(np.array([0.0, 2.5, 1e6]))
    >>> cells.reached.tolist(), cells.most, cells.shift, len(cells.words)
    ([0, 3, 1000000], 1000001, 8, 3907)
    >>> [(int(word) >> 9, int(word) & 511) for word in cells.words[[0, 1, -1]]]
    [(0, 511), (2, 384), (2, 65)]
    """
    if edges.size > _MOST_EDGES:
        return None
    reached: Int64Array = np.clip(np.ceil(edges), _LOW, _HIGH + 1).astype(np.int64)
    start = max(int(reached[0]) - 1, _LOW)
    most = min(int(reached[-1]), _HIGH) - start
    for cells in (_CELLS, 2 * _CELLS, _MOST_CELLS):
        # An edge within a cell needs a bit more than a cell has.
        shift = max(2, most.bit_length() - (cells.bit_length() - 1))
        if edges.size.bit_length() + shift + 1 > _BITS:
            continue
        words = _words(reached - start, shift, (most >> shift) + 1, window=0)
        if _several(words, shift) * _RARE <= words.size:
            break
    else:
        if edges.size.bit_length() + shift + 1 > _BITS:
            return None
    return TimeCells(start, most, shift, words, reached)


@dataclass(frozen=True, slots=True, eq=False)
class ScaledCells:
    """Cells of times scaled in 32 bits; see the module.

    Parameters
    ----------
    scale
        The number of u is ``u * scale``, below `BAD`.
    shift, words
        As those of `TimeCells`; the last cell is that of `BAD`.
    edges
        How many there are.
    window
        Units that a scaled time and an edge are apart at least, where their order is certain.
    """

    scale: float
    shift: int
    words: Int32Array = field(repr=False)
    edges: int
    window: int = WINDOW


@dataclass(frozen=True, slots=True)
class EvenTimes:
    """How many of evenly spaced edges a time reaches: ``(number * factor + offset) >> shift``.

    Parameters
    ----------
    start, most
        The number of t is ``t - start``, from 0 to `most`.
    factor, offset, shift
        Whole numbers; the factor has 32 bits, and nothing that is computed more than 63.
    """

    start: int
    most: int
    factor: int
    offset: int
    shift: int


def even_times(edges: Float64Array) -> EvenTimes | None:
    """Return how evenly spaced edges are reached, or None where no such numbers are right for all times.

    What is reached never falls as times grow. So it is right for all when, for each edge, it is for the first time that
    reaches it and for the one before.

    Examples
    --------
    >>> even = even_times(np.array([0.0, 2.5, 5.0]))
    >>> [(t - even.start) * even.factor + even.offset >> even.shift for t in (-1, 0, 2, 3, 4, 5)]
    [0, 1, 1, 2, 2, 3]
    >>> even_times(np.array([0.0, 2.5, 9.0])) is None
    True
    """
    if not 2 <= edges.size <= _MOST_EDGES or edges[0] <= _LOW or edges[-1] > _HIGH:
        return None
    step = float(edges[-1] - edges[0]) / (edges.size - 1)
    if step < 1.0:
        return None
    shift = min(31 + int(np.log2(step)), 62 - int(edges.size + 1).bit_length())
    reached: Int64Array = np.ceil(edges).astype(np.int64)
    start = int(reached[0]) - 1
    wanted = np.arange(1, edges.size + 1, dtype=np.int64) << shift
    for off in (0, 1, -1):  # the factor is rounded, and edges lie between whole numbers
        factor = min(round(2.0**shift / step) + off, (1 << 32) - 1)
        least = max(int((wanted - (reached - start) * factor).max()), 0)
        most = int((wanted - (reached - 1 - start) * factor).min()) - 1
        if least <= most and least < 1 << shift:
            offset = min((least + most) // 2, (1 << shift) - 1)
            return EvenTimes(start, int(reached[-1]) - start, factor, offset, shift)
    return None


def scaled_cells(edges: Float64Array, *, window: int = WINDOW) -> ScaledCells | None:
    """Return cells for positive edges, ascending, or None where there are too many.

    Parameters
    ----------
    edges
        The edges.
    window
        As of `ScaledCells`; more than `WINDOW` where constants are rounded to fewer bits.

    Examples
    --------
    >>> cells = scaled_cells(np.array([0.5, 1.0]))
    >>> [int(word) >> (cells.shift + 1) for word in cells.words[[0, 3000, -2]]]
    [0, 1, 2]
    """
    if not 0 < edges.size <= _MOST_EDGES:
        return None
    scale = float(np.float32((BAD - (1 << 13)) / edges[-1]))
    numbers = np.floor(edges * scale).astype(np.int64)
    for cells in (_CELLS, 2 * _CELLS, _MOST_CELLS):
        shift = BAD.bit_length() - cells.bit_length()
        words = _words(numbers, shift, cells + 1, window=window)
        if _several(words, shift) * _RARE <= words.size:
            break
    words[-1] = (1 << shift + 1) - 1
    return ScaledCells(scale, shift, words, edges.size, window)


def _words(numbers: Int64Array, shift: int, cells: int, *, window: int) -> Int32Array:
    """Return the words of cells, for the numbers of edges, ascending."""
    length, several = 1 << shift, (1 << shift + 1) - 1
    begins = np.arange(cells, dtype=np.int64) << shift
    # An edge concerns the cells that its window meets; one at the beginning of a cell without window is behind it.
    low = np.searchsorted(numbers, begins - window, side="left" if window else "right")
    high = np.searchsorted(numbers, begins + (length - 1 + window), side="right")
    here = numbers[np.minimum(low, numbers.size - 1)] - begins
    inside = (here > 0 if not window else here >= window) & (here < length - window)
    where = np.where(high == low, length + (length >> 1), np.where((high == low + 1) & inside, here, several))
    out: Int32Array = ((low << shift + 1) | where).astype(np.int32)
    return out


def _several(words: Int32Array, shift: int) -> int:
    return int(np.count_nonzero((words & (1 << shift + 1) - 1) == (1 << shift + 1) - 1))

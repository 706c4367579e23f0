"""What several tables have of a pixel, side by side in one word: one look into memory for each event, not one a table.

A word holds the row of the pixel in the table of a stage, and its constants of families. Of a constant the word has how
far its bits, as a number, lie above those of the least one: so constants of one instrument take few bits, and come out
as they were. Where there is not room for all bits the last ones are left out, and edges get wider windows for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.histogram.families import Family
from eventide.kernel.histogram.stage import Stage

__all__ = ["Field", "Packed", "packed_of"]

_BITS = 64
_MOST_DROPPED = 6
"""Bits of a constant that may be left out: windows of 2 * (9 + 64) units, where bins have thousands."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where a number lies in a word.

    Parameters
    ----------
    shift, mask
        It is ``(word >> shift) & mask``.
    dropped, base
        Of a constant: the bits of its float32 are ``(number << dropped) + base``; the number 0 stands for NaN.
    """

    shift: int
    mask: int
    dropped: int = 0
    base: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Words by pixel.

    Parameters
    ----------
    first
        The first pixel.
    words
        uint64, for each pixel and, last, for unknown ones.
    rows
        Where the row of a stage is, or None.
    constants
        Where the constants are of as many families, the first ones, as have room.
    """

    first: int
    words: npt.NDArray[np.uint64] = field(repr=False)
    rows: Field | None
    constants: tuple[Field, ...]


def packed_of(stage: Stage | None, families: list[Family]) -> Packed | None:
    """Return the tables of a stage and of families in words, or None where there are not two that have room.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> from eventide.kernel.histogram.families import families_of
    >>> from eventide.kernel.histogram.products import checked
    >>> from eventide.kernel.histogram.values import scaled
    >>> axes = [uniform(scaled("pixel", "tof", constants), 0, 9, 3) for constants in ([1.0, 1.5], [8.0, 4.0])]
    >>> packed = packed_of(None, families_of(checked({"one": axes[0], "two": axes[1]})))
    >>> bool(packed.constants[0].base == np.float32(1.0).view(np.uint32) - 1), packed.words.size
    (True, 3)
    """
    with_table = stage if stage is not None and stage.table.size else None
    room, rows = _BITS, None
    if with_table is not None:
        mask = (1 << int(with_table.table.max()).bit_length()) - 1
        rows, room = Field(0, mask), _BITS - mask.bit_length()
    most = len(families)
    while most and (widths := _widths(families[:most], room)) is None:
        most -= 1
    if most + (rows is not None) < 2:
        return None
    tables: list[tuple[int, npt.NDArray[Any]]] = [(f.first, f.constants) for f in families[:most]]
    if with_table is not None:
        tables.append((with_table.first, with_table.table))
    first = min(begin for begin, _ in tables)
    size = max(begin + table.size for begin, table in tables) - first
    words, shift = np.zeros(size, np.uint64), 0
    if with_table is not None and rows is not None:
        words |= _over_all(with_table.first, with_table.table, first, size).astype(np.uint64)
        shift = rows.mask.bit_length()
    fields = []
    for family, width in zip(families, widths or (), strict=False):
        numbers, dropped, base = _numbers(family.constants, width)
        words |= _over_all(family.first, numbers, first, size).astype(np.uint64) << np.uint64(shift)
        fields.append(Field(shift, (1 << width) - 1, dropped, base))
        shift += width
    return Packed(first, words, rows, tuple(fields))


def _over_all(begin: int, table: npt.NDArray[Any], first: int, size: int) -> npt.NDArray[np.int64]:
    """Return a table for more pixels: its last entry is for those that it does not know."""
    out = np.full(size, table[-1], np.int64)
    out[begin - first :][: table.size - 1] = table[:-1]
    return out


def _span(constants: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Return the bits of the least constant, and of the greatest one: as numbers they are in the same order."""
    bits = constants[~np.isnan(constants)].view(np.uint32)
    return int(bits.min()), int(bits.max())


def _widths(families: list[Family], room: int) -> list[int] | None:
    """Return how many bits each of some families gets, or None where one would get too few."""
    needs = [(high - low + 1).bit_length() for low, high in (_span(f.constants) for f in families)]
    out = [0] * len(needs)
    for done, at in enumerate(sorted(range(len(needs)), key=needs.__getitem__)):
        out[at] = min(needs[at], room // (len(needs) - done))
        room -= out[at]
    # One more, as what is rounded up may take it.
    fits = all(need <= got or need + 1 - got <= _MOST_DROPPED for need, got in zip(needs, out, strict=True))
    return out if fits else None


def _numbers(constants: npt.NDArray[np.float32], width: int) -> tuple[npt.NDArray[np.int64], int, int]:
    """Return constants as numbers of some bits, how many bits of theirs are left out, and what is to be added."""
    low, high = _span(constants)
    dropped = 0
    while (high - low + (1 << dropped >> 1) >> dropped) + 1 >= 1 << width:
        dropped += 1
    above = constants.view(np.uint32).astype(np.int64) - low
    numbers = (above + (1 << dropped >> 1) >> dropped) + 1
    return np.where(np.isnan(constants), 0, numbers), dropped, low - (1 << dropped)

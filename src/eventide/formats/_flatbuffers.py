"""Read FlatBuffers that nobody vouches for: every offset and length is checked before anything is looked at.

The layout is that of "FlatBuffers Internals" (flatbuffers.dev): little-endian; a table begins with the signed distance
back to its vtable, which says how large the table is and where in it each field stands (0: left out, the field has its
default); strings, vectors and tables inside a table are unsigned distances forward.

Numbers need not be aligned here, because some writers copy messages into places that are not. Two fields may share
bytes, as writers do to save space; but what is read of a message in all is bounded by its length, so that a
message that names the same bytes ten thousand times costs nothing.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BrokenMessageError", "Bytes", "Table", "root"]

Bytes = bytes | bytearray | memoryview

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_NUMBERS = {code: struct.Struct("<" + code) for code in "bBhHiIqQfd"}
_UNDER_NAME = (4, 6)
"""Where a vtable stands whose first words are the name of the schema.

The first writers in Python finished a message without a name and then wrote the name over bytes 4 to 8, under which
often the vtable begins: its size, and sometimes that of the table. It ends where the table begins, so it can be read.
"""
_MOST_TABLE = (1 << 16) - 1
_READ_OVER = 8
"""How many times its length may be read of a message: more than any honest sharing needs."""


class BrokenMessageError(ValueError):
    """Why a message cannot be read."""


class Table:
    """One table of a message.

    Parameters
    ----------
    data
        The whole message.
    at
        Where the table begins.
    budget
        How many bytes may still be read of the message, shared by all of its tables.
    outermost
        Whether it is the outermost one, whose vtable some writers have damaged.

    Raises
    ------
    BrokenMessageError
        It, or its vtable, is not inside the message.
    """

    __slots__ = ("_at", "_budget", "_data", "_fields", "_size", "_vtable")

    def __init__(self, data: Bytes, at: int, budget: list[int], *, outermost: bool = False) -> None:
        self._data, self._at, self._budget = data, at, budget
        length = len(data)
        if at < 0 or at + 4 > length:
            msg = f"a table at byte {at} is not inside the message of {length} bytes"
            raise BrokenMessageError(msg)
        vtable = at - _I32.unpack_from(data, at)[0]
        if vtable < 0 or vtable + 4 > length:
            msg = f"the vtable of the table at byte {at} is not inside the message"
            raise BrokenMessageError(msg)
        size, self._size = _U16.unpack_from(data, vtable)[0], _U16.unpack_from(data, vtable + 2)[0]
        if outermost and vtable in _UNDER_NAME:
            size = at - vtable
            self._size = self._size if vtable == _UNDER_NAME[1] else min(length - at, _MOST_TABLE)
        if size < 4 or size % 2 or vtable + size > length or self._size < 4 or at + self._size > length:
            msg = f"the table at byte {at} or its vtable reaches beyond the message"
            raise BrokenMessageError(msg)
        self._vtable, self._fields = vtable, (size - 4) // 2
        self._spend(self._size)

    def _spend(self, size: int) -> None:
        self._budget[0] -= size
        if self._budget[0] < 0:
            msg = "the same bytes are read again and again: offsets of the message are wrong"
            raise BrokenMessageError(msg)

    def _field(self, slot: int, size: int) -> int:
        """Return where a field of `size` bytes stands, 0 where it was left out."""
        if slot >= self._fields:
            return 0
        inside: int = _U16.unpack_from(self._data, self._vtable + 4 + 2 * slot)[0]
        if not inside:
            return 0
        if inside < 4 or inside + size > self._size:
            msg = f"field {slot} of the table at byte {self._at} is not inside its table"
            raise BrokenMessageError(msg)
        return self._at + inside

    def has(self, slot: int) -> bool:
        """Tell whether a field was written."""
        return self._field(slot, 1) > 0

    def number(self, slot: int, code: str, default: float = 0) -> Any:
        """Return a number; `code` is its type as `struct` names it, `default` stands for a field left out."""
        form = _NUMBERS[code]
        at = self._field(slot, form.size)
        return form.unpack_from(self._data, at)[0] if at else default

    def place(self, slot: int, size: int) -> int:
        """Return where the `size` bytes of a field stand in the message, -1 where it was left out."""
        return self._field(slot, size) or -1

    def _follow(self, at: int) -> int:
        target: int = at + _U32.unpack_from(self._data, at)[0]
        if target + 4 > len(self._data) or target == at:
            msg = f"the offset at byte {at} leads out of the message"
            raise BrokenMessageError(msg)
        return target

    def _span(self, at: int, width: int) -> tuple[int, int]:
        """Return where the elements of the vector at `at` begin, and how many there are."""
        count: int = _U32.unpack_from(self._data, at)[0]
        if at + 4 + count * width > len(self._data):
            msg = f"a vector of {count:,} elements at byte {at} reaches beyond the message"
            raise BrokenMessageError(msg)
        self._spend(count * width)
        return at + 4, count

    def table(self, slot: int) -> Table | None:
        """Return a table inside this one, None where it was left out."""
        at = self._field(slot, 4)
        return Table(self._data, self._follow(at), self._budget) if at else None

    def text(self, slot: int) -> str | None:
        """Return a string, None where it was left out."""
        at = self._field(slot, 4)
        return self._text(self._follow(at)) if at else None

    def _text(self, at: int) -> str:
        begin, count = self._span(at, 1)
        try:
            return bytes(self._data[begin : begin + count]).decode("utf-8")
        except UnicodeDecodeError:
            msg = f"the text at byte {begin} is not UTF-8"
            raise BrokenMessageError(msg) from None

    def vector(self, slot: int, kind: npt.DTypeLike) -> npt.NDArray[Any] | None:
        """Return a vector of numbers as an array over the message itself, None where it was left out."""
        dtype = np.dtype(kind)
        begin, count = self.span(slot, dtype.itemsize)
        if begin < 0:
            return None
        return np.frombuffer(self._data, dtype, count, begin) if count else np.empty(0, dtype)

    def span(self, slot: int, width: int) -> tuple[int, int]:
        """Return where the elements of a vector begin and how many there are, -1 and 0 where it was left out."""
        at = self._field(slot, 4)
        return self._span(self._follow(at), width) if at else (-1, 0)

    def tables(self, slot: int) -> list[Table]:
        """Return the tables of a vector; none where it was left out."""
        return [Table(self._data, self._follow(p), self._budget) for p in self._places(slot)]

    def texts(self, slot: int) -> list[str]:
        """Return the strings of a vector; none where it was left out."""
        return [self._text(self._follow(p)) for p in self._places(slot)]

    def _places(self, slot: int) -> range:
        at = self._field(slot, 4)
        if not at:
            return range(0)
        begin, count = self._span(self._follow(at), 4)
        return range(begin, begin + 4 * count, 4)


def root(data: Bytes, name: str) -> Table:
    """Return the outermost table of a message.

    Parameters
    ----------
    data
        The message; it may be longer than what was written into it.
    name
        The four letters of the schema, which every message carries as its bytes 4 to 8.

    Raises
    ------
    BrokenMessageError
        It is too short, of another schema, or its table is not inside it.

    Examples
    --------
    >>> from eventide.formats._flatbuffers_write import Node, message
    >>> root(message("ev44", Node({0: "bank 3", 1: ("q", 7)})), "ev44").text(0)
    'bank 3'
    """
    length = len(data)
    if length < 8:
        msg = f"{length} bytes are no message"
        raise BrokenMessageError(msg)
    found = bytes(data[4:8])
    if found != name.encode():
        msg = f"the message is of the schema {found.decode('ascii', 'replace')!r}, not {name!r}"
        raise BrokenMessageError(msg)
    return Table(data, _U32.unpack_from(data)[0], [_READ_OVER * length + 1024], outermost=True)

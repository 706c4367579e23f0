"""Write FlatBuffers: a small head, and one copy of every array.

What is written is a tree of `Node`; it is laid out front to back, each table with its own vtable before it, so that
arrays are copied once, into their place. Numbers stand at multiples of their size, counted from the beginning of the
message. Layout: "FlatBuffers Internals" (flatbuffers.dev).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError
from eventide.kernel.recycled import Recycled

__all__ = ["Field", "Node", "Raw", "message", "message_in"]

Field = Any
"""A number as ``(code, value)`` with the type as `struct` names it, a string, an array, `Raw`, a `Node`, or a list of
nodes or of strings."""

_LARGEST = (1 << 31) - 1
_HEAD = 8
_SIZES = {code: struct.calcsize("<" + code) for code in "bBhHiIqQfd"}


@dataclass(frozen=True, slots=True)
class Node:
    """A table to be written: fields by their slot; what is None is left out.

    Examples
    --------
    >>> len(message("x5f2", Node({0: "eventide", 4: ("I", 1)})))
    49
    """

    fields: Mapping[int, Field]


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    r"""An array that is written as its bytes, a vector of ubyte, where an array of its type could stand.

    Examples
    --------
    >>> message("da00", Node({7: Raw(np.array([1], np.int16))}))[-2:]
    b'\x01\x00'
    """

    array: npt.NDArray[Any]


def _too_large(size: int) -> DataError:
    msg = f"a message of {size:,} bytes or more cannot be written: offsets have 31 bits"
    return DataError(msg, hint="send it in slices")


class _Layout:
    """Pieces of a message in their order; offsets are filled in when it is known what they point to."""

    def __init__(self, name: str) -> None:
        self._open = bytearray(4) + name.encode()
        self._pieces: list[Any] = [self._open]
        self._before = 0  # bytes in the pieces before the open one
        self._todo: list[tuple[bytearray, int, int, Field]] = [(self._open, 0, 0, None)]

    @property
    def at(self) -> int:
        return self._before + len(self._open)

    def _align(self, size: int, *, after: int = 0) -> None:
        """Go on at a place such that what stands `after` bytes behind it is at a multiple of `size`."""
        self._open += bytes(-(self.at + after) % size)

    def _later(self, item: Field) -> None:
        """Leave room for an offset to something that is written later."""
        self._todo.append((self._open, len(self._open), self.at, item))
        self._open += bytes(4)

    def run(self, node: Node) -> list[Any]:
        """Return the pieces of a message, one behind the other."""
        self._todo[0] = (*self._todo[0][:3], node)
        done = 0
        while done < len(self._todo):
            piece, inside, at, item = self._todo[done]
            done += 1
            begin = self._write(item)
            struct.pack_into("<I", piece, inside, begin - at)
            if self.at > _LARGEST:
                raise _too_large(self.at)
        return self._pieces

    def _write(self, item: Field) -> int:
        if isinstance(item, Node):
            return self._table(item)
        if isinstance(item, str):
            raw = item.encode("utf-8")
            self._align(4)
            begin = self.at
            self._open += struct.pack("<I", len(raw)) + raw + b"\0"
            return begin
        if isinstance(item, np.ndarray):
            return self._array(item, 1)
        if isinstance(item, Raw):
            return self._array(item.array, item.array.dtype.itemsize)
        self._align(4)
        begin = self.at
        self._open += struct.pack("<I", len(item))
        for part in item:
            self._later(part)
        return begin

    def _table(self, node: Node) -> int:
        fields = [(slot, value) for slot, value in node.fields.items() if value is not None]
        # The largest first: behind the four bytes of the distance to the vtable nothing needs padding then.
        fields.sort(key=lambda f: -_width(f[1]))
        widest = max([4, *(_width(v) for _, v in fields)])
        places, inside = [0] * (max((s for s, _ in fields), default=-1) + 1), 4
        for slot, value in fields:
            places[slot] = inside
            inside += _width(value)
        size = 4 + 2 * len(places)
        self._align(2)
        self._align(widest, after=size + 4)
        self._open += struct.pack(f"<{len(places) + 2}H", size, inside, *places)
        begin = self.at
        self._open += struct.pack("<i", size)
        for _, value in fields:
            if isinstance(value, tuple):
                self._open += _number(*value)
            else:
                self._later(value)
        return begin

    def _array(self, array: npt.NDArray[Any], each: int) -> int:
        kind = array.dtype.newbyteorder("<")
        array = np.ascontiguousarray(array, kind)
        self._align(4)
        self._align(max(4, kind.itemsize), after=4)
        begin = self.at
        if array.nbytes > _LARGEST:
            raise _too_large(array.nbytes)
        self._open += struct.pack("<I", array.size * each)
        if array.nbytes < 4096:
            self._open += array.tobytes()
            return begin
        self._before = self.at + array.nbytes
        self._open = bytearray()
        self._pieces += [array.reshape(-1).view(np.uint8).data, self._open]
        return begin


def _width(value: Field) -> int:
    return _SIZES[value[0]] if isinstance(value, tuple) else 4


def _number(code: str, value: float) -> bytes:
    try:
        return struct.pack("<" + code, value)
    except (struct.error, OverflowError, TypeError):
        msg = f"{value!r} cannot be written as a number of the type {code!r}"
        raise DataError(msg, hint="it is out of the range that the schema of the message has for it") from None


def message(name: str, node: Node) -> bytes:
    """Return a message whose outermost table is `node`.

    Parameters
    ----------
    name
        The four letters of the schema.
    node
        What is written.

    Raises
    ------
    DataError
        A number does not fit its field, or the message would be larger than 2 GiB.

    Examples
    --------
    >>> message("ev44", Node({0: "a"}))[4:8]
    b'ev44'
    """
    return b"".join(_Layout(name).run(node))


def message_in(memory: Recycled, name: str, node: Node) -> memoryview:
    """Return what `message` does, written into memory that is used again when nobody holds the view any more.

    Memory that was touched before takes a copy several times as fast as new one.

    Examples
    --------
    >>> bytes(message_in(Recycled(), "ev44", Node({0: "a"}))[4:8])
    b'ev44'
    """
    pieces = _Layout(name).run(node)
    out = memory.take(sum(len(piece) for piece in pieces))
    at = 0
    for piece in pieces:
        out[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return out.data.toreadonly()

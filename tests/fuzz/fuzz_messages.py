"""Messages of neutron facilities, many at a time, in memory that ends where they end.

The bytes lie between two pages that may not be touched, first against the one behind them, the next time against the
one before: what is read out of a batch ends the process, and the fuzzer names the input. What is read out of a
message but inside the batch shows in that the same messages give something else between other neighbours.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.formats._flatbuffers import BrokenMessageError

__all__ = ["EVENTS", "ROWS", "Guarded", "check_events", "check_rows"]

EVENTS = ("ev42", "ev44", "an44")
ROWS = ("f142", "f144", "pl72", "6s4t", "df12", "x5f2", "hs00", "hs01", "da00", "ad00")
_ROOM = 1 << 28
_NEIGHBOURS = (b"\xff" * 64, b"\x00" * 64)


class Guarded:
    """Memory between two pages that may not be touched.

    Parameters
    ----------
    size
        How much of it, bytes; only what is used costs anything.
    """

    def __init__(self, size: int = _ROOM) -> None:
        page = mmap.PAGESIZE
        self._page, self._size = page, -(-size // page) * page
        self._map = mmap.mmap(-1, self._size + 2 * page)
        self._at = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for at in (self._at, self._at + page + self._size):
            if protect(at, page, 0):
                raise OSError(ctypes.get_errno(), "memory cannot be guarded")
        self._behind = True

    def column(self, messages: Sequence[bytes]) -> pa.Array:
        """Return messages as a column of binary over this memory, whose bytes are those of the next column too."""
        data = b"".join(messages)
        if len(data) > self._size:
            return pa.array(messages, pa.large_binary())
        begin = self._page + (self._size - len(data) if self._behind else 0)
        self._behind = not self._behind
        self._map[begin : begin + len(data)] = data
        ends = np.cumsum([0, *(len(m) for m in messages)], dtype=np.int64)
        values = pa.foreign_buffer(self._at + begin, len(data), self)
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(messages), [None, pa.py_buffer(ends), values])


def check_events(name: str, whole: Callable[[pa.RecordBatch], None]) -> Callable[[Sequence[bytes]], None]:
    """Return what decodes messages of events: each is read or in quarantine, whatever stands beside it."""
    room = Guarded()

    def check(messages: Sequence[bytes]) -> None:
        module = registry.resolve("format", name)
        found = module.decode_many(room.column(messages))
        _none_lost(found, messages)
        assert found.batch.num_rows == sum(found.messages["events"].to_pylist()), "events were lost, or came twice"
        whole(found.batch)
        whole(found.pulses)
        read = set(found.messages["number"].to_pylist())
        for number, message in enumerate(messages):  # the plain reader agrees on what can be read
            assert _reads(module, message) == (number in read), f"message {number} is read by one way only"
        for neighbour in _NEIGHBOURS:
            among = [part for m in messages for part in (neighbour, m)]
            other = module.decode_many(room.column(among))
            assert other.messages["number"].to_pylist() == [2 * n + 1 for n in found.messages["number"].to_pylist()]
            assert _same(other.batch, found.batch), "what is read depends on what stands beside it"
            assert _same(other.pulses, found.pulses), "what is read depends on what stands beside it"

    return check


def check_rows(name: str, whole: Callable[[pa.RecordBatch], None]) -> Callable[[Sequence[bytes]], None]:
    """Return what decodes messages of a format whose message is a row: each is read or in quarantine."""
    room = Guarded()

    def check(messages: Sequence[bytes]) -> None:
        found = registry.resolve("format", name).decode_many(room.column(messages))
        _none_lost(found, messages)
        assert found.batch.num_rows == sum(found.messages["events"].to_pylist()), "rows were lost, or came twice"
        whole(found.batch)

    return check


def _none_lost(found: Any, messages: Sequence[bytes]) -> None:
    assert found.messages.num_rows + len(found.bad) == len(messages), "a message was lost, or came twice"
    assert all(bad.reason for bad in found.bad)
    read = set(found.messages["number"].to_pylist())
    lost = [m for n, m in enumerate(messages) if n not in read]
    assert [bad.data for bad in found.bad] == lost, "quarantine has other bytes than came"


def _reads(module: Any, message: bytes) -> bool:
    try:
        module.read(message)
    except BrokenMessageError:
        return False
    return True


def _same(one: pa.RecordBatch, two: pa.RecordBatch) -> bool:
    """Compare columns byte by byte: a NaN is itself."""
    return bool(one.equals(two)) or bytes(one.serialize()) == bytes(two.serialize())

"""The sparse index of a segment: offset and event time to file position.

Every entry stands for the beginning of a frame: its offset, its position in the file and the largest
event time of all frames of the segment before it. That maximum only grows, so one binary search finds
where a time may first occur although the events are out of order. The file is advice: each entry
carries a checksum, reading stops at the first bad one, and a missing index is rebuilt.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from pathlib import Path

from eventide.log.checksum import crc32
from eventide.model.time import MIN_TIME

__all__ = ["ENTRY_SIZE", "SparseIndex"]

_ENTRY = struct.Struct("<qqqQ")
_FIELDS = struct.Struct("<qqq")
ENTRY_SIZE = _ENTRY.size


class SparseIndex:
    """Entries of one segment, in memory.

    Parameters
    ----------
    every
        Least distance between two entries, bytes.

    Examples
    --------
    >>> index = SparseIndex(every=1000)
    >>> [index.note(offset, position, 5 * offset) is not None for offset, position in [(0, 64), (10, 600), (20, 1100)]]
    [False, False, True]
    >>> index.before_offset(15), index.before_offset(25)
    (None, (20, 1100))
    """

    __slots__ = ("_every", "_last", "offsets", "positions", "times")

    def __init__(self, every: int) -> None:
        self._every = every
        self._last = 0
        self.offsets: list[int] = []
        self.positions: list[int] = []
        self.times: list[int] = []

    def note(self, offset: int, position: int, time_before: int) -> bytes | None:
        """Consider a frame for the index; return the bytes of its entry when it became one."""
        if position - self._last < self._every:
            return None
        self._append(offset, position, time_before)
        fields = _FIELDS.pack(offset, position, time_before)
        return fields + crc32(fields).to_bytes(8, "little")

    def _append(self, offset: int, position: int, time_before: int) -> None:
        self.offsets.append(offset)
        self.positions.append(position)
        self.times.append(time_before)
        self._last = position

    def before_offset(self, offset: int) -> tuple[int, int] | None:
        """Return (offset, position) of the last indexed frame that begins at or before `offset`."""
        at = bisect_right(self.offsets, offset) - 1
        return (self.offsets[at], self.positions[at]) if at >= 0 else None

    def before_time(self, time: int) -> tuple[int, int] | None:
        """Return (offset, position) of the last indexed frame before which every event is older than `time`."""
        at = bisect_left(self.times, time) - 1
        return (self.offsets[at], self.positions[at]) if at >= 0 else None

    @property
    def last(self) -> tuple[int, int, int] | None:
        """Offset, position and time of the last entry."""
        return (self.offsets[-1], self.positions[-1], self.times[-1]) if self.offsets else None

    def cut(self, size: int) -> None:
        """Forget entries at or after byte `size` of the segment."""
        while self.positions and self.positions[-1] >= size:
            self.offsets.pop()
            self.positions.pop()
            self.times.pop()
        self._last = self.positions[-1] if self.positions else 0

    @classmethod
    def load(cls, path: Path, every: int) -> SparseIndex:
        """Read an index file; entries after the first bad one, and a missing file, count as nothing."""
        index = cls(every)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return index
        last = (-1, -1, MIN_TIME - 1)
        for at in range(0, len(raw) - ENTRY_SIZE + 1, ENTRY_SIZE):
            offset, position, time, check = _ENTRY.unpack_from(raw, at)
            if check != crc32(raw[at : at + 24]) or offset <= last[0] or position <= last[1] or time < last[2]:
                break
            index._append(offset, position, time)
            last = (offset, position, time)
        return index

    def save(self, path: Path) -> None:
        """Replace the index file by these entries."""
        parts = [_FIELDS.pack(*entry) for entry in zip(self.offsets, self.positions, self.times, strict=True)]
        spare = path.with_suffix(f".idx.{os.getpid()}.new")
        spare.write_bytes(b"".join(part + crc32(part).to_bytes(8, "little") for part in parts))
        spare.replace(path)

"""Files that know the checksum of what went into them."""

from __future__ import annotations

import os
from io import RawIOBase
from typing import Any

from eventide.log.checksum import crc32

__all__ = ["CheckedFile"]

_AHEAD = 1 << 20
"""Bytes after which the disk is told to begin, so that it writes while the checksum of the rest is made."""


class CheckedFile:
    """A file that Arrow writes to, with the checksum of what went through.

    Parameters
    ----------
    file
        An open file without a buffer of its own; it stays open, to be synced.
    """

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self._told = 0
        self.crc = self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Write, and add to the checksum."""
        view = memoryview(data).cast("B")
        for at in range(0, view.nbytes, _AHEAD):
            self._write(view[at : at + _AHEAD])
        return view.nbytes

    def _write(self, part: memoryview) -> None:
        at = 0
        while at < part.nbytes:  # a disk with little room takes a part, and refuses the next
            at += self._file.write(part[at:]) or 0
        self.crc = crc32(part, self.crc)
        self.size += part.nbytes
        if self.size - self._told >= _AHEAD and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), self._told, self.size - self._told, os.POSIX_FADV_DONTNEED)
            self._told = self.size

    def tell(self) -> int:
        """Return how much was written."""
        return self.size

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()

    def close(self) -> None:
        """Say that nothing more comes."""
        self.closed = True

    def readable(self) -> bool:
        """Say that it cannot be read."""
        return False

    def seekable(self) -> bool:
        """Say that it is written from one end to the other."""
        return False

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

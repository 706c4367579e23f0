"""Files that are durable when the call returns, and files that know their checksum."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from eventide.log.layout import sync_folder

__all__ = ["CheckedFile", "copy_folder", "write_file"]


class CheckedFile:
    """A file that Arrow writes to, with the checksum of what went through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.crc = self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Write, and add to the checksum."""
        view = memoryview(data)
        self.crc = zlib.crc32(view, self.crc)
        self.size += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        """Return how much was written."""
        return self.size

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()

    def close(self) -> None:
        """Say that nothing more comes; the file itself stays open, to be synced."""
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


def write_file(path: Path, data: bytes) -> None:
    """Write a file and make it durable."""
    with path.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder by links where that is possible, durably."""
    target.mkdir(parents=True)
    for file in source.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copyfile(file, target / file.name)
            with (target / file.name).open("rb") as copied:
                os.fsync(copied.fileno())
    sync_folder(target)

"""Files and folders that are durable when the call returns."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from eventide.log.layout import sync_folder

__all__ = ["copy_folder", "write_file"]


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

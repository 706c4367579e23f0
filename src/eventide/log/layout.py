"""Names of files and folders of a log.

::

    <root>/meta.sqlite                        topics, offsets, transactions, checkpoints
    <root>/.commits                           counter that grows at every commit and abort
    <root>/.sessions/<id>.lock                held while the process that owns transactions lives
    <root>/<topic>/<partition>/<offset>.seg   frames from that offset on (20 digits)
    <root>/<topic>/<partition>/<offset>.idx   sparse index of that segment, rebuilt when missing
    <root>/<topic>/<partition>/head           how far readers may read
    <root>/<topic>/<partition>/writer.lock    held by the one writer
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
from pathlib import Path

from eventide.errors import UsageError

__all__ = [
    "check_topic_name",
    "index_path",
    "make_folder",
    "partition_path",
    "segment_offsets",
    "segment_path",
    "sync_file",
    "sync_folder",
]

_TOPIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SEGMENT = re.compile(r"(\d{20})\.seg")


def check_topic_name(name: str) -> str:
    """Return a topic name that is safe as a folder name.

    Raises
    ------
    UsageError
        The name is empty, longer than 200 characters, or holds other characters.

    Examples
    --------
    >>> check_topic_name("readings.raw-1")
    'readings.raw-1'
    """
    if not _TOPIC.fullmatch(name) or name.startswith("meta.sqlite"):
        msg = f"{name!r} cannot be the name of a topic"
        raise UsageError(
            msg, hint="use at most 200 letters, digits, '_', '-' and '.', beginning with a letter or digit"
        )
    return name


def partition_path(root: Path, topic: str, partition: int) -> Path:
    """Return the folder of a partition.

    Examples
    --------
    >>> partition_path(Path("log"), "a", 3).as_posix()
    'log/a/3'
    """
    return root / topic / str(partition)


def segment_path(folder: Path, offset: int) -> Path:
    """Return the segment file whose first event has `offset`.

    Examples
    --------
    >>> segment_path(Path("p"), 42).name
    '00000000000000000042.seg'
    """
    return folder / f"{offset:020d}.seg"


def index_path(folder: Path, offset: int) -> Path:
    """Return the index file of the segment whose first event has `offset`.

    Examples
    --------
    >>> index_path(Path("p"), 42).name
    '00000000000000000042.idx'
    """
    return folder / f"{offset:020d}.idx"


def segment_offsets(folder: Path) -> list[int]:
    """Return the first offsets of all segments of a partition, ascending.

    Examples
    --------
    >>> segment_offsets(Path("nowhere"))
    []
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names alone, a Path for each costs ten times as much
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for found in map(_SEGMENT.fullmatch, names) if found)


def sync_file(fd: int) -> None:
    """Make the data of an open file durable, and its size, but not its times."""
    if sys.platform == "darwin":  # a plain sync stops at the cache of the drive there
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def sync_folder(folder: Path) -> None:
    """Make created, renamed and removed names of a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, durably.

    A folder whose own name was never synced takes all that is in it along when the power fails.

    Examples
    --------
    >>> import tempfile
    >>> make_folder(Path(tempfile.mkdtemp()) / "a" / "b")
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)

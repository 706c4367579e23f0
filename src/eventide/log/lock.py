"""Locks between processes: one writer per partition, one owner per session."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from eventide.errors import LogLockedError

__all__ = ["FileLock", "is_held"]

_held: set[tuple[int, int]] = set()
"""Device and inode of what this process holds: the number in the file may be that of who held it before."""


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    Parameters
    ----------
    path
        The lock file; made when missing. It holds the process id of the holder.
    what
        What is locked, for the error.

    Raises
    ------
    LogLockedError
        Another process, or another `Log` of this one, holds it; the message names its process id.

    Examples
    --------
    >>> import tempfile
    >>> lock = FileLock(Path(tempfile.mkdtemp()) / "writer.lock", what="partition 0 of 'a'")
    >>> lock.release()
    """

    def __init__(self, path: Path, *, what: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            mine = self._inode() in _held
            os.close(self._fd)
            self._fd = -1
            where = f"another Log of this process (pid {os.getpid()})" if mine else _other(holder)
            msg = f"{what} is being written by {where}; {path}"
            raise LogLockedError(
                msg, hint="a partition has one writer: close that one, or use another partition"
            ) from None
        _held.add(self._inode())
        with contextlib.suppress(OSError):  # who holds it is only told; a full disk does not undo the lock
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _inode(self) -> tuple[int, int]:
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino

    def release(self) -> None:
        """Let the lock go."""
        if self._fd >= 0:
            _held.discard(self._inode())
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # for forked processes that inherited it, too
            os.close(self._fd)
            self._fd = -1


def _other(holder: str) -> str:
    """Name another process; a holder that has only just come, or met a full disk, has not left its own number."""
    return "another process" if holder in ("unknown", str(os.getpid())) else f"another process (pid {holder})"


def is_held(path: Path) -> bool:
    """Tell whether somebody holds the lock at `path`.

    Examples
    --------
    >>> is_held(Path("nowhere.lock"))
    False
    """
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False

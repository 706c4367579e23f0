"""Locks between processes: one writer per partition, one owner per session."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from eventide.errors import LogLockedError

__all__ = ["FileLock", "is_held"]


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
            os.close(self._fd)
            self._fd = -1
            where = "another Log of this process" if holder == str(os.getpid()) else "another process"
            msg = f"{what} is being written by {where} (pid {holder}); {path}"
            raise LogLockedError(
                msg, hint="a partition has one writer: close that one, or use another partition"
            ) from None
        with contextlib.suppress(OSError):  # who holds it is only told; a full disk does not undo the lock
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the lock go."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # for forked processes that inherited it, too
            os.close(self._fd)
            self._fd = -1


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

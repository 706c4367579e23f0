"""What a refusing disk or database becomes: an error of the log that says whether another try is worth it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventide.errors import LogCorruptError, LogError, LogUnavailableError, is_retriable

__all__ = ["database_error", "disk_error", "reaching"]

_DAMAGED = ("malformed", "not a database", "corrupt")
_MISUSED = (sqlite3.ProgrammingError, sqlite3.InterfaceError)


def disk_error(error: OSError, message: str, *, hint: str) -> LogError:
    """Return the error for a refusal of the operating system.

    Parameters
    ----------
    error
        What it said.
    message
        What could not be done, and the file.
    hint
        What to do about it.

    Examples
    --------
    >>> type(disk_error(OSError(28, "No space left on device"), "cannot append", hint="free space")).__name__
    'LogUnavailableError'
    >>> type(disk_error(PermissionError(13, "Permission denied"), "cannot append", hint="")).__name__
    'LogError'
    """
    kind = LogUnavailableError if is_retriable(error) else LogError
    return kind(f"{message}: {error}", hint=hint)


@contextmanager
def reaching(path: Path, what: str) -> Iterator[None]:
    """Turn what the operating system refuses in this block into an error of the log.

    Parameters
    ----------
    path
        The file or folder that is used.
    what
        What is tried, as in "cannot be ...".

    Raises
    ------
    LogError
        It refused; a `LogUnavailableError` where another try may succeed.
    """
    try:
        yield
    except FileNotFoundError:
        raise  # a topic that was deleted, a segment that retention took: the caller knows which
    except OSError as error:
        hint = "free space or check the disk, then try again" if is_retriable(error) else "check its permissions"
        raise disk_error(error, f"{path} cannot be {what}", hint=hint) from error


def database_error(error: sqlite3.Error, path: Path, *, what: str) -> LogError:
    """Return the error for a refusal of SQLite.

    A full disk, a failing one, one that was mounted read-only and a database that others keep busy can all be
    mended from outside; a damaged file and a closed connection cannot.

    Parameters
    ----------
    error
        What it said.
    path
        The database.
    what
        What was tried, as in "cannot be ...".

    Examples
    --------
    >>> database_error(sqlite3.OperationalError("database or disk is full"), Path("m"), what="written").retriable
    True
    >>> type(database_error(sqlite3.DatabaseError("file is not a database"), Path("m"), what="read")).__name__
    'LogCorruptError'
    """
    message = f"{path} cannot be {what}: {error}"
    if isinstance(error, _MISUSED):
        return LogError(message, hint="the log was closed: open it again")
    if any(word in str(error) for word in _DAMAGED):
        return LogCorruptError(message, hint="restore meta.sqlite, with its -wal file, from a copy")
    if isinstance(error, sqlite3.OperationalError) and not _denied(path):
        hint = "free space, check the disk or end what keeps it busy; nothing of this commit was recorded"
        return LogUnavailableError(message, hint=hint)
    return LogError(message, hint="check the path and its permissions; a log needs a local file system")


def _denied(path: Path) -> bool:
    """Tell whether permissions or the path itself are what is wrong: nobody mends these by waiting."""
    folder = path.parent
    if not folder.is_dir():
        return True
    return not os.access(path if path.exists() else folder, os.R_OK)

"""Every error that eventide raises on purpose.

::

    EventideError                what happened; where; and .hint: what to do
    |-- UsageError               the program that was written cannot run
    |   |-- SchemaError          a column is missing, or has the wrong type
    |   |-- PipelineError        the graph is not a pipeline (no sink, two sinks of one name ...)
    |   `-- ConfigError          eventide.toml, an option or a parameter is wrong
    |-- UnknownNameError         no operator, format, connector, engine or app of that name
    |-- MissingDependencyError   a library or a server that this needs is not here
    |-- UnavailableError         a server, disk or file cannot be used just now; worth another try
    |-- DataError                input that cannot be decoded, or too much of it in quarantine
    |-- LogError                 the embedded log cannot be read or written
    |   |-- LogLockedError       another process writes this partition
    |   |-- LogUnavailableError  the disk or the database under the log refuses just now; an UnavailableError too
    |   `-- LogCorruptError      bytes of a segment are not what was written
    `-- RunError                 a pipeline failed while it ran
        `-- CheckpointError      a checkpoint cannot be written, read or used

The command line turns each class into an exit code (`exit_code`): 1 a run failed, 2 usage or
configuration, 3 data, 4 a dependency is missing or cannot be reached.

An error is *retriable* when the same call may succeed later, with nothing changed by the user: `is_retriable`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EventideError",
    "LogCorruptError",
    "LogError",
    "LogLockedError",
    "LogUnavailableError",
    "MissingDependencyError",
    "PipelineError",
    "RunError",
    "SchemaError",
    "UnavailableError",
    "UnknownNameError",
    "UsageError",
    "is_retriable",
    "near_names",
]


class EventideError(Exception):
    """An error with a message (what happened, where) and a hint (what to do).

    Parameters
    ----------
    message
        What happened and where.
    hint
        What the reader can do about it; shown on a line of its own.

    Examples
    --------
    >>> print(EventideError("the log is full", hint="free some space"))
    the log is full
      hint: free some space
    """

    exit_code = 1
    retriable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(EventideError, ValueError):
    """The program that was written cannot run."""

    exit_code = 2


class SchemaError(UsageError):
    """A column is missing, or has the wrong type."""


class PipelineError(UsageError):
    """The graph is not a pipeline."""


class ConfigError(UsageError):
    """A configuration value is wrong."""


class UnknownNameError(EventideError, LookupError):
    """No plug-in of that name."""

    exit_code = 2


class MissingDependencyError(EventideError, ImportError):
    """A library or a server is not here."""

    exit_code = 4


class UnavailableError(EventideError):
    """A server, a disk or a file cannot be used just now; the same call may succeed later."""

    exit_code = 4
    retriable = True


class DataError(EventideError):
    """Input that cannot be decoded."""

    exit_code = 3


class LogError(EventideError):
    """The embedded log cannot be read or written."""


class LogLockedError(LogError):
    """Another process writes this partition."""

    retriable = True


class LogUnavailableError(LogError, UnavailableError):
    """The disk or the database under the log refuses just now; worth another try, from an opening of the log on."""


class LogCorruptError(LogError):
    """Bytes of a segment are not what was written."""


class RunError(EventideError):
    """A pipeline failed while it ran."""


class CheckpointError(RunError):
    """A checkpoint cannot be written, read or used."""


# A full, failing, stalled or unmounted disk, and a network that is down: all of them can be mended from outside.
_PASSING = frozenset(
    getattr(errno, name)
    for name in [
        "EAGAIN",
        "EBUSY",
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "EDQUOT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "EINTR",
        "EIO",
        "EMFILE",
        "ENETDOWN",
        "ENETRESET",
        "ENETUNREACH",
        "ENFILE",
        "ENOBUFS",
        "ENOLCK",
        "ENOMEM",
        "ENOSPC",
        "EPIPE",
        "EROFS",
        "ESTALE",
        "ETIMEDOUT",
    ]
    if hasattr(errno, name)
)


def is_retriable(error: BaseException) -> bool:
    """Return whether the same call may succeed later; the error or one of its causes decides.

    Examples
    --------
    >>> is_retriable(OSError(errno.ENOSPC, "No space left on device")), is_retriable(SchemaError("no column"))
    (True, False)
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, EventideError) and seen.retriable:
            return True
        if isinstance(seen, (ConnectionError, TimeoutError)) or (isinstance(seen, OSError) and seen.errno in _PASSING):
            return True
        seen = seen.__cause__
    return False


def near_names(name: str, known: Iterable[str]) -> str:
    """Return a hint that names what is close to `name`, else all that is known.

    Parameters
    ----------
    name
        What was asked for.
    known
        The names that exist.

    Examples
    --------
    >>> near_names("tumblin", ["tumbling", "sliding"])
    "did you mean 'tumbling'?"
    >>> near_names("x", ["b", "a"])
    'known: a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(names) if names else "none is known"

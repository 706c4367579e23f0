"""Errors on their way out of a worker, for an engine that passes on nothing but text."""

from __future__ import annotations

import json
import re

from eventide import errors
from eventide.errors import EventideError, RunError, is_retriable

__all__ = ["WorkerError", "error_in", "worker_error"]

_MARK = re.compile(r"eventide-error (\{.*?\}) end-of-error")


class WorkerError(RuntimeError):
    """What went wrong in a worker, as text in which `error_in` finds it. Beam makes errors anew from their text."""


def worker_error(cause: Exception) -> WorkerError:
    """Return an error to raise in a worker.

    Examples
    --------
    >>> print(error_in(f"Spark says: {worker_error(EventideError('the log is full', hint='free some space'))} [while]"))
    the log is full
      hint: free some space
    """
    known = isinstance(cause, EventideError)
    other = "UnavailableError" if is_retriable(cause) else "RunError"
    facts = {
        "kind": type(cause).__name__ if known else other,
        "message": cause.message if isinstance(cause, EventideError) else f"{type(cause).__name__}: {cause}",
        "hint": cause.hint if isinstance(cause, EventideError) else "the cause is shown above with --debug",
    }
    # ASCII without line ends, so that no runner's formatting comes between.
    return WorkerError(f"eventide-error {json.dumps(facts)} end-of-error")


def error_in(text: str, *, job: str = "the job") -> EventideError:
    """Return the error that a runner's text tells of: that of the first worker that failed, else the text itself."""
    found = _MARK.search(text)
    if found is None:
        lines = [line for line in text.strip().splitlines() if line.strip()] or ["no reason was given"]
        return RunError(f"{job} failed: {lines[-1].strip()}", hint="the cause is this error's __cause__")
    facts = json.loads(found.group(1))
    kind = getattr(errors, facts["kind"], RunError)  # a plug-in may have errors of its own
    made: EventideError = kind(facts["message"], hint=facts["hint"])
    return made

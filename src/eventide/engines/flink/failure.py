"""How an error inside Flink's workers reaches the user: as itself, not as a page of Java."""

from __future__ import annotations

import base64
import re
import traceback
from typing import Any

import msgspec

from eventide import errors
from eventide.engines.flink.rest import Failure
from eventide.errors import EventideError, RunError, is_retriable

__all__ = ["carried", "error_in"]

_MARK = "eventide-failure:"
_MARKED = re.compile(_MARK + r"([A-Za-z0-9+/=]+):end")
_TRACE = "Traceback (most recent call last)"
_NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")


def carried(error: Exception) -> RuntimeError:
    """Return an error whose text holds another one, so that it gets through Java.

    Examples
    --------
    >>> failed = Failure(0, f"org.apache.flink ... {carried(ValueError('no such unit'))} ... at java.lang")
    >>> print(error_in([failed]).message)
    ValueError: no such unit
    """
    ours = isinstance(error, EventideError)
    facts = {
        "type": type(error).__name__,
        "message": getattr(error, "message", "") if ours else f"{type(error).__name__}: {error}",
        "hint": getattr(error, "hint", "") if ours else "",
        "retriable": is_retriable(error),
        "trace": "".join(traceback.format_exception(error))[-8000:],
    }
    return RuntimeError(_MARK + base64.b64encode(msgspec.json.encode(facts)).decode() + ":end")


def error_in(failures: list[Failure]) -> EventideError | None:
    """Return the first error that another try would not mend, None where there is none."""
    for failure in failures:
        found = _marked(failure.trace) or _of_python(failure.trace)
        if found is not None:
            return found
    return None


def _marked(trace: str) -> EventideError | None:
    mark = _MARKED.search(trace)
    if mark is None:
        return None
    facts: dict[str, Any] = msgspec.json.decode(base64.b64decode(mark[1]))
    if facts["retriable"]:
        return None
    kind = getattr(errors, facts["type"], RunError)
    kind = kind if isinstance(kind, type) and issubclass(kind, EventideError) else RunError
    error: EventideError = kind(facts["message"], hint=facts["hint"])
    error.add_note(f"in a worker of Flink:\n{facts['trace']}")
    return error


def _of_python(trace: str) -> EventideError | None:
    """Explain a Python that could not begin: it would fail the same way for ever, which looks like a hang."""
    missing = _NO_MODULE.search(trace)
    if missing is not None:
        msg = f"the workers of Flink have no Python module {missing[1]!r}"
        where = "install it for the Python of the workers (option python=), or make its folder visible to them"
        hint = (
            where
            if missing[1] != "pemja"
            else "mode='thread' needs PyFlink in the workers' Python: activate its environment"
        )
        return RunError(msg, hint=hint)
    if _TRACE in trace:
        lines = [line.strip() for line in trace[trace.rindex(_TRACE) :].splitlines()]
        last = next((line for line in lines[1:] if re.match(r"[A-Za-z_.]*(Error|Exception|Exit)\b", line)), lines[0])
        return RunError(
            f"Python failed in a worker of Flink: {last[:300]}", hint="`eventide doctor flink` looks for the cause"
        )
    if "Cannot run program" in trace:
        said = trace[trace.index("Cannot run program") :].partition("\n")[0]
        return RunError(f"the workers of Flink cannot start Python: {said[:200]}", hint="give the option python=")
    return None

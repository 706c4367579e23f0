"""What eventide tells a log: the standard library's `logging`, records that say where they come from.

Every record of eventide carries ``pipeline``, ``run``, ``operator``, ``partition`` and ``offset``: those that its
`RunLog` was given, else those of the context (`bound`), else none. A program that uses eventide as a library
configures logging as it likes; only the command line calls `configure`, and that touches the logger ``eventide``
alone, never the root.

What is told of a run, by name: see `EVENTS`. Passwords in addresses and values of options that are named as secrets
are blotted out before anything is written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, TextIO, TypeAlias

from eventide.errors import ConfigError, near_names

__all__ = ["EVENTS", "FIELDS", "LEVELS", "Format", "RunLog", "bound", "configure", "redact"]

Format: TypeAlias = Literal["text", "json"]

FIELDS = ("pipeline", "run", "operator", "partition", "offset")
"""What every record carries."""

EVENTS: Mapping[str, int] = MappingProxyType(
    {
        "run_started": logging.INFO,
        "resumed": logging.INFO,
        "checkpoint": logging.INFO,
        "savepoint": logging.INFO,
        "retry": logging.WARNING,
        "waiting": logging.WARNING,
        "back": logging.WARNING,
        "restart": logging.WARNING,
        "quarantine": logging.WARNING,
        "ledger": logging.ERROR,
        "stopped": logging.INFO,
        "finished": logging.INFO,
        "failed": logging.ERROR,
    }
)
"""What a run tells, and how important it is."""

LEVELS = ("debug", "info", "warning", "error", "off")
"""How much is told."""

_ROOT = "eventide"
_OFF = logging.CRITICAL + 1
_NONE: Mapping[str, Any] = MappingProxyType({})
_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("eventide_log_context", default=_NONE)
_ADDRESS = re.compile(r"(?<=://)([^/\s:@]*):([^\s@]*)@")
_SECRET = re.compile(
    r"(?i)([\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|credential)[\w.-]*[\"']?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+)"
)


def redact(text: str) -> str:
    """Return text without the passwords in it.

    Examples
    --------
    >>> redact("cannot connect to postgresql://ada:enigma@db/night?sslmode=require, password='enigma'")
    'cannot connect to postgresql://ada:***@db/night?sslmode=require, password=***'
    """
    return _SECRET.sub(r"\1***", _ADDRESS.sub(r"\1:***@", text))


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Let every record of this thread (or task) carry these fields while the body runs.

    Examples
    --------
    >>> with bound(pipeline="hot", run="20261120T230501-3f2a"):
    ...     logging.getLogger("eventide.log").info("removed 2 segments")
    """
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


@dataclass(frozen=True, slots=True)
class RunLog:
    """Tells what happens in a run; may be handed to other threads, whose records then carry the same fields.

    Parameters
    ----------
    fields
        What every record carries.
    logger
        The logger.

    Examples
    --------
    >>> log = RunLog({"pipeline": "hot", "run": "20261120T230501-3f2a"})
    >>> log.tell("checkpoint", "checkpoint 7, 4096 bytes in 0.020 s", number=7)
    >>> log.of(operator="read-0", partition="2").fields["partition"]
    '2'
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("eventide.run"))

    def of(self, **fields: Any) -> RunLog:
        """Return one whose records carry further fields."""
        return RunLog({**self.fields, **fields}, self.logger)

    def tell(self, event: str, message: str, *, error: BaseException | None = None, **fields: Any) -> None:
        """Write a record.

        Parameters
        ----------
        event
            One of `EVENTS`, which says how important it is.
        message
            The same for people.
        error
            What went wrong; part of this one record.
        **fields
            Further facts.
        """
        level = EVENTS[event]
        if self.logger.isEnabledFor(level):
            extra = {"eventide": {"event": event, **self.fields, **fields}}
            self.logger.log(level, "%s", message, exc_info=error, extra=extra)


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record carries: `FIELDS` always, ``event`` and others where it has them."""
    own = getattr(record, _ROOT, _NONE)
    every = {**_CONTEXT.get(), **own}
    return {name: every.pop(name, None) for name in FIELDS} | every


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON.

    Examples
    --------
    >>> record = logging.LogRecord("eventide.run", logging.INFO, "", 0, "checkpoint %d", (7,), None)
    >>> line = json.loads(JsonLines().format(record))
    >>> line["level"], line["message"], line["pipeline"]
    ('info', 'checkpoint 7', None)
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        error = _error(record)
        if error is not None:
            line["error"] = {
                "type": type(error).__name__,
                "message": str(getattr(error, "message", error)),
                "hint": getattr(error, "hint", ""),
                "traceback": "".join(traceback.format_exception(error)),
            }
        return json.dumps(_clean(line), default=str)


class TextLines(logging.Formatter):
    """Formats a record as one line for people; where an error came from follows on lines that are set in.

    Examples
    --------
    >>> record = logging.LogRecord("eventide.run", logging.WARNING, "", 0, "try 2 failed", (), None)
    >>> TextLines().format(record).split(" ", 1)[1]
    'warning try 2 failed'
    """

    def __init__(self, *, tracebacks: bool = False) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        known = facts(record)
        event = known.pop("event", "")
        where = " ".join(f"{name}={value}" for name, value in known.items() if value is not None)
        parts = [_time(record), record.levelname.lower(), event, record.getMessage(), f"[{where}]" if where else ""]
        error = _error(record)
        if error is not None:
            parts.append(f"({type(error).__name__}: {getattr(error, 'message', error)})")
        text = " ".join(p.replace("\n", " ") for p in parts if p)
        if error is not None and self._tracebacks:
            lines = "".join(traceback.format_exception(error)).splitlines()
            text += "".join(f"\n    {line}" for line in lines)
        return redact(text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _clean(value: Any) -> Any:
    """Return a value with every text in it redacted, and what is named as a secret blotted out."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): "***" if _SECRET.match(f"{k}=x") else _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list | tuple) else value


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines to the standard error of the moment, over a line of progress where one is shown."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream or sys.stderr)
        self._fixed = stream is not None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if not self._fixed:
            self.stream = sys.stderr
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")
        super().emit(record)


def configure(format: str = "text", level: str = "", *, stream: TextIO | None = None) -> None:
    """Write eventide's records as lines, to standard error; for programs, not for libraries.

    Parameters
    ----------
    format
        ``text`` for people, ``json`` for programs: one object a line.
    level
        One of `LEVELS`; left out, ``off`` for text (people at a terminal are told in other ways) and ``info`` for
        JSON. At ``debug`` the text says where errors came from; JSON always does.
    stream
        Where to; left out, standard error.

    Raises
    ------
    ConfigError
        The format or the level is not known.

    Examples
    --------
    >>> import io
    >>> lines = io.StringIO()
    >>> configure("json", "info", stream=lines)
    >>> RunLog({"pipeline": "hot"}).tell("stopped", "stopped by SIGTERM")
    >>> json.loads(lines.getvalue())["event"]
    'stopped'
    >>> configure()
    """
    if format not in ("text", "json"):
        msg = f"there is no log format {format!r}"
        raise ConfigError(msg, hint=near_names(format, ["text", "json"]))
    level = level.lower() or ("info" if format == "json" else "off")
    if level not in LEVELS:
        msg = f"there is no log level {level!r}"
        raise ConfigError(msg, hint=near_names(level, LEVELS))
    logger = logging.getLogger(_ROOT)
    for handler in [h for h in logger.handlers if isinstance(h, _Lines)]:
        logger.removeHandler(handler)
    lines = _Lines(stream)
    lines.setFormatter(JsonLines() if format == "json" else TextLines(tracebacks=level == "debug"))
    logger.addHandler(lines)
    logger.setLevel(_OFF if level == "off" else level.upper())

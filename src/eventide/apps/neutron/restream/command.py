"""Commands: JSON text to values that are checked, or an error that says what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventide.apps.neutron.restream.fields import is_number
from eventide.apps.neutron.restream.wanted import Wanted, wanted
from eventide.errors import UsageError, near_names

__all__ = ["INPUTS", "OUTPUTS", "Command", "Configure", "Reset", "Stop", "message_id", "read_command"]

INPUTS = ("ev42", "ev44", "an44")
OUTPUTS = ("hs00", "hs01", "da00")

_LATEST = 2**53  # ms; beyond it JSON numbers of other programs are no longer whole


@dataclass(frozen=True, slots=True)
class Configure:
    """Replace all histograms by these; `start` and `stop` in ms since 1970, None for none."""

    histograms: tuple[Wanted, ...]
    start: int | None = None
    stop: int | None = None
    input_schema: str = ""
    output_schema: str = "hs00"


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop counting, and publish what there is for the last time."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Count from zero."""


Command: TypeAlias = Configure | Stop | Reset


def message_id(data: bytes) -> Any:
    """Return the ``msg_id`` of a command, None where there is none or it is no command.

    Examples
    --------
    >>> message_id(b'{"cmd": "stop", "msg_id": "7"}'), message_id(b"?")
    ('7', None)
    """
    try:
        found = _load(data)
    except UsageError:
        return None
    return found.get("msg_id") or None


def read_command(data: bytes, *, now: int) -> Command:
    """Return what a command says.

    Parameters
    ----------
    data
        JSON text, UTF-8.
    now
        ms since 1970: when an ``interval`` begins.

    Raises
    ------
    UsageError
        It is no command, or cannot be followed.

    Examples
    --------
    >>> read_command(b'{"cmd": "config", "interval": 2}', now=1000)
    Configure(histograms=(), start=1000, stop=3000, input_schema='', output_schema='hs00')
    """
    found = _load(data)
    name = found.get("cmd")
    if name == "reset_counts":
        return Reset()
    if name == "stop":
        return Stop()
    if name != "config":
        msg = f"Unknown command type '{name}'"
        raise UsageError(msg, hint="config, stop or reset_counts")
    start, stop = _times(found, now)
    listed = found.get("histograms", [])
    if not isinstance(listed, list):
        msg = f"'histograms' is {type(listed).__name__}, not a list"
        raise UsageError(msg)
    shared: dict[str, Any] = {key: found[key] for key in ("data_brokers", "data_topics") if key in found}
    return Configure(
        tuple(wanted(each, number, shared) for number, each in enumerate(listed)),
        start,
        stop,
        _schema(found, "input_schema", INPUTS) or "",
        _schema(found, "output_schema", OUTPUTS) or "hs00",
    )


def _load(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"a command is not JSON: {error}"
        raise UsageError(msg) from None
    if not isinstance(found, dict):
        msg = f"a command is {type(found).__name__}, not an object"
        raise UsageError(msg)
    return found


def _times(found: Mapping[str, Any], now: int) -> tuple[int | None, int | None]:
    given = {}
    for key in ("start", "stop", "interval"):
        value = found.get(key)
        if value is not None and not (is_number(value) and abs(value) <= _LATEST):
            msg = f"'{key}' is {value!r}, not a number"
            raise UsageError(msg)
        given[key] = value or None  # 0 is none, as for just-bin-it
    start, stop, interval = given["start"], given["stop"], given["interval"]
    if interval is None:
        return None if start is None else int(start), None if stop is None else int(stop)
    if start or stop:
        msg = "'interval' cannot be combined with 'start' or 'stop'"
        raise UsageError(msg)
    if interval < 0:
        msg = f"'interval' is {interval!r}, below 0"
        raise UsageError(msg)
    return now, now + int(interval * 1000)


def _schema(found: Mapping[str, Any], key: str, known: Sequence[str]) -> str | None:
    value = found.get(key)
    if value is not None and value not in known:
        msg = f"'{key}' is {value!r}"
        raise UsageError(msg, hint=near_names(str(value), list(known)))
    return value

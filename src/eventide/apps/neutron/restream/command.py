"""Commands: JSON text to values that are checked, or an error that says what is wrong with them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventide.errors import UsageError, near_names

__all__ = ["INPUTS", "OUTPUTS", "Command", "Configure", "Reset", "Stop", "Wanted", "message_id", "read_command"]

INPUTS = ("ev42", "ev44", "an44")
OUTPUTS = ("hs00", "hs01", "da00")
KINDS = ("hist1d", "hist2d", "dethist", "roihist")

_TOPIC = re.compile(r"[a-zA-Z0-9._\-]{1,249}")  # what Kafka allows
_LATEST = 2**53  # ms; beyond it JSON numbers of other programs are no longer whole
_NEEDED = {
    "hist1d": ("tof_range", "num_bins"),
    "hist2d": ("tof_range", "det_range", "num_bins"),
    "dethist": ("det_range", "width", "height"),
    "roihist": ("left_edges", "width"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One histogram that is asked for.

    Parameters
    ----------
    kind
        ``hist1d``, ``hist2d``, ``dethist`` or ``roihist``.
    brokers, data_topics
        Where the events are.
    topic
        Where the histogram goes, on the same brokers.
    identifier, source
        What its info calls it; whose events count ("": everyone's).
    tof_range, det_range
        Low and high of the time of flight (ns) and of pixels; () for none.
    bins
        Number of bins, of time of flight and of pixels.
    width, height, left_edges
        Of an image, or of the rows of a region.
    """

    kind: str
    brokers: tuple[str, ...]
    data_topics: tuple[str, ...]
    topic: str
    identifier: str = ""
    source: str = ""
    tof_range: tuple[float, ...] = ()
    det_range: tuple[float, ...] = ()
    bins: tuple[int, ...] = ()
    width: int = 0
    height: int = 0
    left_edges: tuple[int, ...] = ()


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
        tuple(_wanted(each, number, shared) for number, each in enumerate(listed)),
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
        if value is not None and not (_is_number(value) and abs(value) <= _LATEST):
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


class _Fields:
    """The fields of one histogram, each checked as it is taken."""

    def __init__(self, found: Mapping[str, Any], where: str) -> None:
        self._found, self._where = found, where

    def refuse(self, key: str, wanted: str) -> UsageError:
        value = self._found.get(key)
        text = repr(value)
        return UsageError(f"{self._where}: '{key}' is {text if len(text) < 80 else text[:80] + '...'}, not {wanted}")

    def text(self, key: str) -> str:
        value = self._found.get(key, "")
        if not isinstance(value, str):
            raise self.refuse(key, "a text")
        return value

    def texts(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        value = self._found[key]
        good = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
        if not good or (pattern is not None and not all(pattern.fullmatch(v) for v in value)):
            raise self.refuse(key, "a list of names")
        return tuple(value)

    def topic(self, key: str) -> str:
        value = self._found[key]
        if not isinstance(value, str) or not _TOPIC.fullmatch(value):
            raise self.refuse(key, "the name of a topic")
        return value

    def interval(self, key: str, *, whole: bool = False) -> tuple[float, ...]:
        value = self._found[key]
        good = _is_pixel if whole else _is_number
        if not (isinstance(value, list) and len(value) == 2 and all(map(good, value)) and value[0] <= value[1]):
            raise self.refuse(key, "a low and a high pixel" if whole else "a low and a high number")
        return (value[0], value[1])

    def whole(self, key: str, *, least: int = 1) -> int:
        value = self._found[key]
        if not _is_whole(value) or value < least:
            raise self.refuse(key, f"a whole number from {least} on")
        return int(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        value = self._found[key]
        if not isinstance(value, list) or not value or not all(map(_is_pixel, value)):
            raise self.refuse(key, "a list of pixels")
        return tuple(int(v) for v in value)

    def bins(self, key: str, *, pair: bool) -> tuple[int, ...]:
        value = self._found[key]
        if not pair:
            return (self.whole(key),)
        both = value if isinstance(value, list) else [value, value]
        if len(both) != 2 or not all(_is_whole(v) and v >= 1 for v in both):
            raise self.refuse(key, "a number of bins, or two")
        return tuple(int(v) for v in both)


def _wanted(each: Any, number: int, shared: Mapping[str, Any]) -> Wanted:
    where = f"histogram {number}"
    if not isinstance(each, dict):
        msg = f"{where} is {type(each).__name__}, not an object"
        raise UsageError(msg)
    found = {**shared, **each}  # old commands name brokers and topics once, for all
    kind = found.get("type")
    if kind not in KINDS:
        msg = f"{where}: unknown type {kind!r}"
        raise UsageError(msg, hint=near_names(str(kind), list(KINDS)))
    missing = [key for key in ("topic", "data_topics", "data_brokers", *_NEEDED[kind]) if found.get(key) is None]
    if missing:
        msg = f"{where} ({kind}) lacks {', '.join(missing)}"
        raise UsageError(msg)
    fields = _Fields(found, f"{where} ({kind})")
    needed = _NEEDED[kind]
    has_pixels = "det_range" in needed or (kind == "hist1d" and found.get("det_range") is not None)
    return Wanted(
        kind=kind,
        brokers=fields.texts("data_brokers"),
        data_topics=fields.texts("data_topics", _TOPIC),
        topic=fields.topic("topic"),
        identifier=fields.text("id"),
        source=fields.text("source").strip() and fields.text("source"),
        tof_range=fields.interval("tof_range") if "tof_range" in needed else (),
        det_range=fields.interval("det_range", whole=kind == "dethist") if has_pixels else (),
        bins=fields.bins("num_bins", pair=kind == "hist2d") if "num_bins" in needed else (),
        width=fields.whole("width") if "width" in needed else 0,
        height=fields.whole("height") if "height" in needed else 0,
        left_edges=fields.wholes("left_edges") if "left_edges" in needed else (),
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _is_pixel(value: Any) -> bool:
    return _is_whole(value) and abs(value) < 2**31

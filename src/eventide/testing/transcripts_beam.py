"""Beam's notation of windows and triggers in its transcripts, read into eventide's.

A transcript writes them as Python calls, such as ``AfterWatermark(early=AfterCount(3))``. They are read as
syntax and never evaluated. Times are in seconds.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from eventide.errors import UsageError, near_names
from eventide.model.trigger import (
    Accumulation,
    AfterCount,
    AfterProcessingTime,
    AllOf,
    AnyOf,
    AtWatermark,
    InOrder,
    Repeatedly,
    Trigger,
)
from eventide.model.window import GlobalWindow, Session, Sliding, Tumbling, WindowSpec

__all__ = ["SECOND", "Dialect", "read_dialect"]

SECOND = 1_000_000_000

Call: TypeAlias = tuple[str, list[Any], dict[str, Any]]

_COMPOSITES: dict[str, type[AnyOf] | type[AllOf] | type[InOrder]] = {
    "AfterAny": AnyOf,
    "AfterAll": AllOf,
    "AfterEach": InOrder,
}
_TRIGGERS = ["Default", "AfterWatermark", "AfterCount", "AfterProcessingTime", "Repeatedly", *_COMPOSITES]
_WINDOWS = ["FixedWindows", "SlidingWindows", "Sessions", "GlobalWindows", "CustomTimestampingFixedWindowsWindowFn"]
_TRANSFORM = 100  # what Beam's CustomTimestampingFixedWindowsWindowFn adds to an event time, s


@dataclass(frozen=True, slots=True)
class Dialect:
    """The settings of a transcript in eventide's terms; `shift` is added to the event time of a pane, ns."""

    window: WindowSpec
    trigger: Trigger
    accumulation: Accumulation
    lateness: int
    timestamp: Literal["start", "end", "earliest", "latest"]
    shift: int = 0


def read_dialect(spec: dict[str, Any]) -> Dialect:
    """Return the settings of a transcript, with Beam's defaults for those it leaves out.

    Raises
    ------
    UsageError
        It asks for something that eventide has no counterpart of.

    Examples
    --------
    >>> read_dialect({"window_fn": "Sessions(10)"}).window
    Session(gap=10000000000)
    """
    lateness = _seconds(spec.get("allowed_lateness", 0))
    combiner = str(spec.get("timestamp_combiner", "OUTPUT_AT_EOW")).upper()
    shift = _TRANSFORM * SECOND if combiner == "OUTPUT_AT_EARLIEST_TRANSFORMED" else 0
    stamps: dict[str, Literal["end", "earliest", "latest"]] = {
        "OUTPUT_AT_EOW": "end",
        "OUTPUT_AT_EARLIEST": "earliest",
        "OUTPUT_AT_EARLIEST_TRANSFORMED": "earliest",
        "OUTPUT_AT_LATEST": "latest",
    }
    modes: dict[str, Accumulation] = {"ACCUMULATING": "accumulating", "DISCARDING": "discarding"}
    mode = str(spec.get("accumulation_mode", "ACCUMULATING")).upper()
    return Dialect(
        window=_window(_call(str(spec.get("window_fn", "GlobalWindows")))),
        trigger=_trigger(_call(str(spec.get("trigger_fn", "Default"))), lateness=lateness),
        accumulation=_one_of(modes, mode, what="accumulation mode"),
        lateness=lateness,
        timestamp=_one_of(stamps, combiner, what="timestamp combiner"),
        shift=shift,
    )


def _one_of(known: dict[str, Any], name: str, *, what: str) -> Any:
    if name not in known:
        msg = f"the transcript has the {what} {name}"
        raise UsageError(msg, hint=near_names(name, known))
    return known[name]


def _seconds(value: float) -> int:
    return round(value * SECOND)


def _call(text: str) -> Call:
    """Return the name, the arguments and the named arguments of a call; a bare name is a call without arguments."""

    def read(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return (node.id, [], {})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            named = {str(k.arg): read(k.value) for k in node.keywords}
            return (node.func.id, [read(a) for a in node.args], named)
        msg = f"the transcript has {ast.unparse(node)!r}, which is not a window or trigger"
        raise UsageError(msg, hint="a call such as FixedWindows(10)")

    call: Call = read(ast.parse(text.strip(), mode="eval").body)
    return call


def _window(call: Call) -> WindowSpec:
    name, arguments, named = call
    sizes = [_seconds(a) for a in (*arguments, *named.values())]
    if name in ("FixedWindows", "CustomTimestampingFixedWindowsWindowFn"):
        return Tumbling(sizes[0], sizes[1] if sizes[1:] else 0)
    if name == "SlidingWindows":
        return Sliding(sizes[0], sizes[1], sizes[2] if sizes[2:] else 0)
    if name == "Sessions":
        return Session(sizes[0])
    if name == "GlobalWindows":
        return GlobalWindow()
    msg = f"the transcript has the window {name}"
    raise UsageError(msg, hint=near_names(name, _WINDOWS))


def _trigger(call: Call, *, lateness: int) -> Trigger:
    name, arguments, named = call
    if name in ("Default", "DefaultTrigger"):
        return AtWatermark()
    if name == "AfterCount":
        return AfterCount(*arguments, **named)
    if name == "AfterProcessingTime":
        return AfterProcessingTime(*[_seconds(a) for a in (*arguments, *named.values())])
    if name == "AfterWatermark":
        return _at_watermark(named, lateness=lateness)
    if name == "Repeatedly" or name in _COMPOSITES:
        inner = tuple(_trigger(a, lateness=lateness) for a in arguments)
        return Repeatedly(*inner) if name == "Repeatedly" else _COMPOSITES[name](inner)
    msg = f"the transcript has the trigger {name}"
    raise UsageError(msg, hint=near_names(name, _TRIGGERS))


def _at_watermark(named: dict[str, Any], *, lateness: int) -> Trigger:
    parts = {k: _trigger(v, lateness=lateness) for k, v in named.items()}
    if "late" not in parts and lateness:
        # Beam's window is over then; eventide's goes on with every late event.
        msg = "the transcript has AfterWatermark without a late trigger, and an allowed lateness"
        raise UsageError(msg, hint="eventide never drops an event within the allowed lateness")
    return AtWatermark(**parts)

"""Triggers: when a window emits a pane, and how the panes of one window relate.

The model is Beam's (Akidau et al. 2015, "The Dataflow Model", VLDB 8): triggers compose, the
on-time pane fires when the watermark passes the end of the window, early panes before and late ones
after. Unlike Beam, whose count trigger fires at some point after the count was reached, a count or
predicate trigger here fires exactly at the event that satisfies it, in order of arrival per key and
window, so that panes do not depend on how events were cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from eventide.errors import UsageError
from eventide.model.time import duration

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Accumulation",
    "AfterCount",
    "AfterPredicate",
    "AfterProcessingTime",
    "AllOf",
    "AnyOf",
    "AtWatermark",
    "InOrder",
    "Repeatedly",
    "Trigger",
    "after_count",
    "after_predicate",
    "after_processing_time",
    "all_of",
    "any_of",
    "at_watermark",
    "in_order",
    "listens",
    "repeatedly",
]

Accumulation: TypeAlias = Literal["discarding", "accumulating", "retracting"]


@dataclass(frozen=True, slots=True)
class AtWatermark:
    """Fire when the watermark passes the window's end; `early` repeats before it, `late` after it."""

    early: Trigger | None = None
    late: Trigger | None = None


@dataclass(frozen=True, slots=True)
class AfterCount:
    """Fire once, when the pane holds `count` events."""

    count: int


@dataclass(frozen=True, slots=True)
class AfterProcessingTime:
    """Fire once, when the clock is `delay` ns past the first event of the pane."""

    delay: int


@dataclass(frozen=True, slots=True)
class AfterPredicate:
    """Fire once, at the first event for which the Polars expression is true."""

    predicate: pl.Expr


@dataclass(frozen=True, slots=True)
class Repeatedly:
    """Start the inner trigger again whenever it has fired."""

    inner: Trigger


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Fire once, when the first of several would."""

    parts: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Fire once, when the last of several would."""

    parts: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class InOrder:
    """Fire as the first until it is finished, then as the second, and so on."""

    parts: tuple[Trigger, ...]


Trigger: TypeAlias = (
    AtWatermark | AfterCount | AfterProcessingTime | AfterPredicate | Repeatedly | AnyOf | AllOf | InOrder
)


def at_watermark(*, early: Trigger | None = None, late: Trigger | None = None) -> AtWatermark:
    """Fire at the watermark, with optional panes before and after.

    Parameters
    ----------
    early
        Repeated until the watermark passes the end of the window.
    late
        Repeated afterwards, until the allowed lateness has passed; left out: at every late event.

    Examples
    --------
    >>> at_watermark(early=after_count(100)).early
    AfterCount(count=100)
    """
    return AtWatermark(early, late)


def after_count(count: int) -> AfterCount:
    """Fire once, at the event that makes the pane hold `count` events.

    Examples
    --------
    >>> after_count(3)
    AfterCount(count=3)
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        msg = f"after_count needs a whole number of at least 1, not {count!r}"
        raise UsageError(msg, hint="for example ev.after_count(1000)")
    return AfterCount(count)


def after_processing_time(delay: str | timedelta) -> AfterProcessingTime:
    """Fire once, `delay` of processing time after the first event of the pane.

    The clock reaches operators as recorded ticks in band, so a replay with the same ticks is exact.

    Examples
    --------
    >>> after_processing_time("10s")
    AfterProcessingTime(delay=10000000000)
    """
    return AfterProcessingTime(duration(delay, what="processing-time delay"))


def after_predicate(predicate: pl.Expr) -> AfterPredicate:
    """Fire once, at the first event of the pane for which `predicate` holds.

    Examples
    --------
    >>> import polars as pl
    >>> type(after_predicate(pl.col("value") > 9)).__name__
    'AfterPredicate'
    """
    return AfterPredicate(predicate)


def repeatedly(inner: Trigger) -> Repeatedly:
    """Fire again and again as `inner` does.

    Examples
    --------
    >>> repeatedly(after_count(10))
    Repeatedly(inner=AfterCount(count=10))
    """
    return Repeatedly(inner)


def any_of(*parts: Trigger) -> AnyOf:
    """Fire when the first of `parts` would.

    Examples
    --------
    >>> len(any_of(after_count(10), after_processing_time("1s")).parts)
    2
    """
    return AnyOf(_some(parts, "any_of"))


def all_of(*parts: Trigger) -> AllOf:
    """Fire when all of `parts` would have fired.

    Examples
    --------
    >>> len(all_of(after_count(10), after_processing_time("1s")).parts)
    2
    """
    return AllOf(_some(parts, "all_of"))


def in_order(*parts: Trigger) -> InOrder:
    """Fire as each of `parts` in turn.

    Examples
    --------
    >>> len(in_order(after_count(1), after_count(10)).parts)
    2
    """
    return InOrder(_some(parts, "in_order"))


def _some(parts: tuple[Trigger, ...], name: str) -> tuple[Trigger, ...]:
    if not parts:
        msg = f"{name}() needs at least one trigger"
        raise UsageError(msg, hint=f"for example ev.{name}(ev.after_count(100))")
    return parts


def listens(trigger: Trigger | None) -> bool:
    """Return whether a trigger needs ticks of the processing-time clock.

    Examples
    --------
    >>> listens(at_watermark(early=after_processing_time("1s")))
    True
    """
    if isinstance(trigger, AfterProcessingTime):
        return True
    if isinstance(trigger, AtWatermark):
        return listens(trigger.early) or listens(trigger.late)
    if isinstance(trigger, Repeatedly):
        return listens(trigger.inner)
    if isinstance(trigger, AnyOf | AllOf | InOrder):
        return any(listens(p) for p in trigger.parts)
    return False

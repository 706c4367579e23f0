"""Windows: how event time (or the count of events) is cut into finite groups.

Windows are half open, ``[start, end)``. ``closed="right"`` asks for ``(start, end]``, which some SQL
dialects mean by the same words. Aligned windows start at `offset` plus whole multiples of the slide
since 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from eventide.errors import UsageError
from eventide.model.time import duration, format_duration

__all__ = [
    "Closed",
    "CountWindow",
    "GlobalWindow",
    "Session",
    "Sliding",
    "Tumbling",
    "WindowSpec",
    "count_window",
    "global_window",
    "session",
    "sliding",
    "tumbling",
]

Closed: TypeAlias = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows of one size that neither overlap nor leave gaps; size and offset in ns."""

    size: int
    offset: int = 0
    closed: Closed = "left"

    def __str__(self) -> str:
        return f"tumbling({format_duration(self.size)})"


@dataclass(frozen=True, slots=True)
class Sliding:
    """Windows of `size` that start every `slide`; an event lies in size/slide of them; ns."""

    size: int
    slide: int
    offset: int = 0
    closed: Closed = "left"

    def __str__(self) -> str:
        return f"sliding({format_duration(self.size)}, every {format_duration(self.slide)})"


@dataclass(frozen=True, slots=True)
class Session:
    """Per key, runs of events less than `gap` ns apart; the window ends `gap` after its last event."""

    gap: int

    def __str__(self) -> str:
        return f"session({format_duration(self.gap)})"


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Per key, groups of `size` events in event-time order; a new group starts every `every` events."""

    size: int
    every: int

    def __str__(self) -> str:
        return f"count_window({self.size}, every {self.every})"


@dataclass(frozen=True, slots=True)
class GlobalWindow:
    """One window for all of time; it closes at the end of the input, earlier panes need a trigger."""

    def __str__(self) -> str:
        return "global_window()"


WindowSpec: TypeAlias = Tumbling | Sliding | Session | CountWindow | GlobalWindow


def _closed(value: str) -> Closed:
    if value == "left":
        return "left"
    if value == "right":
        return "right"
    msg = f"closed must be 'left' for [start, end) or 'right' for (start, end], not {value!r}"
    raise UsageError(msg, hint="leave it out for [start, end)")


def tumbling(size: str | timedelta, *, offset: str | timedelta = "0", closed: Closed = "left") -> Tumbling:
    """Return windows of one size, without overlap or gap.

    Parameters
    ----------
    size
        Length, such as ``"20m"``.
    offset
        Shift of the grid from whole multiples of the size.
    closed
        ``"left"`` for ``[start, end)``, ``"right"`` for ``(start, end]``.

    Raises
    ------
    UsageError
        A negative or zero size, a bare number, an unknown unit.

    Examples
    --------
    >>> print(tumbling("20m"))
    tumbling(20m)
    """
    length = duration(size, what="window size")
    return Tumbling(length, duration(offset, what="window offset", zero=True) % length, _closed(closed))


def sliding(
    size: str | timedelta, slide: str | timedelta, *, offset: str | timedelta = "0", closed: Closed = "left"
) -> Sliding:
    """Return windows of `size` that start every `slide`.

    Raises
    ------
    UsageError
        The slide is longer than the size: events between two windows would belong to none.

    Examples
    --------
    >>> print(sliding("10s", "2s"))
    sliding(10s, every 2s)
    """
    length, step = duration(size, what="window size"), duration(slide, what="window slide")
    if step > length:
        msg = f"the slide {format_duration(step)} is longer than the window {format_duration(length)}"
        raise UsageError(msg, hint="make the slide at most the size; for gaps, filter the events first")
    return Sliding(length, step, duration(offset, what="window offset", zero=True) % step, _closed(closed))


def session(gap: str | timedelta) -> Session:
    """Return windows that last as long as the events of a key are less than `gap` apart.

    Examples
    --------
    >>> print(session("5m"))
    session(5m)
    """
    return Session(duration(gap, what="session gap"))


def count_window(size: int, *, every: int | None = None) -> CountWindow:
    """Return groups of `size` events per key, in event-time order.

    Parameters
    ----------
    size
        Events in a window.
    every
        Events between the starts of two windows; left out: `size`.

    Raises
    ------
    UsageError
        Not a whole number of at least one, or `every` larger than `size`.

    Examples
    --------
    >>> print(count_window(100))
    count_window(100, every 100)
    """
    step = size if every is None else every
    for name, value in (("size", size), ("every", step)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"count window {name} must be a whole number of events of at least 1, not {value!r}"
            raise UsageError(msg, hint="for windows in time use ev.tumbling('10s')")
    if step > size:
        msg = f"a count window of {size} every {step} would leave events out"
        raise UsageError(msg, hint="make every at most the size")
    return CountWindow(size, step)


def global_window() -> GlobalWindow:
    """Return the one window of all of time.

    Examples
    --------
    >>> print(global_window())
    global_window()
    """
    return GlobalWindow()

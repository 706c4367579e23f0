"""The second oracle: windows and triggers as one plain loop, one event at a time, in dicts and lists.

Nothing here is fast and nothing is shared with the kernels: it is the meaning of ``docs/explanation/panes.md``
written down a second time. Times are plain integers (nanoseconds). A pane holds the list of its values in
event-time order, ties by value, as the aggregate `collect` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.trigger import (
    AfterCount,
    AfterPredicate,
    AfterProcessingTime,
    AllOf,
    AnyOf,
    AtWatermark,
    InOrder,
    Repeatedly,
    Trigger,
)
from eventide.model.window import CountWindow, GlobalWindow, Session, Sliding, Tumbling, WindowSpec

__all__ = ["Event", "Oracle", "Pane"]


class Event(NamedTuple):
    """One event. `mark` is the watermark it met, None where the batch does not say."""

    key: str
    time: int
    value: int
    mark: int | None = None


class Pane(NamedTuple):
    """One output row."""

    key: str
    start: int
    end: int
    values: tuple[int, ...]
    index: int
    timing: str
    retraction: bool = False
    event_time: int | None = None


class Node:
    """A trigger and its state; the verbs are those of Beam's TriggerFn."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        parts: tuple[Trigger, ...] = ()
        if isinstance(trigger, AtWatermark):
            parts = (trigger.early or AfterCount(2**62), trigger.late or AfterCount(1))
        elif isinstance(trigger, Repeatedly):
            parts = (trigger.inner,)
        elif isinstance(trigger, AnyOf | AllOf | InOrder):
            parts = trigger.parts
        self.parts = [Node(p) for p in parts]
        self.count = 0
        self.seen = False
        self.since: int | None = None  # clock at the first event; "unknown" while no tick was ever seen
        self.unknown = False
        self.closed = False
        self.current = 0

    def reset(self) -> None:
        self.__init__(self.trigger)  # type: ignore[misc]

    def event(self, value: int, clock: int | None) -> None:
        trigger = self.trigger
        if isinstance(trigger, AfterCount):
            self.count += 1
        elif isinstance(trigger, AfterPredicate):
            self.seen = self.seen or holds(trigger.predicate, value)
        elif isinstance(trigger, AfterProcessingTime):
            if self.since is None and not self.unknown:
                self.since, self.unknown = clock, clock is None
        elif isinstance(trigger, AtWatermark):
            self.parts[1 if self.closed else 0].event(value, clock)
        elif isinstance(trigger, InOrder):
            if self.current < len(self.parts):
                self.parts[self.current].event(value, clock)
        else:
            for part in self.parts:
                part.event(value, clock)

    def tick(self, clock: int) -> None:
        if self.unknown:
            self.since, self.unknown = clock, False
        for part in self.parts:
            part.tick(clock)

    def ready(self, complete: bool, clock: int | None) -> bool:
        trigger = self.trigger
        if isinstance(trigger, AfterCount):
            return self.count >= trigger.count
        if isinstance(trigger, AfterPredicate):
            return self.seen
        if isinstance(trigger, AfterProcessingTime):
            return self.since is not None and clock is not None and clock >= self.since + trigger.delay
        if isinstance(trigger, AtWatermark):
            if self.closed:
                return self.parts[1].ready(complete, clock)
            return complete or self.parts[0].ready(complete, clock)
        if isinstance(trigger, InOrder):
            return self.current < len(self.parts) and self.parts[self.current].ready(complete, clock)
        several = [p.ready(complete, clock) for p in self.parts]
        return all(several) if isinstance(trigger, AllOf) else any(several)

    def fire(self, complete: bool) -> bool:
        """Fire and tell whether the trigger is finished."""
        trigger = self.trigger
        if isinstance(trigger, Repeatedly):
            if self.parts[0].fire(complete):
                self.parts[0].reset()
            return False
        if isinstance(trigger, AtWatermark):
            if not self.closed and complete:
                self.reset()
                self.closed = True
            else:
                part = self.parts[1 if self.closed else 0]
                if part.fire(complete):
                    part.reset()
            return False
        if isinstance(trigger, InOrder):
            if self.parts[self.current].fire(complete):
                self.current += 1
            return self.current == len(self.parts)
        return True

    def merge(self, other: Node) -> None:
        self.count += other.count
        self.seen = self.seen or other.seen
        known = [n.since for n in (self, other) if n.since is not None]
        self.unknown = not known and (self.unknown or other.unknown)
        self.since = min(known) if known else None
        self.closed = self.closed or other.closed
        self.current = max(self.current, other.current)
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.merge(theirs)

    def rewind(self) -> None:
        """The window's end moved ahead of the watermark again: it will have an on-time pane once more."""
        if isinstance(self.trigger, AtWatermark) and self.closed:
            self.closed = False
            self.parts[1].reset()
        for part in self.parts:
            part.rewind()


_HOLDS: dict[tuple[str, int], bool] = {}


def holds(predicate: pl.Expr, value: int) -> bool:
    """Evaluate a predicate on the column `v` for one event."""
    key = (str(predicate), value)
    if key not in _HOLDS:
        _HOLDS[key] = bool(pl.DataFrame({"v": [value]}).select(predicate).item())
    return _HOLDS[key]


@dataclass
class Entry:
    """One window of one key."""

    start: int
    end: int
    node: Node
    content: list[tuple[int, int]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)  # of events of the content that were not behind the watermark
    pending: int = 0
    index: int = 0
    crossed: bool = False
    finished: bool = False
    standing: list[Pane] = field(default_factory=list)


@dataclass
class Group:
    """One count window that is not full yet."""

    content: list[tuple[int, int]] = field(default_factory=list)


class Oracle:
    """Feed it steps; it returns panes and collects late events."""

    def __init__(
        self,
        window: WindowSpec,
        *,
        trigger: Trigger | None = None,
        accumulation: str = "accumulating",
        lateness: int = 0,
        timestamp: str = "start",
    ) -> None:
        self.window = window
        self.trigger: Trigger = trigger or AtWatermark()
        self.accumulation = accumulation
        self.lateness = lateness
        self.timestamp = timestamp
        self.watermark = MIN_TIME
        self.clock: int | None = None
        self.entries: dict[str, list[Entry]] = {}
        self.buffers: dict[str, list[tuple[int, int]]] = {}
        self.counted: dict[str, int] = {}
        self.groups: dict[str, list[Group]] = {}
        self.late: list[Event] = []
        self.out: list[Pane] = []

    def step(self, events: list[Event], *, watermark: int, clock: int | None = None) -> list[Pane]:
        """Take a tick, then the events in order, then the watermark; return the panes."""
        self.out = []
        if clock is not None and (self.clock is None or clock > self.clock):
            self._tick(clock)
        for event in events:
            if event.mark is not None:
                self._advance(event.mark)
            self._event(event)
        self._advance(watermark)
        return self.out

    # -- time ---------------------------------------------------------------------------------------

    def _tick(self, clock: int) -> None:
        self.clock = clock
        for key, entries in self.entries.items():
            for entry in entries:
                entry.node.tick(clock)
                if not entry.finished and entry.pending and self._ready(entry):
                    self._fire(key, entry, "late" if self._complete(entry) else "early")

    def _advance(self, watermark: int) -> None:
        if watermark <= self.watermark:
            return
        self.watermark = watermark
        for key in list(self.buffers):
            self._consume(key)
        for key, entries in self.entries.items():
            for entry in list(entries):
                if not entry.crossed and self._complete(entry):
                    entry.crossed = True
                    if not entry.finished and self._ready(entry):
                        self._fire(key, entry, "on_time")
                if self._expired(entry.end):
                    if not entry.finished and entry.pending:
                        self._emit(key, entry, "late" if self.lateness else "on_time")
                    entries.remove(entry)

    def _after_end(self, end: int) -> int:
        """Return the first instant that is not in a window with this end."""
        right = isinstance(self.window, Tumbling | Sliding) and self.window.closed == "right"
        return end + 1 if right else end

    def _complete(self, entry: Entry) -> bool:
        return self._after_end(entry.end) <= self.watermark

    def _expired(self, end: int) -> bool:
        return min(self._after_end(end) + self.lateness, MAX_TIME) <= self.watermark

    def _ready(self, entry: Entry) -> bool:
        return entry.node.ready(self._complete(entry), self.clock)

    # -- events -------------------------------------------------------------------------------------

    def _windows(self, time: int) -> list[tuple[int, int]]:
        window = self.window
        if isinstance(window, GlobalWindow):
            return [(MIN_TIME, MAX_TIME)]
        if isinstance(window, Session):
            return [(time, time + window.gap)]
        assert isinstance(window, Tumbling | Sliding)
        slide = window.slide if isinstance(window, Sliding) else window.size
        first = time // slide - window.size // slide - 2
        starts = [n * slide + window.offset for n in range(first, time // slide + 3)]
        if window.closed == "right":
            return [(s, s + window.size) for s in starts if s < time <= s + window.size]
        return [(s, s + window.size) for s in starts if s <= time < s + window.size]

    def _event(self, event: Event) -> None:
        if isinstance(self.window, CountWindow):
            if self.watermark > MIN_TIME and event.time < self.watermark - self.lateness:
                self.late.append(event)
            else:
                self.buffers.setdefault(event.key, []).append((event.time, event.value))
            return
        taken = False
        for start, end in self._windows(event.time):
            if self._expired(end):
                continue
            entry = self._entry(event.key, start, end)
            if entry is None:
                continue
            taken = True
            entry.content.append((event.time, event.value))
            if event.time >= self.watermark:
                entry.times.append(event.time)
            entry.pending += 1
            entry.node.event(event.value, self.clock)
            if self._ready(entry):
                self._fire(event.key, entry, "late" if self._complete(entry) else "early")
        if not taken:
            self.late.append(event)

    def _entry(self, key: str, start: int, end: int) -> Entry | None:
        """Return the entry that takes an event, None where the window has finished."""
        entries = self.entries.setdefault(key, [])
        if isinstance(self.window, Session):
            meets = [e for e in entries if e.start < end and start < e.end]
        else:
            meets = [e for e in entries if e.start == start]
        if any(e.finished for e in meets):
            return None
        start, end = min([start, *(e.start for e in meets)]), max([end, *(e.end for e in meets)])
        if len(meets) == 1 and (meets[0].start, meets[0].end) == (start, end):
            return meets[0]
        merged = Entry(start, end, Node(self.trigger))
        for old in meets:
            merged.content += old.content
            merged.times += old.times
            merged.pending += old.pending
            merged.standing += old.standing
            merged.node.merge(old.node)
            entries.remove(old)
        merged.crossed = self._complete(merged)
        if not merged.crossed:
            merged.node.rewind()
        entries.append(merged)
        return merged

    # -- panes --------------------------------------------------------------------------------------

    def _fire(self, key: str, entry: Entry, timing: str) -> None:
        self._emit(key, entry, timing)
        entry.finished = entry.node.fire(self._complete(entry))

    def _emit(self, key: str, entry: Entry, timing: str) -> None:
        for old in entry.standing:
            self.out.append(old._replace(retraction=True))
        values = tuple(v for _, v in sorted(entry.content))
        pane = Pane(key, entry.start, entry.end, values, entry.index, timing, False, self._stamp(entry))
        self.out.append(pane)
        entry.index += 1
        entry.pending = 0
        entry.standing = [pane] if self.accumulation == "retracting" else []
        if self.accumulation == "discarding":
            entry.content, entry.times = [], []

    def _stamp(self, entry: Entry) -> int | None:
        last = self._after_end(entry.end) - 1
        if self.timestamp == "start":
            return None
        if self.timestamp == "end" or not entry.times:
            return last
        return min(entry.times) if self.timestamp == "earliest" else max(entry.times)

    # -- count windows ------------------------------------------------------------------------------

    def _consume(self, key: str) -> None:
        assert isinstance(self.window, CountWindow)
        end = self.watermark == MAX_TIME
        ready = sorted(e for e in self.buffers[key] if end or e[0] < self.watermark - self.lateness)
        self.buffers[key] = [e for e in self.buffers[key] if e not in ready]
        groups = self.groups.setdefault(key, [])
        for event in ready:
            if self.counted.setdefault(key, 0) % self.window.every == 0:
                groups.append(Group())
            self.counted[key] += 1
            for group in list(groups):
                group.content.append(event)
                if len(group.content) == self.window.size:
                    self._count_pane(key, group)
                    groups.remove(group)
        if end:
            for group in groups:
                self._count_pane(key, group)
            groups.clear()

    def _count_pane(self, key: str, group: Group) -> None:
        start, end = group.content[0][0], group.content[-1][0] + 1
        stamp = {"start": None, "end": end - 1, "earliest": start, "latest": end - 1}[self.timestamp]
        values = tuple(v for _, v in group.content)
        self.out.append(Pane(key, start, end, values, 0, "on_time", False, stamp))

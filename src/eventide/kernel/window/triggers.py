"""Triggers over columns: the state of a trigger tree is one row of int64 per window, evaluated for many at once.

A `Program` is a trigger turned into numbered state columns. Every verb takes the state of some windows
as a matrix and, where events come in, the range of rows that each window got, in order of arrival. So the
event at which a count trigger fires is found by arithmetic, not by counting events one at a time.

The meaning is in ``docs/explanation/panes.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.model.batch import Int64Array
from eventide.model.time import MIN_TIME
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

if TYPE_CHECKING:
    import polars as pl

__all__ = ["NEVER", "Program", "Runs"]

BoolArray: TypeAlias = npt.NDArray[np.bool_]

NEVER = 2**62
"""Position of an event that does not come."""

_UNSET = np.iinfo(np.int64).min  # no event since the last reset; MIN_TIME: an event, but no tick of the clock yet


@dataclass(slots=True)
class Runs:
    """The rows that some windows have before them, and what holds while they come.

    `first` and `stop` bound the rows of each window in the sorted batch; `next_true` has for every predicate
    the first row at or after each position that satisfies it.
    """

    first: Int64Array
    stop: Int64Array
    complete: BoolArray
    clock: int
    next_true: list[Int64Array] = field(default_factory=list)


class _Part(Protocol):
    """A node of the compiled trigger. Its columns and those of its parts are ``lo`` to ``hi``."""

    lo: int
    hi: int

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array: ...

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray: ...

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None: ...

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray: ...

    def rewind(self, state: Int64Array, which: BoolArray) -> None: ...

    def parts(self) -> tuple[_Part, ...]: ...


@dataclass(slots=True)
class _Count:
    lo: int
    hi: int
    count: int

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        at: Int64Array = runs.first + np.maximum(self.count - state[:, self.lo], 1) - 1
        return np.where(at < runs.stop, at, NEVER)

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        return np.asarray(state[:, self.lo] >= self.count)

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        state[:, self.lo] += np.where(active, runs.stop - runs.first, 0)

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        return firing

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        return

    def parts(self) -> tuple[_Part, ...]:
        return ()


@dataclass(slots=True)
class _Predicate:
    lo: int
    hi: int
    number: int

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        at = np.where(state[:, self.lo] > 0, runs.first, runs.next_true[self.number][runs.first])
        return np.where(at < runs.stop, at, NEVER)

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        return np.asarray(state[:, self.lo] > 0)

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        seen = active & (runs.next_true[self.number][runs.first] < runs.stop)
        state[seen, self.lo] = 1

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        return firing

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        return

    def parts(self) -> tuple[_Part, ...]:
        return ()


@dataclass(slots=True)
class _Clock:
    lo: int
    hi: int
    delay: int

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        due = self.ready(state, runs.complete, runs.clock) & (runs.first < runs.stop)
        return np.where(due, runs.first, NEVER)

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        since = state[:, self.lo]
        known = since > MIN_TIME
        return known & (clock >= np.where(known, since, 0) + self.delay)

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        begin = active & (runs.stop > runs.first) & (state[:, self.lo] == _UNSET)
        state[begin, self.lo] = runs.clock

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        return firing

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        return

    def parts(self) -> tuple[_Part, ...]:
        return ()


@dataclass(slots=True)
class _AtWatermark:
    lo: int
    hi: int
    early: _Part | None
    late: _Part
    initial: Int64Array

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        closed = state[:, self.lo] > 0
        before = np.full(len(state), NEVER) if self.early is None else self.early.next_fire(state, runs)
        open_ = np.where(runs.complete & (runs.first < runs.stop), runs.first, before)
        if not closed.any():
            return open_
        return np.where(closed, self.late.next_fire(state, runs), open_)

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        closed = state[:, self.lo] > 0
        early = np.zeros(len(state), bool) if self.early is None else self.early.ready(state, complete, clock)
        return np.where(closed, self.late.ready(state, complete, clock), complete | early)

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        closed = state[:, self.lo] > 0
        if self.early is not None:
            self.early.advance(state, runs, active & ~closed)
        if closed.any():
            self.late.advance(state, runs, active & closed)

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        closed = state[:, self.lo] > 0
        late = firing & closed
        _reset(state, self.late, self.late.fire(state, complete, late), self.initial)
        if self.early is not None:
            early = firing & ~closed & ~complete
            _reset(state, self.early, self.early.fire(state, complete, early), self.initial)
        now = firing & ~closed & complete
        _reset(state, self, now, self.initial)
        state[now, self.lo] = 1
        return np.zeros(len(state), bool)

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        again = which & (state[:, self.lo] > 0)
        state[again, self.lo] = 0
        _reset(state, self.late, again, self.initial)
        for part in self.parts():
            part.rewind(state, which)

    def parts(self) -> tuple[_Part, ...]:
        return (self.late,) if self.early is None else (self.early, self.late)


@dataclass(slots=True)
class _Repeatedly:
    lo: int
    hi: int
    inner: _Part
    initial: Int64Array

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        return self.inner.next_fire(state, runs)

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        return self.inner.ready(state, complete, clock)

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        self.inner.advance(state, runs, active)

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        _reset(state, self.inner, self.inner.fire(state, complete, firing), self.initial)
        return np.zeros(len(state), bool)

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        self.inner.rewind(state, which)

    def parts(self) -> tuple[_Part, ...]:
        return (self.inner,)


@dataclass(slots=True)
class _Several:
    """Any or all of some parts; fires once."""

    lo: int
    hi: int
    inner: tuple[_Part, ...]
    every: bool

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        positions = np.stack([p.next_fire(state, runs) for p in self.inner])
        out: Int64Array = positions.max(axis=0) if self.every else positions.min(axis=0)
        return out

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        each = np.stack([p.ready(state, complete, clock) for p in self.inner])
        return np.asarray(each.all(axis=0) if self.every else each.any(axis=0))

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        for part in self.inner:
            part.advance(state, runs, active)

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        return firing

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        for part in self.inner:
            part.rewind(state, which)

    def parts(self) -> tuple[_Part, ...]:
        return self.inner


@dataclass(slots=True)
class _InOrder:
    lo: int
    hi: int
    inner: tuple[_Part, ...]

    def next_fire(self, state: Int64Array, runs: Runs) -> Int64Array:
        current = state[:, self.lo]
        out = np.full(len(state), NEVER)
        for number, part in enumerate(self.inner):
            here = current == number
            if here.any():
                out = np.where(here, part.next_fire(state, runs), out)
        return out

    def ready(self, state: Int64Array, complete: BoolArray, clock: int) -> BoolArray:
        out = np.zeros(len(state), bool)
        for number, part in enumerate(self.inner):
            out |= (state[:, self.lo] == number) & part.ready(state, complete, clock)
        return out

    def advance(self, state: Int64Array, runs: Runs, active: BoolArray) -> None:
        for number, part in enumerate(self.inner):
            here = active & (state[:, self.lo] == number)
            if here.any():
                part.advance(state, runs, here)

    def fire(self, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        current = state[:, self.lo].copy()
        for number, part in enumerate(self.inner):
            done = part.fire(state, complete, firing & (current == number))
            state[done, self.lo] = number + 1
        return np.asarray(firing & (state[:, self.lo] == len(self.inner)))

    def rewind(self, state: Int64Array, which: BoolArray) -> None:
        for part in self.inner:
            part.rewind(state, which)

    def parts(self) -> tuple[_Part, ...]:
        return self.inner


def _reset(state: Int64Array, part: _Part, which: BoolArray, initial: Int64Array) -> None:
    if part.hi > part.lo and which.any():
        state[which, part.lo : part.hi] = initial[part.lo : part.hi]


class Program:
    """A trigger, compiled.

    Parameters
    ----------
    trigger
        None for the default: once at the watermark, then at every late event.

    Examples
    --------
    >>> from eventide.model.trigger import after_count, at_watermark
    >>> program = Program(at_watermark(early=after_count(10)))
    >>> program.width, program.silent
    (3, False)
    """

    def __init__(self, trigger: Trigger | None) -> None:
        trigger = AtWatermark() if trigger is None else trigger
        self.predicates: list[pl.Expr] = []
        self._combine: list[str] = []
        self._initial: list[int] = []
        self._tables: list[_AtWatermark | _Repeatedly] = []
        self.root = self._compile(trigger)
        self.initial: Int64Array = np.array(self._initial, np.int64)
        for part in self._tables:
            part.initial = self.initial
        self.width = len(self._initial)
        self.silent = _silent(trigger)
        """No event can fire it before the watermark has passed the window's end."""
        self.finishes = _finishes(trigger)
        """It can be over before the window is."""
        self.repeat = _repeat(self.root)
        """Where it only counts before the end, again and again: the column of the count, and to where it counts."""
        self.clocks = [i for i, how in enumerate(self._combine) if how == "since"]

    def _column(self, combine: str, initial: int = 0) -> int:
        self._combine.append(combine)
        self._initial.append(initial)
        return len(self._initial) - 1

    def _compile(self, trigger: Trigger) -> _Part:
        if isinstance(trigger, AfterCount):
            lo = self._column("add")
            return _Count(lo, lo + 1, trigger.count)
        if isinstance(trigger, AfterPredicate):
            lo = self._column("max")
            self.predicates.append(trigger.predicate)
            return _Predicate(lo, lo + 1, len(self.predicates) - 1)
        if isinstance(trigger, AfterProcessingTime):
            lo = self._column("since", _UNSET)
            return _Clock(lo, lo + 1, trigger.delay)
        return self._compile_composite(trigger)

    def _compile_composite(self, trigger: AtWatermark | Repeatedly | AnyOf | AllOf | InOrder) -> _Part:
        none = np.zeros(0, np.int64)
        if isinstance(trigger, AtWatermark):
            lo = self._column("max")
            early = None if trigger.early is None else self._compile(trigger.early)
            late = self._compile(trigger.late or AfterCount(1))
            watermark = _AtWatermark(lo, len(self._initial), early, late, none)
            self._tables.append(watermark)
            return watermark
        lo = len(self._initial)
        if isinstance(trigger, Repeatedly):
            inner = self._compile(trigger.inner)
            repeated = _Repeatedly(lo, len(self._initial), inner, none)
            self._tables.append(repeated)
            return repeated
        if isinstance(trigger, InOrder):
            self._column("max")
            steps = tuple(self._compile(p) for p in trigger.parts)
            return _InOrder(lo, len(self._initial), steps)
        parts = tuple(self._compile(p) for p in trigger.parts)
        return _Several(lo, len(self._initial), parts, isinstance(trigger, AllOf))

    def fresh(self, n: int) -> Int64Array:
        """Return the state of `n` windows that nothing has happened to."""
        return np.tile(self.initial, (n, 1))

    def tick(self, state: Int64Array, clock: int) -> None:
        """Take the first tick of the clock as the arrival of events that came before any."""
        for column in self.clocks:
            state[state[:, column] == MIN_TIME, column] = clock

    def waiting(self, state: Int64Array) -> BoolArray:
        """Return which windows wait for the clock."""
        out: BoolArray = (state[:, self.clocks] != _UNSET).any(axis=1)
        return out

    def merge(self, state: Int64Array, starts: Int64Array) -> Int64Array:
        """Return the state of windows that were merged: the rows of `state` from each start to the next."""
        out = np.empty((len(starts), self.width), np.int64)
        for column, how in enumerate(self._combine):
            values = state[:, column]
            if how == "add":
                out[:, column] = np.add.reduceat(values, starts)
            elif how == "max":
                out[:, column] = np.maximum.reduceat(values, starts)
            else:
                # The earliest known arrival; else "arrived before any tick"; else none. As unsigned offsets:
                order = np.where(values == _UNSET, NEVER * 2 - 1, np.where(values == MIN_TIME, NEVER * 2 - 2, values))
                least = np.minimum.reduceat(order, starts)
                least = np.where(least == NEVER * 2 - 1, _UNSET, np.where(least == NEVER * 2 - 2, MIN_TIME, least))
                out[:, column] = least
        return out


def _repeat(root: _Part) -> tuple[int, int] | None:
    if isinstance(root, _AtWatermark) and root.early is not None:
        root = root.early.inner if isinstance(root.early, _Repeatedly) else root.early
    elif isinstance(root, _Repeatedly):
        root = root.inner
    else:
        return None
    return (root.lo, root.count) if isinstance(root, _Count) else None


def _children(trigger: Trigger) -> Iterator[Trigger]:
    if isinstance(trigger, Repeatedly):
        yield trigger.inner
    elif isinstance(trigger, AnyOf | AllOf | InOrder):
        yield from trigger.parts
    elif isinstance(trigger, AtWatermark) and trigger.early is not None:
        yield trigger.early


def _silent(trigger: Trigger) -> bool:
    if isinstance(trigger, AfterCount | AfterPredicate):
        return False
    return all(_silent(t) for t in _children(trigger))


def _finishes(trigger: Trigger) -> bool:
    if isinstance(trigger, Repeatedly | AtWatermark):
        return False
    return all(_finishes(t) for t in trigger.parts) if isinstance(trigger, InOrder) else True

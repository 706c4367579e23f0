"""Firing: rows go into windows, and whatever happens to a window is shown to its trigger.

Work is done for many windows at once. Within a batch a window may fire several times: the loop goes
from firing to firing of all windows together, never from event to event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.window.general_entries import NO_STAMP, Entries, distinct, spans
from eventide.kernel.window.general_repeats import add_repeats
from eventide.kernel.window.panes import PaneWriter
from eventide.kernel.window.triggers import NEVER, BoolArray, Program, Runs
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["Firing", "Rows"]

_EARLY, _LATE = 0, 2


@dataclass(slots=True)
class Rows:
    """Rows of a batch, those of a window together and in order of arrival.

    `index` is the row of the batch, `met` the watermark that it met. Of sessions, `low` and `high` are what
    the window is after each row, where that matters.
    """

    index: Int64Array
    time: Int64Array
    met: Int64Array
    low: Int64Array | None = None
    high: Int64Array | None = None


class Firing:
    """Windows, their contents and their triggers.

    Parameters
    ----------
    entries
        The open windows.
    program
        Their trigger.
    accumulators
        What is computed of them.
    panes
        Where panes go.
    lateness
        Allowed lateness, ns.
    stamp
        Which events the event time of a pane is taken from, if any: "earliest" or "latest".
    """

    def __init__(
        self,
        entries: Entries,
        program: Program,
        *,
        accumulators: Accumulators,
        panes: PaneWriter,
        lateness: int,
        stamp: str,
    ) -> None:
        self.entries = entries
        self.program = program
        self.accumulators = accumulators
        self.panes = panes
        self.lateness = lateness
        self.watermark = MIN_TIME
        self.clock = MIN_TIME
        self._stamp = stamp
        self.stamped = bool(stamp)
        self._room = 0
        self._batch: pa.RecordBatch | None = None
        self._times: Int64Array = np.empty(0, np.int64)
        self._true: list[BoolArray] = []
        self.gone: list[Int64Array] = []
        """Keys whose windows were closed, for the machine to look at."""

    def begin(self, batch: pa.RecordBatch, times: Int64Array) -> None:
        """Take the batch that the next rows refer to."""
        self._batch, self._times = batch, times
        self._true = []
        if self.program.predicates:
            names = {n for e in self.program.predicates for n in e.meta.root_names()}
            frame = pl.from_arrow(batch.select([n for n in batch.schema.names if n in names]))
            assert isinstance(frame, pl.DataFrame)
            found = frame.select(e.cast(pl.Boolean).alias(str(i)) for i, e in enumerate(self.program.predicates))
            self._true = [found.get_column(c).fill_null(value=False).to_numpy().astype(bool) for c in found.columns]
            self._true = [np.broadcast_to(t, times.shape) for t in self._true]

    def end(self) -> None:
        """Let go of the batch."""
        self._batch = None
        self._times = np.empty(0, np.int64)
        self._true = []

    def open(self, key: Int64Array, start: Int64Array, end: Int64Array) -> Int64Array:
        """Open windows; the pairs of key and start are new and in order."""
        slots = self.entries.add(key, start, end)
        self._make_room()
        return slots

    def borrow(self, n: int) -> Int64Array:
        """Return empty slots for panes that are emitted at once; `give_back` takes them again."""
        slots = self.entries.borrow(n)
        self._make_room()
        return slots

    def give_back(self, slots: Int64Array) -> None:
        """Take back slots that were borrowed."""
        self.entries.give_back(slots)

    def _make_room(self) -> None:
        if self.entries.capacity > self._room:
            self._room = self.entries.capacity
            self.accumulators.resize(self._room)

    def expiry(self, slots: Int64Array) -> Int64Array:
        """Return the watermark at which windows are closed for good."""
        end = self.entries.end[slots]
        return np.where(end > MAX_TIME - self.lateness, MAX_TIME, end + self.lateness)

    # -- rows ---------------------------------------------------------------------------------------

    def add(self, rows: Rows, slots: Int64Array, runs: tuple[Int64Array, Int64Array, BoolArray]) -> Int64Array:
        """Put rows into windows and fire what they fire; return the places of rows that came after a window's finish.

        Parameters
        ----------
        rows
            Rows, sorted by window.
        slots
            The windows, each once.
        runs
            For each window its first row, the one after its last, and whether it is complete as its rows come.
        """
        first, stop, complete = runs
        state = self.entries.state[slots]
        root = self.program.root
        everything = np.ones(slots.size, bool)
        if self.program.silent and not complete.any():
            root.advance(state, Runs(first, stop, complete, self.clock), everything)
            self.entries.state[slots] = state
            self._fill(rows, slots, (first, stop))
            return np.empty(0, np.int64)
        repeats = self.program.repeat is not None and self.panes.discarding and rows.low is None
        if repeats and not complete.any() and add_repeats(self, rows, slots, (first, stop)):
            return np.empty(0, np.int64)
        next_true = [_next_true(t[rows.index]) for t in self._true]
        refused: list[Int64Array] = []
        active = np.arange(slots.size)
        cursor = first
        while active.size:
            here, last = state[active], stop[active]
            now = Runs(cursor, last, complete[active], self.clock, next_true)
            at = root.next_fire(here, now)
            firing = at < NEVER
            now.stop = np.where(firing, at + 1, last)
            root.advance(here, now, everything[: active.size])
            self._fill(rows, slots[active], (cursor, now.stop))
            finished = self._fire(slots[active], here, now.complete, firing)
            state[active] = here
            more = firing & (now.stop < last)
            over = more & finished
            if over.any():
                refused.append(spans(now.stop[over], last[over]))
            keep = more & ~finished
            active, cursor = active[keep], now.stop[keep]
        self.entries.state[slots] = state
        return np.concatenate(refused) if refused else np.empty(0, np.int64)

    def add_extended(self, index: Int64Array, slots: npt.NDArray[np.int32]) -> None:
        """Take events into the contents of sessions that were extended for them, and show them to the trigger.

        Parameters
        ----------
        index
            Rows of the batch.
        slots
            Their sessions, -1 for those that have none yet.
        """
        batch, times = self._batch, self._times
        assert batch is not None
        if index.size == batch.num_rows:
            self.accumulators.update(slots, batch, times)
        else:
            by_row = np.full(batch.num_rows, -1, np.int32)
            by_row[index] = slots
            self.accumulators.update(by_row, batch, times)
        if self.program.clocks:
            touched = distinct(np.sort(slots[slots >= 0])).astype(np.int64)
            state, ones = self.entries.state[touched], np.ones(touched.size, np.int64)
            runs = Runs(np.zeros_like(ones), ones, np.zeros(touched.size, bool), self.clock)
            self.program.root.advance(state, runs, np.ones(touched.size, bool))
            self.entries.state[touched] = state

    def _fire(self, slots: Int64Array, state: Int64Array, complete: BoolArray, firing: BoolArray) -> BoolArray:
        if not firing.any():
            return firing
        timing = np.where(complete[firing], _LATE, _EARLY)
        self.panes.write(self.entries, slots[firing], timing=timing)
        finished = self.program.root.fire(state, complete, firing)
        self.entries.finished[slots[finished]] = True
        return finished

    def fill_segments(self, rows: Rows, slots: Int64Array, places: Int64Array) -> None:
        """Put rows at some places into slots, those of a slot being next to each other."""
        if places.size == 0:
            return
        head = np.flatnonzero(np.append(True, slots[1:] != slots[:-1]))
        last = np.append(head[1:], slots.size) - 1
        self._fill(rows, slots[head], (places[head], places[last] + 1))

    def _fill(self, rows: Rows, slots: Int64Array, runs: tuple[Int64Array, Int64Array]) -> None:
        first, stop = runs
        entries = self.entries
        lengths = stop - first
        whole = int(lengths.sum()) == rows.index.size
        places = slice(None) if whole else spans(first, stop)
        index = rows.index[places]
        by_row = np.repeat(slots, lengths)
        self._accumulate(index, by_row)
        entries.pending[slots] += lengths
        if self._stamp:
            self._stamp_rows(rows, slots, (first, stop))
        if rows.low is not None and rows.high is not None:
            low, high = rows.low[stop - 1], rows.high[stop - 1]
            self.resize(slots, low, high)

    def resize(self, slots: Int64Array, start: Int64Array, end: Int64Array) -> None:
        """Give sessions a new extent; one that changes is a new window and counts its panes from 0."""
        entries = self.entries
        changed = (entries.start[slots] != start) | (entries.end[slots] != end)
        entries.index[slots[changed]] = 0
        entries.start[slots], entries.end[slots] = start, end
        if slots.size:
            entries.next_time = min(entries.next_time, int(end.min()))

    def _accumulate(self, index: Int64Array, slots: Int64Array) -> None:
        batch = self._batch
        assert batch is not None
        n = batch.num_rows
        if index.size <= n and index.size * 4 >= n and _distinct(index, n):
            by_row = np.full(n, -1, np.int32)
            by_row[index] = slots
            times = self._times
        else:
            batch, times, by_row = batch.take(pa.array(index)), self._times[index], slots.astype(np.int32)
        self.accumulators.update(by_row, batch, times)

    def _stamp_rows(self, rows: Rows, slots: Int64Array, runs: tuple[Int64Array, Int64Array]) -> None:
        first, stop = runs
        places = spans(first, stop)
        time, ahead = rows.time[places], rows.time[places] >= rows.met[places]
        starts = np.cumsum(stop - first) - (stop - first)
        old = self.entries.stamp[slots]
        if self._stamp == "latest":
            new = np.maximum.reduceat(np.where(ahead, time, NO_STAMP), starts)
            self.entries.stamp[slots] = np.maximum(old, new)
            return
        new = np.minimum.reduceat(np.where(ahead, time, MAX_TIME), starts)
        least = np.minimum(np.where(old == NO_STAMP, MAX_TIME, old), new)
        self.entries.stamp[slots] = np.where(least == MAX_TIME, NO_STAMP, least)

    # -- time ---------------------------------------------------------------------------------------

    def cross(self, slots: Int64Array) -> None:
        """Show windows that the watermark has passed their end."""
        entries = self.entries
        entries.crossed[slots] = True
        slots = slots[~entries.finished[slots]]
        if slots.size == 0:
            return
        state = entries.state[slots]
        complete = np.ones(slots.size, bool)
        ready = self.program.root.ready(state, complete, self.clock)
        if ready.any():
            self.panes.write(entries, slots[ready], timing="on_time")
            finished = self.program.root.fire(state, complete, ready)
            entries.finished[slots[finished]] = True
            entries.state[slots] = state

    def expire(self, slots: Int64Array) -> None:
        """Close windows for good; what no pane has shown yet is shown now."""
        if slots.size == 0:
            return
        entries = self.entries
        last = slots[(entries.pending[slots] > 0) & ~entries.finished[slots]]
        if last.size:
            self.panes.write(entries, last, timing="late" if self.lateness else "on_time")
        self.panes.forget(slots, entries.capacity)
        self.gone.append(entries.key[slots])
        entries.remove(slots)

    def tick(self, clock: int) -> None:
        """Take a tick of the processing-time clock."""
        if clock <= self.clock:
            return
        self.clock = clock
        entries = self.entries
        slots = entries.slots()
        if not self.program.clocks or slots.size == 0:
            return
        state = entries.state[slots]
        self.program.tick(state, clock)
        complete = entries.end[slots] <= self.watermark
        due = self.program.root.ready(state, complete, clock) & self.program.waiting(state)
        due &= (entries.pending[slots] > 0) & ~entries.finished[slots]
        self._fire(slots, state, complete, due)
        entries.state[slots] = state

    def advance(self, watermark: int) -> None:
        """Take the watermark."""
        if watermark <= self.watermark:
            return
        self.watermark = watermark
        entries = self.entries
        if watermark < entries.next_time:
            return
        slots = entries.slots()
        self.cross(slots[(entries.end[slots] <= watermark) & ~entries.crossed[slots]])
        self.expire(slots[self.expiry(slots) <= watermark])
        slots = entries.slots()
        coming = np.where(entries.crossed[slots], self.expiry(slots), entries.end[slots])
        entries.next_time = int(coming.min()) if coming.size else MAX_TIME

    # -- merging ------------------------------------------------------------------------------------

    def merge(self, slots: Int64Array, starts: Int64Array) -> None:
        """Merge windows into the first of each group; the caller sets its extent and marks it as new.

        Parameters
        ----------
        slots
            Windows, those of a group together.
        starts
            Where each group of at least one begins.
        """
        entries = self.entries
        counts = np.diff(np.append(starts, slots.size))
        into = slots[starts]
        entries.state[into] = self.program.merge(entries.state[slots], starts)
        entries.pending[into] = np.add.reduceat(entries.pending[slots], starts)
        entries.crossed[into] = np.logical_or.reduceat(entries.crossed[slots], starts)
        self._merge_stamps(slots, starts)
        for number in range(1, int(counts.max())):
            several = counts > number
            source = slots[starts[several] + number].astype(np.int32)
            target = into[several].astype(np.int32)
            self.accumulators.merge(target, self.accumulators, source)
        entries.index[into[counts > 1]] = 0
        gone = np.ones(slots.size, bool)
        gone[starts] = False
        self.panes.relabel(slots[gone], np.repeat(into, counts - 1), entries.capacity)
        self.accumulators.reset(slots[gone].astype(np.int32))
        entries.remove(slots[gone])

    def _merge_stamps(self, slots: Int64Array, starts: Int64Array) -> None:
        stamp = self.entries.stamp
        if self._stamp == "latest":
            stamp[slots[starts]] = np.maximum.reduceat(stamp[slots], starts)
        elif self._stamp:
            least = np.minimum.reduceat(np.where(stamp[slots] == NO_STAMP, MAX_TIME, stamp[slots]), starts)
            stamp[slots[starts]] = np.where(least == MAX_TIME, NO_STAMP, least)


def _distinct(index: Int64Array, n: int) -> bool:
    return index.size == 0 or bool(np.bincount(index, minlength=n).max() == 1)


def _next_true(values: BoolArray) -> Int64Array:
    """Return for every position the first one at or after it that is true, `NEVER` where there is none."""
    n = values.size
    out = np.full(n + 1, NEVER)
    out[:n] = np.where(values, np.arange(n), NEVER)
    return np.minimum.accumulate(out[::-1])[::-1]

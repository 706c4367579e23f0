"""Rows into tumbling, sliding and global windows with any trigger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventide.kernel.window.general_entries import sort_pairs
from eventide.kernel.window.general_firing import Firing, Rows
from eventide.kernel.window.triggers import BoolArray
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import GlobalWindow, Sliding, Tumbling

__all__ = ["AlignedRows", "Arrivals", "earliest_start"]


@dataclass(slots=True)
class Arrivals:
    """Rows of a batch in order of arrival.

    `index` is the row of the batch, `key` the slot of its key, `verdict` the watermark by which it is late
    or not, `met` the one that had reached the windows when it came (never ahead of the machine's).
    """

    index: Int64Array
    key: Int64Array
    time: Int64Array
    verdict: Int64Array
    met: Int64Array

    def where(self, which: BoolArray | Int64Array) -> Arrivals:
        """Return some of the rows."""
        return Arrivals(self.index[which], self.key[which], self.time[which], self.verdict[which], self.met[which])


def horizon(watermark: Int64Array, lateness: int) -> Int64Array:
    """Return the watermark less the allowed lateness, without running over."""
    return np.where(watermark <= MIN_TIME + lateness, MIN_TIME, watermark - lateness)


def earliest_start(window: Tumbling | Sliding, horizon: int) -> int:
    """Return the start of the first window of the grid that ends after `horizon`, ns.

    Examples
    --------
    >>> earliest_start(Tumbling(10), 10)
    10
    >>> earliest_start(Tumbling(10), 9)
    0
    """
    slide = window.slide if isinstance(window, Sliding) else window.size
    right = window.closed == "right"
    return (horizon - window.size - right - window.offset) // slide * slide + slide + window.offset


class AlignedRows:
    """Finds the windows of rows and puts the rows in.

    Parameters
    ----------
    window
        Tumbling, sliding or global.
    firing
        The open windows.
    """

    def __init__(self, window: Tumbling | Sliding | GlobalWindow, firing: Firing) -> None:
        self._window = window
        self._firing = firing

    def take(self, rows: Arrivals) -> Int64Array:
        """Take rows; return the batch rows that no window takes any more."""
        if rows.index.size == 0:
            return rows.index
        row, start, end = self._windows(rows.time)
        open_ = end > horizon(rows.verdict, self._firing.lateness)[row]
        late_phase = end <= rows.met[row]
        if not open_.all():
            row, start, end, late_phase = row[open_], start[open_], end[open_], late_phase[open_]
        taken = np.zeros(rows.index.size, bool)
        if not late_phase.any():
            self._put(rows, (row, start, end), taken, complete=False)
        else:
            early = ~late_phase
            self._put(rows, (row[early], start[early], end[early]), taken, complete=False)
            self._put(rows, (row[late_phase], start[late_phase], end[late_phase]), taken, complete=True)
        return rows.index[~taken]

    def _windows(self, time: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Return the windows of rows: the row, the start and the first instant after the end."""
        n = time.size
        window = self._window
        if isinstance(window, GlobalWindow):
            return np.arange(n), np.full(n, MIN_TIME), np.full(n, MAX_TIME)
        right = int(window.closed == "right")
        slide = window.slide if isinstance(window, Sliding) else window.size
        newest = (time - right - window.offset) // slide * slide + window.offset
        if slide == window.size:
            return np.arange(n), newest, newest + (window.size + right)
        count = -(-window.size // slide)
        row = np.repeat(np.arange(n), count)
        start = (newest[:, None] - slide * np.arange(count)[::-1]).ravel()
        inside = start + (window.size + right) > time[row]
        row, start = row[inside], start[inside]
        return row, start, start + (window.size + right)

    def _put(
        self, rows: Arrivals, windows: tuple[Int64Array, Int64Array, Int64Array], taken: BoolArray, *, complete: bool
    ) -> None:
        row, start, end = windows
        if row.size == 0:
            return
        key = rows.key[row].astype(np.int64)
        order = sort_pairs(key, start)
        row, key, start, end = row[order], key[order], start[order], end[order]
        new = np.ones(row.size, bool)
        new[1:] = (key[1:] != key[:-1]) | (start[1:] != start[:-1])
        first = np.flatnonzero(new)
        stop = np.append(first[1:], row.size)
        slots = self._open(key[first], start[first], end[first], complete=complete)
        usable = ~self._firing.entries.finished[slots]
        lengths = stop - first
        if not usable.all():
            keep = np.repeat(usable, lengths)
            row, slots, lengths = row[keep], slots[usable], lengths[usable]
            stop = np.cumsum(lengths)
            first = stop - lengths
        if row.size == 0:
            return
        sorted_rows = Rows(rows.index[row], rows.time[row], rows.met[row])
        runs = (first, stop, np.full(slots.size, complete))
        refused = self._firing.add(sorted_rows, slots, runs)
        accepted = np.ones(row.size, bool)
        accepted[refused] = False
        taken[row[accepted]] = True

    def _open(self, key: Int64Array, start: Int64Array, end: Int64Array, *, complete: bool) -> Int64Array:
        """Return the slots of windows, opening those that are not; of complete ones the end is shown first."""
        firing = self._firing
        slots = firing.entries.find(key, start)
        missing = slots < 0
        if complete:
            known = slots[~missing]
            firing.cross(known[~firing.entries.crossed[known]])
        if missing.any():
            slots[missing] = firing.open(key[missing], start[missing], end[missing])
            if complete:
                # The watermark had passed before the window had an event: no pane on time, the trigger decides.
                firing.entries.crossed[slots[missing]] = True
        return slots

"""Rows into sessions: runs of events of a key less than a gap apart, which merge when an event closes the gap.

Most batches go in whole: the rows are sorted by key and time, cut where a gap is, and merged with the open
sessions in one sweep over interval ends. A batch is taken in several parts only where the order of arrival
within it matters: before an event that joins two sessions while a trigger counts events, and before a late
event whose session the watermark had passed in the meantime.
"""

from __future__ import annotations

import numpy as np

from eventide.kernel.compiled import have_compiler
from eventide.kernel.window.general_aligned import Arrivals, horizon
from eventide.kernel.window.general_entries import distinct, sort_pairs
from eventide.kernel.window.general_firing import Firing, Rows
from eventide.kernel.window.sessions_extend import extend_sessions
from eventide.kernel.window.sessions_link import Links, bridges, last_before, link, running_extents
from eventide.kernel.window.triggers import BoolArray
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME

__all__ = ["SessionRows"]


class SessionRows:
    """Finds the sessions of rows, merging them, and puts the rows in.

    Parameters
    ----------
    gap
        Events of a key this far apart, ns, belong to different sessions.
    firing
        The open sessions.
    """

    def __init__(self, gap: int, firing: Firing) -> None:
        self._gap = gap
        self._firing = firing

    def take(self, rows: Arrivals) -> Int64Array:
        """Take rows; return the batch rows that no session takes any more."""
        open_ = rows.time + self._gap > horizon(rows.verdict, self._firing.lateness)
        refused: list[Int64Array] = []
        if not open_.all():
            refused.append(rows.index[~open_])
            rows = rows.where(open_)
        late = bool((rows.time < rows.met).any())
        if not late:
            rows = self._extend(rows)
        while rows.index.size:
            part, rows = self._next_part(rows, late=late)
            closed = self._in_finished(part)
            if closed.any():
                refused.append(part.index[closed])
                part = part.where(~closed)
            if part.index.size:
                again = self._put(part)
                if again.size:
                    rows = _in_arrival_order(rows, part.where(again))
        return np.concatenate(refused) if refused else np.empty(0, np.int64)

    # -- parts --------------------------------------------------------------------------------------

    def _extend(self, rows: Arrivals) -> Arrivals:
        """Put in the rows that only extend one session, and return the others."""
        firing = self._firing
        entries = firing.entries
        slots = entries.slots()
        simple = firing.program.silent and not (firing.program.finishes or firing.stamped) and have_compiler()
        if not simple or not 0 < slots.size <= 64 * rows.index.size:
            return rows
        by_row, taken = extend_sessions(entries, rows.key, rows.time, gap=self._gap)
        if taken == 0:
            return rows
        firing.add_extended(rows.index, by_row)
        return rows.where(by_row < 0) if taken < rows.index.size else rows.where(np.empty(0, np.int64))

    def _next_part(self, rows: Arrivals, *, late: bool) -> tuple[Arrivals, Arrivals]:
        """Return the rows that can go in together, and the others."""
        silent = self._firing.program.silent
        nothing = rows.where(np.empty(0, np.int64))
        if silent and not late:
            return rows, nothing
        order = np.argsort(rows.key, kind="stable")
        key = rows.key[order]
        head = np.ones(key.size, bool)
        head[1:] = key[1:] != key[:-1]
        if late:
            self._catch_up(key[head], rows.met[order][head])
        lives = self._lives(key[head])
        cut = np.zeros(key.size, bool)
        if late:
            cut |= self._after_watermark(rows, rows.time < rows.met, lives)
        if not silent:
            entries = self._firing.entries
            extents = (entries.key[lives], entries.start[lives], entries.end[lives])
            cut |= bridges(rows.key, rows.time, lives=extents, gap=self._gap)
        ordered = cut[order]
        ordered[head] = False
        if not ordered.any():
            return rows, nothing
        # Rows of a key go in until the first cut.
        cuts = np.cumsum(ordered)
        before = cuts - np.repeat(cuts[head], np.diff(np.append(np.flatnonzero(head), key.size)))
        take = np.empty(key.size, bool)
        take[order] = before == 0
        return rows.where(take), rows.where(~take)

    def _lives(self, keys: Int64Array) -> Int64Array:
        slots = self._firing.entries.of_keys(keys)
        return slots[~self._firing.entries.finished[slots]]

    def _catch_up(self, keys: Int64Array, met: Int64Array) -> None:
        """Show the sessions of keys the watermark that the key's first row met."""
        firing = self._firing
        slots = firing.entries.of_keys(keys)
        watermark = met[np.searchsorted(keys, firing.entries.key[slots])]
        firing.cross(slots[~firing.entries.crossed[slots] & (firing.entries.end[slots] <= watermark)])
        firing.expire(slots[firing.expiry(slots) <= watermark])

    def _after_watermark(self, rows: Arrivals, behind: BoolArray, lives: Int64Array) -> BoolArray:
        """Return which rows may come after the watermark passed a session that they belong to."""
        entries = self._firing.entries
        links = link(
            rows.key, rows.time, lives=(entries.key[lives], entries.start[lives], entries.end[lives]), gap=self._gap
        )
        count = np.bincount(links.of_row, minlength=links.size)
        least = np.full(links.size, MAX_TIME)
        np.minimum.at(least, links.of_row, rows.time + self._gap)
        passed = np.where(entries.crossed[lives], self._firing.expiry(lives), entries.end[lives])
        due = np.full(links.size, MAX_TIME)
        np.minimum.at(due, links.of_live, passed)
        of = links.of_row
        return behind & (((count[of] > 1) & (least[of] <= rows.met)) | (due[of] <= rows.met))

    def _in_finished(self, rows: Arrivals) -> BoolArray:
        """Return which rows fall into a session whose trigger has finished."""
        out = np.zeros(rows.index.size, bool)
        if not self._firing.program.finishes:
            return out
        entries = self._firing.entries
        slots = entries.of_keys(distinct(np.sort(rows.key)))
        slots = slots[entries.finished[slots]]
        if slots.size == 0:
            return out
        at = last_before((entries.key[slots], entries.start[slots]), rows.key, rows.time + self._gap)
        hit = np.where(at >= 0, slots[at], 0)
        return np.asarray((at >= 0) & (entries.key[hit] == rows.key) & (entries.end[hit] > rows.time))

    # -- putting rows in ----------------------------------------------------------------------------

    def _put(self, rows: Arrivals) -> Int64Array:
        """Put rows in; return the places of those to look at again because their session finished before them."""
        firing = self._firing
        entries = firing.entries
        by_time = sort_pairs(rows.key, rows.time)
        lives = self._lives(distinct(rows.key[by_time]))
        extents = (entries.key[lives], entries.start[lives], entries.end[lives])
        links = link(rows.key, rows.time, lives=extents, gap=self._gap, order=by_time)
        # Groups are in the order of key and start, so that rows by key and time are by group, too.
        order = by_time if firing.program.silent else np.argsort(links.of_row, kind="stable")
        group = links.of_row[order]
        first = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
        stop = np.append(first[1:], group.size)
        linked = group[first]
        start, end = links.start[linked], links.end[linked]
        met = np.maximum.reduceat(rows.met[order], first)
        complete = end <= met
        slots = self._open(links, lives, linked)
        time = rows.time[order]
        sorted_rows = Rows(rows.index[order], time, rows.met[order])
        self._turn_back(slots, complete)
        if firing.program.silent:
            firing.resize(slots, start, end)
        else:
            old = (entries.start[slots], entries.end[slots])
            sorted_rows.low, sorted_rows.high = running_extents(time, (first, stop), old, gap=self._gap)
        entries.next_time = min(entries.next_time, int(end.min()))
        return order[firing.add(sorted_rows, slots, (first, stop, complete))]

    def _open(self, links: Links, lives: Int64Array, linked: Int64Array) -> Int64Array:
        """Return the slot of each linked group, merging the sessions that it joins and opening those it begins."""
        firing = self._firing
        slot_of = np.full(links.size, -1, np.int64)
        touched = np.zeros(links.size, bool)
        touched[linked] = True
        held = touched[links.of_live]
        slots, group = lives[held], links.of_live[held]
        if slots.size:
            order = np.argsort(group, kind="stable")
            slots, group = slots[order], group[order]
            starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
            slot_of[group[starts]] = slots[starts]
            if starts.size < slots.size:
                self._merge(slots, starts)
        missing = linked[slot_of[linked] < 0]
        if missing.size:
            key, start, end = links.key[missing], links.start[missing], links.end[missing]
            # Until its first row is in, a new session has no extent; its end serves the order only.
            slot_of[missing] = firing.open(key, start, end)
            if not firing.program.silent:
                firing.entries.start[slot_of[missing]] = MAX_TIME
                firing.entries.end[slot_of[missing]] = -MAX_TIME
        return slot_of[linked]

    def _merge(self, slots: Int64Array, starts: Int64Array) -> None:
        entries = self._firing.entries
        low = np.minimum.reduceat(entries.start[slots], starts)
        high = np.maximum.reduceat(entries.end[slots], starts)
        into = slots[starts]
        self._firing.merge(slots, starts)
        entries.start[into], entries.end[into] = low, high

    def _turn_back(self, slots: Int64Array, complete: BoolArray) -> None:
        """A session whose end the watermark has passed, and that now ends later, is open again."""
        entries = self._firing.entries
        again = entries.crossed[slots] & ~complete
        if again.any():
            state = entries.state[slots]
            self._firing.program.root.rewind(state, again)
            entries.state[slots] = state
        entries.crossed[slots] = complete


def _in_arrival_order(one: Arrivals, two: Arrivals) -> Arrivals:
    both = Arrivals(
        np.concatenate([one.index, two.index]),
        np.concatenate([one.key, two.key]),
        np.concatenate([one.time, two.time]),
        np.concatenate([one.verdict, two.verdict]),
        np.concatenate([one.met, two.met]),
    )
    return both.where(np.argsort(both.index, kind="stable"))

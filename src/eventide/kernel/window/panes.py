"""Panes: what a window emits, written as batches, and what it must take back when it retracts.

The rows of one call leave in the order of window start and key hash, so that the output of a step does not
depend on which slots the windows happen to have. A retraction stands right before the pane that replaces it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.keys import KeyIndex
from eventide.kernel.window.general_entries import NO_STAMP, Entries
from eventide.kernel.window.triggers import BoolArray
from eventide.model.batch import Int64Array, concat, event_times
from eventide.model.graph import WINDOW_START, Window
from eventide.model.time import EVENT_TIME, MAX_TIME

__all__ = ["TIMINGS", "PaneWriter", "Timing"]

Timing = Literal["early", "on_time", "late"]

TIMINGS = pa.array(["early", "on_time", "late"])
"""The values of the column ``pane_timing``."""

_LATE = 2


class PaneWriter:
    """Turns slots into output rows.

    Parameters
    ----------
    node
        The window.
    schema
        The schema of its results.
    keys
        The key index that the entries refer to.
    accumulators
        The aggregates, by slot.
    right
        The windows are closed at their right end.
    """

    def __init__(
        self, node: Window, schema: pa.Schema, *, keys: KeyIndex, accumulators: Accumulators, right: bool
    ) -> None:
        self.schema = schema
        self._keys = keys
        self._accumulators = accumulators
        self._timestamp = node.timestamp
        self.discarding = node.accumulation == "discarding"
        self._detail = "pane_index" in schema.names
        self._retracting = "retraction" in schema.names
        self._right = int(right)
        self.standing_slots: Int64Array = np.empty(0, np.int64)
        self.standing: pa.RecordBatch | None = None
        self._out: list[pa.RecordBatch] = []

    def collect(self) -> list[pa.RecordBatch]:
        """Return what was written since the last call."""
        out, self._out = self._out, []
        return out

    def write(self, entries: Entries, slots: Int64Array, *, timing: Timing | Int64Array) -> None:
        """Write a pane of each of some distinct slots.

        Parameters
        ----------
        entries
            The windows.
        slots
            Which of them.
        timing
            When the panes fire, one for all or a position in `TIMINGS` for each.
        """
        hashes = self._keys.hashes_of(entries.key[slots].astype(np.int32))
        order = np.lexsort((entries.index[slots], hashes, entries.start[slots]))
        slots = slots[order]
        codes = timing[order] if isinstance(timing, np.ndarray) else None
        kind = timing if isinstance(timing, str) else ""
        batch = self._panes(entries, slots, codes=codes, timing=kind)
        if self._retracting:
            batch = self._with_retractions(batch, slots, entries)
        self._out.append(batch)
        entries.index[slots] += 1
        entries.pending[slots] = 0
        if self.discarding:
            self._accumulators.reset(slots.astype(np.int32))
            entries.stamp[slots] = NO_STAMP

    def _panes(self, entries: Entries, slots: Int64Array, *, codes: Int64Array | None, timing: str) -> pa.RecordBatch:
        start, after = entries.start[slots], entries.end[slots]
        small = slots.astype(np.int32)
        columns: list[pa.Array] = self._keys.key_columns(entries.key[slots].astype(np.int32))
        columns += [_times(start), _times(after - self._right)]
        if self._timestamp != "start":
            columns.append(_times(self._event_times(entries.stamp[slots], after - 1)))
        columns += self._accumulators.finish(small, start)
        if self._detail:
            columns.append(pa.array(entries.index[slots]))
            columns.append(pa.repeat(pa.scalar(timing), slots.size) if codes is None else TIMINGS.take(pa.array(codes)))
        if self._retracting:
            columns.append(pa.array(np.zeros(slots.size, bool)))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _event_times(self, stamps: Int64Array, last: Int64Array) -> Int64Array:
        if self._timestamp == "end":
            return last
        return np.where(stamps == NO_STAMP, last, stamps)

    # -- retractions --------------------------------------------------------------------------------

    def _with_retractions(self, batch: pa.RecordBatch, slots: Int64Array, entries: Entries) -> pa.RecordBatch:
        """Return the panes with the standing panes that they replace, and let the new ones stand."""
        rank = np.full(entries.capacity, -1, np.int64)
        rank[slots] = np.arange(slots.size)
        held = np.flatnonzero(rank[self.standing_slots] >= 0)
        merged = batch
        if held.size:
            assert self.standing is not None
            old = self.standing.take(pa.array(held))
            number = self.schema.get_field_index("retraction")
            old = old.set_column(number, self.schema.field(number), pa.array(np.ones(held.size, bool)))
            both = concat([old, batch])
            ranks = np.concatenate([rank[self.standing_slots[held]], np.arange(slots.size)])
            fresh = np.concatenate([np.zeros(held.size, np.int64), np.ones(slots.size, np.int64)])
            starts = both.column(len(self._keys.keys)).view(pa.int64()).to_numpy(zero_copy_only=False)
            merged = both.take(pa.array(np.lexsort((starts, fresh, ranks))))
            self._keep(rank[self.standing_slots] < 0)
        self.stand(slots, batch)
        return merged

    def _keep(self, which: BoolArray) -> None:
        if self.standing is not None and not which.all():
            self.standing = self.standing.filter(pa.array(which))
            self.standing_slots = self.standing_slots[which]

    def earliest(self) -> int:
        """Return the earliest event time among the panes that may be taken back, `MAX_TIME` when there is none."""
        if self.standing is None or self.standing.num_rows == 0:
            return MAX_TIME
        times = event_times(self.standing, WINDOW_START if self._timestamp == "start" else "event_time")
        return int(times.min())

    def stand(self, slots: Int64Array, batch: pa.RecordBatch) -> None:
        """Take rows as the panes that their slots would have to take back."""
        self.standing = batch if self.standing is None else concat([self.standing, batch])
        self.standing_slots = np.concatenate([self.standing_slots, slots])

    def relabel(self, old: Int64Array, new: Int64Array, capacity: int) -> None:
        """Give the standing panes of merged windows to the window they became."""
        to = np.arange(capacity)
        to[old] = new
        self.standing_slots = to[self.standing_slots]

    def forget(self, slots: Int64Array, capacity: int) -> None:
        """Drop what is held of closed windows."""
        self._accumulators.reset(slots.astype(np.int32))
        if self.standing_slots.size:
            gone = np.zeros(capacity, bool)
            gone[slots] = True
            self._keep(~gone[self.standing_slots])


def _times(values: Int64Array) -> pa.Array:
    return pa.array(values).view(EVENT_TIME)

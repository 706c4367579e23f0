"""Count windows: groups of so many events of a key in event-time order.

Events wait until the watermark (less the allowed lateness) has passed them, so that the groups do not depend
on the order of arrival. A group that is full is emitted; at the end of the input the unfilled ones are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from eventide.errors import UsageError
from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.keys import KeyIndex
from eventide.kernel.ordering import EventTimeBuffer
from eventide.kernel.window.general_aligned import horizon
from eventide.kernel.window.general_entries import Entries, sort_pairs
from eventide.kernel.window.general_firing import Firing
from eventide.kernel.window.general_state import clock_table, load_windows, save_windows
from eventide.kernel.window.panes import PaneWriter
from eventide.kernel.window.triggers import Program
from eventide.model.batch import WATERMARK_COLUMN, Int64Array, concat, event_times
from eventide.model.graph import Window
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.schema import window_schema
from eventide.model.state import GROUP_COLUMN, State, group_array
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import CountWindow

__all__ = ["CountWindows"]


class CountWindows:
    """The machine of count windows; parameters as of `GeneralWindowMachine`.

    In the entries `start` is the number of the group within its key, `stamp` the time of its first event
    and `end` the instant after its last.
    """

    def __init__(self, node: Window, *, schema: pa.Schema, keys: Sequence[str], event_time: str, groups: range) -> None:
        if node.trigger is not None:
            msg = f"{node.window} cannot have a trigger"
            raise UsageError(msg, hint="leave the trigger out, or use ev.global_window() with ev.after_count(...)")
        assert isinstance(node.window, CountWindow)
        self._node = node
        self._window = node.window
        self._schema = schema
        self._key_names = tuple(keys)
        self._event_time = event_time
        self._groups = groups
        self._out_schema = window_schema(node, schema, self._key_names)
        self.taken = 0
        self._clear()

    def _clear(self) -> None:
        self.watermark_in = MIN_TIME
        self._keys = KeyIndex(self._schema, self._key_names, self._groups)
        self._buffer = EventTimeBuffer(self._schema, self._event_time, self._key_names)
        self._counted: Int64Array = np.zeros(0, np.int64)
        self._accumulators = Accumulators(self._node.aggregates, self._schema, self._event_time)
        program = Program(None)
        panes = PaneWriter(
            self._node, self._out_schema, keys=self._keys, accumulators=self._accumulators, right=False
        )  # fmt: skip
        self._firing = Firing(
            Entries(program), program, accumulators=self._accumulators, panes=panes, lateness=0, stamp=""
        )

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        if self.watermark_in in (MIN_TIME, MAX_TIME):
            return self.watermark_in
        entries = self._firing.entries
        slots = entries.slots()
        low = self._horizon(np.array([self.watermark_in]))
        return int(np.append(entries.stamp[slots], low).min())

    def _horizon(self, watermark: Int64Array) -> Int64Array:
        return horizon(watermark, self._node.allowed_lateness)

    def push(self, step: Step) -> list[Emit]:
        """Take one step."""
        late = None
        if step.batch is not None and step.batch.num_rows:
            late = self._take(step.batch)
        watermark = MAX_TIME if step.end else step.watermark
        if watermark > self.watermark_in:
            self.watermark_in = watermark
            limit = MAX_TIME if watermark == MAX_TIME else int(self._horizon(np.array([watermark]))[0])
            ready = self._buffer.release(limit)
            if ready is not None and ready.num_rows:
                self._group(ready)
            if watermark == MAX_TIME:
                self._emit(self._firing.entries.slots())
        out = [Emit(MAIN, concat(panes))] if (panes := self._firing.panes.collect()) else []
        if late is not None:
            out.append(Emit(LATE, late))
        return out

    def _take(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        rows = batch.select(self._schema.names)
        mine = self._keys.slots(rows) >= 0
        self._grow_counted()
        mark = batch.schema.get_field_index(WATERMARK_COLUMN)
        verdict = np.full(rows.num_rows, self.watermark_in)
        if mark >= 0:
            verdict = np.maximum(batch.column(mark).to_numpy(zero_copy_only=False), verdict)
        late = event_times(rows, self._event_time) < self._horizon(verdict)
        before = self._buffer.rows
        self._buffer.add(rows.filter(pa.array(mine & ~late)), watermark=MIN_TIME)
        self.taken += self._buffer.rows - before
        dropped = mine & late
        return rows.filter(pa.array(dropped)) if dropped.any() else None

    def _grow_counted(self) -> None:
        if self._counted.size < self._keys.capacity:
            grown = np.zeros(self._keys.capacity, np.int64)
            grown[: self._counted.size] = self._counted
            self._counted = grown

    def _group(self, rows: pa.RecordBatch) -> None:
        """Put rows, which are in order, into the groups they belong to."""
        size, every = self._window.size, self._window.every
        times = event_times(rows, self._event_time)
        keys = self._keys.slots(rows).astype(np.int64)
        by_key = np.argsort(keys, kind="stable")
        key = keys[by_key]
        head = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        lengths = np.diff(np.append(head, key.size))
        number = np.arange(key.size) - np.repeat(head, lengths) + self._counted[key]
        self._counted[key[head]] += lengths
        newest = number // every
        many = -(-size // every)
        group = (newest[:, None] - np.arange(many)[::-1]).ravel()
        row = np.repeat(by_key, many)
        of = np.repeat(number, many)
        inside = (group >= 0) & (group * every + size > of)
        group, row = group[inside], row[inside]
        order = sort_pairs(keys[row], group)
        group, row = group[order], row[order]
        key = keys[row]
        first = np.flatnonzero(np.append(True, (key[1:] != key[:-1]) | (group[1:] != group[:-1])))
        stop = np.append(first[1:], row.size)
        entries = self._firing.entries
        slots = entries.find(key[first], group[first])
        new = slots < 0
        slots[new] = self._firing.open(key[first][new], group[first][new], times[row[first]][new])
        entries.stamp[slots[new]] = times[row[first]][new]
        entries.end[slots] = times[row[stop - 1]] + 1
        entries.pending[slots] += stop - first
        taken, by_row = rows.take(pa.array(row)), np.repeat(slots, stop - first).astype(np.int32)
        self._accumulators.update(by_row, taken, times[row])
        self._emit(slots[entries.pending[slots] == size])

    def _emit(self, slots: Int64Array) -> None:
        if slots.size == 0:
            return
        entries = self._firing.entries
        group = entries.start[slots]
        first = entries.stamp[slots]
        # A pane shows the time of its first event where other windows have their start.
        entries.start[slots] = first
        if self._node.timestamp == "latest":
            entries.stamp[slots] = entries.end[slots] - 1
        self._firing.panes.write(entries, slots, timing="on_time")
        entries.start[slots] = group
        self._firing.panes.forget(slots, entries.capacity)
        entries.remove(slots)

    def snapshot(self) -> State:
        """Return the waiting events, the open groups and how many events each key has had."""
        held = np.flatnonzero(self._counted > 0).astype(np.int32)
        columns = {GROUP_COLUMN: group_array(self._keys.groups_of(held))}
        columns |= {f"key.{name}": array for name, array in self._keys.snapshot(held).items()}
        columns["counted"] = pa.array(self._counted[held])
        return {
            **save_windows(self._firing.entries, self._keys, self._accumulators),
            "counted": pa.table(columns),
            "waiting": self._buffer.snapshot(),
            "time": clock_table(self.watermark_in, MIN_TIME),
        }

    def restore(self, state: State) -> None:
        """Take over a state, in place of what is held."""
        self._clear()
        self.watermark_in = state["time"].column("watermark")[0].as_py()
        group = state["waiting"].column(GROUP_COLUMN).to_numpy()
        ours = (group >= self._groups.start) & (group < self._groups.stop)
        self._buffer.restore(state["waiting"].filter(pa.array(ours)))
        load_windows(state, self._firing, self._keys)
        table = state["counted"]
        columns = {n: table.column(f"key.{n}") for n in self._keys.keys}
        slots = self._keys.restore(columns, table.num_rows)
        self._grow_counted()
        self._counted[slots[slots >= 0]] = table.column("counted").to_numpy()[slots >= 0]

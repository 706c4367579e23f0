"""The machine around a user's keyed process: order, timers, late events, watermark, snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import RunError, SchemaError
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.keyed.context import KeyedContext
from eventide.kernel.keyed.runs import Runs
from eventide.kernel.keyed.timers import TimerSet
from eventide.kernel.ordering import EventTimeBuffer, late_rows
from eventide.model.batch import Int64Array, event_times, visible
from eventide.model.graph import ProcessContext
from eventide.model.keyed import Events, KeyedProcess, Timers
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.state import ALL_GROUPS, State, select_groups
from eventide.model.time import MAX_TIME, MIN_TIME, format_time

__all__ = ["KeyedMachine"]

Int32Array = npt.NDArray[np.int32]
Output: TypeAlias = pa.RecordBatch | Mapping[str, pa.RecordBatch] | None

_ENDLESS = 100_000
"""So many times a key may be woken after the last event of all before it is taken for an endless loop."""


class KeyedMachine:
    """A keyed process as every engine runs it.

    With ``order="event_time"`` events wait until the watermark has passed them and are handed over in
    total order. Per key, a timer for time T fires after every event before T and before any at or after
    T, whatever the batches; at the end of the input every timer that is left fires in time order. With
    ``order="arrival"`` events are handed over as they come, and timers fire between batches. Either
    way, events behind the watermark go to the port ``late``. Timers on the clock fire after the events
    and event-time timers of a step.

    Parameters
    ----------
    process
        The user's process.
    context
        Input schema, keys, event-time column and the key groups owned.
    order
        How events are handed over.
    schemas
        Output schema by port; left out, outputs are not checked.
    event_time
        Event-time column of the main output, "" when it has none.
    where
        Name of the node, for messages.

    Raises
    ------
    RunError
        The process emitted an event behind the watermark that it had promised, or timers never end.
    SchemaError
        The process emitted a batch that is not of the declared schema.
    """

    def __init__(
        self,
        process: KeyedProcess,
        context: ProcessContext,
        *,
        order: Literal["event_time", "arrival"] = "event_time",
        schemas: Mapping[str, pa.Schema] | None = None,
        event_time: str = "",
        where: str = "process",
    ) -> None:
        self._process = process
        self._groups = context.groups
        self._keys = context.keys
        self._time = context.event_time
        self._schema = visible(context.schemas[0])
        self._ordered = order == "event_time"
        self._schemas = schemas
        self._out_time = event_time
        self._where = where
        self._context = KeyedContext(process.state, context)
        self._buffer = EventTimeBuffer(self._schema, self._time, self._keys)
        self._out: list[Emit] = []
        self._input = MIN_TIME
        self._watermark = MIN_TIME
        self._ended = False
        self.taken = 0

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._watermark

    @property
    def size(self) -> int:
        """Number of keys with state."""
        return self._context.size

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        self._out = []
        before, context = self._input, self._context
        self._input = max(before, step.watermark)
        self._ended |= step.end
        context.watermark = self._input
        context.clock = max(context.clock, step.clock)
        ready = self._arrive(step.batch, before) if step.batch is not None and step.batch.num_rows else None
        if self._ordered:
            ready = self._buffer.release(self._input)
        self._deliver(ready)
        self._fire(context.clock_timers, context.clock)
        # What the clock has set off may have set timers in event time, for times already past.
        self._deliver(None)
        context.sweep()
        self._watermark = max(self._watermark, min(self._input, context.lowest_hold))
        out, self._out = self._out, []
        return out

    def _own(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._groups == ALL_GROUPS:
            return batch
        groups = key_groups(key_hashes(batch, self._keys))
        return batch.filter(pa.array((groups >= self._groups.start) & (groups < self._groups.stop)))

    def _arrive(self, batch: pa.RecordBatch, watermark: int) -> pa.RecordBatch | None:
        batch = self._own(batch)
        if self._ordered:
            before = self._buffer.rows
            late = self._buffer.add(batch, watermark=watermark)
            self.taken += self._buffer.rows - before
            rows = None
        else:
            behind = late_rows(batch, event_times(batch, self._time), watermark)
            rows = batch.select(self._schema.names)
            late = None if behind is None else rows.filter(pa.array(behind))
            rows = rows if behind is None else rows.filter(pa.array(~behind))
            self.taken += rows.num_rows
        if late is not None:
            self._out.append(Emit(LATE, late))
        return rows

    # -- delivery ------------------------------------------------------------------------------------

    def _deliver(self, batch: pa.RecordBatch | None) -> None:
        context = self._context
        if batch is None or not batch.num_rows:
            if context.event_timers.due(self._input).size:
                nothing = np.empty(0, np.int32)
                self._interleave(None, nothing, np.empty(0, np.int64))
            return
        slots, times = context.slots(batch), event_times(batch, self._time)
        if not self._ordered:
            self._events(batch, slots, times)
            self._deliver(None)
        elif context.event_timers.names:
            self._interleave(batch, slots, times)
        else:
            self._events(batch, slots, times)

    def _events(self, batch: pa.RecordBatch, slots: Int32Array, times: Int64Array) -> None:
        self._emit(self._process.on_events(self._context, Events(batch, slots, times)))

    def _interleave(self, batch: pa.RecordBatch | None, slots: Int32Array, times: Int64Array) -> None:
        """Hand over events and fire timers, per key in order of time, many keys at a time."""
        context = self._context
        timers, limit, reach = context.event_timers, self._input, max(context.after, 1)
        timers.recent()
        runs = Runs(slots, times, timers.due(limit))
        for turn in range(2**62):
            alarms, nexts = timers.first(runs.keys), runs.next_times()
            due = (alarms <= limit) & (alarms < MAX_TIME) & (alarms <= nexts)
            ready = runs.left & ~due
            if not ready.any():
                self._stop_endless(turn)
                if not due.any():
                    return
            self._wake(timers, runs.keys[due], alarms[due])
            if batch is not None and ready.any():
                cap = np.where(nexts > MAX_TIME - reach, MAX_TIME, nexts + reach)
                rows = runs.take(np.where(ready, np.minimum(alarms, cap), MIN_TIME))
                if context.after:
                    context.floor(runs.keys[ready], (nexts + context.after)[ready], firing=False)
                whole = rows.size == batch.num_rows
                self._events(batch if whole else batch.take(pa.array(rows)), slots[rows], times[rows])
                context.floor(slots[:0], times[:0], firing=False)
            runs.include(timers.recent())
            active = runs.left | (timers.first(runs.keys) <= min(limit, MAX_TIME - 1))
            if 2 * np.count_nonzero(active) < active.size:
                runs.keep(active)

    def _stop_endless(self, turn: int) -> None:
        if self._ended and turn > _ENDLESS:
            msg = f"{self._where} sets timers without end: the input is complete, and they still fire"
            raise RunError(msg, hint="do not set a timer again for a key that has had no event since the last one")

    def _fire(self, timers: TimerSet, limit: int) -> None:
        """Fire timers up to a time, per key in order."""
        while True:
            slots = timers.due(limit)
            if not slots.size:
                return
            self._wake(timers, slots, timers.first(slots))

    def _wake(self, timers: TimerSet, slots: Int32Array, times: Int64Array) -> None:
        if not slots.size:
            return
        context = self._context
        by = self._waking_order(slots, times)
        position, name = timers.take(slots[by], times[by])
        if timers is context.event_timers:
            context.floor(slots, times, firing=True)
        one = len(timers.names) == 1
        names = timers.names * name.size if one else tuple(np.array(timers.names, object)[name].tolist())
        fired = Timers(slots[by][position], times[by][position], names)
        self._emit(self._process.on_timers(context, fired))
        context.floor(slots[:0], times[:0], firing=False)

    def _waking_order(self, slots: Int32Array, times: Int64Array) -> npt.NDArray[np.intp]:
        """Return the order by time, then key hash. Most times occur once, and only those of others are compared."""
        by = np.argsort(times, kind="stable")
        equal = np.diff(times[by]) == 0
        if equal.any():
            tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
            some = by[tied]
            by[tied] = some[np.lexsort((slots[some], self._context.hashes(slots[some]), times[some]))]
        return by

    # -- output --------------------------------------------------------------------------------------

    def _emit(self, output: Output) -> None:
        if output is None:
            return
        ports = {MAIN: output} if isinstance(output, pa.RecordBatch) else output
        for port, batch in ports.items():
            if batch is not None and batch.num_rows:
                self._out.append(Emit(port, self._checked(port, batch)))

    def _checked(self, port: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._schemas is not None:
            schema = self._schemas.get(port)
            if schema is None:
                msg = f"{self._where} returned rows for the port {port!r}, which it does not declare"
                raise SchemaError(msg, hint=f"declared ports: {', '.join(sorted(self._schemas))}")
            if not batch.schema.equals(schema):
                batch = _fit(batch, schema, f"{self._where}, port {port!r}")
        if port == MAIN and self._out_time and self._watermark > MIN_TIME:
            first = int(event_times(batch, self._out_time).min())
            if first < self._watermark:
                msg = f"{self._where} returned an event at {format_time(first)}, behind its own watermark"
                msg += f" {format_time(self._watermark)}"
                raise RunError(msg, hint="announce earlier events with context.hold(slots, times)")
        return batch

    # -- state ---------------------------------------------------------------------------------------

    def snapshot(self) -> State:
        """Return the state as data that later steps do not change."""
        context = self._context
        progress = {"input": self._input, "clock": context.clock, "ended": int(self._ended)}
        return {
            **context.snapshot(),
            "pending": self._buffer.snapshot(),
            "progress": pa.table({k: pa.array([v], pa.int64()) for k, v in progress.items()}),
        }

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        mine = select_groups(state, self._groups)
        progress = mine["progress"].to_pylist()[0]
        self._input, self._ended = progress["input"], bool(progress["ended"])
        self._context.watermark, self._context.clock = progress["input"], progress["clock"]
        self._context.restore(mine)
        self._buffer.restore(mine["pending"])
        # Not saved: other workers, whose keys these may have been, had watermarks of their own.
        self._watermark = min(self._input, self._context.lowest_hold)


def _fit(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    if batch.schema.names != schema.names:
        msg = f"{where} returned the columns {batch.schema.names}, not {schema.names} as it declares"
        raise SchemaError(msg, hint="return the declared columns in their order, or declare what is returned")
    try:
        return batch.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        msg = f"{where} returned columns that do not fit what it declares: {error}"
        raise SchemaError(msg, hint="convert the column, or declare its type") from error

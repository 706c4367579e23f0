"""The machine that builds array events: triggers wait until the watermark says that no other can belong to theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.building.coincidence import Coincidences, coincide
from eventide.errors import SchemaError
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.keyed.node import field_of
from eventide.kernel.ordering import EventTimeBuffer
from eventide.model.batch import Int64Array, concat, empty, event_times, visible
from eventide.model.graph import ProcessContext
from eventide.model.machine import DUPLICATES, LATE, MAIN, Emit, Step
from eventide.model.state import ALL_GROUPS, GROUP_COLUMN, State, group_array, select_groups
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

__all__ = ["ADDED", "ARRAY", "ARRAY_PORT", "ORPHANS", "Building", "BuildingMachine"]

ORPHANS = "orphans"
"""The port of triggers of events that too few telescopes saw, and of triggers without a telescope."""

ARRAY_PORT = "array"
"""The port with one row for every event built."""

ADDED: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME, metadata={"meaning": "first trigger of the event, clocks corrected"}),
        pa.field("event_id", pa.int64(), metadata={"meaning": "the event time in ns: the same in every run"}),
        pa.field("n_tels", pa.int32(), metadata={"meaning": "telescopes in the event"}),
    ]
)
"""Columns that a trigger gets when its event is built."""

ARRAY: Final = pa.schema(
    [
        *ADDED,
        pa.field("tels", pa.list_(pa.int64()), metadata={"meaning": "the telescopes, ascending"}),
        pa.field("span", pa.duration("ns"), metadata={"meaning": "from the first trigger to the last one"}),
    ]
)
"""One row for every event built."""


@dataclass(frozen=True, slots=True)
class Building:
    """What is asked of a machine, and the factory that makes it.

    Parameters
    ----------
    window
        How far after the first trigger the others of an event may be, ns.
    min_tels
        Events of fewer telescopes are orphans.
    telescope
        The column that says which telescope.
    offsets
        By telescope, how far its clock is ahead, ns.

    Examples
    --------
    >>> Building(200).schema(pa.schema([("tel_id", pa.int16())])).names
    ['tel_id', 'event_time', 'event_id', 'n_tels']
    """

    window: int
    min_tels: int = 2
    telescope: str = "tel_id"
    offsets: tuple[tuple[int, int], ...] = ()

    def schema(self, source: pa.Schema) -> pa.Schema:
        """Return the schema of the triggers of built events.

        Raises
        ------
        SchemaError
            There is no column of telescopes, it is not of whole numbers, or a column of `ADDED` is there already.
        """
        field = field_of(source, self.telescope, what="array_events()")
        if not pa.types.is_integer(field.type) or field.type == pa.uint64():
            msg = f"the column {self.telescope!r} for array_events() holds {field.type}, not numbers of telescopes"
            raise SchemaError(msg, hint="cast it to a whole number of up to 63 bits")
        double = [f.name for f in ADDED if f.name in source.names]
        if double:
            msg = f"array_events() adds a column {double[0]!r}, and there is one already"
            raise SchemaError(msg, hint=f"rename yours first, or leave it out: .select(pl.exclude({double[0]!r}))")
        return pa.schema([*source, *ADDED])

    def __call__(self, context: ProcessContext) -> BuildingMachine:
        """Return a machine."""
        return BuildingMachine(self, context)


class BuildingMachine:
    """Builds array events; see the module and `eventide.apps.gamma.building.operator.array_events`.

    Notes
    -----
    A trigger waits in time order until the watermark has passed it. Of the triggers passed, events are complete whose
    window ends before all triggers that may still come: those are emitted, the others stay open. An event is a function
    of the triggers from its first one on, and a complete one has all of them, so nothing depends on how they came.

    Examples
    --------
    >>> schema = pa.schema([("time", EVENT_TIME), ("tel_id", pa.int16())])
    >>> machine = Building(200)(ProcessContext((schema,), (), "time", ALL_GROUPS))
    >>> rows = pa.record_batch([pa.array([1000, 1100]).cast(EVENT_TIME), pa.array([1, 2], pa.int16())], schema=schema)
    >>> machine.push(Step(0, 0, rows, 1200)), machine.watermark
    ([], 1000)
    >>> [(emit.port, emit.batch.num_rows) for emit in machine.push(Step(1, 0, None, 2000))]
    [('main', 2), ('array', 1)]
    """

    def __init__(self, plan: Building, context: ProcessContext) -> None:
        self._plan = plan
        self._groups = context.groups
        self._time = context.event_time
        self._source = visible(context.schemas[0])
        self._schema = plan.schema(self._source)
        self._known = np.array([tel for tel, _ in sorted(plan.offsets)], np.int64)
        self._ahead = np.array([ns for _, ns in sorted(plan.offsets)], np.int64)
        self._most = max(0, int(self._ahead.max(initial=0)))
        self.taken = 0
        self._clear()

    def _clear(self) -> None:
        self._waiting = EventTimeBuffer(self._source, self._time)
        self._open: pa.RecordBatch | None = None
        self._input = MIN_TIME

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns: no event that is still to come begins before it."""
        return _before(self._input, self._most + self._plan.window)

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        late = self._arrive(step.batch) if step.batch is not None and step.batch.num_rows else None
        out: list[Emit] = []
        watermark = MAX_TIME if step.end else step.watermark
        if watermark > self._input:
            self._input = watermark
            out = self._build()
        if late is not None and late.num_rows:
            out.append(Emit(LATE, late))
        return out

    def _arrive(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        if self._groups != ALL_GROUPS:
            groups = key_groups(key_hashes(batch, ()))
            batch = batch.filter(pa.array((groups >= self._groups.start) & (groups < self._groups.stop)))
            if not batch.num_rows:
                return None
        late = self._waiting.add(batch, watermark=self._input)
        self.taken += batch.num_rows - (late.num_rows if late is not None else 0)
        return late

    def _build(self) -> list[Emit]:
        passed = self._waiting.release(self._input)
        parts = [b for b in (self._open, passed) if b is not None and b.num_rows]
        if not parts:
            return []
        out: list[Emit] = []
        rows = concat(parts)
        tels = rows.column(self._plan.telescope)
        if tels.null_count:
            # Only rows just passed have such: they never stay open.
            out.append(Emit(ORPHANS, rows.filter(tels.is_null())))
            rows = rows.filter(tels.is_valid())
            tels = rows.column(self._plan.telescope)
        numbers = tels.cast(pa.int64()).to_numpy(zero_copy_only=False)
        found = coincide(self._corrected(rows, numbers), numbers, window=self._plan.window)
        done = self._complete(found.first)
        cut = int(found.starts[done]) if done < found.starts.size else found.order.size
        self._open = rows.take(pa.array(np.sort(found.order[cut:]))) if cut < found.order.size else None
        return out + self._emitted(rows, found, done=done, cut=cut)

    def _complete(self, first: Int64Array) -> int:
        """Return how many events, of which the first triggers are given, can get no further one."""
        if self._input == MAX_TIME:
            return first.size
        bound = self._input - self._most - self._plan.window
        return int(np.searchsorted(first, bound)) if bound > MIN_TIME else 0

    def _corrected(self, rows: pa.RecordBatch, tels: Int64Array) -> Int64Array:
        times = event_times(rows, self._time)
        if not self._known.size:
            return times
        place = np.minimum(np.searchsorted(self._known, tels), self._known.size - 1)
        ahead = np.where(self._known[place] == tels, self._ahead[place], 0)
        return np.clip(times, MIN_TIME + np.maximum(ahead, 0), MAX_TIME + np.minimum(ahead, 0)) - ahead

    def _emitted(self, rows: pa.RecordBatch, found: Coincidences, *, done: int, cut: int) -> list[Emit]:
        """Return the first `done` events, which are the first `cut` rows in their order."""
        if not done:
            return []
        order, repeat = found.order[:cut], found.repeat[:cut]
        event = np.repeat(np.arange(done), found.sizes[:done])
        n_tels = np.bincount(event, ~repeat, done).astype(np.int32)
        built = n_tels >= self._plan.min_tels
        main = built[event] & ~repeat
        out: list[Emit] = []
        if main.any():
            out.append(
                Emit(MAIN, self._main(rows.take(pa.array(order[main])), found.first, n_tels=n_tels, of=event[main]))
            )
            out.append(Emit(ARRAY_PORT, self._array(rows, found, n_tels=n_tels, main=main, event=event)))
        for port, mask in ((ORPHANS, ~built[event] & ~repeat), (DUPLICATES, repeat)):
            if mask.any():
                out.append(Emit(port, rows.take(pa.array(order[mask]))))
        return out

    def _main(
        self, rows: pa.RecordBatch, first: Int64Array, *, n_tels: npt.NDArray[np.int32], of: Int64Array
    ) -> pa.RecordBatch:
        ids = pa.array(first[of])
        added = [ids.cast(EVENT_TIME), ids, pa.array(n_tels[of])]
        return pa.RecordBatch.from_arrays([*rows.columns, *added], schema=self._schema)

    def _array(
        self,
        rows: pa.RecordBatch,
        found: Coincidences,
        *,
        n_tels: npt.NDArray[np.int32],
        main: npt.NDArray[np.bool_],
        event: Int64Array,
    ) -> pa.RecordBatch:
        order = found.order[: event.size][main]
        tels = rows.column(self._plan.telescope).cast(pa.int64()).to_numpy()
        times = self._corrected(rows, tels)
        events, begins = np.unique(event[main], return_index=True)
        last = np.maximum.reduceat(times[order], begins)
        first = found.first[events]
        offsets = pa.array(np.append(begins, order.size).astype(np.int32))
        columns = [
            pa.array(first).cast(EVENT_TIME),
            pa.array(first),
            pa.array(n_tels[events]),
            pa.ListArray.from_arrays(offsets, pa.array(tels[order])),
            pa.array(last - first).cast(pa.duration("ns")),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=ARRAY)

    # -- state

    def snapshot(self) -> State:
        """Return the triggers that wait and those that are open, and the watermark."""
        rows = self._open if self._open is not None else empty(self._source)
        groups = group_array(key_groups(key_hashes(rows, ())))
        return {
            "waiting": self._waiting.snapshot(),
            "open": pa.Table.from_batches([rows]).append_column(GROUP_COLUMN, groups),
            "progress": pa.table({"input": pa.array([self._input], pa.int64())}),
        }

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        self._clear()
        mine = select_groups(state, self._groups)
        self._input = mine["progress"].column("input")[0].as_py()
        self._waiting.restore(mine["waiting"])
        batches = mine["open"].select(self._source.names).cast(self._source).combine_chunks().to_batches()
        self._open = batches[0] if batches and batches[0].num_rows else None


def _before(time: int, by: int) -> int:
    """Return ``time - by``; the ends of time stay where they are."""
    return time if time in (MIN_TIME, MAX_TIME) else max(time - by, MIN_TIME)

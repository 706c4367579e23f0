"""Build array events of which the array's trigger says which they are, and how many images they have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.building.machine import ADDED, ORPHANS
from eventide.apps.gamma.building.whole import BoolArray, Gathered, Gathering
from eventide.apps.gamma.numbers import integers_of
from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.kernel.hashing import key_groups
from eventide.kernel.keyed.node import field_of, same
from eventide.model.batch import Int64Array
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.machine import DUPLICATES, LATE, MAIN, Emit, Step
from eventide.model.state import GROUP_COLUMN, State, group_array, select_groups
from eventide.model.stream import Stream, origin
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME, duration

__all__ = ["Triggered", "TriggeredMachine", "triggered_events"]

_DONE = pa.schema([("trigger", pa.int64()), ("time", pa.int64())])


@dataclass(frozen=True, slots=True)
class Triggered:
    """What is asked of a machine, and the factory that makes it.

    Examples
    --------
    >>> source = pa.schema([("tel_id", pa.int16()), ("trigger_id", pa.int64()), ("n_triggered", pa.int32())])
    >>> Triggered(1000).schema(source).names[-3:]
    ['event_time', 'event_id', 'n_tels']
    """

    window: int
    min_tels: int = 2
    telescope: str = "tel_id"
    trigger: str = "trigger_id"
    expected: str = "n_triggered"
    usable: str = ""

    def schema(self, source: pa.Schema) -> pa.Schema:
        """Return the schema of the rows of built events.

        Raises
        ------
        SchemaError
            A column is missing or not of whole numbers, or one of `ADDED` is there already.
        """
        for name in (self.telescope, self.trigger, self.expected):
            field = field_of(source, name, what="triggered_events()")
            if not pa.types.is_integer(field.type) or field.type == pa.uint64():
                msg = f"the column {name!r} for triggered_events() holds {field.type}, not whole numbers"
                raise SchemaError(msg, hint="cast it to a whole number of up to 63 bits")
        if self.usable and not pa.types.is_boolean(field_of(source, self.usable, what="triggered_events()").type):
            msg = f"the column {self.usable!r} for triggered_events() holds {source.field(self.usable).type}"
            raise SchemaError(msg, hint="true or false: whether an image is used")
        double = [f.name for f in ADDED if f.name in source.names]
        if double:
            msg = f"triggered_events() adds a column {double[0]!r}, and there is one already"
            raise SchemaError(msg, hint="rename yours first, or leave it out")
        return pa.schema([*source, *ADDED])

    def __call__(self, context: ProcessContext) -> TriggeredMachine:
        """Return a machine."""
        return TriggeredMachine(self, context)


class TriggeredMachine:
    """Builds events as soon as all of their images have come; see `triggered_events`.

    Notes
    -----
    Triggers of events that left before the watermark has passed them are remembered until it has: what comes of them
    afterwards is a repeat. What is whole does not depend on the watermark, so neither do the rows of events.
    """

    def __init__(self, plan: Triggered, context: ProcessContext) -> None:
        self._plan, self._context = plan, context
        self._schema = plan.schema(context.schemas[0])
        self._clear()

    def _clear(self) -> None:
        plan, context = self._plan, self._context
        self._waiting = Gathering(context.schemas[0], context.event_time, number=plan.trigger, groups=context.groups)
        self._done: Int64Array = np.empty((0, 2), np.int64)  # trigger and first time
        self._input = MIN_TIME
        self._oldest = MIN_TIME  # time of the first event that waits, at the earliest

    @property
    def taken(self) -> int:
        """How many rows were taken in, for the ledger."""
        return self._waiting.taken

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns: no event that is still to come begins before it."""
        if self._input in (MIN_TIME, MAX_TIME):
            return self._input
        return max(self._input - self._plan.window, MIN_TIME)

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        out: list[Emit] = []
        if step.batch is not None and step.batch.num_rows:
            late = self._waiting.add(step.batch, watermark=self._input)
            if late is not None:
                late = late.filter(pa.array(self._usable(late)))
            if late is not None and late.num_rows:
                out.append(Emit(LATE, late))
            out += self._build()
        watermark = MAX_TIME if step.end else step.watermark
        if watermark > self._input:
            self._input = watermark
            if step.end or self._oldest < self.watermark:
                out += self._build()
            self._done = self._done[self._done[:, 1] >= self.watermark]
        return out

    def _build(self) -> list[Emit]:
        found = self._waiting.look()
        if not found.counts.size:
            self._oldest = MAX_TIME
            return []
        plan = self._plan
        known = np.asarray(found.rows.column(plan.trigger).is_valid())
        again = known & np.isin(found.ids, self._done[:, 0])
        tels = integers_of(found.rows.column(plan.telescope), none=-1)
        repeat = again | (_repeats(found.of, tels) & known)
        groups = found.first.size
        here = np.bincount(found.of, ~repeat, groups).astype(np.int64)
        asked = np.zeros(groups, np.int64)
        expected = integers_of(found.rows.column(plan.expected), none=np.iinfo(np.int32).max)
        np.maximum.at(asked, found.of, expected)
        passed = found.first < self.watermark if self._input < MAX_TIME else np.ones(groups, bool)
        gone = np.zeros(groups, bool)
        gone[found.of[again]] = True
        whole = (here >= asked) & (here > 0)  # images that are not used have come too
        usable = self._usable(found.rows)
        here = np.bincount(found.of, ~repeat & usable, groups).astype(np.int64)
        done = whole | passed | gone
        self._oldest = int(found.first[~done].min(initial=MAX_TIME))
        if not done.any():
            return []
        first_row = np.unique(found.of, return_index=True)[1]
        early = done & ~passed & ~gone & known[first_row]
        self._done = np.concatenate([self._done, np.stack([found.ids[first_row], found.first], axis=1)[early]])
        built = (here >= plan.min_tels)[found.of] & known
        return self._emitted(found, done, here=here, built=built, repeat=repeat, usable=usable, tels=tels)

    def _usable(self, rows: pa.RecordBatch) -> BoolArray:
        if not self._plan.usable:
            return np.ones(rows.num_rows, bool)
        out: BoolArray = np.asarray(rows.column(self._plan.usable).fill_null(False))
        return out

    def _emitted(
        self,
        found: Gathered,
        done: BoolArray,
        *,
        here: Int64Array,
        built: BoolArray,
        repeat: BoolArray,
        usable: BoolArray,
        tels: Int64Array,
    ) -> list[Emit]:
        mine = done[found.of] & usable
        order = np.lexsort((tels, found.ids, found.first[found.of]))
        out: list[Emit] = []
        for port, mask in ((MAIN, built & ~repeat), (ORPHANS, ~built & ~repeat), (DUPLICATES, repeat)):
            rows = order[(mask & mine)[order]]
            if not rows.size:
                continue
            batch = found.rows.take(pa.array(rows))
            if port == MAIN:
                times = pa.array(found.first[found.of[rows]]).cast(EVENT_TIME)
                added = [times, pa.array(found.ids[rows]), pa.array(here[found.of[rows]].astype(np.int32))]
                batch = pa.RecordBatch.from_arrays([*batch.columns, *added], schema=self._schema)
            out.append(Emit(port, batch))
        self._waiting.let_go(found, done)
        return out

    def snapshot(self) -> State:
        """Return the rows that wait, the triggers that are done, and the watermark."""
        done = pa.table([self._done[:, 0], self._done[:, 1]], schema=_DONE)
        groups = group_array(key_groups(np.zeros(done.num_rows, np.uint64)))  # as of all rows without keys
        return {
            "waiting": self._waiting.snapshot(),
            "done": done.append_column(GROUP_COLUMN, groups),
            "progress": pa.table({"input": pa.array([self._input], pa.int64())}),
        }

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        self._clear()
        mine = select_groups(state, self._context.groups)
        self._input, self._oldest = mine["progress"].column("input")[0].as_py(), MIN_TIME
        self._waiting.restore(mine["waiting"])
        done = mine["done"]
        self._done = np.stack([done[n].to_numpy() for n in _DONE.names], axis=1)


def _repeats(of: Int64Array, tels: Int64Array) -> BoolArray:
    """Return which rows are of a telescope that their group has already, in the order that they came."""
    order = np.lexsort((tels, of))
    again = np.zeros(of.size, bool)
    again[order[1:]] = (np.diff(of[order]) == 0) & (np.diff(tels[order]) == 0)
    return again


def triggered_events(
    stream: Stream,
    *,
    window: str | timedelta = "1us",
    min_tels: int = 2,
    telescope: str = "tel_id",
    trigger: str = "trigger_id",
    expected: str = "n_triggered",
    usable: str = "",
) -> Stream:
    """Put the images of telescopes together into array events by the number that the array's trigger gave them.

    An event leaves as soon as there is an image of as many telescopes as the trigger asked for, without waiting for the
    watermark; one that is not whole leaves when the watermark has passed it. Every row leaves by exactly one port, as
    of `eventide.apps.gamma.building.operator.array_events`, and the rows of an event lie in one batch. What comes of an
    event that is whole already is a repeat (``duplicates``); rows without a number of a trigger are orphans.

    Parameters
    ----------
    stream
        Images with event time, without keys.
    window
        How far apart the images of an event may be, at most.
    min_tels
        How many telescopes an event must have.
    telescope, trigger, expected
        The columns that say which telescope, which trigger, and how many telescopes that asked for.
    usable
        The column that says whether an image is used; empty: all are. One that is not leaves by no port, but its event
        does not wait for it.

    Returns
    -------
    Stream
        The rows of built events with `eventide.apps.gamma.building.machine.ADDED`: the event time is that of the
        event's first image, ``event_id`` the number of the trigger. Side outputs ``orphans``, ``duplicates``, ``late``.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.
    UsageError
        `min_tels` is not one or more.
    SchemaError
        (when the pipeline is checked) A column is missing or holds no whole numbers.

    Notes
    -----
    Within the lateness no row depends on the order in which images came, as long as a telescope sends one image a
    trigger: of different ones the first to come counts.

    Examples
    --------
    >>> import eventide as ev
    >>> times = pa.array([1_000, 1_300, 9_000], pa.timestamp("ns", "UTC"))
    >>> rows = ev.from_table({"time": times, "tel_id": [4, 2, 4], "trigger_id": [7, 7, 8], "n_triggered": [2, 2, 3]})
    >>> events = triggered_events(rows.event_time("time", lateness="1ms"))
    >>> ev.fetch(events).select(["event_id", "tel_id", "n_tels"]).to_pylist()
    [{'event_id': 7, 'tel_id': 2, 'n_tels': 2}, {'event_id': 7, 'tel_id': 4, 'n_tels': 2}]
    >>> ev.fetch(events.side("orphans"))["trigger_id"].to_pylist()
    [8]
    """
    if not stream.time or stream.keys:
        msg = f"triggered_events() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="call .event_time('time', lateness='1s') before it, and key_by after it")
    if isinstance(min_tels, bool) or not isinstance(min_tels, int) or min_tels < 1:
        msg = f"triggered_events() min_tels must be a whole number of at least 1, not {min_tels!r}"
        raise UsageError(msg, hint="2 for stereo events, 1 to keep all")
    plan = Triggered(duration(window, what="window", zero=True), min_tels, telescope, trigger, expected, usable)

    def main(source: pa.Schema) -> pa.Schema:
        return plan.schema(source)

    node = Process(
        stream.ref, plan, {MAIN: main, ORPHANS: same, DUPLICATES: same}, "arrival", "event_time", "", origin()
    )
    return Stream(Ref(node), (), "event_time")

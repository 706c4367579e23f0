"""Events for those who cannot wait: with a watermark of their own, nearer to the newest one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from eventide.errors import PipelineError
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.keyed.node import same
from eventide.kernel.watermarks import PartitionWatermark
from eventide.model.batch import event_times, visible
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.state import ALL_GROUPS, State
from eventide.model.stream import Stream, origin
from eventide.model.time import MAX_TIME, duration

__all__ = ["Hurry", "HurryMachine", "hurry"]


@dataclass(frozen=True, slots=True)
class Hurry:
    """The factory behind `hurry`.

    Examples
    --------
    >>> Hurry(5).lateness
    5
    """

    lateness: int

    def __call__(self, context: ProcessContext) -> HurryMachine:
        """Return a machine."""
        return HurryMachine(self.lateness, context)


class HurryMachine:
    """Passes events on at once, and those behind its own watermark by the port ``late``; see `hurry`."""

    def __init__(self, lateness: int, context: ProcessContext) -> None:
        self._context = context
        self._names = visible(context.schemas[0]).names
        self._mark = PartitionWatermark(lateness)
        self._ended = False
        self.taken = 0

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return MAX_TIME if self._ended else self._mark.watermark

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        out: list[Emit] = []
        if step.batch is not None and step.batch.num_rows:
            out = self._judged(step.batch)
        self._mark.heartbeat(step.watermark)
        self._ended |= step.end
        return out

    def _judged(self, batch: pa.RecordBatch) -> list[Emit]:
        groups = self._context.groups
        if groups != ALL_GROUPS:
            mine = key_groups(key_hashes(batch, ()))
            batch = batch.filter(pa.array((mine >= groups.start) & (mine < groups.stop)))
        rows = batch.select(self._names)
        if not rows.num_rows:
            return []
        times = event_times(batch, self._context.event_time)
        marks = self._mark.push(times).marks
        late = np.zeros(times.size, bool) if marks is None else times < marks
        self.taken += int((~late).sum())
        if not late.any():
            return [Emit(MAIN, rows)]
        parts = ((MAIN, rows.filter(pa.array(~late))), (LATE, rows.filter(pa.array(late))))
        return [Emit(port, part) for port, part in parts if part.num_rows]

    def snapshot(self) -> State:
        """Return how far time has come."""
        return {"progress": pa.table({"newest": pa.array([self._mark.newest], pa.int64())})}

    def restore(self, state: State) -> None:
        """Take over a state."""
        self._mark = PartitionWatermark(self._mark.lateness, newest=state["progress"]["newest"][0].as_py())


def hurry(stream: Stream, lateness: str | timedelta) -> Stream:
    """Give a stream a watermark of its own, so that what follows waits less than it has to for whole results.

    An event that is further behind the newest one leaves by the port ``late``: which ones those are depends on the
    order in which they come, as it does for what is late anywhere. The watermark of the input is a lower bound.

    Parameters
    ----------
    stream
        With event time, without keys.
    lateness
        How far behind the newest event one may be.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.

    Examples
    --------
    >>> import eventide as ev
    >>> rows = {"t": [f"2026-01-01T00:00:{s:02d}" for s in (9, 10, 2, 11)], "n": [1, 2, 3, 4]}
    >>> fast = hurry(ev.from_table(rows).event_time("t", lateness="1h"), "5s")
    >>> ev.fetch(fast)["n"].to_pylist(), ev.fetch(fast.side("late"))["n"].to_pylist()
    ([1, 2, 4], [3])
    """
    if not stream.time or stream.keys:
        msg = f"hurry() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="call .event_time('time', lateness='30s') before it, and key_by after it")
    plan = Hurry(duration(lateness, what="lateness", zero=True))
    node = Process(stream.ref, plan, {MAIN: same}, "arrival", stream.time, "", origin())
    return Stream(Ref(node), (), stream.time)

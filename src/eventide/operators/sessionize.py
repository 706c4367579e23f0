"""Mark every event with the session that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from eventide.kernel.hashing import combine, hash_words, key_hashes
from eventide.kernel.keyed.node import process_node, with_fields
from eventide.kernel.keyed.rank import rank
from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, value_state
from eventide.model.time import EVENT_TIME, MIN_TIME, duration

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["Sessionize", "sessionize"]

_FIELDS = (
    pa.field("session_id", pa.uint64()),
    pa.field("session_start", EVENT_TIME),
    pa.field("session_event", pa.int64()),
)


@dataclass(frozen=True, slots=True)
class Sessionize:
    """The process behind `sessionize`; `gap` in ns."""

    gap: int
    keys: tuple[str, ...]

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """Start of the session and number of its events."""
        return {
            "start": value_state("int64", MIN_TIME),
            "events": value_state("int64"),
            "over": TimerState(after=self.gap),
        }

    def on_events(self, context: Context, events: Events) -> pa.RecordBatch:
        """Give each event its session; the timer has ended the one before where the gap was reached."""
        slots, start, count = events.slots, context.value("start"), context.value("events")
        turn = rank(slots)
        begins = (turn == 0) & (start[slots] == MIN_TIME)
        start[slots[begins]] = events.times[begins]
        number = count[slots] + turn
        np.add.at(count, slots, 1)
        context.set_timer("over", slots, events.times + self.gap)
        starts = start[slots]
        ids = combine(key_hashes(events.batch, self.keys), hash_words(starts))
        batch = events.batch
        columns = (pa.array(ids), pa.array(starts).cast(EVENT_TIME), pa.array(number))
        for field, column in zip(_FIELDS, columns, strict=True):
            batch = batch.append_column(field, column)
        return batch

    def on_timers(self, context: Context, timers: Timers) -> None:
        """The session is over."""
        context.forget(timers.slots)


def sessionize(stream: Stream, *, gap: str | timedelta) -> Stream:
    """Mark every event with its session: per key, a run of events less than `gap` apart.

    Three columns are added: ``session_id`` (uint64, a hash of the key and the start: the same in every run
    and on every machine), ``session_start`` (the event time of its first event) and ``session_event`` (int64,
    0 for its first event). Events are passed in event-time order as soon as the watermark has passed
    them. For one row a session, use ``.window(ev.session(gap))``.

    Parameters
    ----------
    stream
        A stream with event time; keyed, or all events are of one key.
    gap
        This long without events ends a session.

    Raises
    ------
    PipelineError
        The stream has no event time.
    SchemaError
        (when checked) The stream has a column of such a name already.

    Examples
    --------
    >>> import eventide as ev
    >>> times = ["2026-01-01T00:00", "2026-01-01T00:04", "2026-01-01T00:12"]
    >>> visits = ev.from_table({"t": times, "who": ["a", "a", "a"]}).event_time("t").key_by("who")
    >>> ev.fetch(visits.pipe(ev.op.sessionize, gap="5m"))["session_event"].to_pylist()
    [0, 1, 0]
    """
    process = Sessionize(duration(gap, what="session gap"), stream.keys)
    return process_node(stream, process, ports={"main": with_fields(*_FIELDS, what="sessionize()")}, name="sessionize")

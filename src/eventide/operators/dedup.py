"""Leave out repeated events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from eventide.kernel.keyed.node import process_node, same
from eventide.kernel.keyed.rank import rank
from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, value_state
from eventide.model.time import duration

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["Dedup", "dedup"]


@dataclass(frozen=True, slots=True)
class Dedup:
    """The process behind `dedup`; `within` in ns."""

    within: int

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """Whether an event was passed, until `within` after it."""
        return {"passed": value_state("bool"), "over": TimerState(after=self.within + 1)}

    def on_events(self, context: Context, events: Events) -> Mapping[str, pa.RecordBatch]:
        """Pass the first event of a key that has none passed."""
        passed = context.value("passed")
        new = ~passed[events.slots] & (rank(events.slots) == 0)
        slots = events.slots[new]
        passed[slots] = True
        context.set_timer("over", slots, events.times[new] + self.within + 1)
        if new.all():
            return {"main": events.batch}
        return {"main": events.batch.filter(pa.array(new)), "duplicates": events.batch.filter(pa.array(~new))}

    def on_timers(self, context: Context, timers: Timers) -> None:
        """Forget the event that was passed."""
        context.forget(timers.slots)


def dedup(stream: Stream, *, by: str | Sequence[str], within: str | timedelta) -> Stream:
    """Leave out events whose `by` columns repeat those of an event passed at most `within` before.

    The first in event time is passed, whichever arrives first; of several at the same time the first in the
    order of their columns. What is left out goes to the side output ``duplicates``. An id is remembered for
    `within` after the event that was passed, so memory is bounded. Null is a value like any other.

    Parameters
    ----------
    stream
        A stream with event time.
    by
        Columns that say what is the same event. The result is keyed by them.
    within
        How far behind the event that was passed a repeat may be, in event time.

    Raises
    ------
    PipelineError
        The stream has no event time.

    Examples
    --------
    >>> import eventide as ev
    >>> rows = {"t": ["2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:00:09"], "id": [7, 7, 7]}
    >>> stream = ev.from_table(rows).event_time("t", lateness="10s")
    >>> kept = stream.pipe(ev.op.dedup, by="id", within="5s")
    >>> ev.fetch(kept)["t"].cast("timestamp[s]").to_pylist()
    [datetime.datetime(2026, 1, 1, 0, 0), datetime.datetime(2026, 1, 1, 0, 0, 9)]
    >>> ev.fetch(kept.side("duplicates")).num_rows
    1
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    process = Dedup(duration(within, what="within", zero=True))
    return process_node(stream.key_by(*keys), process, ports={"main": same, "duplicates": same}, name="dedup")

"""A keyed process with a value, a list and a timer: the readings of a sensor up to a pause, as one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, list_state, value_state
from eventide.model.time import EVENT_TIME

__all__ = ["BURSTS", "Bursts"]

BURSTS = pa.schema(
    [
        ("timestamp", EVENT_TIME),
        ("sensor", pa.int64()),
        ("burst", pa.int64()),
        ("ids", pa.string()),
        ("total", pa.float64()),
    ]
)
_KEPT = pa.schema([("id", pa.int64()), ("value", pa.float64())])


@dataclass(frozen=True, slots=True)
class Bursts:
    """Collects the readings of each sensor and reports them when it has been silent for `pause` ns.

    Examples
    --------
    >>> sorted(Bursts(10).state)
    ['number', 'readings', 'silent']
    """

    pause: int

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The number of the burst, its readings, and when it is over."""
        return {"number": value_state("int64"), "readings": list_state(_KEPT), "silent": TimerState(after=self.pause)}

    def on_events(self, context: Context, events: Events) -> None:
        """Keep the readings and wait for the next ones."""
        context.append("readings", events.slots, events.batch.select(_KEPT.names))
        context.set_timer("silent", events.slots, events.times + self.pause)

    def on_timers(self, context: Context, timers: Timers) -> pa.RecordBatch:
        """Report the bursts that are over, and count them."""
        slots, kept = context.rows("readings", timers.slots)
        rows = [np.flatnonzero(slots == slot) for slot in timers.slots]
        ids, values = kept["id"].to_numpy(), kept["value"].to_numpy()
        number = context.value("number")[timers.slots]
        context.value("number")[timers.slots] += 1
        context.clear("readings", timers.slots)
        (sensors,) = context.keys(timers.slots)
        columns = [
            pa.array(timers.times).cast(EVENT_TIME),
            sensors,
            pa.array(number),
            pa.array([" ".join(map(str, ids[r])) for r in rows], pa.string()),
            pa.array([sum(values[r].tolist()) for r in rows], pa.float64()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=BURSTS)

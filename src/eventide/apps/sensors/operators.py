"""The operators of this application as keyed processes: judge readings, hold back repeated alarms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from eventide.apps.sensors.detector import Rows, make_detector
from eventide.apps.sensors.schema import ALARMS, ANOMALIES, SCORED
from eventide.model.keyed import Context, Events, StateSpec, Timers, buffer_state, value_state
from eventide.model.time import MIN_TIME

__all__ = ["Detect", "HoldBack"]


class Detect:
    """Judge readings in event-time order per stream: anomalies on the main port, all readings on ``scored``.

    Parameters
    ----------
    detector
        Name of a detector.
    options
        Its options.

    Examples
    --------
    >>> sorted(Detect("band", {"window": 20}).state)
    ['recent', 'seen', 'sigma', 'smoothed']
    """

    def __init__(self, detector: str, options: Mapping[str, object]) -> None:
        self._name = detector
        self._detector = make_detector(detector, **options)

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The detector's state, per key."""
        return {
            name: buffer_state(np.dtype(kind).name, width) if width else value_state(np.dtype(kind).name)
            for name, (kind, width) in self._detector.fields.items()
        }

    def on_events(self, context: Context, events: Events) -> Mapping[str, pa.RecordBatch]:
        """Judge the readings of a batch."""
        batch = events.batch
        arrays = [context.value(name) for name in self._detector.fields]
        values = batch.column("value").to_numpy(zero_copy_only=False)
        verdict = self._detector.judge(arrays, Rows(events.slots.astype(np.int64), events.times, values))
        columns = {
            **{name: batch.column(name) for name in ("timestamp", "node_id", "stream", "value")},
            **{name: pa.array(column) for name, column in verdict._asdict().items()},
            "detector": pa.repeat(pa.scalar(self._name), batch.num_rows),
        }
        scored = pa.RecordBatch.from_arrays([columns[field.name] for field in SCORED], schema=SCORED)
        flagged = scored.filter(columns["flag"]).select(ANOMALIES.names)
        return {"main": flagged.cast(ANOMALIES), "scored": scored}

    def on_timers(self, context: Context, timers: Timers) -> None:
        """Nothing waits for a time."""


class HoldBack:
    """Let the first anomaly of a stream through as an alarm and hold back further ones for a while.

    The while is counted from the alarm; anomalies that are held back do not prolong it, and the next alarm says
    how many there were.

    Parameters
    ----------
    hold
        How long, ns.

    Examples
    --------
    >>> sorted(HoldBack(10).state)
    ['held', 'until']
    """

    def __init__(self, hold: int) -> None:
        self._hold = hold

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """When the next alarm may pass, and how many anomalies were held back, per key."""
        return {"until": value_state("int64", MIN_TIME), "held": value_state("int64")}

    def on_events(self, context: Context, events: Events) -> pa.RecordBatch:
        """Let through what may pass."""
        until, held = context.value("until"), context.value("held")
        passing, counts = [], []
        left = np.arange(len(events.slots))
        # Each turn settles one alarm of every stream and all that it holds back: few turns, whatever the rows.
        while len(left):
            free = events.times[left] >= until[events.slots[left]]
            np.add.at(held, events.slots[left[~free]], 1)
            left = left[free]
            slots, first = np.unique(events.slots[left], return_index=True)
            alarms = left[first]
            passing.append(alarms)
            counts.append(held[slots].copy())
            held[slots], until[slots] = 0, events.times[alarms] + self._hold
            left = np.delete(left, first)
        rows = np.concatenate([*passing, np.empty(0, np.int64)]).astype(np.int64)
        order = np.argsort(rows)
        suppressed = np.concatenate([*counts, np.empty(0, np.int64)]).astype(np.int64)[order]
        alarms_only = events.batch.take(pa.array(rows[order]))
        return pa.RecordBatch.from_arrays([*alarms_only.columns, pa.array(suppressed)], schema=ALARMS)

    def on_timers(self, context: Context, timers: Timers) -> None:
        """Nothing waits for a time."""

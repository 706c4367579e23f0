"""The operator of this application, as a keyed process: judge readings (`ev.op.suppress` holds back repeats)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from eventide.apps.sensors.detector import Rows, make_detector
from eventide.apps.sensors.schema import ANOMALIES, SCORED
from eventide.model.keyed import Context, Events, StateSpec, Timers, buffer_state, value_state

__all__ = ["Detect"]


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

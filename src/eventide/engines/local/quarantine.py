"""Quarantine: what cannot be processed is kept with its bytes, its position and the reason."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa

from eventide import registry
from eventide.model.batch import empty
from eventide.model.protocols import BadInput, Sink
from eventide.model.time import EVENT_TIME

__all__ = ["QUARANTINE_SCHEMA", "Quarantine"]

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("timestamp", EVENT_TIME, metadata={"what": "when it was put in quarantine"}),
        pa.field("pipeline", pa.string()),
        pa.field("operator", pa.string()),
        pa.field("position", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("data", pa.binary()),
    ]
)


class Quarantine:
    """The topic ``quarantine`` of a log, opened at the first input that must go there.

    Parameters
    ----------
    root
        Folder of the log; None is the default one.
    pipeline
        Name of the pipeline.
    """

    def __init__(self, root: str | Path | None, pipeline: str) -> None:
        self._root = root
        self._pipeline = pipeline
        self._sink: Sink | None = None
        self._batches = 0
        self.rows = 0

    def put(self, operator: str, items: list[BadInput]) -> None:
        """Keep input that an operator (or a source) could not take."""
        if not items:
            return
        self.rows += len(items)
        if self._sink is None:
            options: dict[str, object] = {"log": str(self._root)} if self._root is not None else {}
            self._sink = registry.open_sink("log://quarantine", options)
            self._sink.open(QUARANTINE_SCHEMA, None)
        now = time.time_ns()
        columns = [
            pa.array([now] * len(items), EVENT_TIME),
            pa.array([self._pipeline] * len(items)),
            pa.array([operator] * len(items)),
            pa.array([i.position for i in items]),
            pa.array([i.reason for i in items]),
            pa.array([i.data for i in items], pa.binary()),
        ]
        self._sink.write(pa.RecordBatch.from_arrays(columns, schema=empty(QUARANTINE_SCHEMA).schema))
        self._batches += 1
        self._sink.commit(self._batches, self._sink.prepare(self._batches))

    def close(self) -> None:
        """Close the topic."""
        if self._sink is not None:
            self._sink.close()

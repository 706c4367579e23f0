"""Quarantine: what cannot be processed is kept with its bytes, its position and the reason."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa

from eventide import registry
from eventide.errors import LogLockedError
from eventide.model.protocols import BadInput
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


_PATIENCE_SECONDS = 10.0


class Quarantine:
    """The topic ``quarantine`` of a log, made when the first input must go there.

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
        self.rows = 0

    def put(self, operator: str, items: list[BadInput]) -> None:
        """Keep input that an operator (or a source) could not take."""
        if not items:
            return
        self.rows += len(items)
        now = time.time_ns()
        columns = [
            pa.array([now] * len(items), EVENT_TIME),
            pa.array([self._pipeline] * len(items)),
            pa.array([operator] * len(items)),
            pa.array([i.position for i in items]),
            pa.array([i.reason for i in items]),
            pa.array([i.data for i in items], pa.binary()),
        ]
        self._append(pa.RecordBatch.from_arrays(columns, schema=QUARANTINE_SCHEMA))

    def _append(self, batch: pa.RecordBatch) -> None:
        """Append one batch and let the topic go again: a partition has one writer, and other pipelines need it too."""
        options: dict[str, object] = {"visible": "at once", "name": f"quarantine of {self._pipeline}"}
        if self._root is not None:
            options["log"] = str(self._root)
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            sink = registry.open_sink("log://quarantine", options)
            try:
                sink.open(QUARANTINE_SCHEMA, None)
                sink.write(batch)
                sink.prepare(0)
                return
            except LogLockedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            finally:
                sink.close()

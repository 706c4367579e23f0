"""The process that `recovery` kills and starts again.

Large windows of many keys are its state; small ones have results soon after a start.

    python -m benchmarks.ours.restored LOG CHECKPOINTS SECONDS

Writes ``ready`` to standard output when everything that was there has been read and is in a checkpoint, and ``out``
with the first result of the small windows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import eventide as ev
from eventide.model.time import MIN_TIME

if TYPE_CHECKING:
    import pyarrow as pa

    from eventide.engines.local.result import Progress


class Telling:
    """A sink that tells of its first rows."""

    delivery = "at_least_once"

    def __init__(self, line: bytes) -> None:
        self._line = line

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Begin."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Say that there are rows, once."""
        os.write(1, self._line)
        self._line = b""

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Nothing to make durable."""
        return {}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Nothing to make visible."""

    def close(self) -> None:
        """Nothing to close."""


def main(log: str, checkpoints: str, seconds: str) -> None:
    """Run until killed."""
    events = ev.read("log://events", log=log, follow=True).event_time("ts", lateness="2s")
    large = events.key_by("key").window(ev.tumbling(f"{seconds}s"))
    small = events.window(ev.tumbling("1s")).aggregate(n=ev.count())
    whole = large.aggregate(n=ev.count(), mean=ev.mean("value"), std=ev.std("value"))

    def on_progress(progress: Progress) -> None:
        if progress.backlog == 0 and progress.watermark > MIN_TIME:
            os.write(1, b"ready\n")

    parts = (whole.write(Telling(b"large\n")), small.write(Telling(b"out\n")))
    ev.run(*parts, checkpoint=checkpoints, checkpoint_interval="1s", on_progress=on_progress)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A program with a pipeline on Spark that tests kill: ``python spark_victim.py FOLDER OPTIONS [PLACE]``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import eventide as ev
from eventide.engines._dataflow import outlet
from eventide.formats import arrow
from eventide.model.pipeline import Pipeline, pipeline
from eventide.model.time import EVENT_TIME

ROWS = 36_000
AFTER = 3
_MS = 1_000_000


def write_events(folder: Path, *, seed: int) -> None:
    """Write the input: events of 60 s, up to 3 s out of order, some of them late."""
    source = np.random.default_rng(seed)
    times = np.sort(source.integers(0, 60_000, ROWS)) - source.integers(0, 3_000, ROWS)
    batch = pa.record_batch(
        {
            "time": pa.array(times * _MS, EVENT_TIME),
            "key": source.integers(0, 40, ROWS),
            "value": source.normal(0, 1, ROWS) * 10.0 ** source.integers(-9, 9, ROWS),
        }
    )
    (folder / "in.arrow").write_bytes(arrow.encode(batch))


def flow(folder: Path, out: Path) -> Pipeline:
    """Return windows and sessions, to two sinks of which one shows every micro-batch."""
    events = ev.read(f"file://{folder}/in.arrow").event_time("time", lateness="2s").key_by("key")
    counts = events.window(ev.tumbling("500ms")).aggregate(n=ev.count(), total=ev.sum("value"), m=ev.mean("value"))
    sessions = events.window(ev.session("60ms")).aggregate(n=ev.count(), last=ev.last("value"))
    return pipeline(
        counts.write("log://counts", log=str(out / "log"), partitions=1, name="counts"),
        sessions.write(f"file://{out}/sessions.arrow", name="sessions"),
        name="victim",
    )


def die_at(place: str) -> None:
    """Let this process kill itself at a place, when a few epochs are behind it."""
    epochs = 0

    def instead(own: Callable[..., Any], *, before: bool = False) -> Callable[..., Any]:
        def called(*args: Any, **more: Any) -> Any:
            nonlocal epochs
            epochs += 1
            if before and epochs > AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            value = own(*args, **more)
            if epochs > AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        return called

    if place == "prepared":  # all sinks have prepared, nothing is noted
        outlet.write_file = instead(outlet.write_file, before=True)
    elif place == "noted":  # it is noted, no sink has committed
        outlet.sync_folder = instead(outlet.sync_folder)
    elif place == "committed":  # all is committed, and Spark does not know it
        outlet.Outlet.commit = instead(outlet.Outlet.commit)


def main() -> None:
    """Run it."""
    die_at(sys.argv[3] if len(sys.argv) > 3 else "")
    run(flow(Path(sys.argv[1]), Path(sys.argv[1])))


def run(pipeline: Pipeline) -> None:
    """Run a pipeline as the command line says, and tell of the result."""
    options = json.loads(sys.argv[2])
    result = ev.run(pipeline, engine="spark", checkpoint=str(Path(sys.argv[1]) / "checkpoints"), **options)
    print(json.dumps({"balanced": result.ledger_balanced, "stopped": result.stopped, "late": result.late}))


if __name__ == "__main__":
    main()

"""Bytewax: Python per event, one worker, events ready in memory as Python objects before the clock starts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
import pyarrow as pa
from benchmarks import data
from benchmarks.worker import Job, Prepared, Result, Run, main, timed
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing
from bytewax.testing import TestingSink, TestingSource, run_main

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCH = datetime.fromtimestamp(data.EPOCH_MS / 1000, tz=UTC)
Event = tuple[str, tuple[datetime, float]]
State = tuple[int, float, float]


def events(rows: int, *, keys: int) -> list[Event]:
    """The first `rows` rows as (key, (time, value))."""
    time_ms, key, value = (column.tolist() for column in data.columns(0, rows, keys=keys))
    names = [str(number) for number in range(keys)]
    stamps = (EPOCH + timedelta(milliseconds=at - data.EPOCH_MS) for at in time_ms)
    return [(names[k], (at, v)) for k, at, v in zip(key, stamps, value, strict=True)]


def fold(state: State, event: tuple[datetime, float]) -> State:
    """Welford's update of (count, mean, sum of squared deviations)."""
    n, mean, squares = state
    value = event[1]
    delta = value - mean
    n += 1
    mean += delta / n
    return n, mean, squares + delta * (value - mean)


def merge(left: State, right: State) -> State:
    """Merge of two states (Chan et al.); never called for windows of fixed bounds."""
    n = left[0] + right[0]
    if n == 0:
        return left
    delta = right[1] - left[1]
    mean = left[1] + delta * right[0] / n
    return n, mean, left[2] + right[2] + delta * delta * left[0] * right[0] / n


def flow(job: Job, source: Sequence[Event], sink: list[Any]) -> Dataflow:
    """The dataflow of a job."""
    graph = Dataflow(job.name)
    stream = op.input("events", graph, TestingSource(source, batch_size=1_000))
    if job.name == "w1":
        kept = op.filter("filter", stream, lambda event: event[1][1] > 0.5)
        shown = op.map("project", kept, lambda event: (event[0], (event[1][0], event[1][1] * 1.8 + 32.0)))
        op.output("results", shown, TestingSink(sink))
        return graph
    # system time stands still: otherwise it moves the watermark on and events become late
    clock = windowing.EventClock(itemgetter(0), wait_for_system_duration=timedelta(seconds=2), now_getter=lambda: EPOCH)
    length, offset = timedelta(seconds=10), timedelta(seconds=2)
    windower = (
        windowing.TumblingWindower(length=length, align_to=EPOCH)
        if job.name == "w2"
        else windowing.SlidingWindower(length=length, offset=offset, align_to=EPOCH)
    )
    windows = windowing.fold_window("windows", stream, clock, windower, lambda: (0, 0.0, 0.0), fold, merge)
    op.output("results", windows.down, TestingSink(sink))
    return graph


def prepare(job: Job) -> Prepared:
    """Make the events."""
    whole = events(job.long_rows, keys=job.keys)

    def run(rows: int) -> Run:
        source, sink = whole[:rows], []

        def once() -> tuple[int, None]:
            run_main(flow(job, source, sink))
            return len(sink), None

        return timed(once)

    return run


def result(job: Job) -> Result:
    """The whole result."""
    sink: list[Any] = []
    run_main(flow(job, events(job.rows, keys=job.keys), sink))
    keys = [int(key) for key, _ in sink]
    if job.name == "w1":
        moments, values = zip(*(event for _, event in sink), strict=True)
        times = pa.array(moments, pa.timestamp("ms", tz="UTC"))
        return Result(pa.table({"ts": times, "key": keys, "value": values}))
    step = 10_000 if job.name == "w2" else 2_000
    states = [state for _, (_, state) in sink]
    return Result(
        pa.table(
            {
                "window_start": [data.EPOCH_MS + number * step for _, (number, _) in sink],
                "key": keys,
                "n": [n for n, _, _ in states],
                "mean": [mean for _, mean, _ in states],
                "std": [math.sqrt(squares / (n - 1)) if n > 1 else None for n, _, squares in states],
            }
        )
    )


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"bytewax": version("bytewax")}, jobs=("w1", "w2", "w3"))

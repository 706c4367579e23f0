"""What the order tests share: inputs as Hypothesis makes them, ways to deliver them, and DuckDB as the truth."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.engines.local import run
from eventide.model.time import EVENT_TIME
from eventide.testing.strategies import SECOND, Schedule, schedules

CASES = {"fast": 15, "ci": 150, "fuzz": 1250}[os.environ.get("EVENTIDE_HYPOTHESIS", "fast")]
"""Inputs tried by each of the eight order tests: 1,200 in continuous integration, 10,000 in `make fuzz`."""

LATENESS = 20
"""Seconds of disorder that every case stays within."""


@st.composite
def events(draw: st.DrawFn, *, rows: int = 40, distinct: bool = False) -> pa.Table:
    """Draw events in event-time order: seconds, two key columns' worth of keys, values with ties and duplicates."""
    size = draw(st.integers(1, rows))
    seconds = sorted(draw(st.lists(st.integers(-30, 90), min_size=size, max_size=size, unique=distinct)))
    keys = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=size, max_size=size))
    number = st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6, allow_nan=False, width=32))
    values = draw(st.lists(number, min_size=size, max_size=size))
    counts = draw(st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=size, max_size=size))
    return pa.table(
        {
            "time": pa.array(np.array(seconds, np.int64) * SECOND, EVENT_TIME),
            "key": pa.array(keys, pa.string()),
            "value": pa.array(values, pa.float64()),
            "count": pa.array(counts, pa.int64()),
        }
    )


def deliveries(table: pa.Table) -> st.SearchStrategy[Schedule]:
    """Return deliveries within the lateness: every event is held back by up to `LATENESS` seconds of event time."""
    return schedules(table["time"].cast(pa.int64()).to_pylist(), lateness=LATENESS * SECOND)


def delivered(tables: Iterable[pa.Table], delivery: Iterable[Schedule], build: Callable[..., ev.Stream]) -> pa.Table:
    """Run a pipeline over the delivered tables, stopping and resuming where the delivery says, and return its output."""
    plans = list(delivery)
    stop = threading.Event()
    seen = [0]
    goals: list[int] = []

    def watch(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen[0] += batch.num_rows
        if goals and seen[0] >= goals[0]:
            stop.set()
        return batch

    streams = [
        ev.read(MemorySource(plan.batches(table), partitions=plan.partitions))
        .map_batches(watch)
        .event_time("time", lateness=f"{LATENESS * 2}s")
        .key_by("key")
        for table, plan in zip(tables, plans, strict=True)
    ]
    sink = MemorySink()
    flow = build(*streams).write(sink)
    with tempfile.TemporaryDirectory() as folder:
        for turn, goal in enumerate([*plans[0].stops, 0]):
            stop.clear()
            seen[0] = 0
            goals[:] = [goal] if goal else []
            lanes = plans[0].lanes[turn % len(plans[0].lanes)]
            result = run(flow, stop=stop, checkpoint=folder, batch_rows=4, lanes=lanes, checkpoint_interval="1h")
            if not result.stopped:
                break
    assert result.late == 0
    return sink.table()


def truth(query: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    """Return DuckDB's answer; every table has `t`, its event time in ns, beside its columns."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            view = table.append_column("t", table["time"].cast(pa.int64())).drop_columns(["time"])
            connection.register(name, view)
        return connection.execute(query).fetchall()


def rows(table: pa.Table, columns: list[str]) -> list[tuple[Any, ...]]:
    """Return the rows of some columns, times as ns."""
    out = []
    for name in columns:
        column = table[name]
        out.append((column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())
    return list(zip(*out, strict=True))


def same(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> None:
    """Assert that two results hold the same rows: floats to 1e-9 relative, everything else exactly."""
    assert len(ours) == len(theirs), (ours, theirs)

    def order(row: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(f"{v:+.5e}" if isinstance(v, float) else repr(v) for v in row)

    for a, b in zip(sorted(ours, key=order), sorted(theirs, key=order), strict=True):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert equal(x, y), (a, b)


def equal(x: Any, y: Any) -> bool:
    if isinstance(x, float) and isinstance(y, float | int):
        return (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-6)
    if isinstance(x, list) and isinstance(y, list):
        return len(x) == len(y) and all(equal(a, b) for a, b in zip(x, y, strict=True))
    return bool(x == y)

"""The embedded engine without state: sources, chains, sinks, time, quarantine, stop and resume."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.engines.local.lanes import shares
from eventide.errors import CheckpointError, ConfigError, EventideError, RunError, SchemaError
from eventide.model.time import EVENT_TIME


def table(rows: int = 10) -> pa.Table:
    return pa.table(
        {
            "time": pa.array(np.arange(rows) * 10**9, EVENT_TIME),
            "value": np.arange(float(rows)),
            "name": [f"n{i % 3}" for i in range(rows)],
        }
    )


def test_filter_and_projection_keep_order_and_types() -> None:
    stream = (
        ev.from_table(table())
        .event_time("time", lateness="3s")
        .filter(pl.col("value") >= 3)
        .with_columns(double=pl.col("value") * 2, one=pl.lit(1, pl.Int64))
        .select("time", "name", "double", "one")
    )
    out = ev.fetch(stream)
    assert out.schema.names == ["time", "name", "double", "one"]
    assert out.schema.field("name").type == pa.string()
    assert out["double"].to_pylist() == [2.0 * i for i in range(3, 10)]
    assert out["one"].to_pylist() == [1] * 7


@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_batch_cuts_do_not_matter(cuts: list[int]) -> None:
    whole = table(20).combine_chunks().to_batches()[0]
    batches, start = [], 0
    for size in cuts * 20:
        if start >= 20:
            break
        batches.append(whole.slice(start, size))
        start += size
    stream = ev.from_table(batches).filter(pl.col("value") % 2 == 0).map_batches(lambda b: b.select(["value"]))
    assert ev.fetch(stream)["value"].to_pylist() == [float(i) for i in range(0, 20, 2)]


def test_fan_out_and_union() -> None:
    source = ev.from_table(table()).event_time("time")
    low, high = source.filter(pl.col("value") < 3), source.filter(pl.col("value") >= 8)
    both = ev.fetch(low.union(high))
    assert sorted(both["value"].to_pylist()) == [0, 1, 2, 8, 9]
    first, second = MemorySink(), MemorySink()
    result = ev.run(low.write(first), high.write(second))
    assert (first.table().num_rows, second.table().num_rows) == (3, 2)
    assert result.rows_in == 10
    assert result.rows_out == 5


def test_text_dates_and_microseconds_become_event_time() -> None:
    for column in (
        pa.array(["1970-01-01T00:00:01", "1970-01-01 00:00:02.5"]),
        pa.array([1_000_000, 2_500_000], pa.timestamp("us")),
    ):
        out = ev.fetch(ev.from_table({"t": column}).event_time("t"))
        assert out.schema.field("t").type == EVENT_TIME
        assert out["t"].cast(pa.int64()).to_pylist() == [10**9, 2_500_000_000]


def test_events_without_time_go_to_quarantine(tmp_path: Path) -> None:
    stream = ev.from_table({"t": ["1970-01-01T00:00:01", "yesterday", None], "v": [1, 2, 3]}).event_time("t")
    sink = MemorySink()
    result = ev.run(stream.write(sink), quarantine=tmp_path)
    assert sink.table()["v"].to_pylist() == [1]
    assert result.quarantined == 2
    kept = ev.fetch(ev.read("log://quarantine", log=str(tmp_path), follow=False))
    assert [b"2" in d for d in kept["data"].to_pylist()] == [True, False]
    assert "no event time" in kept["reason"].to_pylist()[0]


def test_a_stray_future_time_goes_to_quarantine_and_moves_no_watermark(tmp_path: Path) -> None:
    times = pa.array([0, 10**9, 10**18, 2 * 10**9], EVENT_TIME)
    stream = ev.from_table({"t": times, "v": [0, 1, 2, 3]}).event_time("t", max_jump="1h")
    sink = MemorySink()
    result = ev.run(stream.write(sink), quarantine=tmp_path)
    assert sink.table()["v"].to_pylist() == [0, 1, 3]
    assert result.quarantined == 1
    assert result.late == 0


def test_times_at_the_ends_of_int64_go_to_quarantine(tmp_path: Path) -> None:
    times = pa.array([-(2**63) + 2, 0, 10**9, 2**63 - 2], EVENT_TIME)
    stream = ev.from_table({"t": times, "v": [0, 1, 2, 3]}).event_time("t", lateness="1m")
    sink = MemorySink()
    result = ev.run(stream.window(ev.tumbling("10s")).aggregate(n=ev.count()).write(sink), quarantine=tmp_path)
    assert sink.table()["n"].to_pylist() == [2]
    assert result.quarantined == 2


def test_a_failing_function_says_where_and_keeps_the_cause() -> None:
    def divide(batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.num_rows:
            msg = "no"
            raise ZeroDivisionError(msg)
        return batch

    with pytest.raises(
        RunError, match=r"mapbatches-1 \(test_stateless.py:\d+\) failed: ZeroDivisionError: no"
    ) as caught:
        ev.fetch(ev.from_table(table()).map_batches(divide))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_expression_over_the_whole_batch_is_refused() -> None:
    with pytest.raises(SchemaError, match="takes all rows of a batch together"):
        ev.fetch(ev.from_table(table()).with_columns(total=pl.col("value").sum()))


def test_stop_finishes_cleanly_and_resume_goes_on(tmp_path: Path) -> None:
    batches = table(100).to_batches(max_chunksize=10)
    stop = threading.Event()
    seen: list[int] = []

    def count(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen.append(batch.num_rows)
        if sum(seen) >= 30:
            stop.set()
        return batch

    sink = MemorySink()
    source = MemorySource(batches)
    flow = ev.read(source).map_batches(count).write(sink)
    from eventide.engines.local import run

    first = run(flow, stop=stop, batch_rows=10, checkpoint=tmp_path)
    assert first.stopped
    done = sink.table().num_rows
    assert 0 < done < 100
    stop.clear()
    seen.append(-10_000)
    second = run(flow, checkpoint=tmp_path, batch_rows=10)
    assert not second.stopped
    assert second.resumed_from == first.checkpoint
    assert sink.table()["value"].to_pylist() == [float(i) for i in range(100)]


def test_a_checkpoint_of_another_graph_is_refused(tmp_path: Path) -> None:
    ev.run(ev.from_table(table()).write(MemorySink()), checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="of another graph"):
        ev.run(ev.from_table(table()).filter(pl.col("value") > 1).write(MemorySink()), checkpoint=tmp_path)
    ev.run(ev.from_table(table()).filter(pl.col("value") > 1).write(MemorySink()), checkpoint=tmp_path, resume=False)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lanes'"):
        ev.fetch(ev.from_table(table()), lane=2)
    with pytest.raises(ConfigError, match="lanes=-1"):
        ev.fetch(ev.from_table(table()), lanes=-1)
    with pytest.raises(EventideError, match="checkpoint_interval"):
        ev.fetch(ev.from_table(table()), checkpoint_interval="soon")


@given(st.integers(1, 300))
def test_lanes_share_all_groups(lanes: int) -> None:
    ranges = shares(lanes)
    assert [g for r in ranges for g in r] == list(range(256))
    assert all(len(r) for r in ranges)

"""Small chunks made one: nothing is lost, moved or told twice, and results are those of the chunks as they came."""

from __future__ import annotations

import itertools
import threading
import time
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.engines.local import joining, run, split
from eventide.engines.local.joining import joined
from eventide.model.protocols import BadInput, Chunk
from eventide.model.row_wise import RowWise
from eventide.model.time import EVENT_TIME, MIN_TIME

SECOND = 10**9


@pytest.fixture(autouse=True)
def _joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_ROWS", 50)


def chunk(number: int, partition: str, rows: int, *, clock: int, heartbeat: int, text: bool, bad: int) -> Chunk:
    values = pa.array([f"{number}/{n}" for n in range(rows)], pa.string() if text else pa.large_string())
    refused = tuple(BadInput(b"?", "", f"{number}/{n}") for n in range(bad))
    return Chunk(partition, pa.record_batch({"a": values}), {"at": number}, refused, clock, heartbeat)


CHUNKS = st.lists(
    st.builds(
        dict,
        partition=st.sampled_from("ab"),
        rows=st.integers(0, 40),
        clock=st.sampled_from([MIN_TIME, 5, 6]),
        heartbeat=st.sampled_from([MIN_TIME, MIN_TIME, 7]),
        text=st.booleans(),
        bad=st.integers(0, 2),
    ),
    max_size=12,
)


@given(made=CHUNKS, max_rows=st.integers(1, 60))
def test_everything_is_there_in_order_and_at_its_time(made: list[dict], max_rows: int) -> None:
    given_ = [chunk(n, **one) for n, one in enumerate(made)]
    found = joined(given_, max_rows=max_rows)

    def told(chunks: list[Chunk]) -> list[tuple]:
        return [
            (c.partition, c.clock, str(c.batch.schema.field(0).type), value)
            for c in chunks
            for value in c.batch["a"].to_pylist()
        ]

    assert told(found) == told(given_)
    assert [b.reason for c in found for b in c.bad] == [b.reason for c in given_ for b in c.bad]
    assert [c.heartbeat for c in found if c.heartbeat > MIN_TIME] == [c.heartbeat for c in given_ if c.heartbeat > 0]
    for partition in "ab":
        ends = [[c.position for c in chunks if c.partition == partition][-1:] for chunks in (found, given_)]
        assert ends[0] == ends[1]
    known = {id(c) for c in given_}
    for one in found:
        assert id(one) in known or one.batch.num_rows <= min(max_rows, 50)
    # A heartbeat is told after the rows that it came with, and before those that came later.
    for one in found:
        inside = [int(v.split("/")[0]) for v in one.batch["a"].to_pylist()]
        assert all(made[n]["heartbeat"] == MIN_TIME for n, _ in list(groupby(inside))[:-1])


def test_small_neighbours_are_one() -> None:
    made = [Chunk("p", pa.record_batch({"a": [n]}), n) for n in range(120)]
    assert [(c.batch.num_rows, c.position) for c in joined(made, max_rows=1000)] == [(50, 49), (50, 99), (20, 119)]
    assert joined([], max_rows=5) == []


def test_many_bytes_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_BYTES", 100)
    made = [Chunk("p", pa.record_batch({"a": pa.array([n] * 10, pa.int64())}), n) for n in range(3)]
    assert joined(made, max_rows=1000) == made


def pipeline(table: pa.Table, size: int, seen: list[int], *, slow: float) -> tuple[ev.Stream, MemorySink, MemorySink]:
    def look(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        if batch.num_rows:
            seen.append(batch.num_rows)
            time.sleep(slow)
        return batch, None

    source = MemorySource(table.to_batches(max_chunksize=size))
    timed = ev.read(source).event_time("time", lateness="3s").map_batches(RowWise(look), name="look")
    counted = timed.window(ev.tumbling("5s")).aggregate(n=ev.count(), total=ev.sum("x"))
    return counted, MemorySink(), MemorySink()


@given(rows=st.integers(1, 200), size=st.integers(1, 60), batch=st.integers(1, 60), seed=st.integers(0, 99))
def test_results_are_those_of_the_chunks_as_they_came(rows: int, size: int, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(rows) * SECOND // 4 - rng.integers(0, 12 * SECOND, rows) * (rng.random(rows) < 0.2)
    table = pa.table({"time": pa.array(times, EVENT_TIME), "x": rng.integers(0, 100, rows)})
    out = []
    for most in (0, 50):
        before, joining._ROWS = joining._ROWS, most
        counted, main, late = pipeline(table, size, seen := [], slow=0)
        found = ev.run(counted.write(main), counted.side("late").write(late), batch_rows=batch)
        joining._ROWS = before
        assert max(seen) <= batch
        assert found.rows_in == rows
        order = [("time", "ascending"), ("x", "ascending")]
        out.append((main.table().sort_by("window_start"), late.table().sort_by(order)))
    assert out[0][0].equals(out[1][0])
    assert out[0][1].equals(out[1][1])


def test_what_waits_is_done_at_once() -> None:
    """A pipeline that is slow for each batch is not slow for each of many small ones."""
    table = pa.table({"time": pa.array(np.arange(400) * SECOND, EVENT_TIME), "x": np.arange(400)})
    counted, main, _ = pipeline(table, 2, seen := [], slow=0.001)
    ev.run(counted.write(main), batch_rows=10)  # ten a read: the rest waits in the queue
    assert sum(seen) == 400
    assert set(seen) == {10}
    counted, main, _ = pipeline(table, 2, seen := [], slow=0.001)
    ev.run(counted.write(main))
    assert seen == [50] * 8


def test_large_items_are_taken_one_by_one() -> None:
    """A checkpoint, or a stop, need not wait for all that waits."""
    table = pa.table({"time": pa.array(np.arange(400) * SECOND, EVENT_TIME), "x": np.arange(400)})
    stop, seen = threading.Event(), []

    def look(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        if batch.num_rows:
            seen.append(batch.num_rows)
            time.sleep(0.2)  # the next ones wait meanwhile
            stop.set()
        return batch, None

    stream = ev.read(MemorySource(table.to_batches(max_chunksize=40))).map_batches(RowWise(look), name="look")
    run(ev.pipeline(stream.write(MemorySink())), batch_rows=40, stop=stop)
    assert seen == [40]


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), lanes=st.integers(1, 3))
def test_what_has_been_begun_is_of_the_batch_whose_turn_it_is(sizes: list[int], lanes: int) -> None:
    def doubled(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        return batch.set_column(0, "x", pc.multiply(batch["x"], 2)), None

    ends = np.cumsum([0, *sizes])
    batches = [pa.record_batch({"x": np.arange(a, b)}) for a, b in itertools.pairwise(ends.tolist())]
    rows, split._ROWS = split._ROWS, 10
    try:
        for most in (7, 25, 1000):
            stream = ev.read(MemorySource(batches)).map_batches(RowWise(doubled, in_parts=True))
            found = ev.fetch(stream, lanes=lanes, batch_rows=most)
            assert found["x"].to_pylist() == (2 * np.arange(ends[-1])).tolist()
    finally:
        split._ROWS = rows

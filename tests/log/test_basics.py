"""Append and read: offsets, positions, starts, following, several partitions, schema."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from eventide.errors import ConfigError, LogError, LogLockedError, SchemaError, UnknownNameError, UsageError
from eventide.log import Log, Retention
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema([("t", EVENT_TIME), ("x", pa.int64()), ("s", pa.string())])


def batch(first: int, rows: int, *, step: int = 1000) -> pa.RecordBatch:
    x = np.arange(first, first + rows)
    return pa.record_batch([pa.array(x * step, EVENT_TIME), pa.array(x), pa.array([f"v{i}" for i in x])], schema=SCHEMA)


def values(frames: list) -> list[int]:
    return [v for f in frames for v in f.batch.column("x").to_pylist()]


@pytest.fixture(params=["each", "group", "os"])
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Log:
    with Log(tmp_path / "log", fsync=request.param) as opened:
        opened.create_topic("a", SCHEMA, event_time="t", segment_bytes=20_000)
        yield opened


def test_offsets_count_rows_and_reading_returns_what_was_written(log: Log) -> None:
    assert [log.append("a", batch(i * 10, 10))[0] for i in range(300)] == list(range(0, 3000, 10))
    log.flush()
    frames = log.reader("a").read()
    assert values(frames) == list(range(3000))
    assert [f.base_offset for f in frames] == list(range(0, 3000, 10))
    assert frames[3].min_event_time == 30_000
    assert frames[3].max_event_time == 39_000
    assert frames[3].append_time > 0
    assert frames[3].batch.schema.equals(SCHEMA)
    assert log.describe("a")[0].segments > 5
    assert log.verify().rows == 3000
    assert log.verify().ok


def test_bodies_are_aligned_and_are_not_copied(log: Log) -> None:
    for i in range(20):
        log.append("a", batch(i, 1 + i))
    log.flush()
    frames = log.reader("a").read()
    for frame in frames:
        assert frame.batch.column(0).buffers()[1].address % 64 == 0
        assert not frame.batch.column(0).buffers()[1].is_mutable
    same_segment = frames[1].batch.column(0).buffers()[1].address - frames[0].batch.column(0).buffers()[1].address
    assert 0 < same_segment < 20_000


def test_a_position_may_lie_inside_a_frame(log: Log) -> None:
    for i in range(100):
        log.append("a", batch(i * 100, 100))
    log.flush()
    for start in (0, 1, 99, 100, 101, 5555, 9999, 10_000):
        reader = log.reader("a", start={0: start})
        assert values(reader.read()) == list(range(start, 10_000))
        assert reader.positions == {0: 10_000}
    reader = log.reader("a")
    got = []
    while frames := reader.read(70):
        assert sum(f.batch.num_rows for f in frames) <= 70
        assert [f.base_offset for f in frames] == [values([f])[0] for f in frames]
        got += values(frames)
    assert got == list(range(10_000))
    reader.seek({0: 42})
    assert reader.backlog() == {0: 9958}
    assert values(reader.read(3)) == [42, 43, 44]


def test_latest_and_later_appends(log: Log) -> None:
    log.append("a", batch(0, 10))
    log.flush()
    reader = log.reader("a", start="latest")
    assert reader.read() == []
    log.append("a", batch(10, 10))
    log.flush()
    assert values(reader.read()) == list(range(10, 20))
    assert reader.read(timeout=0.01) == []


def test_following_wakes_up(log: Log) -> None:
    reader = log.reader("a")
    thread = threading.Thread(target=lambda: (time.sleep(0.05), log.append("a", batch(0, 3)), log.flush()))
    thread.start()
    assert values(reader.read(timeout=10)) == [0, 1, 2]
    thread.join()
    assert reader.read(timeout=None) if reader.backlog()[0] else True


@pytest.mark.parametrize("start", [500_000, datetime(1970, 1, 1, 0, 0, 0, 500, UTC), "1970-01-01T00:00:00.000500Z"])
def test_replay_from_an_event_time(log: Log, start: object) -> None:
    for i in range(200):
        log.append("a", batch(i * 10, 10))
    log.flush()
    got = values(log.reader("a", start=start).read())
    assert got == list(range(500, 2000))
    assert log.reader("a", start=10**9).read() == []


def test_event_time_search_in_disorder(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("a", SCHEMA, event_time="t", segment_bytes=6_000)
        times = np.arange(400) * 10 + rng.integers(0, 500, 400)
        for i, t in enumerate(times):
            log.append(
                "a", pa.record_batch([pa.array([int(t)], EVENT_TIME), pa.array([i]), pa.array(["x"])], schema=SCHEMA)
            )
        for wanted in range(0, 4600, 37):
            reader = log.reader("a", start=wanted)
            first = int(np.argmax(times >= wanted)) if (times >= wanted).any() else 400
            assert reader.positions == {0: first}


def test_keys_split_over_partitions(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("k", SCHEMA, event_time="t", partitions=4)
        rows = batch(0, 1000)
        offsets = log.append("k", rows, key="s")
        assert sorted(offsets) == [0, 1, 2, 3]
        assert log.append("k", rows, key="s") == {p: part.latest // 2 for p, part in enumerate(log.describe("k"))}
        reader = log.reader("k")
        frames = reader.read(100)
        assert {f.partition for f in frames} == {0, 1, 2, 3}
        frames += reader.read()
        assert sorted(values(frames)) == sorted([*range(1000), *range(1000)])
        seen = {v: f.partition for f in frames for v in f.batch.column("s").to_pylist()}
        assert all(seen[v] == f.partition for f in frames for v in f.batch.column("s").to_pylist())
        assert {f.partition for f in log.reader("k", [1, 3]).read()} == {1, 3}


def test_topics_are_remembered(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        made = log.create_topic("a", SCHEMA, event_time="t", partitions=3, retention=Retention(max_bytes=5))
        log.append("a", batch(0, 5), partition=2)
    with Log(tmp_path, create=False) as log:
        assert log.topics() == [made]
        assert log.topic("a").retention.max_bytes == 5
        assert log.create_topic("a", SCHEMA, event_time="t", partitions=3, exist_ok=True) == made
        with pytest.raises(UsageError, match="another schema"):
            log.create_topic("a", SCHEMA, event_time="t", exist_ok=True)
        with pytest.raises(UsageError, match="exists; "):
            log.create_topic("a", SCHEMA, event_time="t", partitions=3)
        with pytest.raises(UnknownNameError, match="did you mean"):
            log.append("aa", batch(0, 1))
        assert [p.latest for p in log.describe("a")] == [0, 0, 5]
        assert log.append("a", batch(5, 1), partition=2) == {2: 5}


def test_delete_topic(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.append("a", batch(0, 5))
        log.commit_offsets("g", {"a": {0: 5}})
        reader = log.reader("a")
        frames = reader.read()
        log.delete_topic("a")
        assert log.topics() == []
        assert log.offsets("g") == {}
        assert values(frames) == [0, 1, 2, 3, 4]
        assert not (tmp_path / "a").exists()
        log.create_topic("a", SCHEMA, event_time="t")
        assert log.append("a", batch(7, 1)) == {0: 0}


def test_consumer_offsets(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.commit_offsets("g", {"a": {0: 5, 1: 6}, "b": {0: 1}})
        log.commit_offsets("g", {"a": {1: 60}})
    with Log(tmp_path) as log:
        assert log.offsets("g") == {"a": {0: 5, 1: 60}, "b": {0: 1}}
        assert log.offsets("h") == {}


def test_schema_is_checked(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("t", EVENT_TIME, nullable=False), ("x", pa.int64()), ("s", pa.string())])
    with Log(tmp_path) as log:
        log.create_topic("a", schema, event_time="t")
        log.append("a", batch(0, 5))
        log.append("a", batch(5, 5).select(["s", "x", "t"]))
        log.append("a", batch(10, 5).set_column(2, "s", batch(10, 5).column("s").dictionary_encode()))
        assert values(log.reader("a").read()) == list(range(15))
        with pytest.raises(SchemaError, match=r"'x' \(int64\) is missing"):
            log.append("a", batch(0, 5).drop_columns(["x"]))
        with pytest.raises(SchemaError, match="no column 'y'"):
            log.append("a", batch(0, 5).append_column("y", pa.array([1] * 5)))
        with pytest.raises(SchemaError, match="'x' is double in the batch, int64 in the topic"):
            log.append("a", batch(0, 1).set_column(1, "x", pa.array([0.5])))
        with pytest.raises(SchemaError, match="'t' holds 1 nulls"):
            log.append("a", batch(0, 1).set_column(0, "t", pa.array([None], EVENT_TIME)))
        with pytest.raises(SchemaError, match="no event-time column 'time'"):
            log.create_topic("b", schema, event_time="time")
        with pytest.raises(SchemaError, match="is int64, not timestamp"):
            log.create_topic("b", schema, event_time="x")
        with pytest.raises(SchemaError, match="dictionary inside"):
            log.create_topic("b", pa.schema([("d", pa.list_(pa.dictionary(pa.int8(), pa.string())))]))


def test_nulls_sliced_batches_and_no_rows(tmp_path: Path) -> None:
    schema = pa.schema([("t", EVENT_TIME), ("v", pa.list_(pa.float32()))])
    with Log(tmp_path) as log:
        log.create_topic("a", schema, event_time="t")
        lists = pa.array([[1], None, [], [2, 3]], pa.list_(pa.float32()))
        rows = pa.record_batch([pa.array([5, None, 3, 9], EVENT_TIME), lists], schema=schema)
        log.append("a", rows)
        assert log.append("a", rows.slice(0, 0)) == {0: 4}
        log.append("a", rows.slice(2, 2))
        log.append("a", rows.slice(1, 1))
        first, second, third = log.reader("a").read()
        assert first.batch.equals(rows)
        assert (first.min_event_time, first.max_event_time) == (3, 9)
        assert second.batch.equals(rows.slice(2, 2))
        assert third.batch.equals(rows.slice(1, 1))
        assert (third.min_event_time, third.max_event_time) == (None, None)


def test_idempotent_producer(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("a", SCHEMA, segment_bytes=5_000)
        writer = log.writer("a", producer="p")
        for i in range(300):
            assert writer.append(batch(i, 1), sequence=i * 2) == i
        assert writer.append(batch(0, 1), sequence=598) == 299
        assert writer.append(batch(0, 1), sequence=4) == 2  # long ago: looked up in the segments
        assert log.writer("a", producer="q").append(batch(300, 1), sequence=4) == 300
        with pytest.raises(LogError, match="sequence 3 is older"):
            writer.append(batch(0, 1), sequence=3)
        with pytest.raises(UsageError, match="needs a sequence"):
            writer.append(batch(0, 1))
    with Log(tmp_path) as log:
        writer = log.writer("a", producer="p")
        assert writer.append(batch(0, 1), sequence=598) == 299
        assert writer.append(batch(0, 1), sequence=500) == 250
        assert writer.append(batch(301, 1), sequence=600) == 301
        assert values(log.reader("a").read()) == list(range(302))


def test_group_policy_shows_only_what_is_durable(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="group") as log:
        log.create_topic("a", SCHEMA)
        writer = log.writer("a")
        reader = log.reader("a")
        offset = writer.append(batch(0, 10))
        assert values(reader.read(timeout=5)) == list(range(10))
        assert writer.durable_end == 10
        writer.append(batch(10, 10))
        writer.wait(offset + 20)
        assert writer.durable_end == 20
        assert reader.backlog() == {0: 10}


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no log"):
        Log(tmp_path / "no", create=False)
    with pytest.raises(ConfigError, match="fsync='always'"):
        Log(tmp_path, fsync="always")
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        for name in ("", "../x", ".x", "a/b", "meta.sqlite", "x" * 300):
            with pytest.raises(UsageError, match="cannot be the name"):
                log.create_topic(name, SCHEMA)
        with pytest.raises(UsageError, match="no partition 1"):
            log.append("a", batch(0, 1), partition=1)
        with pytest.raises(UsageError, match="no partition 7"):
            log.reader("a", [7])
        with pytest.raises(UsageError, match="no event time"):
            log.reader("a", start=5)
        with pytest.raises(LogError, match="negative"):
            log.reader("a", start={0: -1})
        with pytest.raises(UsageError, match="does not read partition 3"):
            log.reader("a", start={3: 1})
        with pytest.raises(SchemaError, match="no key column"):
            log.append("a", batch(0, 1), key="z")
    with pytest.raises(LogError, match="is closed"):
        log.reader("a")
    with pytest.raises(LogError, match="is closed"):
        log.append("a", batch(0, 1))


def test_one_writer_per_partition(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, partitions=2)
        log.append("a", batch(0, 1))
        with Log(tmp_path) as other:
            with pytest.raises(LogLockedError, match="another Log of this process"):
                other.append("a", batch(0, 1))
            assert other.append("a", batch(0, 1), partition=1) == {1: 0}
        code = (
            "import sys; from eventide.log import Log; from eventide.errors import LogLockedError\n"
            "try: Log(sys.argv[1]).writer('a')\n"
            "except LogLockedError as e: print(e.message)\n"
        )
        told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert f"another process (pid {os.getpid()})" in told.stdout
    with Log(tmp_path) as log:
        assert log.append("a", batch(1, 1)) == {0: 1}

"""The log connector: every event once through stops and restarts, transactions through crashes, small frames together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.connectors._log_sink import LogSink
from eventide.connectors._log_source import LogSource
from eventide.errors import LogError, SchemaError, UnknownNameError, UsageError
from eventide.log import Log
from eventide.model.time import EVENT_TIME, MIN_TIME
from eventide.registry import open_sink, open_source

SCHEMA = pa.schema([("x", pa.int64())])


def _batch(*values: int) -> pa.RecordBatch:
    return pa.record_batch({"x": pa.array(values, pa.int64())})


def _source(root: Path, **options: Any) -> LogSource:
    made: LogSource = open_source("log://t", {"log": str(root), **options})
    return made


def _sink(root: Path, **options: Any) -> LogSink:
    made: LogSink = open_sink("log://t", {"log": str(root), **options})
    return made


def _drain(source: LogSource, positions: Any = None, *, max_rows: int = 1 << 16, reads: int = 10**6) -> Any:
    reader = source.open(positions or {})
    got: dict[str, list[int]] = {}
    where = dict(positions or {})
    try:
        while not reader.finished and reads > 0:
            for chunk in reader.read(max_rows=max_rows, timeout=0):
                got.setdefault(chunk.partition, []).extend(chunk.batch.column(0).to_pylist())
                where[chunk.partition] = dict(chunk.position)
            reads -= 1
    finally:
        reader.close()
    return got, where


@given(
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=8),
    first=st.integers(1, 12),
    second=st.integers(1, 12),
    stop=st.integers(0, 6),
)
def test_stop_and_resume_gives_every_event_once(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    first: int,
    second: int,
    stop: int,
) -> None:
    root = tmp_path_factory.mktemp("log")
    written: dict[str, list[int]] = {"0": [], "1": [], "2": []}
    with Log(root, fsync="os") as log:
        log.create_topic("t", SCHEMA, partitions=3)
        for n, (partition, size) in enumerate(sizes):
            values = range(n * 100, n * 100 + size)
            log.append("t", _batch(*values), partition=partition)
            written[str(partition)] += values
    one, where = _drain(_source(root, follow=False), max_rows=first, reads=stop)
    two, _ = _drain(_source(root, follow=False), where, max_rows=second)
    assert {p: one.get(p, []) + two.get(p, []) for p in written} == written


def test_small_frames_are_put_together_and_large_ones_are_not(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("t", SCHEMA)
        for size in (10, 20, 40_000, 5, 5):
            log.append("t", _batch(*range(size)))
    reader = _source(tmp_path).open({})
    chunks = reader.read(max_rows=100_000, timeout=0)
    assert [(c.batch.num_rows, c.position["offset"]) for c in chunks] == [(30, 30), (40_000, 40_030), (10, 40_040)]
    assert all(c.clock == MIN_TIME for c in chunks)
    assert reader.read(max_rows=10, timeout=0) == []
    assert not reader.finished
    assert reader.backlog() == 0
    reader.close()
    reader.close()


def test_frames_of_few_large_rows_are_not_put_together(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.list_(pa.int64()))])
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("t", schema)
        for size in (10, 20, 50_000, 5, 5, 20_000, 20_000, 6_000_000):
            log.append("t", pa.record_batch({"x": [range(size)]}, schema=schema))
    reader = _source(tmp_path, follow=False).open({})
    chunks = []
    while not reader.finished:
        chunks.append([(c.batch.num_rows, c.position["offset"]) for c in reader.read(max_rows=100_000, timeout=0)])
    assert chunks == [[(2, 2), (1, 3), (4, 7), (1, 8)]]
    reader.close()
    reader = _source(tmp_path, follow=False).open({"0": {"offset": 7}})
    assert [c.batch.num_rows for c in reader.read(max_rows=100_000, timeout=0)] == [1]
    assert reader._rows == 1
    reader.close()


def test_the_recorded_clock_keeps_every_append_apart(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("t", SCHEMA)
        log.append("t", _batch(1))
        log.append("t", _batch(2))
    reader = _source(tmp_path, clock="recorded").open({})
    chunks = reader.read(max_rows=10, timeout=0)
    reader.close()
    assert len(chunks) == 2
    assert MIN_TIME < chunks[0].clock <= chunks[1].clock


def test_a_bounded_read_ends_where_the_topic_ended_when_it_was_opened(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("t", SCHEMA)
        log.append("t", _batch(1, 2))
        reader = _source(tmp_path, follow=False).open({})
        log.append("t", _batch(3))
        assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=5)] == [[1, 2]]
        assert reader.finished
        assert reader.read(max_rows=10, timeout=5) == []
        reader.close()


def test_a_bounded_read_does_not_wait_for_an_undecided_transaction(tmp_path: Path) -> None:
    out = _sink(tmp_path)
    out.open(SCHEMA, None)
    out.write(_batch(1))
    out.commit(1, out.prepare(1))
    out.write(_batch(2))
    out.prepare(2)
    assert _drain(_source(tmp_path, follow=False))[0] == {"0": [1]}
    out.close()


def test_start_options(tmp_path: Path) -> None:
    schema = pa.schema([("t", EVENT_TIME), ("x", pa.int64())])
    with Log(tmp_path) as log:
        log.create_topic("t", schema, event_time="t")
        for second in range(5):
            times = pa.array([second * 10**9], pa.int64()).cast(EVENT_TIME)
            log.append("t", pa.RecordBatch.from_arrays([times, pa.array([second])], schema=schema))

    def seen(**options: Any) -> list[int]:
        reader = _source(tmp_path, follow=False, **options).open({})
        got = [x for c in reader.read(max_rows=99, timeout=0) for x in c.batch["x"].to_pylist()]
        reader.close()
        return got

    assert seen() == [0, 1, 2, 3, 4]
    assert seen(start="latest") == []
    assert seen(start="1970-01-01T00:00:03Z") == [3, 4]
    assert seen(offsets={"0": 2}) == [2, 3, 4]
    assert seen(offsets={0: 4}, partitions=[0]) == [4]


def test_output_is_visible_with_the_commit_and_only_once(tmp_path: Path) -> None:
    out = _sink(tmp_path)
    assert out.delivery == "exactly_once"
    out.open(SCHEMA, None)
    out.write(_batch(1))
    out.write(_batch(2))
    assert _drain(_source(tmp_path, follow=False))[0] == {}
    state = out.prepare(1)
    out.commit(1, state)
    out.write(_batch(3))
    out.prepare(2)  # the process dies here: the checkpoint was not taken
    out.write(_batch(4))
    out.close()

    again = _sink(tmp_path)
    again.open(SCHEMA, state)
    again.commit(1, state)
    again.commit(1, state)
    again.write(_batch(5))
    assert again.prepare(2)["transaction"]
    again.close()  # dies after the checkpoint, before the commit

    with Log(tmp_path) as log:
        (prepared,) = log.prepared("t/0")
    last = _sink(tmp_path)
    last.open(SCHEMA, {"transaction": prepared})
    last.commit(2, {"transaction": prepared})
    assert last.prepare(3) == {"transaction": 0}
    last.commit(3, {"transaction": 0})
    last.close()
    assert _drain(_source(tmp_path, follow=False))[0] == {"0": [1, 2, 5]}


def test_at_once_is_seen_before_the_commit(tmp_path: Path) -> None:
    out = _sink(tmp_path, visible="at once", fsync="group")
    assert out.delivery == "at_least_once"
    out.open(SCHEMA, None)
    reader = _source(tmp_path).open({})
    out.write(_batch(1))
    assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=9, timeout=5)] == [[1]]
    out.commit(1, out.prepare(1))
    out.close()
    out.close()
    reader.close()


def test_keys_choose_the_partition_and_own_columns_stay_out(tmp_path: Path) -> None:
    out = _sink(tmp_path, key="x", partitions=4)
    schema = pa.schema([*SCHEMA, ("_watermark", pa.int64())])
    out.open(schema, None)
    for _ in range(2):
        out.write(pa.record_batch({"x": list(range(20)), "_watermark": [0] * 20}))
    out.commit(1, out.prepare(1))
    out.close()
    got, _ = _drain(_source(tmp_path, follow=False))
    assert len(got) > 1
    assert sorted(x for xs in got.values() for x in xs) == sorted([*range(20), *range(20)])
    assert all(len(xs) == 2 * len(set(xs)) for xs in got.values())
    assert _source(tmp_path).schema().names == ["x"]
    assert _source(tmp_path).partitions() == ["0", "1", "2", "3"]


def test_the_event_time_of_a_new_topic(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("start", EVENT_TIME), ("end", EVENT_TIME)])
    for topic, options, expected in (("a", {}, "start"), ("b", {"event_time": "end"}, "end")):
        out = open_sink(f"log://{topic}", {"log": str(tmp_path), **options})
        out.open(schema, None)
        out.close()
        with Log(tmp_path) as log:
            assert log.topic(topic).event_time == expected


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTIDE_LOG", str(tmp_path / "elsewhere"))
    out = open_sink("log://t")
    out.open(SCHEMA, None)
    out.close()
    assert open_source("log://t").schema().equals(SCHEMA)
    assert (tmp_path / "elsewhere").is_dir()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no log"):
        _source(tmp_path / "none").schema()
    out = _sink(tmp_path)
    out.open(SCHEMA, None)
    out.close()
    with pytest.raises(UnknownNameError, match="no topic 'tt'"):
        open_source("log://tt", {"log": str(tmp_path)}).schema()
    with pytest.raises(UsageError, match="names no topic"):
        open_source("log://")
    with pytest.raises(UsageError, match="follow='yes'"):
        _source(tmp_path, follow="yes")
    with pytest.raises(UsageError, match="did you mean 'follow'"):
        _source(tmp_path, folow=True)
    with pytest.raises(UsageError, match="visible='now'"):
        _sink(tmp_path, visible="now")
    with pytest.raises(SchemaError, match="no column 'y' to choose"):
        _sink(tmp_path, key="y").open(SCHEMA, None)
    with pytest.raises(SchemaError, match="column 'x' is int64 there and string here"):
        _sink(tmp_path).open(pa.schema([("x", pa.string())]), None)
    with pytest.raises(UsageError, match="1 partitions, not 3"):
        _sink(tmp_path, partitions=3).open(SCHEMA, None)


def test_a_sink_evolves_its_topic_only_when_asked(tmp_path: Path) -> None:
    old = _sink(tmp_path)
    old.open(SCHEMA, None)
    old.write(_batch(1))
    old.commit(1, old.prepare(1))
    old.close()
    wide = pa.schema([("x", pa.int64()), ("note", pa.string())])
    with pytest.raises(SchemaError, match="column 'note' is absent there and string here"):
        _sink(tmp_path).open(wide, None)
    before = _source(tmp_path, follow=False)
    assert before.schema().equals(SCHEMA)
    new = _sink(tmp_path, evolve=True)
    new.open(wide, None)
    new.write(pa.record_batch({"x": [2], "note": ["b"]}))
    new.commit(1, new.prepare(1))
    new.close()
    old = _sink(tmp_path)  # the program of before goes on
    old.open(SCHEMA, None)
    old.write(_batch(3))
    old.commit(1, old.prepare(1))
    old.close()
    assert _source(tmp_path).schema().equals(wide)
    with Log(tmp_path) as log:
        rows = [row for f in log.reader("t").read() for row in f.batch.to_pylist()]
    assert rows == [{"x": 1, "note": None}, {"x": 2, "note": "b"}, {"x": 3, "note": None}]
    got, _ = _drain(before)  # what was compiled against the old schema gets the old schema
    assert got == {"0": [1, 2, 3]}
    with pytest.raises(SchemaError, match="column 'x' is int64 and cannot become string"):
        _sink(tmp_path, evolve=True).open(pa.schema([("x", pa.string())]), None)


def test_a_sink_widens_and_then_takes_the_narrower_type_too(tmp_path: Path) -> None:
    narrow = pa.schema([("x", pa.int32()), ("f", pa.float32())])
    for schema, options in [
        (narrow, {}),
        (pa.schema([("x", pa.int64()), ("f", pa.float64())]), {"evolve": True}),
        (narrow, {}),
        (narrow, {"evolve": True}),
    ]:
        sink = _sink(tmp_path, **options)
        sink.open(schema, None)
        sink.write(
            pa.record_batch([pa.array([1], schema.field(0).type), pa.array([0.5], schema.field(1).type)], schema=schema)
        )
        sink.commit(1, sink.prepare(1))
        sink.close()
    assert _source(tmp_path).schema().types == [pa.int64(), pa.float64()]
    with Log(tmp_path) as log:
        assert [row for f in log.reader("t").read() for row in f.batch.to_pylist()] == [{"x": 1, "f": 0.5}] * 4


@given(cut=st.integers(0, 25), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_until_ends_before_an_offset_or_a_time(
    tmp_path_factory: pytest.TempPathFactory, cut: int, sizes: list[int]
) -> None:
    root = tmp_path_factory.mktemp("log")
    schema = pa.schema([("t", EVENT_TIME)])
    times = []
    with Log(root, fsync="os") as log:
        log.create_topic("t", schema, event_time="t")
        for size in sizes:
            block = [(7 * (len(times) + i)) % 25 for i in range(size)]  # out of order
            times += block
            log.append("t", pa.record_batch([pa.array([t * 10**9 for t in block], EVENT_TIME)], schema=schema))

    def read(until: Any) -> tuple[list[int], Any]:
        reader = _source(root, until=until).open({})
        found: list[int] = []
        position = None
        while not reader.finished:
            for chunk in reader.read(max_rows=4, timeout=0):
                found += chunk.batch.column(0).cast(pa.int64()).to_pylist()
                position = dict(chunk.position)
        reader.close()
        return [t // 10**9 for t in found], position

    found, position = read(cut)
    assert found == times[:cut]
    assert position in (None, {"offset": min(cut, len(times))})
    found, position = read(f"1970-01-01T00:00:{cut:02d}Z")
    assert found == [t for t in times if t < cut]
    assert position == {"offset": len(times)}


def test_until_a_time_needs_one(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("t", SCHEMA)
    with pytest.raises(UsageError, match="no event time to end at"):
        _source(tmp_path, until="2026-01-01").open({})
    with pytest.raises(UsageError):
        _source(tmp_path, until="soon")


def test_a_bounded_read_waits_for_a_transaction_also_after_a_long_pause(tmp_path: Path) -> None:
    """The engine may be busy for seconds between two reads; only looks that found nothing count as waiting."""
    with Log(tmp_path) as log:
        log.create_topic("t", SCHEMA)
        log.append("t", _batch(1))
        tx = log.transaction()
        tx.append("t", _batch(2))
        log.flush()
        reader = _source(tmp_path, follow=False).open({})
        assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=0)] == [[1]]
        time.sleep(1.1)
        assert reader.read(max_rows=10, timeout=0) == []
        assert not reader.finished
        tx.commit()
        assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=1)] == [[2]]
        assert reader.finished
        reader.close()


def test_a_sink_lets_go_of_what_retention_does_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eventide import registry
    from eventide.log import Retention

    monkeypatch.setattr("eventide.connectors._log_sink._LET_GO_SECONDS", -1.0)
    batch = pa.record_batch({"x": list(range(1000))})
    with Log(tmp_path) as log:
        log.create_topic("t", batch.schema, segment_bytes=4096, retention=Retention(max_bytes=1))
    sink = registry.open_sink("log://t", {"log": str(tmp_path)})
    sink.open(batch.schema, None)
    for number in range(1, 6):
        sink.write(batch)
        sink.commit(number, sink.prepare(number))
    sink.close()
    with Log(tmp_path) as log:
        [part] = log.describe("t")
    assert part.latest == 5000 and part.earliest >= 3000

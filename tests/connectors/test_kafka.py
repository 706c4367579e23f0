"""Kafka as source and as sink, against a real broker; what every source and sink must do is in `tests/contract`."""

from __future__ import annotations

import json as plain_json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("confluent_kafka", reason="pip install 'eventide[kafka]'")

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

import eventide as ev
from eventide.connectors import _kafka_sink, kafka
from eventide.errors import CheckpointError, DataError, RunError, SchemaError, UnavailableError, UsageError
from eventide.formats import arrow
from eventide.model.time import EVENT_TIME
from eventide.testing.sources import read_all
from servers.kafka import consume, new_topic, produce

SCHEMA = pa.schema([("n", pa.int64()), ("k", pa.string())])


def uri(broker: Any, topic: str) -> str:
    return f"kafka://{broker.address}/{topic}"


def source(broker: Any, topic: str, **options: Any) -> Any:
    return kafka.source(uri(broker, topic), {"format": "json", "schema": {"n": "int64"}, "follow": False, **options})


def sink(broker: Any, topic: str, **options: Any) -> Any:
    return kafka.sink(uri(broker, topic), {"format": "json", **options})


def batch(start: int, stop: int) -> pa.RecordBatch:
    return pa.record_batch([list(range(start, stop)), [f"k{n % 3}" for n in range(start, stop)]], schema=SCHEMA)


def numbers(start: int, stop: int) -> list[bytes]:
    return [b'{"n": %d}' % n for n in range(start, stop)]


def read(made: Any, positions: Any = None) -> pa.Table:
    """Return all events of a bounded source."""
    reader = made.open(positions or {})
    chunks = []
    while not reader.finished:
        chunks += reader.read(max_rows=1000, timeout=0.2)
    reader.close()
    return pa.Table.from_batches([c.batch for c in chunks], made.schema())


def until(reader: Any, wanted: int, seconds: float = 30.0) -> list[int]:
    """Read an unbounded source until so many events have come."""
    got: list[int] = []
    deadline = time.monotonic() + seconds
    while len(got) < wanted and time.monotonic() < deadline:
        for chunk in reader.read(max_rows=1000, timeout=0.1):
            got += chunk.batch["n"].to_pylist()
    return got


def values(broker: Any, topic: str) -> list[Any]:
    return sorted(plain_json.loads(m.value())["n"] for m in consume(broker, topic))


# -- source


def test_partitions_that_are_added_later_are_found(kafka: Any) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(0, 5))
    made = source(kafka, topic, follow=True, look="100ms", start="latest")
    reader = made.open({})
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(60)
    produce(kafka, topic, [{"value": v, "partition": 2} for v in numbers(5, 9)])
    assert sorted(until(reader, 4)) == [5, 6, 7, 8]  # also what came before it was found, though it began at the latest
    assert sorted(reader.began()) == ["0", "1", "2"]
    reader.close()
    # A run that was down meanwhile finds it as well, and reads all of it.
    again = source(kafka, topic, start="latest").open({"0": {"offset": 5}})
    assert sorted(r for rows in read_all(again).rows.values() for r in rows) == ["(5,)", "(6,)", "(7,)", "(8,)"]
    again.close()


def test_where_it_starts(kafka: Any) -> None:
    topic = new_topic(kafka)
    stamps = [1_700_000_000_000 + 1000 * n for n in range(10)]
    produce(kafka, topic, [{"value": v, "timestamp": t} for v, t in zip(numbers(0, 10), stamps, strict=True)])
    assert read(source(kafka, topic))["n"].to_pylist() == list(range(10))
    assert read(source(kafka, topic, start="latest")).num_rows == 0
    assert read(source(kafka, topic, start="2023-11-14T22:13:27Z"))["n"].to_pylist() == [7, 8, 9]
    assert read(source(kafka, topic, start="2030-01-01")).num_rows == 0
    assert read(source(kafka, topic, offsets={0: 8}))["n"].to_pylist() == [8, 9]
    assert read(source(kafka, topic, offsets={"0": 8}), {"0": {"offset": 9}})["n"].to_pylist() == [9]
    with pytest.raises(UsageError, match="no partition 4"):
        source(kafka, topic, partitions="4").open({})
    with pytest.raises(UsageError, match="no such topic"):
        source(kafka, topic + "s").open({})


def test_the_end_is_that_of_opening(kafka: Any) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(0, 20))
    reader = source(kafka, topic).open({})
    produce(kafka, topic, numbers(20, 30))
    assert len(read_all(reader).rows["0"]) == 20
    reader.close()


def test_an_undecided_transaction_is_not_waited_for(kafka: Any) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(0, 3))
    open_one = Producer({"bootstrap.servers": kafka.address, "transactional.id": topic})
    open_one.init_transactions(60)
    open_one.begin_transaction()
    open_one.produce(topic, b'{"n": 99}')
    assert open_one.flush(60) == 0
    produce(kafka, topic, numbers(3, 6))
    assert read(source(kafka, topic))["n"].to_pylist() == [0, 1, 2]
    assert read(source(kafka, topic, isolation="read_uncommitted"))["n"].to_pylist() == [0, 1, 2, 99, 3, 4, 5]
    open_one.abort_transaction(60)
    for _ in range(100):  # it is decided when the call returns; the partitions are told a moment later
        if (got := read(source(kafka, topic))["n"].to_pylist()) != [0, 1, 2]:
            break
    assert got == [0, 1, 2, 3, 4, 5]
    open_one.close()


def test_what_stands_beside_the_value(kafka: Any) -> None:
    topic = new_topic(kafka, 2)
    sent = {
        "value": b'{"n": 1}',
        "key": "ü",
        "timestamp": 1000,
        "partition": 1,
        "headers": [("a", b"\x00"), ("b", None)],
    }
    produce(
        kafka, topic, [sent, {"value": b"{", "partition": 0}, {"value": b'{"n": 2}', "key": b"\xff", "partition": 1}]
    )
    beside = {"key": "key", "timestamp": "at", "headers": "headers", "offset": "offset", "partition": "partition"}
    made = source(kafka, topic, **beside)
    assert made.schema().names == ["n", "key", "at", "headers", "offset", "partition"]
    reader = made.open({})
    rows, bad = [], []
    while not reader.finished:
        for chunk in reader.read(max_rows=10, timeout=0.2):
            rows += chunk.batch.to_pylist()
            bad += [(b.position.split(" ", 1)[1], b.data, b.reason[:16]) for b in chunk.bad]
    reader.close()
    (row,) = rows
    assert row["at"].timestamp() == 1.0
    del row["at"]
    assert row == {"n": 1, "key": "ü", "headers": [("a", b"\x00"), ("b", None)], "offset": 0, "partition": 1}
    assert ("partition 1 offset 1", b'{"n": 2}', "the key is not U") in bad and len(bad) == 2
    with pytest.raises(UsageError, match="column 'n' already"):
        source(kafka, topic, key="n").schema()


def test_one_bad_message_costs_no_other(kafka: Any) -> None:
    topic = new_topic(kafka)
    many = numbers(0, 500)
    many[3:3] = [b"oops"]
    many[300:300] = [b'{"n": "x"}', b'{\n  "n": 7\n}', b'{"n": 1}\n{"n": 2}', b'{"n": 1}\n{"n": ', b"", b'{"n": 5}\r\n']
    produce(kafka, topic, many)
    reader = source(kafka, topic).open({})
    chunks = []
    while not reader.finished:
        chunks += reader.read(max_rows=1000, timeout=0.2)
    reader.close()
    got = [n for c in chunks for n in c.batch["n"].to_pylist()]
    assert sorted(got) == sorted([*range(500), 7, 1, 2, 5])
    bad = [b for c in chunks for b in c.bad]
    assert [b.data for b in bad] == [b"oops", b'{"n": "x"}', b'{"n": 1}\n{"n": ', b""]
    assert [int(b.position.split()[-1]) for b in bad] == [3, 300, 303, 304]
    mended = source(kafka, topic, schema={"n": "string"}).again(bad)
    assert mended.batch["n"].to_pylist() == ["x"] and len(mended.bad) == 3


def test_the_schema_that_messages_suggest(kafka: Any) -> None:
    topic = new_topic(kafka, 2)
    with pytest.raises(UsageError, match="topic is empty"):
        source(kafka, topic, schema=None).schema()
    produce(kafka, topic, [b'{"a": 1}', b'{"a": 2, "b": "x"}'])
    assert source(kafka, topic, schema=None).schema() == pa.schema([("a", pa.int64()), ("b", pa.string())])
    packed = new_topic(kafka)
    produce(kafka, packed, [arrow.encode(batch(0, 5))])
    made = kafka_of(kafka, packed, "arrow")
    assert made.schema() == SCHEMA and read(made)["n"].to_pylist() == [0, 1, 2, 3, 4]


def kafka_of(broker: Any, topic: str, form: str) -> Any:
    return kafka.source(uri(broker, topic), {"format": form, "follow": False})


def test_deleted_events_are_no_gap(kafka: Any) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(0, 10))
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.delete_records([TopicPartition(topic, 0, 6)])[TopicPartition(topic, 0)].result(60)
    assert read(source(kafka, topic))["n"].to_pylist() == [6, 7, 8, 9]  # from the earliest that is there
    reader = source(kafka, topic).open({"0": {"offset": 2}})
    with pytest.raises(DataError, match="deleted before they were read"):
        read_all(reader)
    reader.close()


def test_a_group_shows_progress(kafka: Any) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(0, 10))
    reader = source(kafka, topic, group="watched").open({})
    told = read_all(reader)
    reader.release("run", told.positions)
    watcher = Consumer({"bootstrap.servers": kafka.address, "group.id": "watched"})
    at = -1
    for _ in range(100):
        at = watcher.committed([TopicPartition(topic, 0)], timeout=30)[0].offset
        if at == 10:
            break
    assert at == 10
    watcher.close()
    reader.close()
    assert read(source(kafka, topic, group="watched")).num_rows == 10  # it is not where reading goes on


def test_large_messages(kafka: Any) -> None:
    topic = new_topic(kafka, settings={"max.message.bytes": "6000000"})
    out = sink(kafka, topic)
    schema = pa.schema([("s", pa.string())])
    out.open(schema, None)
    text = "x" * 5_000_000
    out.write(pa.record_batch([[text, "y"]], schema=schema))
    out.commit(1, out.prepare(1))
    with pytest.raises(DataError, match="too large") as told:
        out.write(pa.record_batch([["x" * 7_000_000]], schema=schema))
    assert "max.message.bytes" in told.value.hint
    out.close()
    back = kafka_of(kafka, topic, "json")
    assert read(back)["s"].to_pylist() == [text, "y"]


# -- sink


def test_keys_headers_times_and_partitions(kafka: Any) -> None:
    topic = new_topic(kafka, 3)
    columns = {
        "n": [1, 2],
        "k": pa.array(["a", None]),
        "t": pa.array([1_500_000_000, 2_000_000_000], EVENT_TIME),
        "h": pa.array([{"x": 1, "y": None}, {"x": 2, "y": "z"}]),
        "p": pa.array([2, 0], pa.int8()),
    }
    out = sink(kafka, topic, key="k", timestamp="t", headers="h", partition="p")
    out.open(pa.record_batch(columns).schema, None)
    out.write(pa.record_batch(columns))
    out.commit(1, out.prepare(1))
    out.close()
    got = [(m.partition(), m.key(), m.timestamp()[1], m.headers()) for m in consume(kafka, topic)]
    assert got == [(0, None, 2000, [("x", b"2"), ("y", b"z")]), (2, b"a", 1500, [("x", b"1"), ("y", None)])]


@pytest.mark.parametrize("form", ["json", "csv", "arrow"])
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_rows_per_message(kafka: Any, form: str, rows: int) -> None:
    topic = new_topic(kafka, 2)
    out = sink(kafka, topic, format=form, rows_per_message=rows, key="k")
    out.open(SCHEMA, None)
    out.write(batch(0, 10))
    out.write(batch(10, 12))
    out.commit(1, out.prepare(1))
    out.close()
    messages = consume(kafka, topic)
    assert len(messages) == {0: 5, 1: 12, 4: 5}[rows]
    back = read(kafka_source(kafka, topic, form))
    assert sorted(back["n"].to_pylist()) == list(range(12))
    for key in ("k0", "k1", "k2"):  # the order within a key is kept
        mine = back.filter(pa.compute.equal(back["k"], key))["n"].to_pylist()
        assert mine == sorted(mine)
        assert {m.key() for m in messages} == {b"k0", b"k1", b"k2"}


def kafka_source(broker: Any, topic: str, form: str) -> Any:
    return kafka.source(uri(broker, topic), {"format": form, "schema": SCHEMA, "follow": False})


def test_parts_are_read_back(kafka: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kafka_sink, "_PART_BYTES", 2000)
    monkeypatch.setattr(_kafka_sink, "_HELD_BYTES", 0)
    monkeypatch.setattr("eventide.connectors._kafka_stage_topic._PIECE_BYTES", 300)
    topic = new_topic(kafka, 2)
    out = sink(kafka, topic)
    out.open(SCHEMA, None)
    for at in range(0, 500, 50):
        out.write(batch(at, at + 50))
    state = dict(out.prepare(1))
    assert len(state["staged"]) > 3
    out.write(batch(500, 600))  # of the next checkpoint already
    assert values(kafka, topic) == []
    out.close()
    again = sink(kafka, topic)
    again.open(SCHEMA, state)
    again.commit(1, state)
    again.commit(1, state)
    assert values(kafka, topic) == list(range(500))
    later = again.prepare(2)
    again.commit(2, later)
    again.close()
    last = sink(kafka, topic)
    last.open(SCHEMA, later)
    last.commit(2, later)
    last.close()
    assert values(kafka, topic) == list(range(500))


def test_parts_in_a_folder_are_read_back(kafka: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_kafka_sink, "_PART_BYTES", 2000)
    monkeypatch.setattr(_kafka_sink, "_HELD_BYTES", 0)
    topic, folder = new_topic(kafka, 2), tmp_path / "staged"

    def opened(state: Any) -> Any:
        out = sink(kafka, topic)
        out.beside(folder)
        out.open(SCHEMA, state)
        return out

    before = len(consume(kafka, "_eventide_staged"))
    out = opened(None)
    for at in range(0, 500, 50):
        out.write(batch(at, at + 50))
    state = dict(out.prepare(1))
    assert len(state["staged"]) > 3 and len(list(folder.iterdir())) == 1
    out.write(batch(500, 600))  # of the next checkpoint already: in a file of its own, which goes with the process
    assert len(list(folder.iterdir())) == 2 and values(kafka, topic) == []
    out.close()
    (path,) = [p for p in folder.iterdir() if p.name == state["staged"][0][1]]
    whole = path.read_bytes()
    path.write_bytes(whole[:-300] + bytes(300))
    broken = opened(state)
    with pytest.raises(CheckpointError, match="its checksum is wrong"):
        broken.commit(1, state)
    broken.close()
    assert list(folder.iterdir()) == [path] and values(kafka, topic) == []
    path.write_bytes(whole)
    again = opened(state)
    again.commit(1, state)
    again.commit(1, state)
    assert values(kafka, topic) == list(range(500)) and list(folder.iterdir()) == []
    again.write(batch(500, 510))
    later = dict(again.prepare(2))
    again.close()
    with pytest.raises(CheckpointError, match="wait in files beside it"):
        sink(kafka, topic).open(SCHEMA, later)
    last = opened(later)
    last.commit(2, later)
    last.close()
    assert values(kafka, topic) == list(range(510))
    assert len(consume(kafka, "_eventide_staged")) == before


def test_what_waits_in_the_topic_is_committed_by_an_engine_with_a_folder(kafka: Any, tmp_path: Path) -> None:
    topic = new_topic(kafka)
    out = sink(kafka, topic)
    out.open(SCHEMA, None)
    out.write(batch(0, 3))
    state = dict(out.prepare(1))
    out.close()
    again = sink(kafka, topic)
    again.beside(tmp_path)
    again.open(SCHEMA, state)
    again.commit(1, state)
    again.write(batch(3, 4))
    again.commit(2, again.prepare(2))
    again.close()
    assert values(kafka, topic) == [0, 1, 2, 3]


def test_a_process_believed_dead_can_write_nothing_more(kafka: Any) -> None:
    topic = new_topic(kafka)
    old = sink(kafka, topic)
    old.open(SCHEMA, None)
    old.write(batch(0, 3))
    state = old.prepare(1)
    new = sink(kafka, topic)
    new.open(SCHEMA, state)
    old.write(batch(3, 6))
    with pytest.raises(RunError, match="another run writes"):
        old.commit(1, state)
    new.commit(1, state)
    assert values(kafka, topic) == [0, 1, 2]
    old.abandon()
    new.close()


def test_two_pipelines_on_one_topic_leave_each_other_alone(kafka: Any) -> None:
    topic = new_topic(kafka)
    one, two = sink(kafka, topic), sink(kafka, topic)
    for n, out in enumerate((one, two)):
        out.open(SCHEMA, None)
        out.write(batch(n, n + 1))
    first, second = one.prepare(1), two.prepare(1)
    two.commit(1, second)
    one.commit(1, first)
    assert values(kafka, topic) == [0, 1]
    one.close()
    two.close()


def test_checkpoints_that_do_not_fit(kafka: Any) -> None:
    topic = new_topic(kafka)
    out = sink(kafka, topic)
    out.open(SCHEMA, None)
    states = []
    for n in (1, 2):
        out.write(batch(n, n + 1))
        states.append(dict(out.prepare(n)))
        out.commit(n, states[-1])
    out.write(batch(3, 4))
    states.append(dict(out.prepare(3)))
    out.close()
    with pytest.raises(CheckpointError, match="results of later checkpoints"):
        sink(kafka, topic).open(SCHEMA, states[0])
    with pytest.raises(CheckpointError, match="does not know of commits"):
        sink(kafka, topic).open(SCHEMA, {**states[2], "sink": "0" * 32})
    lost = sink(kafka, topic)
    lost.open(SCHEMA, {**states[2], "staged": [[3, 0, 0, "x", 1]]})
    with pytest.raises(CheckpointError, match="not there any more"):
        lost.commit(3, states[2])
    lost.close()
    assert values(kafka, topic) == [1, 2]


def test_what_cannot_be_written(kafka: Any) -> None:
    topic = new_topic(kafka)
    for options, match in [
        ({"key": "kk"}, "no column 'kk' for the key"),
        ({"timestamp": "n"}, "cannot be the timestamp"),
    ]:
        with pytest.raises(SchemaError, match=match):
            sink(kafka, topic, **options).open(SCHEMA, None)


def test_a_pipeline_with_checkpoints(kafka: Any, tmp_path: Any) -> None:
    topic, out = new_topic(kafka, 3), new_topic(kafka, 2)
    events = ev.fetch(ev.read("generator://e", rows=3000, keys=3, seed=1))
    ev.run(ev.read("generator://e", rows=3000, keys=3, seed=1).write(uri(kafka, topic), format="arrow", key="key"))
    read_back = ev.read(uri(kafka, topic), format="arrow", follow=False).event_time("timestamp", lateness="1h")
    windows = read_back.key_by("key").window(ev.tumbling("100ms")).aggregate(n=ev.count(), mean=ev.mean("value"))
    want = ev.fetch(windows)
    assert sum(want["n"].to_pylist()) == events.num_rows
    ev.run(windows.write(uri(kafka, out), format="json"), checkpoint=tmp_path, checkpoint_interval="0s", batch_rows=300)
    got = [plain_json.loads(m.value()) for m in consume(kafka, out)]
    rows = zip(*(want[c].to_pylist() for c in ("key", "n", "mean")), strict=True)
    assert sorted((r["key"], r["n"], r["mean"]) for r in got) == sorted(rows)


def test_nobody_answers() -> None:
    made = kafka.source("kafka://127.0.0.1:9/t", {"format": "json", "schema": {"n": "int64"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eventide.connectors._kafka_source.SECONDS", 1.0)
        patch.setattr("eventide.connectors._kafka_staged.SECONDS", 1.0)
        with pytest.raises(UnavailableError, match="cannot be used just now"):
            made.open({})
        with pytest.raises(UnavailableError, match="cannot be used just now"):
            kafka.sink("kafka://127.0.0.1:9/t", {"format": "json"}).open(SCHEMA, None)

"""Topics that evolve: any history of changes and appends reads back as a plain list would, in every version."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import LogError, SchemaError
from eventide.log import Log, Reader, TopicInfo
from eventide.log.evolution import seen_as
from eventide.model.time import EVENT_TIME

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TYPES = [pa.int32(), pa.float32(), pa.string(), pa.list_(pa.int64()), EVENT_TIME, pa.bool_()]
WIDER = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}


def value(kind: pa.DataType, n: int) -> Any:
    if pa.types.is_integer(kind):
        return n
    if pa.types.is_floating(kind):
        return n / 2
    if pa.types.is_string(kind):
        return f"v{n}"
    if pa.types.is_list(kind):
        return [n, n]
    return n % 2 == 0 if pa.types.is_boolean(kind) else pa.scalar(n * 1000, EVENT_TIME)


class Case:
    """One topic, its rows as a model, and readers of all versions."""

    def __init__(self, folder: Path, fsync: Any) -> None:
        self.folder, self.fsync = folder, fsync
        self.log = Log(folder, fsync=fsync)
        self.topic = self.log.create_topic("a", pa.schema([("x", pa.int32())]), segment_bytes=2000)
        self.frames: list[list[dict[str, Any]]] = []
        self.readers: list[tuple[Reader, int, TopicInfo]] = []
        self.n = 0

    def rows(self, topic: TopicInfo, start: int = 0) -> list[dict[str, Any]]:
        flat = [row for frame in self.frames for row in frame]
        return [{name: row.get(name) for name in topic.schema.names} for row in flat[start:]]

    def append(self, rows: int, *, partly: bool) -> None:
        fields = [f for f in self.topic.schema if not (partly and f.name in self.topic.evolution.added)]
        data = [{f.name: value(f.type, self.n + i) for f in fields} for i in range(rows)]
        self.n += rows
        batch = pa.RecordBatch.from_pylist(data, schema=pa.schema(fields))
        self.log.append("a", batch)
        self.frames.append(batch.to_pylist())

    def add(self, kind: pa.DataType, *, elsewhere: bool) -> None:
        schema = self.topic.schema.append(pa.field(f"c{len(self.topic.schema)}", kind))
        self.evolve(schema, elsewhere=elsewhere)

    def widen(self, *, elsewhere: bool) -> None:
        fields = [f.with_type(WIDER.get(f.type, f.type)) for f in self.topic.schema]
        self.evolve(pa.schema(fields), elsewhere=elsewhere)

    def evolve(self, schema: pa.Schema, *, elsewhere: bool) -> None:
        if elsewhere:  # another process: this log's writers find out when they have to
            with Log(self.folder) as other:
                self.topic = other.evolve("a", schema)
        else:
            self.topic = self.log.evolve("a", schema)
        assert self.topic.schema.equals(schema)

    def reopen(self, cut: int) -> None:
        self.log.close()
        last = max((self.folder / "a" / "0").glob("*.seg"), default=None)
        if cut and last is not None:
            with last.open("r+b") as file:
                file.truncate(max(0, last.stat().st_size - cut))
        self.log = Log(self.folder, fsync=self.fsync)
        if last is not None:
            self.log.writer("a")  # repairs
        self.readers = []
        end = self.log.describe("a")[0].latest
        while sum(map(len, self.frames)) > end:
            assert cut
            self.frames.pop()
        assert sum(map(len, self.frames)) == end

    def open_reader(self) -> None:
        at = sum(map(len, self.frames)) // 2
        self.readers.append((self.log.reader("a", start={0: at}), at, self.log.topic("a")))

    def check(self) -> None:
        self.log.flush()
        read = [f.batch for f in self.log.reader("a", verify=True).read()]
        assert all(b.schema.equals(self.topic.schema) for b in read)
        assert [row for b in read for row in b.to_pylist()] == self.rows(self.topic)
        for i, (reader, at, topic) in enumerate(self.readers):
            batches = [f.batch for f in reader.read()]
            assert all(b.schema.equals(topic.schema) for b in batches)
            found = [row for b in batches for row in b.to_pylist()]
            assert found == self.rows(topic, at)
            self.readers[i] = (reader, at + len(found), topic)
        assert self.log.verify().ok


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 30), st.booleans()),
        st.tuples(st.just("add"), st.sampled_from(TYPES), st.booleans()),
        st.tuples(st.just("widen"), st.none(), st.booleans()),
        st.tuples(st.just("reopen"), st.sampled_from([0, 1, 40, 150, 400]), st.none()),
        st.tuples(st.just("reader"), st.none(), st.none()),
        st.tuples(st.just("check"), st.none(), st.none()),
    ),
    max_size=14,
)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Every cut is a warning."""
    logger = logging.getLogger("eventide.log")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


@given(steps=STEPS, fsync=st.sampled_from(["each", "group", "os"]))
def test_any_history_reads_back_as_its_model(steps: list[tuple[str, Any, Any]], fsync: str) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        case = Case(Path(name), fsync)
        for what, one, two in [*steps, ("check", None, None), ("reopen", 0, None), ("check", None, None)]:
            if what == "append":
                case.append(one, partly=two)
            elif what == "add":
                case.add(one, elsewhere=two)
            elif what == "widen":
                case.widen(elsewhere=two)
            elif what == "reopen":
                case.reopen(one)
            elif what == "reader":
                case.open_reader()
            else:
                case.check()
        case.log.close()


A = pa.schema([("t", EVENT_TIME), ("x", pa.int32()), pa.field("k", pa.string(), nullable=False)])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([("t", EVENT_TIME), ("x", pa.int32())], r"column 'k' \(string\) is missing from the new schema"),
        ([*A, ("y", pa.int64()), ("y", pa.int64())], "two columns 'y'"),
        ([A[0], pa.field("x", pa.int16()), A[2]], "column 'x' is int32 and cannot become int16"),
        ([A[0], pa.field("x", pa.float64()), A[2]], "column 'x' is int32 and cannot become double"),
        ([A[0], pa.field("x", pa.string()), A[2]], "column 'x' is int32 and cannot become string"),
        ([pa.field("t", pa.int64()), *list(A)[1:]], "event-time column 't' is int64"),
        ([A[0], A[1], pa.field("k", pa.string())], "column 'k' allows no nulls, the new schema allows them"),
        (
            [A[0], pa.field("x", pa.int32(), nullable=False), A[2]],
            "column 'x' allows nulls, the new schema allows none",
        ),
        ([*A, pa.field("y", pa.int64(), nullable=False)], r"new column 'y' \(int64\) allows no nulls"),
    ],
)
def test_what_is_refused_and_why(tmp_path: Path, fields: list[Any], told: str) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", A, event_time="t")
        with pytest.raises(SchemaError, match=told) as raised:
            log.evolve("a", pa.schema(fields))
        assert raised.value.hint
        assert log.topic("a").schema.equals(A)
        assert log.topic("a").evolution.version == 0


def test_the_same_schema_changes_nothing(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", A, event_time="t")
        assert log.evolve("a", pa.schema([A[2], A[0], A[1]])).evolution.version == 0
        assert log.evolve("a", A.append(pa.field("y", pa.int64()))).evolution.version == 1
        assert log.evolve("a", A.append(pa.field("y", pa.int64()))).evolution.version == 1


def test_only_what_was_added_may_be_left_out_and_only_what_was_widened_is_cast(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int32()), ("z", pa.int32())])
    with Log(tmp_path) as log:
        log.create_topic("a", schema)
        wide = pa.schema([("x", pa.int64()), ("z", pa.int32()), ("y", pa.string())])
        log.evolve("a", wide)
        log.append("a", pa.record_batch([pa.array([1], pa.int32()), pa.array([2], pa.int32())], schema=schema))
        assert log.reader("a").read()[0].batch.to_pylist() == [{"x": 1, "z": 2, "y": None}]
        with pytest.raises(SchemaError, match=r"column 'z' .* is missing from the batch"):
            log.append("a", pa.record_batch([pa.array([1], pa.int32())], names=["x"]))
        with pytest.raises(SchemaError, match="column 'z' is int16 in the batch"):
            log.append("a", pa.record_batch([pa.array([1], pa.int32()), pa.array([2], pa.int16())], names=["x", "z"]))


def test_an_open_reader_says_when_a_value_no_longer_fits(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", pa.schema([("x", pa.int32()), ("f", pa.float32())]))
        reader = log.reader("a")
        wide = pa.schema([("x", pa.int64()), ("f", pa.float64())])
        log.evolve("a", wide)
        nan = float("nan")
        log.append("a", pa.record_batch([pa.array([1, 2, None]), pa.array([0.5, nan, None])], schema=wide))
        assert reader.read()[0].batch.schema.field("x").type == pa.int32()
        log.append("a", pa.record_batch([pa.array([2**40]), pa.array([1.0])], schema=wide))
        with pytest.raises(LogError, match="column 'x' of topic 'a' was widened from int32 to int64") as raised:
            reader.read()
        assert "open the reader again" in raised.value.hint
        again = log.reader("a", start=reader.positions)
        assert again.read()[0].batch.to_pylist() == [{"x": 2**40, "f": 1.0}]
    for bad in (0.1, 1e300):
        with pytest.raises(LogError, match="widened from float to double"):
            seen_as(pa.record_batch({"f": [bad]}), pa.schema([("f", pa.float32())]), topic="a")


OTHER = """
import sys, pyarrow as pa
from eventide.log import Log
with Log(sys.argv[1]) as log:
    batch = pa.record_batch({"x": pa.array([1])})
    log.append("a", batch)
    writer = log.writer("a")
    print("ready", flush=True)
    sys.stdin.readline()
    log.append("a", batch)                                   # knows nothing of the new column
    log.append("a", pa.record_batch({"x": pa.array([2]), "y": pa.array(["new"])}))
    writer.append(pa.record_batch({"x": pa.array([3]), "y": pa.array(["new"]), "z": pa.array([1.5])}))
"""


def test_a_writer_in_another_process_goes_on_and_learns(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    with Log(tmp_path) as log:
        log.create_topic("a", schema)
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        reader = log.reader("a")
        schema = schema.append(pa.field("y", pa.string()))
        log.evolve("a", schema)
        log.evolve("a", schema.append(pa.field("z", pa.float64())))
        other.communicate("go\n")
        assert other.returncode == 0
        rows = [row for f in log.reader("a").read() for row in f.batch.to_pylist()]
        assert rows == [
            {"x": 1, "y": None, "z": None},
            {"x": 1, "y": None, "z": None},
            {"x": 2, "y": "new", "z": None},
            {"x": 3, "y": "new", "z": 1.5},
        ]
        assert [row for f in reader.read() for row in f.batch.to_pylist()] == [{"x": row["x"]} for row in rows]


def test_a_reader_that_waits_in_an_empty_segment_sees_what_follows(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    with Log(tmp_path) as log:
        log.create_topic("a", schema)
        log.writer("a")
        reader = log.reader("a")
        assert reader.read() == []
        reader._cursors[0]._enter()  # it has the segment open that is replaced now
        log.evolve("a", schema.append(pa.field("y", pa.int64())))
        log.append("a", pa.record_batch({"x": [1], "y": [2]}))
        assert [f.batch.to_pylist() for f in reader.read()] == [[{"x": 1}]]


def test_open_transactions_go_on(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    with Log(tmp_path) as log:
        log.create_topic("a", schema)
        tx = log.transaction()
        tx.append("a", pa.record_batch({"x": [1]}))
        log.evolve("a", schema.append(pa.field("y", pa.int64())))
        tx.append("a", pa.record_batch({"x": [2]}))
        tx.append("a", pa.record_batch({"x": [3], "y": [4]}))
        tx.commit()
        rows = [row for f in log.reader("a").read() for row in f.batch.to_pylist()]
        assert rows == [{"x": 1, "y": None}, {"x": 2, "y": None}, {"x": 3, "y": 4}]

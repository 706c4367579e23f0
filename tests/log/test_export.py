"""Export and import: a topic comes back frame for frame, whatever its history; a broken file makes no topic."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import DataError, LogUnavailableError, UsageError
from eventide.log import Frame, Log, Retention, Span
from eventide.model.time import EVENT_TIME

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SCHEMA = pa.schema(
    [
        pa.field("t", EVENT_TIME),
        pa.field("x", pa.int32(), metadata={"unit": "m"}),
        pa.field("s", pa.string()),
        pa.field("l", pa.list_(pa.float64())),
    ],
    metadata={"mission": "one"},
)
S = 10**9


def batch(first: int, rows: int, schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    n = range(first, first + rows)
    values: dict[str, list[Any]] = {
        "t": [((i * 7) % 20) * S if i % 11 else None for i in n],
        "x": [i if i % 3 else None for i in n],
        "s": [f"é{i}" for i in n],
        "l": [[i / 3] * (i % 3) for i in n],
    }
    return pa.record_batch([pa.array(values.get(f.name, [1] * rows), f.type) for f in schema], schema=schema)


def frames(log: Log, topic: str) -> list[Frame]:
    found = []
    for p in range(log.topic(topic).partitions):
        reader = log.reader(topic, [p])
        while (frame := reader.next_frame(p)) is not None:
            found.append(frame)
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 40)),
        st.tuples(st.just("abort"), st.integers(0, 2), st.integers(1, 9)),
        st.tuples(st.just("commit"), st.integers(0, 2), st.integers(1, 9)),
        st.tuples(st.just("evolve"), st.none(), st.none()),
        st.tuples(st.just("retain"), st.integers(1, 6000), st.none()),
    ),
    max_size=14,
)


@given(
    steps=STEPS,
    name=st.sampled_from(["a.arrow", "a.parquet", "folder", "sub/folder"]),
    kind=st.none() | st.just("parquet"),
)
def test_a_topic_comes_back_frame_for_frame(steps: list[Any], name: str, kind: Any) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place, Log(f"{place}/log", fsync="os") as log:
        schema, n = SCHEMA, 0
        log.create_topic("a", SCHEMA, event_time="t", partitions=3, segment_bytes=1500, retention=Retention(max_age=9))
        for what, one, two in steps:
            if what == "append":
                log.append("a", batch(n, two, schema), partition=one)
                n += two
            elif what in ("abort", "commit"):
                tx = log.transaction()
                tx.append("a", batch(n, two, schema), partition=one)
                tx.commit() if what == "commit" else tx.abort()
                n += two
            elif what == "evolve":
                schema = schema.append(pa.field(f"c{len(schema)}", pa.int8()))
                log.evolve("a", schema)
            else:
                log.apply_retention("a", retention=Retention(max_bytes=one))
        log.flush()
        told: list[tuple[int, int]] = []
        kind = None if name == "a.arrow" else kind
        done = log.export("a", f"{place}/out/{name}", format=kind, progress=lambda *how: told.append(how))
        assert len(done.files) == (3 if "folder" in name else 1)
        if told:
            assert told[-1][0] <= told[-1][1]
        with Log(f"{place}/other", fsync="os") as other:
            back = other.import_(f"{place}/out/{name}", "b")
            assert (back.events, back.frames) == (done.events, done.frames)
            before, after = frames(log, "a"), frames(other, "b")
            assert after == before
            assert done.frames == len(before)
            one, two = log.topic("a"), other.topic("b")
            assert two.schema.equals(one.schema, check_metadata=True)
            assert (two.event_time, two.partitions, two.segment_bytes) == ("t", 3, 1500)
            assert (two.retention, two.evolution) == (one.retention, one.evolution)
            where = [(p.partition, p.earliest, p.latest) for p in log.describe("a")]
            assert [(p.partition, p.earliest, p.latest) for p in other.describe("b")] == where
            assert other.verify().ok
            for p, _, latest in where:  # and it goes on
                assert other.append("b", batch(0, 2), partition=p) == {p: latest}
        assert not list(Path(place).glob("**/.*.part"))


@given(low=st.integers(-1, 25), high=st.integers(-1, 25), timed=st.booleans())
def test_a_part_is_what_lies_between(low: int, high: int, timed: bool) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place, Log(f"{place}/log", fsync="os") as log:
        log.create_topic("a", SCHEMA, event_time="t", segment_bytes=1500)
        for i in range(0, 24, 4):
            log.append("a", batch(i, 4))
        if timed:
            span = Span(from_time=low * S, until_time=high * S)
            wanted = [i for i in range(24) if i % 11 and low <= (i * 7) % 20 < high]
        else:
            span = Span(from_offset=max(low, 0), until_offset=max(high, 0))
            wanted = [i for i in range(24) if low <= i < high]
        done = log.export("a", f"{place}/part.arrow", span=span)
        assert done.events == len(wanted)
        log.import_(f"{place}/part.arrow", "b")
        found = [(f.base_offset + i, s) for f in frames(log, "b") for i, s in enumerate(f.batch["s"].to_pylist())]
        assert found == [(i, f"é{i}") for i in wanted]


def fill(log: Log) -> None:
    log.create_topic("a", SCHEMA, event_time="t", partitions=2)
    for i in range(0, 60, 10):
        log.append("a", batch(i, 10), partition=i // 10 % 2)


def test_anybody_can_read_the_files(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        fill(log)
        log.export("a", tmp_path / "a.parquet")
        log.export("a", tmp_path / "a.arrow")
    assert sorted(pq.read_table(tmp_path / "a.parquet")["s"].to_pylist()) == sorted(f"é{i}" for i in range(60))
    with pa.memory_map(str(tmp_path / "a.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().num_rows == 60


def test_a_frame_larger_than_a_row_group(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        schema = pa.schema([("x", pa.int64())])
        log.create_topic("a", schema)
        for rows in (3, 200_000, 5, 70_000, 1):
            log.append("a", pa.record_batch([pa.array(range(rows))], schema=schema))
        log.export("a", tmp_path / "a.parquet")
        log.import_(tmp_path / "a.parquet", "b")
        assert frames(log, "a") == frames(log, "b")


def test_an_undecided_transaction_is_left_out_and_said(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        fill(log)
        tx = log.transaction()
        tx.append("a", batch(0, 7), partition=1)
        log.flush()
        done = log.export("a", tmp_path / "a.arrow")
        assert (done.events, done.undecided) == (60, 7)
        tx.commit()
        assert log.export("a", tmp_path / "a.arrow").events == 67


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        fill(log)
        log.export("a", tmp_path / "a.arrow")
        before = (tmp_path / "a.arrow").read_bytes()
        log.append("a", batch(0, 3))
        with (
            mock.patch.object(os, "fsync", mock.Mock(side_effect=OSError(28, "No space left on device"))),
            pytest.raises(LogUnavailableError, match=r"a.arrow cannot be written"),
        ):
            log.export("a", tmp_path / "a.arrow")
        assert (tmp_path / "a.arrow").read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.arrow", "log"]


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_damage_and_strangers_make_no_topic(tmp_path: Path, name: str) -> None:
    with Log(tmp_path / "log") as log:
        fill(log)
        log.export("a", tmp_path / name)
        raw = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(raw[: len(raw) // 2])
        plain = pa.table({"x": [1]})
        pq.write_table(plain, tmp_path / "plain.parquet")
        for other in (f"cut-{name}", "plain.parquet", "nothing.arrow"):
            with pytest.raises(DataError):
                log.import_(tmp_path / other, "b")
        with pytest.raises(UsageError, match="there is a topic 'a'"):
            log.import_(tmp_path / name)
        with (
            mock.patch("eventide.log.transaction.Transaction.put", mock.Mock(side_effect=DataError("damaged"))),
            pytest.raises(DataError),
        ):
            log.import_(tmp_path / name, "b")
        assert [t.name for t in log.topics()] == ["a"]
        assert log.import_(tmp_path / name, "b").events == 60


def test_files_of_two_exports_are_not_mixed(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        fill(log)
        log.export("a", tmp_path / "both")
        log.export("a", tmp_path / "both" / "again.arrow")
        with pytest.raises(DataError, match="does not belong to the same export"):
            log.import_(tmp_path / "both", "b")


def test_mistakes(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        log.create_topic("a", pa.schema([("x", pa.int64())]))
        with pytest.raises(UsageError, match="no event time"):
            log.export("a", tmp_path / "a.arrow", span=Span(from_time=0))
        with pytest.raises(UsageError, match="no event time"):
            log.export("a", tmp_path / "a.arrow", span=Span(until_time=0))
        with pytest.raises(UsageError, match="exported as 'csv'"):
            log.export("a", tmp_path / "a", format="csv")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="exported as 'parquet'"):
            log.export("a", tmp_path / "a.arrow", format="parquet")
        log.export("a", tmp_path / "a.arrow")
        log.import_(tmp_path / "a.arrow", "b")
        assert log.append("b", pa.record_batch({"x": [1]})) == {0: 0}


KILLED = """
import os, sys
from eventide.log import Log
log = Log(sys.argv[1])
log.import_(sys.argv[2], "b", progress=lambda done, total: os._exit(9) if done >= 30 else None)
"""


def test_an_import_that_is_killed_shows_nothing(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        fill(log)
        log.export("a", tmp_path / "a.arrow")
    told = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "log", tmp_path / "a.arrow"], check=False)
    assert told.returncode == 9
    with Log(tmp_path / "log") as log:
        assert frames(log, "b") == []
        log.writer("b")  # repairs
        assert frames(log, "b") == []
        log.delete_topic("b")
        log.import_(tmp_path / "a.arrow", "b")
        assert frames(log, "b") == frames(log, "a")

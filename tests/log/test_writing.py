"""Writers under pressure: threads, failing disks, retention by age, keys that never move."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import LogError, LogUnavailableError, SchemaError, UnknownNameError, UsageError
from eventide.log import Log, Retention
from eventide.log.partitioner import key_hashes, split
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema([("x", pa.int64())])


def batch(*x: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(x, pa.int64())], schema=SCHEMA)


def values(log: Log, topic: str = "a") -> list[int]:
    return [v for f in log.reader(topic).read() for v in f.batch.column("x").to_pylist()]


@pytest.mark.parametrize("fsync", ["each", "group", "os"])
def test_threads_share_a_partition_while_readers_follow(tmp_path: Path, fsync: str) -> None:
    with Log(tmp_path, fsync=fsync) as log:
        log.create_topic("a", SCHEMA, segment_bytes=3000)
        offsets: dict[int, int] = {}

        def write(thread: int) -> None:
            for i in range(40):
                if i % 10 == 9:
                    with log.transaction() as tx:
                        offsets[thread * 1000 + i] = tx.append("a", batch(thread * 1000 + i))[0]
                else:
                    offsets[thread * 1000 + i] = log.append("a", batch(thread * 1000 + i))[0]

        found: list[int] = []

        def follow() -> None:
            reader = log.reader("a")
            while len(found) < 160:
                found.extend(v for f in reader.read(timeout=5) for v in f.batch.column("x").to_pylist())

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)] + [threading.Thread(target=follow)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.flush()
        assert found == values(log)
        assert sorted(found) == sorted(offsets)
        assert [offsets[v] for v in found] == list(range(160))
        assert log.verify().ok


def test_a_failed_sync_closes_the_partition_until_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.append("a", batch(0))

        def broken(fd: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("eventide.log.partition.sync_file", broken)
        for _ in range(2):
            with pytest.raises(LogError, match="Input/output error"):
                log.append("a", batch(1))
        assert values(log) == [0]
        monkeypatch.undo()
        with pytest.raises(LogError, match="Input/output error"):
            log.append("a", batch(1))
    with Log(tmp_path) as log:
        assert log.append("a", batch(2)) in ({0: 1}, {0: 2})  # the event may have been written or not
        assert values(log)[-1] == 2
        assert log.verify().ok


FULL = """
import resource, signal, sys, pyarrow as pa
from eventide.errors import LogError
from eventide.log import Log
log = Log(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, -1))
n = 0
try:
    while True:
        log.append("a", pa.record_batch({"x": pa.array([n] * 1000)}))
        n += 1
except LogError as error:
    print(error.message)
try:
    log.append("a", pa.record_batch({"x": pa.array([-1])}))  # a small one would still fit, but nobody trusts the file
except LogError as error:
    print(error.message)
print(n)
"""


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=10_000_000)
    told = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    message, again, frames = told.stdout.splitlines()
    assert "cannot append 1000 events" in message
    assert "failed" in again
    with Log(tmp_path) as log:
        assert values(log) == [n for n in range(int(frames)) for _ in range(1000)]
        assert log.append("a", batch(7)) == {0: int(frames) * 1000}
        assert log.verify().ok


def test_no_new_segment_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=1024)
        log.append("a", batch(0))

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("eventide.log.segment.sync_folder", full)
        for i in range(1, 20):
            try:
                log.append("a", batch(i))
            except LogError as error:
                assert "No space left" in error.message
                break
        monkeypatch.undo()
        with pytest.raises(LogUnavailableError, match="No space left"):
            log.append("a", batch(100))
    with Log(tmp_path) as log:
        log.append("a", batch(100))
        assert values(log) == [*range(i), 100]
        assert log.verify().ok


def test_a_frame_larger_than_a_segment(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=2000)
        log.append("a", batch(1))
        log.append("a", batch(*range(5000)))
        log.append("a", batch(2))
        assert values(log) == [1, *range(5000), 2]
        assert log.describe("a")[0].segments == 3


def timed(*t: int) -> pa.RecordBatch:
    return pa.record_batch({"t": pa.array(t, EVENT_TIME)})


def test_retention_by_event_age_and_by_age(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic(
            "a", timed(0).schema, event_time="t", segment_bytes=1024, retention=Retention(max_event_age=50)
        )
        for i in range(100):
            log.append("a", timed(i - 3, i))
        before = log.describe("a")[0]
        assert log.apply_retention("a", protect={"a": {0: 0}}) == []
        assert log.apply_retention("a")
        earliest = log.describe("a")[0].earliest
        assert 90 < earliest <= 100  # two events per unit of time, whole segments
        assert log.describe("a")[0].latest == before.latest
        assert log.reader("a").read()[0].base_offset == earliest
        log.set_retention("a", Retention(max_age=10**9))
        assert log.apply_retention("a", now=0) == []
        last = log.describe("a")[0].segments - 1
        assert len(log.apply_retention("a", now=2**62)) == last
        assert log.describe("a")[0].segments == 1
        assert log.reader("a", start=0).positions == {0: log.describe("a")[0].earliest}
        assert log.reader("a", start=97).read()[0].max_event_time >= 97


def test_retention_while_a_reader_is_inside(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=1024, retention=Retention(max_bytes=1))
        for i in range(30):
            log.append("a", batch(i))
        reader = log.reader("a")
        slow = log.reader("a")
        first = reader.read(1)
        kept = slow.read(2)
        assert len(log.apply_retention()) > 3
        inside = [v for f in reader.read(1) for v in f.batch.column("x").to_pylist()]
        assert inside == [1]  # the segment it has open
        with pytest.raises(LogError, match="deleted by retention; the earliest is") as raised:
            reader.read()
        assert "protect" in raised.value.hint
        reader.seek("earliest")
        assert reader.read()[-1].batch.column("x")[-1].as_py() == 29
        assert [f.batch.column("x").to_pylist() for f in first + kept] == [[0], [0], [1]]


def test_following_a_deleted_topic_says_so(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=1024)
        for i in range(30):
            log.append("a", batch(i))
        reader = log.reader("a")
        reader.read(1)
        with Log(tmp_path) as other, pytest.raises(LogError, match="being written by another Log"):
            other.delete_topic("a")
        log.delete_topic("a")
        with pytest.raises(LogError, match="the topic was deleted"):
            reader.read()
        log.create_topic("a", SCHEMA)
        assert log.append("a", batch(5)) == {0: 0}
        assert values(log) == [5]


def test_key_hashes_never_change() -> None:
    """Stored partitions depend on them: a change of any number here breaks every existing log."""
    columns = {
        3187963305867457774: pa.array(["a"]),
        10451216379200822465: pa.array([1], pa.int8()),
        16294208416658607535: pa.array([0], pa.uint64()),
        13679457532755275413: pa.array([42], pa.int64()),
    }
    for wanted, column in columns.items():
        assert int(key_hashes(column)[0]) == wanted
    same = [pa.array(["a", "b", None]), pa.array(["a", "b", None], pa.large_string()), pa.array([b"a", b"b", None])]
    same.append(pa.array(["a", "b", None]).dictionary_encode())
    assert len({tuple(key_hashes(column).tolist()) for column in same}) == 1
    numbers = [
        pa.array([5, 6, None], t) for t in (pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64(), EVENT_TIME)
    ]
    assert len({tuple(key_hashes(column).tolist()) for column in numbers}) == 1
    for column in (
        pa.array([True, None]),
        pa.array([Decimal("1.5"), None]),
        pa.array([datetime(2020, 1, 1, tzinfo=UTC).date()]),
    ):
        assert len(key_hashes(column)) == len(column)
    for column in (pa.array([0.5]), pa.array([[1]])):
        with pytest.raises(SchemaError, match="cannot be a key"):
            key_hashes(column)


@given(st.lists(st.none() | st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)), st.integers(1, 9))
def test_splitting_keeps_every_row_and_the_order_of_each_key(keys: list[int | None], partitions: int) -> None:
    rows = pa.record_batch({"k": pa.array(keys, pa.int64()), "i": pa.array(range(len(keys)), pa.int64())})
    parts = split(rows, "k", partitions=partitions)
    found = sorted(i for part in parts.values() for i in part.column("i").to_pylist())
    assert found == list(range(len(keys)))
    home = {}
    for p, part in parts.items():
        assert part.column("i").to_pylist() == sorted(part.column("i").to_pylist())
        for key in part.column("k").to_pylist():
            assert home.setdefault(key, p) == p
    assert partitions == 1 or home.get(None, 0) == 0


def test_many_keys_spread_evenly() -> None:
    parts = split(pa.record_batch({"k": pa.array(np.arange(80_000) * 1000)}), "k", partitions=8)
    assert all(abs(part.num_rows - 10_000) < 400 for part in parts.values())


def test_mistakes_in_numbers(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        with pytest.raises(UsageError, match="partitions=0"):
            log.create_topic("a", SCHEMA, partitions=0)
        with pytest.raises(UsageError, match="segment_bytes=5"):
            log.create_topic("a", SCHEMA, segment_bytes=5)


def test_nothing_is_left_open(tmp_path: Path) -> None:
    folder = Path(f"/proc/{os.getpid()}/fd")
    if not folder.is_dir():
        pytest.skip("needs /proc")

    def use() -> None:
        with Log(tmp_path, fsync="group") as log:
            log.create_topic("a", SCHEMA, partitions=3, segment_bytes=1024, exist_ok=True)
            for i in range(30):
                log.append("a", batch(i), key="x")
            with log.transaction() as tx:
                tx.append("a", batch(1))
            with log.reader("a") as reader:
                reader.read()
            log.verify()

    gc.collect()
    before = len(list(folder.iterdir()))
    for _ in range(3):
        use()
    gc.collect()
    assert len(list(folder.iterdir())) <= before


def test_a_topic_made_anew_by_another_process_is_noticed(tmp_path: Path) -> None:
    with Log(tmp_path) as log, Log(tmp_path) as other:
        log.create_topic("a", SCHEMA)
        other.append("a", batch(1))
        assert values(log) == [1]
        other.delete_topic("a")
        assert not list(tmp_path.glob(".deleted-*"))
        with pytest.raises(UnknownNameError, match="no topic 'a'"):
            log.append("a", batch(2))
        other.create_topic("a", pa.schema([("y", pa.string())]))
        with pytest.raises(SchemaError, match="no column 'x'"):
            log.append("a", batch(2))
        assert log.append("a", pa.record_batch({"y": ["z"]})) == {0: 0}


def test_two_processes_make_one_topic(tmp_path: Path) -> None:
    with Log(tmp_path) as log, Log(tmp_path) as other:
        made = log.create_topic("a", SCHEMA)
        assert not other._meta.add_topic(made)
        assert other.create_topic("a", SCHEMA, exist_ok=True) == made


def test_events_without_a_topic_are_not_adopted(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.append("a", batch(1))
        log._meta.drop_topic("a")
    with Log(tmp_path) as log, pytest.raises(LogError, match="holds events, but the database"):
        log.create_topic("a", SCHEMA)


def test_a_topic_without_its_folder(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        (tmp_path / "a").rename(tmp_path / "moved")
        with pytest.raises(LogError, match="has no folder"):
            log.append("a", batch(1))
        with pytest.raises(LogError, match="has no head file"):
            log.reader("a")
        assert "head is missing" in log.verify().problems[0]


def test_a_lock_is_free_after_closing_although_a_forked_process_lives(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.append("a", batch(1))
        child = os.fork()
        if not child:
            os.read(os.pipe()[0], 1)
            os._exit(0)
    try:
        with Log(tmp_path) as log:
            assert log.append("a", batch(2)) == {0: 1}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)

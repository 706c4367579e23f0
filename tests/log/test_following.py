"""How a reader waits for what comes next."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pyarrow as pa

from eventide.log import Log
from eventide.log.head import Head

BATCH = pa.record_batch({"x": [1, 2, 3]})


def test_a_head_tells_of_a_sync_that_is_under_way(tmp_path: Path) -> None:
    head = Head(tmp_path, create=True)
    assert not head.coming
    head.announce(3)
    assert head.coming and head.end == 0
    head.publish(3, promised=3)
    assert not head.coming


def test_a_head_is_still_only_where_nothing_can_have_happened(tmp_path: Path, monkeypatch) -> None:
    head = Head(tmp_path, create=True)
    head.publish(3, promised=3)
    assert head.still(3) and head.still(4) and not head.still(2)
    monkeypatch.setattr("eventide.log.head.boot_id", lambda: 12345)  # the machine was restarted: nothing is believed
    assert not head.still(3)
    monkeypatch.undo()
    head.mark_deleted()
    assert not head.still(3)


def test_a_reader_looks_often_during_a_sync_and_not_for_ever(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", BATCH.schema)
        log.append("a", BATCH)
        with log.reader("a") as reader:
            assert reader.read()[0].end_offset == 3
            usual = reader._pause(time.monotonic())
            Head(tmp_path / "a" / "0").announce(6)  # as a writer does that dies in the middle of its sync
            pauses = [reader._pause(time.monotonic()) for _ in range(1_000)]
            assert max(pauses[:100]) < usual / 5 and pauses[-1] == usual
            log.append("a", BATCH)
            assert reader.read(timeout=5)[0].end_offset == 6
            assert reader._pause(time.monotonic()) == usual


def test_a_reader_that_waits_sees_what_another_thread_appends(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="each") as log:
        log.create_topic("a", BATCH.schema, partitions=2)
        writers = [log.writer("a", partition=p) for p in range(2)]

        def append() -> None:
            for number in range(20):
                time.sleep(0.003)
                writers[number % 2].append(BATCH)

        thread = threading.Thread(target=append)
        thread.start()
        with log.reader("a") as reader:
            rows = 0
            while rows < 60:
                found = reader.read(timeout=5)
                assert found, "it slept through an append"
                rows += sum(frame.batch.num_rows for frame in found)
        thread.join()
        assert rows == 60

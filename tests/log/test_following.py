"""How a reader waits for what comes next."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from eventide.log import Log
from eventide.log.bell import wait
from eventide.log.head import Head

BATCH = pa.record_batch({"x": [1, 2, 3]})


def test_a_head_is_still_only_where_nothing_can_have_happened(tmp_path: Path, monkeypatch) -> None:
    head = Head(tmp_path, create=True)
    head.publish(3, promised=3)
    assert head.still(3) and head.still(4) and not head.still(2)
    monkeypatch.setattr("eventide.log.head.boot_id", lambda: 12345)  # the machine was restarted: nothing is believed
    assert not head.still(3)
    monkeypatch.undo()
    head.mark_deleted()
    assert not head.still(3)


def test_a_ring_wakes_who_waits_and_a_word_that_changed_before_does_not_put_to_sleep(tmp_path: Path) -> None:
    head = Head(tmp_path, create=True)
    seen = head.bell
    if not wait([(seen[0], seen[1] + 1)], 60):
        pytest.skip("this system has no futex that we know")
    (tmp_path / "b").mkdir()
    other = Head(tmp_path / "b", create=True)
    for words in ([seen], [other.bell, seen]):
        head.publish(seen[1], promised=0)
        thread = threading.Timer(0.05, lambda: head.publish(head.end + 1, promised=0))
        begun = time.monotonic()
        thread.start()
        while head.end == seen[1]:
            if not wait(words, 60):
                pytest.skip("this system cannot wait for several words")
        assert time.monotonic() - begun < 30
        thread.join()
        assert wait(words, 60), "it changed before: there is nothing to wait for"
        head.publish(seen[1], promised=0)


def test_a_wait_ends_when_its_time_is_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    heads = [Head(tmp_path / name, create=True) for name in ("a", "b")]
    for some in (heads[:1], heads):
        begun = time.monotonic()
        if not wait([head.bell for head in some], 0.05):
            pytest.skip(f"this system cannot wait for {len(some)} words")
        assert 0.04 < time.monotonic() - begun < 30


def test_an_append_of_another_process_wakes_a_reader(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", BATCH.schema)
    code = (
        "import sys, time, pyarrow as pa\n"
        "from eventide.log import Log\n"
        "with Log(sys.argv[1]) as log:\n"
        "    for _ in range(5):\n"
        "        time.sleep(0.05)\n"
        "        log.append('a', pa.record_batch({'x': [1, 2, 3]}))\n"
    )
    with Log(tmp_path, create=False) as log, log.reader("a") as reader:
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        rows = 0
        while rows < 15:
            found = reader.read(timeout=60)
            assert found, "it slept through an append"
            rows += sum(frame.batch.num_rows for frame in found)
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("rings", [True, False])
def test_a_reader_that_waits_sees_what_another_thread_appends(tmp_path: Path, rings: bool, monkeypatch) -> None:
    if not rings:
        monkeypatch.setattr("eventide.log.reader.wait", lambda words, seconds: False)
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

"""Disks that refuse: what was acknowledged is there afterwards, what was not is never acknowledged later.

Faults are put into the calls of the operating system; where this machine lets us, the disk is really full (a small
file system in memory) and system calls really fail (`strace --inject`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import LogCorruptError, LogError, LogUnavailableError, UnavailableError, is_retriable
from eventide.log import Fsync, Log, Retention
from eventide.log.head import Head

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SCHEMA = pa.schema([("x", pa.int64())])
FAULTS = ["writev", "write", "fdatasync", "fsync", "ftruncate", "posix_fallocate", "pwrite", "open", "pread", "rename"]


def batch(*x: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(x, pa.int64())], schema=SCHEMA)


def values(log: Log) -> list[int]:
    return [v for f in log.reader("a").read() for v in f.batch.column("x").to_pylist()]


class Disk:
    """Calls of the operating system of which some fail, from the n-th on, for a while or for good."""

    def __init__(self, name: str, first: int, last: int, *, code: int, torn: bool) -> None:
        self._name, self._first, self._last, self._code, self._torn = name, first, last, code, torn
        self._real: Callable[..., Any] = getattr(os, name)
        self._count = itertools.count()
        self.failed = 0

    def __call__(self, *given: Any, **more: Any) -> Any:
        number = next(self._count)
        if not self._first <= number < self._last:
            return self._real(*given, **more)
        self.failed += 1
        if self._torn and self._name == "writev":
            raw = b"".join(given[1])
            os.write(given[0], raw[: len(raw) // 2])
        raise OSError(self._code, os.strerror(self._code))


@given(
    fault=st.sampled_from(FAULTS),
    first=st.integers(0, 25),
    times=st.sampled_from([1, 2, 10**6]),
    code=st.sampled_from([errno.ENOSPC, errno.EIO]),
    torn=st.booleans(),
    fsync=st.sampled_from(["each", "group", "os"]),
    transactions=st.booleans(),
)
def test_whatever_call_fails_what_was_acknowledged_stays_and_nothing_follows(
    fault: str, first: int, times: int, code: int, torn: bool, fsync: Fsync, transactions: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        with Log(folder) as log:
            log.create_topic("a", SCHEMA, segment_bytes=1024)
            log.append("a", batch(-1))
        acknowledged, tried = [-1], [-1]
        log = Log(folder, fsync=fsync)
        with mock.patch.object(os, fault, Disk(fault, first, first + times, code=code, torn=torn)):
            for i in range(12):
                before = _poisoned(log)
                try:
                    tried.append(i)
                    if transactions and i % 3 == 2:
                        with log.transaction() as tx:
                            tx.append("a", batch(i))
                    else:
                        log.append("a", batch(i))
                        if fsync != "each":
                            log.flush()
                    assert not before
                    acknowledged.append(i)
                except LogError as error:
                    assert is_retriable(error), error
                    assert error.hint
            try:
                log.close()
            except LogError as error:
                assert is_retriable(error)
        with Log(folder) as log:
            log.writer("a")  # an event whose append failed may be there, or not
            found = values(log)
            assert [v for v in found if v in acknowledged] == acknowledged
            assert found == [v for v in tried if v in found]
            log.append("a", batch(99))
            assert values(log) == [*found, 99]
            assert log.verify().ok, log.verify().problems


def _poisoned(log: Log) -> bool:
    return any(w._failed is not None for w in log._open._writers.values())


def test_after_a_failed_sync_another_that_works_acknowledges_nothing(tmp_path: Path) -> None:
    """The operating system tells of lost pages once; threads that wait for the same sync must not be told the lie."""
    with Log(tmp_path, fsync="group") as log:
        log.create_topic("a", SCHEMA)
        writer = log.writer("a")
        writer.append(batch(0))
        writer.flush()
        told: list[bool] = []
        begun = threading.Barrier(6)

        def sync() -> None:
            begun.wait()
            try:
                writer.flush()
                told.append(True)
            except LogUnavailableError:
                told.append(False)

        broken = Disk("fdatasync", 0, 1, code=errno.EIO, torn=False)

        def slow(fd: int) -> None:
            time.sleep(0.1)  # all threads wait for the sync of the first
            broken(fd)

        with mock.patch.object(os, "fdatasync", slow):
            writer.append(batch(1))  # the flusher or one of these threads meets the error
            threads = [threading.Thread(target=sync) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert told == [False] * 6
        assert writer.durable_end == 1
        assert values(log) == [0]
        with pytest.raises(LogUnavailableError, match=r"\.seg failed: .*Input/output error") as raised:
            log.append("a", batch(2))
        assert "open the log again" in raised.value.hint
        assert isinstance(raised.value, UnavailableError)
        with pytest.raises(LogUnavailableError):
            log.close()  # nobody was told of event 1 in this thread


def test_what_was_never_acknowledged_is_written_again_before_it_is(tmp_path: Path) -> None:
    """Pages of a failed sync are called clean: only writing them again makes the next sync mean something."""
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("a", SCHEMA, segment_bytes=1024)
        log.append("a", batch(0))
        log.flush()
        for i in range(1, 10):
            log.append("a", batch(i))
        shutil.copytree(tmp_path, tmp_path / "copy")  # as if the process had died here
    with Log(tmp_path / "copy") as log:
        written: list[int] = []
        real = os.writev

        def note(fd: int, pieces: list[Any]) -> int:
            written.append(sum(map(len, pieces)))
            return real(fd, pieces)

        head = Head(tmp_path / "copy" / "a" / "0")
        unsure = sum(
            p.stat().st_size for p in (tmp_path / "copy" / "a" / "0").glob("*.seg") if int(p.stem) >= head.promised
        )
        with mock.patch.object(os, "writev", note):
            log.writer("a")
        assert sum(written) > unsure / 3  # not the space that was only reserved
        assert values(log) == list(range(10))
        again = len(written)
        log.close()
    with Log(tmp_path / "copy") as log, mock.patch.object(os, "writev", note):
        log.writer("a")
        assert len(written) == again


def test_a_failed_opening_lets_the_partition_go(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.append("a", batch(0))
    with Log(tmp_path) as log:
        with (
            mock.patch.object(os, "fdatasync", Disk("fdatasync", 0, 99, code=errno.EIO, torn=False)),
            pytest.raises(LogUnavailableError, match="cannot be opened for writing"),
        ):
            log.append("a", batch(1))
        assert log.append("a", batch(1)) == {0: 1}


def test_a_forbidden_folder_is_not_worth_another_try(tmp_path: Path) -> None:
    with (
        Log(tmp_path) as log,
        mock.patch.object(Path, "mkdir", Disk("mkdir", 0, 9, code=errno.EACCES, torn=False)),
        pytest.raises(LogError, match="cannot be made") as raised,
    ):
        log.create_topic("a", SCHEMA)
    assert not is_retriable(raised.value)


def test_reading_from_a_failing_disk(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.append("a", batch(0))
        reader = log.reader("a")
        with (
            mock.patch.object(os, "pread", Disk("pread", 0, 99, code=errno.EIO, torn=False)),
            pytest.raises(LogUnavailableError, match="offset 0 of partition 0 of topic 'a' cannot be read"),
        ):
            reader.read()
        assert len(reader.read()) == 1


# --- the database ---------------------------------------------------------------------------------


def test_a_full_database(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        pages = log._meta.rows("PRAGMA page_count")[0][0]
        log._meta.rows(f"PRAGMA max_page_count={pages}")
        with pytest.raises(LogUnavailableError, match="full") as raised, log.transaction() as tx:
            tx.put_checkpoint("p", bytes(100_000))
        assert "free space" in raised.value.hint
        log._meta.rows("PRAGMA max_page_count=100000")
        assert log.checkpoint("p") is None
        with log.transaction() as tx:
            tx.put_checkpoint("p", b"now")
        assert log.checkpoint("p") == b"now"


def test_a_database_that_somebody_keeps_busy(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log._meta.rows("PRAGMA busy_timeout=20")
        other = sqlite3.connect(tmp_path / "meta.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for attempt in (
            lambda: log.commit_offsets("g", {"a": {0: 1}}),
            lambda: log.hold("p", "a", {0: 0}),
            lambda: log.create_topic("b", SCHEMA),
            lambda: log.evolve("a", SCHEMA.append(pa.field("y", pa.int64()))),
            lambda: log.apply_retention(retention=Retention(max_bytes=0)),
        ):
            with pytest.raises(LogUnavailableError, match="locked"):
                attempt()
        other.execute("ROLLBACK")
        other.close()
        log.commit_offsets("g", {"a": {0: 1}})


def test_a_database_that_became_read_only(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log._meta.rows("PRAGMA query_only=1")
        with pytest.raises(LogUnavailableError, match="readonly"), log.transaction() as tx:
            tx.append("a", batch(1))
        assert log.topic("a").schema == SCHEMA
        log._meta.rows("PRAGMA query_only=0")
        with log.transaction() as tx:
            tx.append("a", batch(2))
        assert values(log) == [2]


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "meta.sqlite").write_bytes(b"no database at all, but long enough to look at" * 100)
    with pytest.raises(LogCorruptError, match="not a database") as raised:
        Log(tmp_path)
    assert not is_retriable(raised.value)
    with pytest.raises(LogError) as raised_:
        Log(tmp_path / "meta.sqlite" / "below")
    assert not is_retriable(raised_.value)


# --- for real -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, or a skipped test where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False) if mount else None
    if done is None or done.returncode:
        pytest.skip("only root may mount a small file system here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filler"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(4096))
    os.close(fd)
    return path


@pytest.mark.parametrize("fsync", ["each", "group", "os"])
def test_a_disk_that_is_really_full(small_disk: Path, fsync: Fsync) -> None:
    kept, n = [], 0
    log = Log(small_disk / "log", fsync=fsync)
    log.create_topic("a", SCHEMA, segment_bytes=200_000)
    with pytest.raises(LogUnavailableError, match=r"No space left|full"):
        while True:
            log.append("a", batch(*range(n, n + 2000)))
            log.flush()
            kept += range(n, n + 2000)
            n += 2000
    filler = fill(small_disk)
    with pytest.raises(LogUnavailableError):
        log.append("a", batch(-1))
    with pytest.raises(LogUnavailableError):
        log.create_topic("b", SCHEMA, partitions=500)
    assert values(log)[: len(kept)] == kept  # readers do not mind
    if fsync == "each":
        log.close()
    else:
        with pytest.raises(LogUnavailableError):
            log.close()
    filler.unlink()
    with Log(small_disk / "log") as log:
        assert log.append("a", batch(7)) == {0: len(kept)}
        assert values(log) == [*kept, 7]
        assert log.verify().ok


def test_retention_frees_a_full_disk(small_disk: Path) -> None:
    log = Log(small_disk / "log")
    log.create_topic("a", SCHEMA, segment_bytes=200_000)
    with pytest.raises(LogUnavailableError):
        while True:
            log.append("a", batch(*range(2000)))
    assert log.apply_retention(retention=Retention(max_bytes=500_000))
    log.close()
    with Log(small_disk / "log") as log:
        log.append("a", batch(1))
        assert log.verify().ok


WORK = """
import sys, pyarrow as pa
from eventide.errors import LogError, LogUnavailableError
from eventide.log import Log
log = Log(sys.argv[1])
print("begin", file=sys.stderr, flush=True)
for n in range(30):
    try:
        with log.transaction() as tx:
            tx.append("a", pa.record_batch({"x": pa.array([n])}))
        print(n, flush=True)
    except LogUnavailableError as error:
        print("failed", error.message.replace(chr(10), " "), flush=True)
"""


def may_trace() -> bool:
    strace = shutil.which("strace")
    return bool(strace) and not subprocess.run([str(strace), "-o", os.devnull, "true"], check=False).returncode


@pytest.mark.skipif(not may_trace(), reason="strace is not installed, or may not trace here")
@pytest.mark.parametrize("call", ["fdatasync", "writev", "pwrite64"])
@pytest.mark.parametrize("when", ["9", "12+3"])
def test_system_calls_that_really_fail(tmp_path: Path, call: str, when: str) -> None:
    """`writev` is the log's, `pwrite64` SQLite's, `fdatasync` both's."""
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.create_topic("a", SCHEMA, segment_bytes=1024)
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}"]
    done = subprocess.run(
        ["strace", "-f", "-o", str(tmp_path / "trace"), *inject, sys.executable, "-c", WORK, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "(INJECTED)" in (tmp_path / "trace").read_text()
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    acknowledged = [int(line) for line in lines if line.isdigit()]
    assert any(line.startswith("failed") for line in lines)
    with Log(folder) as log:
        log.writer("a")
        found = values(log)
        assert [v for v in found if v in acknowledged] == acknowledged
        assert found == sorted(found)
        assert log.verify().ok

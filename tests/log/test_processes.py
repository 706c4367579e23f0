"""A writer process that is killed at random, and readers in this process that must not notice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from eventide.log import Log, Reader, Retention

SCHEMA = pa.schema([("x", pa.int64())])

WRITER = """
import sys
import pyarrow as pa
from eventide.log import Log
log = Log(sys.argv[1], fsync=sys.argv[2])
writer = log.writer("a", producer="w")
first = writer.end
while True:
    rows = first % 97 + 1
    offset = writer.append(pa.record_batch({"x": pa.array(range(first, first + rows), pa.int64())}), sequence=first)
    assert offset == first
    if sys.argv[2] == "group":
        writer.wait(first + rows)
    first += rows
    print(first, flush=True)
"""

TRANSACTIONS = """
import random, sys, time
import pyarrow as pa
from eventide.log import Log
log = Log(sys.argv[1])
done = int.from_bytes(log.checkpoint("p") or b"", "little")
while True:
    with log.transaction() as tx:
        for topic in ("a", "b"):
            for x in range(done, done + 3):
                tx.append(topic, pa.record_batch({"x": pa.array([x], pa.int64())}))
        done += 3
        tx.put_checkpoint("p", done.to_bytes(8, "little"))
    print(done, flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


def kill_after(process: subprocess.Popen[str], seconds: float) -> int:
    """Wait for the first acknowledgement, then some time, kill, and return the last acknowledged offset."""
    assert process.stdout is not None
    last = int(process.stdout.readline())
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    for line in process.stdout.read().splitlines():
        last = int(line) if line.strip().isdigit() else last
    process.wait()
    process.stdout.close()
    return last


def values(reader: Reader, timeout: float = 0.0) -> list[int]:
    return [v for f in reader.read(timeout=timeout) for v in f.batch.column("x").to_pylist()]


@pytest.mark.parametrize("fsync", ["each", "group", "os"])
def test_killed_writers_leave_a_prefix_without_holes(tmp_path: Path, fsync: str) -> None:
    rng = random.Random(fsync)
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=5_000)
        reader = log.reader("a")
        seen = 0
        for _ in range(4):
            process = start(WRITER, str(tmp_path), fsync)
            for _ in range(20):
                got = values(reader, timeout=0.2)
                assert got == list(range(seen, seen + len(got)))
                seen += len(got)
            acknowledged = kill_after(process, rng.uniform(0, 0.05))
            while got := values(reader):
                assert got == list(range(seen, seen + len(got)))
                seen += len(got)
            assert seen >= acknowledged
        log.writer("a")
        assert log.describe("a")[0].latest >= seen
        assert log.describe("a")[0].segments > 3
        assert log.verify().ok


def test_killed_transactions_are_whole_or_not_there(tmp_path: Path) -> None:
    rng = random.Random(1)
    with Log(tmp_path) as log:
        for topic in ("a", "b"):
            log.create_topic(topic, SCHEMA, segment_bytes=5_000)
        reader = log.reader("a")
        seen: list[int] = []
        for _ in range(5):
            process = start(TRANSACTIONS, str(tmp_path))
            acknowledged = kill_after(process, rng.uniform(0.0, 0.1))
            committed = int.from_bytes(log.checkpoint("p") or b"", "little")
            assert acknowledged <= committed
            deadline = time.monotonic() + 10
            while len(seen) < committed and time.monotonic() < deadline:
                seen += values(reader, timeout=0.5)
            assert seen == list(range(committed))
            for topic in ("a", "b"):
                assert values(log.reader(topic)) == list(range(committed))


def test_retention_behind_a_reader_and_a_writer(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=4_000, retention=Retention(max_bytes=1))
        reader = log.reader("a")
        process = start(WRITER, str(tmp_path), "os")
        seen = gone = 0
        try:
            while gone < 30:
                got = values(reader, timeout=1)
                assert got == list(range(seen, seen + len(got)))
                seen += len(got)
                gone += len(log.apply_retention(protect={"a": reader.positions}))
        finally:
            kill_after(process, 0)

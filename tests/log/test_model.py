"""Random histories of a log against a plain list: appends, transactions, crashes, cuts, retention, readers."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventide.errors import LogError
from eventide.log import Log, Reader, Retention, Transaction

SCHEMA = pa.schema([("x", pa.int64())])

# Random histories sync thousands of times: memory-backed files do it without wearing the disk out.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
HEADER = struct.Struct("<4sIIIHHI8q")


def batch(first: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(first, first + rows), pa.int64())], schema=SCHEMA)


def frame_ends(path: Path) -> list[tuple[int, int]]:
    """Return for every frame of a segment (byte after its message, offset after it), read independently."""
    raw = path.read_bytes()
    at = struct.unpack_from("<I", raw, 12)[0]
    ends = []
    while at + HEADER.size <= len(raw) and raw[at : at + 4] == b"EVF1":
        _, _, _, length, start, _, _, base, rows, *_ = HEADER.unpack_from(raw, at)
        ends.append((at + start + length, base + rows))
        at += -(-(start + length) // 64) * 64
    return ends


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every cut is a warning; there are thousands."""
    logger = logging.getLogger("eventide.log")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


class Histories(RuleBasedStateMachine):
    """The model is a list of (rows, transaction or None) in append order; states says what became of each."""

    @initialize(fsync=st.sampled_from(["each", "group", "os"]), segment_bytes=st.sampled_from([1024, 2500, 10_000]))
    def start(self, fsync: str, segment_bytes: int) -> None:
        self.parent = Path(tempfile.mkdtemp(dir=MEMORY))
        self.lives = 0
        self.fsync = fsync
        self.log = Log(self.path, fsync=fsync)
        self.log.create_topic("a", SCHEMA, segment_bytes=segment_bytes)
        self.appended: list[tuple[list[int], Transaction | None]] = []
        self.states: dict[Transaction, str] = {}
        self.open: list[Transaction] = []
        self.end = 0
        self.next = 0
        self.earliest = 0
        self.follow()

    @property
    def path(self) -> Path:
        return self.parent / str(self.lives)

    def follow(self) -> None:
        self.reader: Reader = self.log.reader("a")
        self.followed = self.earliest

    def visible(self, start: int = 0) -> list[int]:
        """Return the values that a reader at `start` gets, by the model."""
        found, offset = [], 0
        for rows, tx in self.appended:
            if tx is not None and self.states[tx] == "open" and offset + len(rows) > start:
                break
            if tx is None or self.states[tx] == "committed":
                found += [v for i, v in enumerate(rows) if offset + i >= start]
            offset += len(rows)
        return found

    @rule(rows=st.integers(1, 40))
    def append(self, rows: int) -> None:
        assert self.log.append("a", batch(self.next, rows)) == {0: self.end}
        self.note(rows, None)

    def note(self, rows: int, tx: Transaction | None) -> None:
        self.appended.append((list(range(self.next, self.next + rows)), tx))
        self.next += rows
        self.end += rows

    @precondition(lambda self: len(self.open) < 2)
    @rule()
    def begin(self) -> None:
        tx = self.log.transaction()
        self.open.append(tx)
        self.states[tx] = "open"

    @precondition(lambda self: self.open)
    @rule(rows=st.integers(1, 20), last=st.booleans())
    def append_in_transaction(self, rows: int, last: bool) -> None:
        tx = self.open[-1 if last else 0]
        assert tx.append("a", batch(self.next, rows)) == {0: self.end}
        self.note(rows, tx)

    @precondition(lambda self: self.open)
    @rule(last=st.booleans(), commit=st.booleans())
    def decide(self, last: bool, commit: bool) -> None:
        tx = self.open.pop(-1 if last else 0)
        tx.commit() if commit else tx.abort()
        self.states[tx] = "committed" if commit else "aborted"

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.abandon()
        self.log = Log(self.path, fsync=self.fsync)
        self.follow()

    def abandon(self) -> None:
        for tx in self.open:
            self.states[tx] = "aborted"
        self.open = []

    @rule(data=st.data(), how=st.sampled_from(["kill", "cut", "garbage"]))
    def crash(self, data: st.DataObject, how: str) -> None:
        """The process dies; what it wrote is there, less what the cut takes, plus what was half written."""
        old = self.log
        old.flush()  # what was not acknowledged may be seen or not: leave that to the cut
        source = self.path
        self.lives += 1
        shutil.copytree(source, self.path)
        old.close()
        self.abandon()
        segments = sorted((self.path / "a" / "0").glob("*.seg"))
        if segments and how == "cut":
            self.cut(segments[-1], data)
        if segments and how == "garbage":
            ends = frame_ends(segments[-1])
            at = -(-ends[-1][0] // 64) * 64 if ends else struct.unpack_from("<I", segments[-1].read_bytes(), 12)[0]
            with segments[-1].open("r+b") as file:
                file.seek(at)
                file.write(data.draw(st.binary(min_size=1, max_size=200)))
        self.log = Log(self.path, fsync=self.fsync)
        assert self.read_all() == self.visible(self.earliest)  # a reader before the repair
        if segments:
            self.log.writer("a")  # repairs
        self.follow()

    def cut(self, segment: Path, data: st.DataObject) -> None:
        ends = frame_ends(segment)
        whole = ends[-1][0] if ends else segment.stat().st_size
        size = data.draw(st.integers(0, whole), label="cut at")
        with segment.open("r+b") as file:
            file.truncate(size)
        kept = int(segment.stem)
        for byte, offset in ends:
            if byte <= size:
                kept = offset
        while self.end > kept:
            rows, _ = self.appended.pop()
            self.end -= len(rows)

    def read_all(self) -> list[int]:
        reader = self.log.reader("a")
        found = self.read_rows(reader, len(self.visible(self.earliest)))
        return found + [v for f in reader.read() for v in f.batch.column("x").to_pylist()]

    def read_rows(self, reader: Reader, rows: int) -> list[int]:
        """Read so many rows, however many calls that takes (a dead transaction is found out after a while)."""
        found: list[int] = []
        while len(found) < rows:
            frames = reader.read(rows - len(found), timeout=5)
            if not frames:
                break
            found += [v for f in frames for v in f.batch.column("x").to_pylist()]
        return found

    @rule(keep=st.integers(1, 20_000), protect=st.none() | st.floats(0, 1))
    def retain(self, keep: int, protect: float | None) -> None:
        self.log.set_retention("a", Retention(max_bytes=keep))
        guard = None if protect is None else {"a": {0: int(protect * self.end)}}
        self.log.apply_retention(protect=guard)
        info = self.log.describe("a")[0]
        assert self.earliest <= info.earliest <= self.end
        assert info.segments <= 1 or info.bytes <= keep or guard is not None
        if guard is not None and self.earliest <= guard["a"][0]:
            assert info.earliest <= guard["a"][0]
        if info.earliest > self.earliest:
            self.earliest = info.earliest
            if self.reader.positions[0] < self.earliest:
                self.follow()

    @rule(rows=st.integers(1, 100))
    def read_on(self, rows: int) -> None:
        """One reader follows everything else that happens."""
        self.log.flush()
        expected = self.visible(self.followed)
        assert self.read_rows(self.reader, len(expected[:rows])) == expected[:rows]
        self.followed = self.reader.positions[0]

    @rule(data=st.data())
    def read_from_anywhere(self, data: st.DataObject) -> None:
        self.log.flush()
        start = data.draw(st.integers(self.earliest, self.end))
        reader = self.log.reader("a", start={0: start}, verify=True)
        expected = self.visible(start)
        assert self.read_rows(reader, len(expected)) == expected
        assert reader.read() == []
        if self.earliest:
            with pytest.raises(LogError, match="deleted by retention"):
                self.log.reader("a", start={0: data.draw(st.integers(0, self.earliest - 1))}).read()

    @invariant()
    def intact(self) -> None:
        if hasattr(self, "log"):
            report = self.log.verify()
            assert report.ok, report.problems

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.parent)


Histories.TestCase.settings = settings(stateful_step_count=25)
TestHistories = Histories.TestCase


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.data())
def test_any_cut_of_the_last_segment_keeps_exactly_the_whole_frames(sizes: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        with Log(folder, fsync="os") as log:
            log.create_topic("a", SCHEMA)
            first = 0
            for rows in sizes:
                log.append("a", batch(first, rows))
                first += rows
        segment = next(Path(folder, "a", "0").glob("*.seg"))
        ends = frame_ends(segment)
        size = data.draw(st.integers(0, segment.stat().st_size))
        with segment.open("r+b") as file:
            file.truncate(size)
        kept = max([offset for byte, offset in ends if byte <= size], default=0)
        with Log(folder) as log:
            for _ in range(2):
                got = [v for f in log.reader("a").read() for v in f.batch.column("x").to_pylist()]
                assert got == list(range(kept))
                log.writer("a")
            assert log.append("a", batch(kept, 2)) == {0: kept}
            assert [v for f in log.reader("a").read() for v in f.batch.column("x").to_pylist()] == list(range(kept + 2))
            assert log.verify().ok

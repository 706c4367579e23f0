"""Damage is found and named, never skipped; what was never acknowledged is cut."""

from __future__ import annotations

import logging
import os
import struct
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import LogCorruptError, LogError
from eventide.log import Log
from eventide.log.head import Head
from eventide.log.index import SparseIndex

# Random histories sync thousands of times: memory-backed files do it without wearing the disk out.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SCHEMA = pa.schema([("x", pa.int64())])


def batch(first: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(first, first + rows), pa.int64())], schema=SCHEMA)


def make(folder: Path, frames: int = 40, *, segment_bytes: int = 4000) -> list[Path]:
    with Log(folder, fsync="os") as log:  # closing it makes everything durable
        log.create_topic("a", SCHEMA, segment_bytes=segment_bytes)
        for i in range(frames):
            log.append("a", batch(i * 5, 5))
    return sorted((folder / "a" / "0").glob("*.seg"))


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x10
    path.write_bytes(raw)


def first_frame(path: Path) -> int:
    return int(struct.unpack_from("<I", path.read_bytes(), 12)[0])


def values(log: Log, **options: object) -> list[int]:
    return [v for f in log.reader("a", **options).read() for v in f.batch.column("x").to_pylist()]


@given(which=st.integers(0, 100), where=st.floats(0, 1, exclude_max=True))
def test_every_flipped_byte_is_found(which: int, where: float) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        segments = make(folder, 12, segment_bytes=2500)
        path = segments[which % len(segments)]
        begin = first_frame(path)
        _, _, length, start = struct.unpack_from("<8sIIH", path.read_bytes(), begin)
        flip(path, begin + start + int(where * length) if which % 3 else begin + int(where * 88))
        place = f"damaged at byte {begin} (offset {int(path.stem)})"
        with Log(folder) as log:
            assert f"{path}: {place}" in log.verify().problems[0]
            with pytest.raises(LogCorruptError, match="is damaged") as raised:
                values(log, verify=True)
            assert f"{path} is {place}" in raised.value.message
            if path == segments[-1]:
                with pytest.raises(LogCorruptError):
                    log.writer("a")


def test_a_damaged_frame_header_stops_a_plain_reader(tmp_path: Path) -> None:
    segments = make(tmp_path)
    for path in (segments[1], segments[-1]):
        at = first_frame(path)
        flip(path, at)
        place = rf"damaged at byte {at} \(offset {int(path.stem)}\)"
        with Log(tmp_path) as log, pytest.raises(LogCorruptError, match=place):
            values(log, start={0: int(path.stem)})
        flip(path, at)
    with Log(tmp_path) as log:
        assert values(log) == list(range(200))


def test_a_damaged_segment_header(tmp_path: Path) -> None:
    segments = make(tmp_path)
    flip(segments[1], 30)
    with Log(tmp_path) as log:
        with pytest.raises(LogCorruptError, match=r"header of .* \(byte 0\)"):
            values(log)
        assert "header of" in log.verify().problems[0]
    flip(segments[-1], 3)
    with Log(tmp_path) as log, pytest.raises(LogCorruptError, match="header of"):
        log.writer("a")


def test_a_missing_segment(tmp_path: Path) -> None:
    segments = make(tmp_path)
    segments[1].unlink()
    with Log(tmp_path) as log:
        with pytest.raises(LogCorruptError, match="no segment begins with"):
            values(log)
        assert "should reach offset" in log.verify().problems[0]


def test_a_shortened_segment_in_the_middle(tmp_path: Path) -> None:
    segments = make(tmp_path)
    raw = segments[1].read_bytes()
    segments[1].write_bytes(raw[: len(raw) - 70])
    with Log(tmp_path) as log, pytest.raises(LogCorruptError, match="the file ends inside this frame"):
        values(log)


def test_all_segments_missing(tmp_path: Path) -> None:
    for path in make(tmp_path):
        path.unlink()
    with Log(tmp_path) as log, pytest.raises(LogCorruptError, match="no segment although 200 events"):
        log.writer("a")


def test_zeros_before_acknowledged_events_are_damage(tmp_path: Path) -> None:
    path = make(tmp_path)[-1]
    at = first_frame(path)
    raw = bytearray(path.read_bytes())
    raw[at : at + 512] = bytes(512)
    path.write_bytes(raw)
    with Log(tmp_path) as log, pytest.raises(LogCorruptError, match=f"damaged at byte {at}"):
        log.writer("a")


def test_without_a_head_a_hole_is_still_damage(tmp_path: Path) -> None:
    path = make(tmp_path)[-1]
    flip(path, first_frame(path))
    (tmp_path / "a" / "0" / "head").unlink()
    with Log(tmp_path) as log, pytest.raises(LogCorruptError, match="damaged at byte"):
        log.writer("a")


def test_losing_acknowledged_events_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make(tmp_path)[-1]
    with path.open("r+b") as file:
        file.truncate(first_frame(path) + 100)
    with Log(tmp_path) as log, caplog.at_level(logging.WARNING, "eventide.log"):
        log.writer("a")
    assert f"{200 - int(path.stem)} acknowledged events are gone" in caplog.text


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventide.log.head.boot_id", lambda: 12345)


def test_after_a_restart_of_the_machine_the_files_are_the_truth(tmp_path: Path, restarted: None) -> None:
    segments = make(tmp_path)
    head = Head(tmp_path / "a" / "0")
    head._words[1] = 999  # the boot that wrote it
    head.publish(150, promised=150)  # a page that was written back too early
    assert not head.trusted
    with Log(tmp_path) as log:
        assert values(log) == list(range(200))
        assert log.verify().ok
        assert log.append("a", batch(200, 5)) == {0: 200}
        assert head.trusted
        assert values(log) == list(range(205))
    assert len(segments) > 3


@pytest.mark.parametrize("promised", [0, 60])
def test_after_a_restart_a_hole_in_what_was_never_synced_is_cut(tmp_path: Path, promised: int, restarted: None) -> None:
    segments = make(tmp_path)
    head = Head(tmp_path / "a" / "0")
    head._words[1] = 999
    head.publish(200, promised=promised)
    hole = segments[len(segments) // 2]
    flip(hole, first_frame(hole) + 200)
    with Log(tmp_path) as log:
        if int(hole.stem) < promised:
            with pytest.raises(LogCorruptError):
                log.writer("a")
            return
        assert log.append("a", batch(int(hole.stem), 5)) == {0: int(hole.stem)}
        assert values(log) == list(range(int(hole.stem) + 5))
        assert len(list((tmp_path / "a" / "0").glob("*.cut"))) == len(segments) - len(segments) // 2 - 1


def test_a_missing_or_damaged_index_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventide.log.open_partitions._INDEX_BYTES", 1000)
    segments = make(tmp_path, 200, segment_bytes=60_000)
    index = segments[-1].with_suffix(".idx")
    good = index.read_bytes()
    assert len(good) == 3 * 32
    for bad in (b"", good[:40], good[:32] + bytes(64), good[:70] + b"\xff" + good[71:]):
        for path in segments:
            path.with_suffix(".idx").write_bytes(bad)
        with Log(tmp_path) as log:
            assert values(log, start={0: 777}) == list(range(777, 1000))
            log.writer("a")
        assert index.read_bytes() == good
    index.unlink()
    with Log(tmp_path) as log:
        log.writer("a")
    assert index.read_bytes() == good


def test_an_index_of_other_bytes_does_not_mislead(tmp_path: Path) -> None:
    path = make(tmp_path, 200, segment_bytes=60_000)[0]
    index = SparseIndex(1)
    index.note(600, 4096, 0)
    index.save(path.with_suffix(".idx"))
    with Log(tmp_path) as log:
        assert values(log, start={0: 777}) == list(range(777, 1000))


def test_a_partition_without_a_head(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "a" / "0" / "head").unlink()
    with Log(tmp_path) as log:
        with pytest.raises(LogError, match="has no head file"):
            log.reader("a")
        log.writer("a")
        assert values(log) == list(range(200))

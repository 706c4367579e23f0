"""Damage that simulated losses of power brought to light, each made by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest

from eventide import registry
from eventide.errors import LogError
from eventide.log import Log, catalog
from eventide.log import head as head_module
from eventide.log.layout import segment_offsets, segment_path

BATCH = pa.record_batch({"x": pa.array(range(100), pa.int64())})


def test_a_deletion_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    """The database forgot the topic, its folder was still there: the name must be free."""
    log = Log(tmp_path)
    log.create_topic("a", BATCH.schema, partitions=2)
    log.append("a", BATCH)
    with mock.patch.object(catalog, "_bury", side_effect=OSError("the power is gone")), pytest.raises(OSError):
        log.delete_topic("a")
    log.close()
    with Log(tmp_path) as again:
        again.create_topic("a", BATCH.schema)
        assert again.append("a", BATCH) == {0: 0}
        assert sum(f.batch.num_rows for f in again.reader("a").read()) == 100


def test_events_that_nobody_deleted_are_not_taken_for_a_deletion(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", BATCH.schema)
        log.append("a", BATCH)
    for path in tmp_path.glob("meta.sqlite*"):
        path.unlink()
    with Log(tmp_path) as log, pytest.raises(LogError, match="does not know topic"):
        log.create_topic("a", BATCH.schema)


def test_a_deletion_that_never_began_is_forgotten(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", BATCH.schema)
        log.append("a", BATCH)
    head_module.Head(tmp_path / "a" / "0").mark_deleted()  # and then the power went
    with Log(tmp_path) as log:
        log.append("a", BATCH)
        with log.reader("a") as reader:
            assert sum(f.batch.num_rows for f in reader.read()) == 200
            assert reader.read() == []


def test_a_reader_stops_at_a_hole_that_nobody_promised(tmp_path: Path) -> None:
    """A sealed segment lost its end, the next one is there: readers need not wait for a writer to repair it."""
    with mock.patch.object(head_module, "boot_id", lambda: 1):
        log = Log(tmp_path, fsync="os")
        log.create_topic("a", BATCH.schema, segment_bytes=4096)
        for _ in range(12):
            log.append("a", BATCH)
        folder = tmp_path / "a" / "0"
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        log.close()
        shutil.rmtree(folder)
        copy.rename(folder)
    first, second, *_ = segment_offsets(folder)
    data = segment_path(folder, first).read_bytes()
    segment_path(folder, first).write_bytes(data[:2048] + bytes(len(data) - 2048))
    words = bytearray((folder / "head").read_bytes())
    words[24:32] = bytes(8)  # nothing was promised
    words[40:48] = b"\xff" * 8
    (folder / "head").write_bytes(words)
    with Log(tmp_path) as log, log.reader("a", verify=True) as reader:
        events = sum(f.batch.num_rows for f in reader.read())
        assert 0 < events < second
        assert log.describe("a")[0].latest == events
        assert log.writer("a").end == events
        log.append("a", BATCH)
    with Log(tmp_path) as log:
        assert sum(f.batch.num_rows for f in log.reader("a", verify=True).read()) == events + 100


def test_half_of_a_number_in_the_head_is_no_promise(tmp_path: Path) -> None:
    """The offset went from 255 to 256, and half of that was on the disk: 511, more than there ever was."""
    with mock.patch.object(head_module, "boot_id", lambda: 1), Log(tmp_path) as log:
        log.create_topic("a", BATCH.schema)
        log.append("a", BATCH)
        log.append("a", BATCH)
    folder = tmp_path / "a" / "0"
    segment = segment_path(folder, 0)
    data = segment.read_bytes()
    segment.write_bytes(data[:-64] + b"x" * 64)  # an append that was under way
    words = bytearray((folder / "head").read_bytes())
    words[24:26] = b"\xff\x01"
    (folder / "head").write_bytes(words)
    with Log(tmp_path) as log:
        assert log.append("a", BATCH) == {0: 100}
        assert sum(f.batch.num_rows for f in log.reader("a", verify=True).read()) == 200


@pytest.mark.parametrize("name", ["out.csv", "out.arrow", "out.csv.gz"])
@pytest.mark.parametrize("left", ["nothing", "all but one", "an empty folder", "everything"])
def test_a_finished_file_is_taken_up_again_whatever_is_left_of_its_parts(tmp_path: Path, name: str, left: str) -> None:
    """The run had ended, its parts were being removed when the power went."""
    uri, folder = f"file://{tmp_path}/{name}", tmp_path / f".{name}.parts"
    file = registry.resolve("connector", "file")
    out = file.sink(uri, {})
    out.open(BATCH.schema, None)
    state = {}
    for number in (1, 2, 3):
        out.write(BATCH)
        state = dict(out.prepare(number))
        out.commit(number, state)
    shutil.copytree(folder, tmp_path / "parts")
    out.close()
    assert not folder.exists()
    if left != "nothing":
        (tmp_path / "parts").rename(folder)
    if left == "all but one":
        next(iter(folder.glob("part-*"))).unlink()
    elif left == "an empty folder":
        for part in folder.iterdir():
            part.unlink()
    again = file.sink(uri, {})
    again.open(BATCH.schema, state)
    again.commit(3, state)
    again.write(BATCH)
    again.commit(4, again.prepare(4))
    again.close()
    reader = file.source(uri, {}).open({})
    rows = [x for chunk in reader.read(max_rows=10_000, timeout=0) for x in chunk.batch.column("x").to_pylist()]
    while not reader.finished:
        rows += [x for c in reader.read(max_rows=10_000, timeout=0) for x in c.batch.column("x").to_pylist()]
    reader.close()
    assert rows == list(range(100)) * 4

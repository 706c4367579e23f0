"""Checkpoints, savepoints, and runs that go on by themselves."""

from __future__ import annotations

import errno
import json
import threading
import zlib
from collections.abc import Mapping
from io import FileIO, RawIOBase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import eventide as ev
from eventide.engines.local import savepoints
from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.engines.local.result import Progress
from eventide.errors import CheckpointError, ConfigError, EventideError, UnknownNameError
from eventide.log import Log
from eventide.log.checked_file import CheckedFile
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import Delivery

ROWS = 20_000


def counts(name: str = "counts", *, root: Path, rows: int = ROWS) -> Pipeline:
    return (
        ev.read("generator://events", rows=rows, keys=50, seed=3)
        .event_time("timestamp")
        .key_by("key")
        .window(ev.tumbling("1s"))
        .aggregate(n=ev.count(), mean=ev.mean("value"))
        .write("log://counts", log=str(root))
        .named(name)
    )


def read_all(root: Path, topic: str = "counts") -> list[dict[str, Any]]:
    with Log(root, create=False) as log:
        rows = [row for frame in log.reader(topic).read(10**9) for row in frame.batch.to_pylist()]
    return sorted(rows, key=lambda r: (r["window_start"], r["key"]))


def table(rows: int, *, seed: int = 0) -> pa.Table:
    return pa.table({"_group": pa.array([0] * rows, pa.int32()), "x": pa.array(range(seed, seed + rows), pa.int64())})


class Failing:
    """A sink that fails when told to, in front of a real one."""

    delivery: Delivery = "exactly_once"

    def __init__(self, sink: Any, fails: dict[str, list[int]]) -> None:
        self.sink, self.fails, self.calls = sink, fails, {"write": 0, "prepare": 0, "commit": 0}

    def _may_fail(self, call: str) -> None:
        self.calls[call] += 1
        if self.calls[call] in self.fails.get(call, []):
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        self.sink.open(schema, state)

    def write(self, batch: pa.RecordBatch) -> None:
        self._may_fail("write")
        self.sink.write(batch)

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        self._may_fail("prepare")
        state: Mapping[str, Any] = self.sink.prepare(checkpoint)
        return state

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        self._may_fail("commit")
        self.sink.commit(checkpoint, state)

    def close(self) -> None:
        self.sink.close()


def with_sink(pipeline: Pipeline, wrap: Any) -> Pipeline:
    """Return the pipeline with its log sink behind another one."""
    from eventide import registry
    from eventide.model.graph import Write

    write = pipeline.nodes[-1]
    assert isinstance(write, Write)
    sink = wrap(registry.open_sink(write.uri, dict(write.options)))
    stream = ev.Stream(write.input)
    return stream.write(sink).named(pipeline.name)


@pytest.mark.parametrize(
    "fails", [{"write": [7]}, {"prepare": [1, 2]}, {"commit": [2]}, {"write": [3], "prepare": [2], "commit": [2, 3, 4]}]
)
def test_a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled(tmp_path: Path, fails: dict[str, list[int]]) -> None:
    ev.run(counts(root=tmp_path / "a"))
    seen: list[Progress] = []
    result = ev.run(
        with_sink(counts(root=tmp_path / "b"), lambda sink: Failing(sink, fails)),
        checkpoint=str(tmp_path / "c"),
        checkpoint_interval="0s",
        batch_rows=500,
        on_progress=seen.append,
        longest_wait="1ms",
    )
    assert read_all(tmp_path / "b") == read_all(tmp_path / "a")
    assert result.restarts == sum(map(len, fails.values()))
    waits = [p for p in seen if p.state == "waiting"]
    assert len(waits) == result.restarts
    assert all("No space left" in p.reason for p in waits)
    assert result.rows_in == ROWS


def test_without_checkpoints_the_error_ends_the_run(tmp_path: Path) -> None:
    pipeline = with_sink(counts(root=tmp_path), lambda sink: Failing(sink, {"write": [1]}))
    with pytest.raises(EventideError, match="No space left"):
        ev.run(pipeline)


def test_so_many_failures_are_borne_and_no_more(tmp_path: Path) -> None:
    pipeline = with_sink(counts(root=tmp_path), lambda sink: Failing(sink, {"write": list(range(1, 100))}))
    with pytest.raises(EventideError, match="No space left"):
        ev.run(pipeline, checkpoint=str(tmp_path / "c"), retries=3, longest_wait="1ms")


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    stop = threading.Event()
    pipeline = with_sink(counts(root=tmp_path), lambda sink: Failing(sink, {"write": list(range(1, 1000))}))

    def on_progress(progress: Progress) -> None:
        if progress.state == "waiting":
            stop.set()

    with pytest.raises(EventideError, match="No space left"):
        ev.run(pipeline, checkpoint=str(tmp_path / "c"), stop=stop, on_progress=on_progress)


class Flaky:
    """A source whose reads fail every few times."""

    def __init__(self, source: Any, every: int, error: Exception) -> None:
        self.source, self.every, self.error, self.reads, self.opened = source, every, error, 0, 0

    def schema(self) -> pa.Schema:
        return self.source.schema()

    def partitions(self) -> list[str]:
        names: list[str] = self.source.partitions()
        return names

    def open(self, positions: Mapping[str, Any]) -> Any:
        self.opened += 1
        reader, outer = self.source.open(positions), self

        class Reader:
            finished = property(lambda _: reader.finished)
            backlog = staticmethod(reader.backlog)
            close = staticmethod(reader.close)

            def read(self, *, max_rows: int, timeout: float) -> Any:
                outer.reads += 1
                if outer.reads % outer.every == 0:
                    raise outer.error
                return reader.read(max_rows=max_rows, timeout=timeout)

        return Reader()


def flaky_pipeline(root: Path, error: Exception) -> tuple[Pipeline, Flaky]:
    from eventide import registry

    options = {"rows": ROWS, "keys": 50, "seed": 3}
    source = Flaky(registry.open_source("generator://events", options), 3, error)
    events = ev.read(source).event_time("timestamp").key_by("key").window(ev.tumbling("1s"))
    aggregated = events.aggregate(n=ev.count(), mean=ev.mean("value"))
    return aggregated.write("log://counts", log=str(root)).named("counts"), source


def test_a_source_that_fails_now_and_then_goes_on_where_it_stood(tmp_path: Path) -> None:
    ev.run(counts(root=tmp_path / "a"))
    pipeline, source = flaky_pipeline(tmp_path / "b", ConnectionResetError("reset by peer"))
    result = ev.run(pipeline, batch_rows=500, longest_wait="1ms")
    assert read_all(tmp_path / "b") == read_all(tmp_path / "a")
    assert source.opened > 5 and result.restarts == 0


def test_a_source_that_fails_for_good_fails_the_run(tmp_path: Path) -> None:
    pipeline, source = flaky_pipeline(tmp_path, ValueError("what is this?"))
    with pytest.raises(EventideError, match="what is this"):
        ev.run(pipeline, checkpoint=str(tmp_path / "c"), batch_rows=500)
    assert source.opened == 1


def test_two_runs_do_not_share_checkpoints(tmp_path: Path) -> None:
    problems: list[str] = []

    def on_progress(_: Progress) -> None:
        try:
            ev.run(counts(root=tmp_path / "b"), checkpoint=str(tmp_path / "c"))
        except CheckpointError as error:
            problems.append(str(error))

    ev.run(counts(root=tmp_path / "a"), checkpoint=str(tmp_path / "c"), on_progress=on_progress)
    assert problems and "is running already" in problems[0]


# -- savepoints


def stopped_after(rows: int, stop: threading.Event) -> Any:
    def on_progress(progress: Progress) -> None:
        if progress.rows_in >= rows:
            stop.set()

    return on_progress


def paced(root: Path) -> Pipeline:
    return (
        ev.read("generator://events", rows=6000, keys=50, seed=3, pace=2)
        .event_time("timestamp")
        .key_by("key")
        .window(ev.tumbling("1s"))
        .aggregate(n=ev.count(), mean=ev.mean("value"))
        .write("log://counts", log=str(root))
        .named("paced")
    )


def test_a_savepoint_of_a_running_pipeline_is_where_another_run_begins(tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": str(tmp_path / "c"), "checkpoint_interval": "1h"}
    waiting: list[Any] = []

    def on_progress(progress: Progress) -> None:
        if progress.rows_in > 1500 and not waiting:
            waiting.append(savepoints.create(paced(tmp_path / "a"), tmp_path / "c", "before"))

    whole = ev.run(paced(tmp_path / "a"), on_progress=on_progress, **options)
    assert waiting[0]() == tmp_path / "c" / "paced" / "savepoints" / "before"
    everything = read_all(tmp_path / "a")
    again = ev.run(paced(tmp_path / "a"), from_savepoint="before", **options)
    assert 0 < again.rows_in < whole.rows_in
    # What was written after the savepoint is written again, and is the same.
    twice = read_all(tmp_path / "a")
    assert len(twice) > len(everything) and {str(r) for r in twice} == {str(r) for r in everything}


def test_a_savepoint_of_a_pipeline_that_does_not_run(tmp_path: Path) -> None:
    pipeline = counts(root=tmp_path / "log")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        savepoints.create(pipeline, tmp_path / "c", "one")
    first = ev.run(pipeline, checkpoint=str(tmp_path / "c"))
    path = savepoints.create(pipeline, tmp_path / "c", "one")()
    assert path is not None
    with pytest.raises(CheckpointError, match="already"):
        savepoints.create(pipeline, tmp_path / "c", "one")
    with pytest.raises(CheckpointError, match="cannot be the name"):
        savepoints.create(pipeline, tmp_path / "c", "../one")
    [(name, folder, manifest)] = savepoints.listed(pipeline, tmp_path / "c")
    assert (name, folder, manifest["number"]) == ("one", path, first.checkpoint)
    with pytest.raises(UnknownNameError, match="no savepoint 'two'"):
        ev.run(pipeline, checkpoint=str(tmp_path / "c"), from_savepoint="two")
    with pytest.raises(ConfigError, match="needs a folder"):
        ev.run(pipeline, from_savepoint="one")
    again = ev.run(pipeline, checkpoint=str(tmp_path / "c"), from_savepoint=str(path))
    assert again.resumed_from == first.checkpoint and again.checkpoint > first.checkpoint
    savepoints.delete(pipeline, tmp_path / "c", "one")
    assert savepoints.listed(pipeline, tmp_path / "c") == []


def test_savepoints_outlive_checkpoints(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "p", keep=2)
    store.save(Checkpoint(1, {"written": 0}, {"t": {"big": table(100_000), "small": table(5)}}))
    store.keep_as("first")
    for number in range(2, 6):
        store.save(Checkpoint(number, {"written": number}, {"t": {"big": table(100_000, seed=number)}}))
    assert store.numbers() == [4, 5]
    found = store.load("first")
    assert found is not None and found.number == 1
    assert found.states["t"]["big"].equals(table(100_000)) and found.states["t"]["small"].equals(table(5))


# -- files


def test_what_did_not_change_is_linked_not_written(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "p", keep=1)
    same, small = table(100_000), table(3)
    first = store.save(Checkpoint(1, {}, {"t": {"same": same, "small": small}}))
    for number in range(2, 5):
        size = store.save(
            Checkpoint(number, {}, {"t": {"same": same, "small": small, "new": table(50_000, seed=number)}})
        )
        assert size < first
        found = store.load()
        assert found is not None and found.states["t"]["same"].equals(same)
        assert found.states["t"]["new"].equals(table(50_000, seed=number))
    assert store.numbers() == [4]


@pytest.mark.parametrize("file", ["small.bin", "00000001-0000.arrow", "manifest.json"])
def test_damage_is_found(tmp_path: Path, file: str) -> None:
    store = CheckpointStore(tmp_path, "p")
    store.save(Checkpoint(1, {"a": 1}, {"t": {"big": table(100_000), "small": table(5)}}))
    path = store.folder / "chk-00000001" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot be read"):
        store.load()


def test_another_version_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "p")
    store.save(Checkpoint(1, {}, {}))
    path = store.folder / "chk-00000001" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1}))
    with pytest.raises(CheckpointError, match="version 1"):
        store.load()


def test_what_a_crash_left_is_cleared(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "p")
    store.save(Checkpoint(1, {}, {}))
    for left in ("chk-00000002.tmp", ".chk-00000000.tmp", "savepoints/.x.tmp"):
        (store.folder / left).mkdir(parents=True)
    assert store.numbers() == [1] and store.savepoints() == []
    store.tidy()
    assert sorted(p.name for p in store.folder.rglob("*")) == ["chk-00000001", "manifest.json", "savepoints"]


def test_a_run_whose_input_had_ended_takes_what_came_since(tmp_path: Path) -> None:
    """The end of the input closed every window; what is appended later is input of its own, and not late."""
    schema = pa.schema([("timestamp", pa.timestamp("ns", "UTC")), ("key", pa.int64())])

    def batch(second: int) -> pa.RecordBatch:
        times = pa.array([second * 10**9 + i for i in range(10)], pa.timestamp("ns", "UTC"))
        return pa.record_batch({"timestamp": times, "key": [1] * 10}, schema=schema)

    pipeline = (
        ev.read("log://events", follow=False, log=str(tmp_path / "log"))
        .event_time("timestamp")
        .key_by("key")
        .window(ev.tumbling("1s"))
        .aggregate(n=ev.count())
        .write("log://counts", log=str(tmp_path / "log"))
        .named("later")
    )
    with Log(tmp_path / "log") as log:
        log.create_topic("events", schema, event_time="timestamp")
        log.append("events", batch(100))
    ev.run(pipeline, checkpoint=str(tmp_path / "c"))
    with Log(tmp_path / "log") as log:
        log.append("events", batch(101))
    result = ev.run(pipeline, checkpoint=str(tmp_path / "c"))
    assert (result.rows_in, result.late) == (10, 0)
    assert [r["n"] for r in read_all(tmp_path / "log")] == [10, 10]


def test_retention_leaves_what_a_checkpoint_and_a_savepoint_need(tmp_path: Path) -> None:
    from eventide.log import Retention

    schema = pa.schema([("timestamp", pa.timestamp("ns", "UTC")), ("key", pa.int64())])
    root, batches = tmp_path / "log", 60

    def batch(number: int) -> pa.RecordBatch:
        times = pa.array([number * 10**8 + i for i in range(100)], pa.timestamp("ns", "UTC"))
        return pa.record_batch({"timestamp": times, "key": list(range(100))}, schema=schema)

    def pipeline(topic: str) -> Pipeline:
        events = ev.read("log://events", log=str(root), follow=False).event_time("timestamp").key_by("key")
        aggregated = events.window(ev.tumbling("1s")).aggregate(n=ev.count())
        return aggregated.write(f"log://{topic}", log=str(root)).named(topic)

    with Log(root) as log:
        log.create_topic("events", schema, event_time="timestamp", segment_bytes=4096, retention=Retention(max_bytes=1))
        for number in range(batches):
            log.append("events", batch(number))
    ev.run(pipeline("whole"))
    stop = threading.Event()
    options: dict[str, Any] = {"checkpoint": str(tmp_path / "c"), "checkpoint_interval": "0s", "batch_rows": 100}
    made: list[Any] = []

    def on_progress(progress: Progress) -> None:
        if not made:
            made.append(savepoints.create(pipeline("counts"), tmp_path / "c", "early"))
        elif (tmp_path / "c" / "counts" / "savepoints" / "early").exists():
            stop.set()

    ev.run(with_sink(pipeline("counts"), Slow), stop=stop, on_progress=on_progress, **options)

    def earliest() -> int:
        with Log(root) as log:
            log.apply_retention("events")
            return log.describe("events")[0].earliest

    held = earliest()
    rest = ev.run(with_sink(pipeline("counts"), Slow), **options)
    assert 0 < rest.rows_in < batches * 100
    assert read_all(root) == read_all(root, "whole")
    assert earliest() == held  # the savepoint still needs it
    savepoints.delete(pipeline("counts"), tmp_path / "c", "early")
    assert earliest() > held


class Slow(Failing):
    """A sink that takes its time."""

    def __init__(self, sink: Any) -> None:
        super().__init__(sink, {})

    def write(self, batch: pa.RecordBatch) -> None:
        threading.Event().wait(0.05)
        super().write(batch)


def test_a_savepoint_asked_for_at_the_very_end_is_made(tmp_path: Path) -> None:
    """By the run's last checkpoint, or by whoever asked when the run has ended."""
    pipeline = counts(root=tmp_path / "log")
    folder = tmp_path / "c" / pipeline.name
    asked: list[Any] = []

    def on_progress(progress: Progress) -> None:
        asked.append(savepoints.create(pipeline, tmp_path / "c", f"s{len(asked)}"))

    ev.run(pipeline, checkpoint=str(tmp_path / "c"), on_progress=on_progress)
    assert asked and all(look() is not None for look in asked)

    from eventide.log.lock import FileLock

    lock = FileLock(folder / "run.lock", what="a run that will end without looking")
    look = savepoints.create(pipeline, tmp_path / "c", "late")
    assert look() is None
    lock.release()
    assert look() == folder / "savepoints" / "late"
    assert list((folder / "requests").iterdir()) == []


class _Narrow(RawIOBase):
    """Takes at most so many bytes at a time, as a disk with little room does."""

    def __init__(self, file: FileIO, most: int) -> None:
        self._file, self._most = file, most

    def write(self, data: Any) -> int:
        return self._file.write(memoryview(data)[: self._most])

    def fileno(self) -> int:
        return self._file.fileno()


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path) -> None:
    data = bytes(range(256)) * 12_000
    with FileIO(tmp_path / "a", "w") as file:
        checked = CheckedFile(_Narrow(file, 70_001))
        assert checked.write(pa.array(range(3)).buffers()[1]) == 24 and checked.write(data) == len(data)
    written = (tmp_path / "a").read_bytes()
    assert written[24:] == data and checked.size == len(written) and checked.crc == zlib.crc32(written)


def test_what_is_let_go_has_no_name_at_once_and_no_room_after_a_while(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "p", keep=1)
    for number in range(1, 3):
        store.save(Checkpoint(number, {"written": number}, {"t": {"big": table(100_000, seed=number)}}))
    assert store.numbers() == [2] and len(list(store.folder.iterdir())) == 2
    store.clear()
    assert [p.name for p in store.folder.iterdir()] == ["chk-00000002"]


def test_what_was_loaded_and_not_touched_is_linked_not_written(tmp_path: Path) -> None:
    big = table(100_000)
    first = CheckpointStore(tmp_path, "p").save(Checkpoint(1, {}, {"t": {"big": big, "small": table(3)}}))
    store = CheckpointStore(tmp_path, "p", keep=1)
    found = store.load()
    assert found is not None
    size = store.save(
        Checkpoint(2, {}, {"t": {"renamed": found.states["t"]["big"], "small": found.states["t"]["small"]}})
    )
    store.clear()
    again = CheckpointStore(tmp_path, "p").load()
    assert size < first / 50 and again is not None and store.numbers() == [2]
    assert again.states["t"]["renamed"].equals(big) and again.states["t"]["small"].equals(table(3))

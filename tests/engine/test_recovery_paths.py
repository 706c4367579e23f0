"""What becomes of a run that fails, or is killed, where it hurts: nothing is lost, nothing is there twice."""

from __future__ import annotations

import errno
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import eventide as ev
from eventide import registry
from eventide.cli import main
from eventide.connectors._file_sink import FileSink
from eventide.connectors._log_sink import LogSink
from eventide.connectors._log_source import LogReader
from eventide.engines.local import savepoints
from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.engines.local.result import Progress, RunResult
from eventide.errors import CheckpointError, ConfigError, EventideError, LogError
from eventide.log import Log
from eventide.log.lock import FileLock
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import Chunk, Position

SCHEMA = pa.schema([("x", pa.int64())])


class KilledError(BaseException):
    """Ends a run as a signal would: nothing catches it."""


def put(root: Path, first: int, end: int, topic: str = "in") -> None:
    with Log(root) as log:
        log.create_topic(topic, SCHEMA, exist_ok=True)
        log.append(topic, pa.record_batch({"x": list(range(first, end))}))


def values(root: Path, topic: str = "out") -> list[int]:
    with Log(root, create=False) as log:
        return [x for frame in log.reader(topic).read(10**9) for x in frame.batch["x"].to_pylist()]


def copying(root: Path, **options: Any) -> Pipeline:
    options = {"follow": False, **options}
    return ev.read("log://in", log=str(root), **options).write("log://out", log=str(root)).named("copying")


def run(pipeline: Pipeline, root: Path, **options: Any) -> RunResult:
    return ev.run(pipeline, checkpoint=str(root / "c"), longest_wait="10ms", **options)


def run_until(pipeline: Pipeline, root: Path, rows: int, *, during: Callable[[], None] | None = None) -> RunResult:
    """Run until so many rows were written; `during` is called once the run goes."""
    stop = threading.Event()
    begun: list[bool] = []

    def on_progress(progress: Progress) -> None:
        if progress.state == "running" and not begun:
            begun.append(True)
            if during is not None:
                during()
        if progress.rows_out >= rows:
            stop.set()

    watchdog = threading.Timer(20, stop.set)
    watchdog.start()
    try:
        return run(pipeline, root, stop=stop, on_progress=on_progress, checkpoint_interval="20ms")
    finally:
        watchdog.cancel()


# -- where a source began


def test_what_came_to_a_silent_topic_between_two_runs_is_read(tmp_path: Path) -> None:
    put(tmp_path, 0, 10)
    latest = copying(tmp_path, start="latest", follow=True)
    run_until(latest, tmp_path, 0)
    put(tmp_path, 10, 20)
    run_until(latest, tmp_path, 10)
    assert values(tmp_path) == list(range(10, 20))


def test_what_came_before_the_first_checkpoint_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 0, 10)
    real, calls = LogSink.write, []

    def write(self: LogSink, batch: pa.RecordBatch) -> None:
        calls.append(batch.num_rows)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, batch)

    monkeypatch.setattr(LogSink, "write", write)
    latest = copying(tmp_path, start="latest", follow=True)
    result = run_until(latest, tmp_path, 10, during=lambda: put(tmp_path, 10, 20))
    assert result.restarts == 1
    assert values(tmp_path) == list(range(10, 20))


# -- going back


def files(root: Path) -> Pipeline:
    events = ev.read("log://in", log=str(root), follow=False)
    return events.write(f"file://{root}/out/", format="csv").named("files")


def lines(root: Path) -> list[int]:
    return sorted(int(x) for f in (root / "out").glob("part-*.csv") for x in f.read_text().split()[1:])


@pytest.mark.parametrize("back", [{"from_savepoint": "first"}, {"resume": False}])
def test_a_run_that_went_back_and_was_killed_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: dict[str, Any]
) -> None:
    put(tmp_path, 0, 300)
    run(files(tmp_path), tmp_path)
    savepoints.create(files(tmp_path), tmp_path / "c", "first")()
    put(tmp_path, 300, 600)
    before = run(files(tmp_path), tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(FileSink, "write", _die)
        run(files(tmp_path), tmp_path, **back)
    after = run(files(tmp_path), tmp_path)
    assert lines(tmp_path) == list(range(600))
    assert after.rows_in == (300 if "from_savepoint" in back else 600)
    assert after.checkpoint > before.checkpoint
    assert after.ledger_balanced and after.ledger["read-0"].rows_in == 600


def _die(*_: object) -> None:
    raise KilledError


def test_so_is_one_that_began_from_the_savepoint_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 0, 300)
    run(files(tmp_path), tmp_path)
    savepoints.create(files(tmp_path), tmp_path / "c", "first")()
    put(tmp_path, 300, 600)
    what_if = files(tmp_path).named("what-if")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(FileSink, "write", _die)
        run(what_if, tmp_path, from_savepoint="files/first")
    assert run(what_if, tmp_path).rows_in == 300
    assert lines(tmp_path) == list(range(600))


def test_a_savepoint_is_not_changed_by_a_run_that_began_there(tmp_path: Path) -> None:
    put(tmp_path, 0, 300)
    run(copying(tmp_path), tmp_path)
    path = savepoints.create(copying(tmp_path), tmp_path / "c", "first")()
    assert path is not None
    before = (path / "manifest.json").read_bytes()
    run(copying(tmp_path), tmp_path, from_savepoint="first")
    assert (path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("back", [{"from_savepoint": "first"}, {"resume": False}])
def test_a_run_that_went_back_holds_what_it_has_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: dict[str, Any]
) -> None:
    put(tmp_path, 0, 10)
    run(copying(tmp_path), tmp_path)
    savepoints.create(copying(tmp_path), tmp_path / "c", "first")()
    for first in range(10, 4_000, 100):
        put(tmp_path, first, first + 100)
    run(copying(tmp_path), tmp_path)
    real, let_go = LogReader.release, []

    def release(self: LogReader, owner: str, positions: Mapping[str, Position]) -> None:
        let_go.append((dict(positions).get("0", {"offset": 0})["offset"], self._reader.positions[0]))
        real(self, owner, positions)

    monkeypatch.setattr(LogReader, "release", release)
    run(copying(tmp_path), tmp_path, batch_rows=10, checkpoint_interval="0s", **back)
    assert len(let_go) > 2 and all(offset <= read for offset, read in let_go)


def test_to_begin_again_an_old_checkpoint_need_not_be_readable(tmp_path: Path) -> None:
    put(tmp_path, 0, 100)
    run(copying(tmp_path), tmp_path)
    manifest = tmp_path / "c" / "copying" / "chk-00000001" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 1}))
    with pytest.raises(CheckpointError, match="version 1"):
        run(copying(tmp_path), tmp_path)
    assert run(copying(tmp_path), tmp_path, resume=False).rows_in == 100


# -- the folder of checkpoints


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "p", keep=1)
    store.save(Checkpoint(1, {}, {}))
    (store.folder / "chk-00000001.bak").mkdir()
    (store.folder / "chk-notes").write_text("mine")
    store.tidy()
    store.save(Checkpoint(2, {}, {}))
    assert store.numbers() == [2]
    assert (store.folder / "chk-00000001.bak").is_dir() and (store.folder / "chk-notes").is_file()


def test_a_savepoint_of_a_pipeline_whose_name_is_no_folder_is_found(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "my pipeline/2")
    store.save(Checkpoint(1, {}, {}))
    path = store.keep_as("first")
    assert CheckpointStore(tmp_path, "other").path_of("my pipeline/2/first") == path


# -- savepoints, and what else is asked of a run


def refuse_savepoints(monkeypatch: pytest.MonkeyPatch) -> None:
    real = LogReader.release

    def release(self: LogReader, owner: str, positions: Mapping[str, Position]) -> None:
        if "savepoint:" in owner:
            msg = "that was deleted by retention"
            raise LogError(msg)
        real(self, owner, positions)

    monkeypatch.setattr(LogReader, "release", release)


def test_a_savepoint_whose_events_cannot_be_held_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 0, 100)
    run(copying(tmp_path), tmp_path)
    refuse_savepoints(monkeypatch)
    with pytest.raises(LogError, match="deleted by retention"):
        savepoints.create(copying(tmp_path), tmp_path / "c", "first")
    assert savepoints.listed(copying(tmp_path), tmp_path / "c") == []


def test_nor_does_it_end_the_run_that_was_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 0, 100)
    refuse_savepoints(monkeypatch)
    following = copying(tmp_path, follow=True)
    asked: list[Callable[[], Path | None]] = []

    def during() -> None:
        asked.append(savepoints.create(following, tmp_path / "c", "first"))

    result = run_until(following, tmp_path, 100, during=during)
    assert result.restarts == 0 and values(tmp_path) == list(range(100))
    with pytest.raises(CheckpointError, match="deleted by retention"):
        asked[0]()
    assert savepoints.listed(following, tmp_path / "c") == []


def test_checkpoints_that_cannot_be_read_while_the_run_waits_do_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 0, 100)
    full = OSError(errno.EMFILE, "Too many open files")
    write, newest = LogSink.write, CheckpointStore.newest
    fails = {"write": 1, "newest": 3}

    def may_fail(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if fails[name]:
                fails[name] -= 1
                raise CheckpointError(str(full)) from full
            return real(*arguments)

        return call

    monkeypatch.setattr(LogSink, "write", may_fail("write", write))
    monkeypatch.setattr(CheckpointStore, "newest", may_fail("newest", newest))
    result = run(copying(tmp_path), tmp_path, on_progress=lambda _: None)
    assert fails == {"write": 0, "newest": 0} and result.restarts == 3 - 1
    assert values(tmp_path) == list(range(100))


def test_who_looks_whether_a_pipeline_runs_does_not_keep_it_from_running(tmp_path: Path) -> None:
    put(tmp_path, 0, 100)
    folder = tmp_path / "c" / "copying"
    folder.mkdir(parents=True)
    lock = FileLock(folder / "run.lock", what="a look")
    looking = threading.Timer(0.02, lock.release)
    looking.start()
    assert run(copying(tmp_path), tmp_path).rows_in == 100
    looking.join()


def test_one_place_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each say where to begin"):
        run(copying(tmp_path), tmp_path, resume=False, from_savepoint="first")


def test_the_command_line_begins_again_where_a_checkpoint_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTIDE_LOG", str(tmp_path))
    put(tmp_path, 0, 100)
    (tmp_path / "copy.py").write_text(
        "import eventide as ev\npipeline = ev.read('log://in', follow=False).write('log://out')\n"
    )

    def call(*arguments: str) -> tuple[int | str | None, str]:
        with pytest.raises(SystemExit) as ended:
            main(["run", "copy.py", "--log", str(tmp_path), *arguments])
        return ended.value.code, capsys.readouterr().err

    assert call()[0] == 0
    (tmp_path / ".eventide/checkpoints/copy/chk-00000001/manifest.json").write_text("{")
    code, said = call()
    assert code == 1 and "cannot be read" in said and "--fresh" in said and "remove" not in said
    code, said = call("--fresh")
    assert code == 0 and "begun again" in said
    assert values(tmp_path) == [*range(100), *range(100)]


def test_one_file_has_its_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 0, 100)
    events = ev.read("log://in", log=str(tmp_path), follow=True)
    one = events.write(f"file://{tmp_path}/one.csv").named("one")
    real, reads = LogReader.read, itertools.count()

    def read(self: LogReader, *, max_rows: int, timeout: float) -> list[Chunk]:
        if next(reads) == 20:
            msg = "the source is not what it was"
            raise ValueError(msg)
        return real(self, max_rows=max_rows, timeout=timeout)

    monkeypatch.setattr(LogReader, "read", read)
    with pytest.raises(EventideError, match="not what it was"):
        run(one, tmp_path, checkpoint_interval="20ms")
    assert not (tmp_path / "one.csv").exists()
    put(tmp_path, 100, 200)
    run_until(one, tmp_path, 100)
    assert [int(x) for x in (tmp_path / "one.csv").read_text().split()[1:]] == list(range(200))


def test_a_run_that_is_stopped_while_it_waits_ends_as_stopped(tmp_path: Path) -> None:
    (tmp_path / "full.py").write_text(
        "import errno\nimport eventide as ev\n\n"
        "def full(batch):\n"
        "    if batch.num_rows:\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    return batch\n\n"
        "pipeline = ev.read('generator://events', rows=10).map_batches(full).write('log://out')\n"
    )
    command = [sys.executable, "-c", "from eventide.cli import main; main()", "run", "full.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "waiting, will go on by itself" in line)
        process.terminate()
        rest = process.stderr.read()
    assert "No space left" in said
    assert process.returncode == 143 and "stopped while waiting" in rest and "error:" not in rest


def test_a_pipeline_leaves_alone_what_another_prepared_for_the_same_topic(tmp_path: Path) -> None:
    batch = pa.record_batch({"x": [1]})
    one, two = (registry.open_sink("log://t", {"log": str(tmp_path)}) for _ in range(2))
    one.owned("first/write-1")
    two.owned("second/write-1")
    one.open(batch.schema, None)
    one.write(batch)
    state = one.prepare(1)
    two.open(batch.schema, None)
    one.commit(1, state)
    two.close()
    one.close()
    with Log(tmp_path) as log:
        assert sum(frame.batch.num_rows for frame in log.reader("t").read(10)) == 1


def test_folders_of_pipelines_are_never_shared(tmp_path: Path) -> None:
    names = ["a b", "a_b", "a/b", "a%20b", "..", ".", "a.b", "Größe"]
    folders = {CheckpointStore(tmp_path, name).folder for name in names}
    assert len(folders) == len(names)
    assert all(folder.parent == tmp_path and folder.resolve().parent == tmp_path.resolve() for folder in folders)

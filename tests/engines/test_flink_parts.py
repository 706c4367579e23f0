"""The parts of the Flink engine that need no Flink: options, files on their way, what is kept, errors on their way out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import eventide as ev
from eventide.engines import flink
from eventide.engines._dataflow import Output
from eventide.engines.flink.drive import _told
from eventide.engines.flink.failure import carried, error_in
from eventide.engines.flink.folders import Folders, folders_for
from eventide.engines.flink.options import options_of
from eventide.engines.flink.rest import Failure, Rest
from eventide.engines.flink.spool import CHARSET, Spool, frame
from eventide.errors import CheckpointError, ConfigError, DataError, EventideError, PipelineError, UnavailableError


@pytest.mark.parametrize(
    "wrong",
    [
        {"lane": 2},
        {"lanes": -1},
        {"buckets": 0},
        {"mode": "fast"},
        {"url": "somewhere"},
        {"from_savepoint": "x"},
        {"savepoint": "x"},
        {"metrics": "127.0.0.1:9000"},
        {"checkpoint_interval": "soon"},
        {"from_savepoint": "x", "checkpoint": "c", "resume": False},
    ],
    ids=str,
)
def test_options_that_are_wrong(wrong):
    with pytest.raises(EventideError) as caught:
        options_of(wrong)
    assert caught.value.hint


def test_options_of_the_command_line_are_known():
    names = (
        "checkpoint",
        "checkpoint_interval",
        "lanes",
        "resume",
        "keep",
        "from_savepoint",
        "metrics",
        "metrics_remote",
    )
    fields = set(options_of({}).__slots__)
    assert fields >= set(names)
    assert options_of({"url": "http://host:8081"}).address == ("host", 8081)
    assert options_of({"checkpoint_interval": "0s"}).interval_ms == 10


class Taken:
    """Takes outputs as the sinks do."""

    def __init__(self) -> None:
        self.found: list[Output] = []

    def __call__(self, bucket: int) -> int:
        return sum(o.bucket == bucket for o in self.found)

    def take(self, spool: Spool) -> None:
        for output in spool.fetch(self):
            if output.seq == self(output.bucket):
                self.found.append(output)


def write(folder: Path, name: str, *outputs: Output) -> None:
    (folder / name).write_bytes(b"".join(frame(o).encode(CHARSET) + b"\n" for o in outputs))


def test_outputs_come_in_order_and_once(tmp_path):
    made = [Output(b, seq, os.urandom(300) + b"\n\x00") for seq in range(4) for b in (0, 1)]
    spool, taken = Spool(tmp_path), Taken()
    write(tmp_path, "part-b-0", *made[4:])  # of a worker whose files came first
    write(tmp_path, ".part-c-0.inprogress", made[0])
    taken.take(spool)
    spool.clear()
    assert taken.found == [] and (tmp_path / "part-b-0").exists(), "what came too early must not be lost"
    write(tmp_path, "part-a-0", *made[:6])  # some of it twice
    taken.take(spool)
    assert sorted(taken.found, key=lambda o: (o.seq, o.bucket)) == made
    spool.clear()
    assert [p.name for p in tmp_path.iterdir()] == [".part-c-0.inprogress"]


def test_a_file_that_was_cut_is_told(tmp_path):
    write(tmp_path, "part-a-0", Output(0, 0, b"x" * 100))
    (tmp_path / "part-a-0").write_bytes((tmp_path / "part-a-0").read_bytes()[:-20])
    with pytest.raises(CheckpointError):
        Taken().take(Spool(tmp_path))


def checkpoint(folders: Folders, job: str, number: int, at: int, data: str = "x") -> Path:
    path = folders.checkpoints / job / f"chk-{number}"
    path.mkdir(parents=True)
    (path / "_metadata").write_text(data)
    os.utime(path / "_metadata", ns=(at, at))
    return path


def test_where_a_run_goes_on(tmp_path):
    options = options_of({"checkpoint": tmp_path})
    folders = folders_for(options, "a b")
    assert folders.prepare(options) is None
    checkpoint(folders, "one", 9, at=10)
    ten = checkpoint(folders, "one", 10, at=20)
    checkpoint(folders, "two", 11, at=30, data="")  # cut
    assert folders.prepare(options) == ten
    saved = folders.savepoint("mine")
    saved.mkdir(parents=True)
    (saved / "_metadata").write_text("x")
    (saved / "eventide").mkdir()
    (saved / "eventide" / "sinks.json").write_text("{}")
    (folders.outlet / "sinks.json").write_text("newer")
    assert folders.prepare(options_of({"checkpoint": tmp_path, "from_savepoint": "mine"})) == saved
    assert (folders.outlet / "sinks.json").read_text() == "{}", "the sinks go back with the state"
    assert folders.prepare(options) == saved, "a job that had no time for a checkpoint of its own begins there again"
    begun = (folders.root / "begun-with").stat().st_mtime_ns
    two = checkpoint(folders, "three", 2, at=begun + 10**9)
    assert folders.prepare(options) == two
    assert folders.prepare(options_of({"checkpoint": tmp_path, "resume": False})) is None
    assert folders.newest() is None
    with pytest.raises(CheckpointError, match="not a savepoint"):
        folders.prepare(options_of({"checkpoint": tmp_path, "from_savepoint": "nothing"}))


def test_errors_of_workers():
    ours = Failure(2, f"java.lang.X: {carried(DataError('row 3 is no number', hint='mend it'))} and more")
    later = Failure(3, f"java.lang.X: {carried(ValueError('second'))}")
    found = error_in([ours, later])
    assert type(found) is DataError and (found.message, found.hint) == ("row 3 is no number", "mend it")
    assert "in a worker of Flink" in found.__notes__[0]
    assert error_in([Failure(1, f"x {carried(UnavailableError('the broker is away'))}")]) is None, "Flink tries again"
    assert error_in([Failure(1, "org.apache.flink: heartbeat of TaskManager timed out\n\tat x")]) is None
    assert "'pemja'" in str(error_in([Failure(1, "Traceback ...\nModuleNotFoundError: No module named 'pemja'")]))
    assert "cannot start Python" in str(error_in([Failure(1, 'Cannot run program "/no/python": error=2')]))
    assert "SyntaxError: x" in str(error_in([Failure(1, "Traceback (most recent call last):\n  File\nSyntaxError: x")]))
    assert _told(Failure(0, "A: b\n\tat c\nCaused by: D: e\n\tat f\nCaused by: G: h\n\tat i")) == "G: h"


def test_a_cluster_that_is_not_there():
    with pytest.raises(UnavailableError, match="does not answer"):
        Rest("127.0.0.1", 9).version()


def test_check_tells_what_workers_cannot_read():
    with pytest.raises(PipelineError, match="read-0 is stdio://"):
        flink.check(ev.read("stdio://", format="csv", schema={"a": "int64"}).write("memory://copy"))
    fine = ev.read("generator://events", rows=1).select("key").write("memory://x")
    assert flink.check(fine) == ev.check(fine)


def test_run_refuses_before_anything_is_made(tmp_path):
    sink = ev.read("generator://events", rows=1).write("memory://x")
    with pytest.raises(ConfigError):
        ev.run(sink, engine="flink", checkpoint=str(tmp_path / "c"), keep=0)
    assert not (tmp_path / "c").exists()

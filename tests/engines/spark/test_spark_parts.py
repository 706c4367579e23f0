"""What the engine on Spark tells before anything runs, and what its files hold."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import eventide as ev
from eventide.engines._dataflow import Element
from eventide.engines.spark import check, notes
from eventide.engines.spark.options import options_of
from eventide.engines.spark.session import java_version, needed
from eventide.engines.spark.spool import Spool
from eventide.errors import CheckpointError, ConfigError, MissingDependencyError, PipelineError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None, reason="Spark has an environment of its own: `make test-spark`"
)


def program(folder: Path, told: str) -> None:
    """Make a java that says which version it is."""
    (folder / "bin").mkdir()
    (folder / "bin" / "java").write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    (folder / "bin" / "java").chmod(0o755)


@pytest.mark.parametrize(
    ("told", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_381"', 8), ("Unrecognized option", None)],
)
def test_version_of_java(told: str, version: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, told)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version() == version


def test_java_is_missing_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"finds no Java\n  hint: Debian: apt-get install openjdk-17"):
        needed()
    program(tmp_path, 'openjdk version "11.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="needs Java 17 or newer, and finds Java 11"):
        needed()


@pytest.mark.parametrize(
    ("library", "version", "told"),
    [
        ("pyspark", None, "needs the library 'pyspark', which is not installed"),
        ("pandas", "3.0.1", "needs pandas older than 3; 3.0.1 is installed"),
        ("pyarrow", "16.1.0", "needs pyarrow 18 or newer; 16.1.0 is installed"),
        ("pyspark", "4.1.2", "needs pyspark 4.2 or newer; 4.1.2 is installed"),
    ],
)
def test_libraries_that_do_not_do(
    library: str, version: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventide.engines.spark import session

    own = session._installed
    monkeypatch.setattr(session, "_installed", lambda name: version if name == library else own(name))
    with pytest.raises(MissingDependencyError, match=told) as raised:
        needed()
    assert "pip install 'eventide[spark]'" in raised.value.hint


def test_sources_of_this_process_are_refused() -> None:
    for uri in ("memory://hot", "stdio://"):
        with pytest.raises(PipelineError, match="and Spark reads in another"):
            check(ev.read(uri, schema={"a": "int64"}).write("memory://copy"))


def test_one_task_is_told() -> None:
    timed = ev.read("generator://events", rows=9).event_time("timestamp")
    assert notes(timed.key_by("key").window(ev.tumbling("1s")).aggregate(n=ev.count()).write("memory://x")) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bucket": 3}, "has no option 'bucket'\n  hint: did you mean 'buckets'"),
        ({"buckets": 0}, "buckets=0 is not a whole number of 1 or more"),
        ({"from_savepoint": "x"}, "cannot take from_savepoint='x'"),
        ({"checkpoint": "s3://bucket/x"}, "is an address, and the engine 'spark' needs a folder"),
    ],
)
def test_options_that_are_wrong(options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        options_of(options)


def test_spool_forgets_what_no_step_needs(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    names = [spool.put(step, [Element(0, step, b"x" * step)]) for step in range(3)]
    for step in range(1, 4):
        spool.keep(step, 0, b"state %d" % step)
    spool.forget(2)
    assert spool.state(2, 0) == b"state 2"
    assert spool.state(0, 0) is None
    assert [bytes(e.data) for e in spool.elements(names[2], 0)] == [b"xx"]
    for lost in (lambda: spool.state(1, 0), lambda: list(spool.elements(names[1], 0))):
        with pytest.raises(CheckpointError, match="cannot be read"):
            lost()


def test_two_drivers_of_one_folder(tmp_path: Path) -> None:
    """The second is told before it starts Spark."""
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    folder = tmp_path / "spark" / "copy"
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", hold, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        copy = ev.pipeline(ev.read("generator://events", rows=9).write(f"file://{tmp_path}/x.arrow"), name="copy")
        with pytest.raises(CheckpointError, match="another process runs copy from"):
            ev.run(copy, engine="spark", checkpoint=str(tmp_path))
        first.communicate(b"\n")


def test_workers_have_this_python() -> None:
    """Left out, Spark takes the python3 of the path."""
    code = (
        "import os; from eventide.engines.spark.options import options_of; from eventide.engines.spark import session\n"
    )
    code += "session.needed(); print(session._settings(options_of({}))['spark.executorEnv.PYTHONPATH'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert str(Path(ev.__file__).parents[1]) in done.stdout.strip().split(os.pathsep) or "site-packages" in ev.__file__


def test_a_folder_of_another_pipeline(tmp_path: Path) -> None:
    """Nothing needs to be committed for that, nor Spark to be started."""
    folder = tmp_path / "spark" / "copy"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"fingerprint":"of another","buckets":8}')
    copy = ev.pipeline(ev.read("generator://events", rows=9).write(f"file://{tmp_path}/x.arrow"), name="copy")
    with pytest.raises(CheckpointError, match="is of another pipeline"):
        ev.run(copy, engine="spark", checkpoint=str(tmp_path))

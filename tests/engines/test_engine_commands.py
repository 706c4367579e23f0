"""What the command line says of an engine before anything runs; no engine's library is needed for that."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENDLESS = """
import eventide as ev

pipeline = (
    ev.read("log://readings", follow=True).event_time("timestamp").window(ev.tumbling("1s")).aggregate(n=ev.count())
    .write("log://counts")
)
"""


def called(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    code = "from eventide.cli import main; main()"
    environment = {**os.environ, "NO_COLOR": "1", "EVENTIDE_LOG": str(folder / "log")}
    return subprocess.run(
        [sys.executable, "-c", code, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fill.py").write_text(
        'import eventide as ev\npipeline = ev.read("generator://events", rows=50).write("log://readings")\n'
    )
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "bounded.py").write_text(ENDLESS.replace("True", "False"))
    assert called(tmp_path, "run", "fill.py").returncode == 0
    return tmp_path


def test_check_names_what_beam_cannot_do(folder: Path) -> None:
    done = called(folder, "check", "endless.py", "--engine", "beam")
    assert done.returncode == 2
    assert "read-0 never ends, and the engine 'beam' takes bounded input only" in done.stderr
    assert called(folder, "check", "endless.py").returncode == 0


def test_check_tells_what_is_slow(folder: Path) -> None:
    done = called(folder, "check", "bounded.py", "--engine", "beam")
    assert done.returncode == 0, done.stderr
    assert "beam: one task works on all keys, because window-2 has no key" in done.stdout
    told = json.loads(called(folder, "check", "bounded.py", "--engine", "beam", "--json").stdout)
    assert told["engine"] == "beam" and told["notes"] == ["one task works on all keys, because window-2 has no key"]


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="apache-beam is here")
def test_what_is_missing_is_told_with_the_line_that_mends_it(folder: Path) -> None:
    for args in (("run", "bounded.py", "--engine", "beam"), ("doctor", "beam")):
        done = called(folder, *args)
        assert done.returncode == 4
        assert "pip install 'eventide[beam]'" in done.stdout + done.stderr


def test_doctor_runs_a_small_job(folder: Path) -> None:
    done = called(folder, "doctor", "local", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [c["ok"] for c in json.loads(done.stdout)["checks"]] == [True, True]
    assert "there is no engine 'nothing'" in called(folder, "doctor", "nothing").stderr


def test_what_engines_share_is_no_engine(folder: Path) -> None:
    done = called(folder, "run", "bounded.py", "--engine", "dataflow")
    assert done.returncode == 2
    assert "there is no engine 'dataflow'" in done.stderr


def test_conform_wants_one_of_two(folder: Path) -> None:
    assert called(folder, "conform").returncode == 2
    assert called(folder, "conform", "--suite", "beam-transcripts", "--engine", "local").returncode == 2

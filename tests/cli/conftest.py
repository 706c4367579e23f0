"""One prepared project for all tests of the command line, and a way to call commands in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import PIPELINES, Done, call

from eventide.cli import main


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder made by `eventide init`, with further pipelines and two topics that nothing changes."""
    folder = tmp_path_factory.mktemp("cli") / "hello"
    made = call(folder.parent, "init", "hello")
    assert made.code == 0, made.err
    for name, text in PIPELINES.items():
        (folder / name).write_text(text)
    (folder / "lines.jsonl").write_text('{"x": 1}\n{"x": 2}\nnot json\n{"x": 3}\n')
    for name in ("fill.py", "count.py"):
        done = call(folder, "run", name, "--lanes", "1")
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs a command in this process, in the prepared project: quick, for what only looks."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("NO_COLOR", "1")
    for name in [n for n in os.environ if n.startswith(("EVENTIDE_LOG", "EVENTIDE_RUN", "EVENTIDE_DEBUG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EVENTIDE_LOG", ".eventide/log")  # a command sets it: so that it is taken back

    def run(*args: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        told = capsys.readouterr()
        return Done(int(ended.value.code or 0), told.out, told.err)

    return run

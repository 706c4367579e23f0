"""Write a small project that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eventide.cli.output import note, show, show_json
from eventide.errors import UsageError

_PIPELINE = '''"""Mean and spread of every sensor over ten seconds of event time."""

import eventide as ev
from eventide.model.pipeline import Pipeline


def pipeline(rows: int = 100_000) -> Pipeline:
    """Return the pipeline; `eventide run eventide.toml --param rows=1000` sets `rows`."""
    return (
        ev.read("generator://events", rows=int(rows), keys=20, disorder="2s", seed=1)
        .event_time("timestamp", lateness="2s")
        .key_by("key")
        .window(ev.tumbling("10s"))
        .aggregate(mean=ev.mean("value"), std=ev.std("value"), n=ev.count())
        .write("log://means")
    )
'''
_TEST = '''"""Run with: python -m pytest"""

from pathlib import Path

import eventide as ev
import pytest
from pipeline import pipeline


def test_every_event_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTIDE_LOG", str(tmp_path))
    result = ev.run(pipeline(rows=1000))
    means = ev.fetch(ev.read("log://means", follow=False))
    assert sum(means["n"].to_pylist()) == result.rows_in == 1000
'''
_CONFIG = """name = {name}
pipeline = "pipeline.py"

[run]
checkpoint = ".eventide/checkpoints"
checkpoint_interval = "10s"

[log]
root = ".eventide/log"

[params]
rows = 100000
"""
_README = """# {name}

    eventide check eventide.toml     # columns, types, plug-ins; runs nothing
    eventide run eventide.toml       # to the end of the input; Ctrl-C stops cleanly and the next run goes on
    eventide tail means              # the results
    eventide inspect graph eventide.toml
    python -m pytest                 # the test

`pipeline.py` reads synthetic events; read your own with `ev.read("file://data/*.csv")` or `ev.read("log://topic")`.
"""


def command(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to write it; left out, here.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the names of the files as JSON.")] = False,
) -> None:
    """Write a project that runs: a pipeline, its configuration, a test and a README."""
    name = folder.resolve().name or "hello"
    files = {
        "pipeline.py": _PIPELINE,
        "eventide.toml": _CONFIG.replace("{name}", json.dumps(name)),
        "test_pipeline.py": _TEST,
        "README.md": _README.replace("{name}", name),
    }
    there = [name for name in files if (folder / name).exists()]
    if there:
        msg = f"{folder / there[0]} exists already"
        raise UsageError(msg, hint="name an empty folder: eventide init my-analysis")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, "utf-8")
    except OSError as error:
        msg = f"{folder} cannot be written: {error.strerror}"
        raise UsageError(msg, hint="name a folder that you may write") from None
    if as_json:
        show_json([str(folder / file) for file in files])
    else:
        show(f"wrote {folder / file}" for file in files)
        note(f"next: {'' if folder == Path() else f'cd {folder}; '}eventide run eventide.toml")

"""Write a small project that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventide.cli.output import show, show_json
from eventide.errors import UsageError

_PIPELINE = '''"""Mean and spread of every sensor over ten seconds of event time."""

import eventide as ev
from eventide.model.pipeline import Pipeline


def pipeline(rows: int = 100_000) -> Pipeline:
    """Return the pipeline; `eventide run pipeline.py --param rows=1000` sets `rows`."""
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

import eventide as ev


def test_every_event_is_counted() -> None:
    events = ev.read("generator://events", rows=1000, keys=3, seed=1).event_time("timestamp", lateness="2s")
    counts = ev.fetch(events.key_by("key").window(ev.tumbling("10s")).aggregate(n=ev.count()))
    assert sum(counts["n"].to_pylist()) == 1000
'''
_CONFIG = """pipeline = "pipeline.py"

[run]
checkpoint = ".eventide/checkpoints"
checkpoint_interval = "10s"

[log]
root = ".eventide/log"

[params]
rows = 100000
"""
_README = """# An eventide project

    eventide check eventide.toml     # columns, types, plug-ins; runs nothing
    eventide run eventide.toml       # to the end of the input; Ctrl-C stops cleanly and the next run goes on
    eventide tail means              # the results
    eventide inspect graph eventide.toml
    python -m pytest                 # the test
"""


def command(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the names of the files as JSON.")] = False,
) -> None:
    """Write a project that runs: a pipeline, its configuration, a test and a README."""
    files = {"pipeline.py": _PIPELINE, "eventide.toml": _CONFIG, "test_pipeline.py": _TEST, "README.md": _README}
    there = [name for name in files if (folder / name).exists()]
    if there:
        msg = f"{folder / there[0]} exists already"
        raise UsageError(msg, hint="name an empty folder: eventide init my-analysis")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    if as_json:
        show_json([str(folder / name) for name in files])
    else:
        show([*(f"wrote {folder / name}" for name in files), f"next: cd {folder} && eventide run eventide.toml"])

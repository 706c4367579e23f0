"""Calling the command line in a process of its own, and the pipelines of the prepared project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIPELINES = {
    "fill.py": """
import eventide as ev

def pipeline(rows: int = 500, start: str = "2026-01-01", partitions: int = 2):
    events = ev.read("generator://events", rows=int(rows), start=start, rate=10, keys=3, seed=1)
    return events.write("log://readings", key="key", partitions=int(partitions))
""",
    "count.py": """
import eventide as ev

pipeline = (
    ev.read("log://readings", follow=False)
    .event_time("timestamp", lateness="1s")
    .key_by("key")
    .window(ev.tumbling("10s"))
    .aggregate(n=ev.count(), total=ev.sum("value"))
    .write("log://counts")
)
""",
    "fails.py": """
import eventide as ev

def divide(batch):
    return batch if not batch.num_rows else 1 / 0

pipeline = ev.read("generator://events", rows=10).map_batches(divide).write("log://never")
""",
    "needs.py": "import a_library_that_is_not_there\n",
    "broken.py": "pipeline = (\n",
    "lines.py": """
import eventide as ev

pipeline = ev.read("lines.jsonl").write("log://lines")
""",
}


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVENTIDE_LOG", "EVENTIDE_RUN"))}
    # Compiling takes longer than all that is computed here; the results are the same.
    return kept | {"NO_COLOR": "1", "COLUMNS": "100", "EVENTIDE_COMPILED": "0"} | extra


def start(folder: Path, *args: str, **extra: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from eventide.cli import main; main()", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment(**extra), stdout=pipe, stderr=pipe, text=True)


def call(folder: Path, *args: str, **extra: str) -> Done:
    """Run a command as a user does, in a process of its own."""
    process = start(folder, *args, **extra)
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)

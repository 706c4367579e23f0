"""A run that is killed again and again, and resumed each time, writes what an undisturbed run writes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import eventide as ev

PROGRAM = """
import sys
import eventide as ev
folder, out = sys.argv[1:]
events = ev.read(f"{folder}/in/*.csv", schema={"timestamp": "event_time", "key": "int64", "value": "float64"})
means = (
    events.event_time("timestamp", lateness="2s")
    .key_by("key")
    .window(ev.tumbling("1s"))
    .aggregate(mean=ev.mean("value"), n=ev.count())
)
options = {"log": f"{folder}/log"} if out.startswith("log://") else {"format": "parquet"}
ev.run(means.write(out, **options), checkpoint=f"{folder}/checkpoints", checkpoint_interval="5ms", batch_rows=500)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["file://{}/parts", "file://{}/one.parquet", "log://means"])
def test_killed_and_resumed(tmp_path: Path, sink: str) -> None:
    (tmp_path / "in").mkdir()
    for n in range(4):
        made = ev.read("generator://e", rows=50_000, keys=5, seed=n, start=f"2026-01-01T00:{n:02d}:00Z")
        ev.run(made.write(f"{tmp_path}/in/{n}.csv"))
    out = sink.format(tmp_path)
    rng = random.Random(7)
    checkpoints = tmp_path / "checkpoints"
    kills = 0
    for attempt in range(20):
        before = set(checkpoints.glob("*/chk-????????"))
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), out], stderr=subprocess.PIPE)
        # The first runs are killed a little after their first checkpoint, the last one is left alone.
        while program.poll() is None and (attempt >= 6 or set(checkpoints.glob("*/chk-????????")) <= before):
            time.sleep(0.001)
        time.sleep(0.02 * rng.random())
        if attempt < 6 and program.poll() is None:
            program.kill()
            kills += 1
        _, stderr = program.communicate()
        if program.returncode == 0:
            break
        assert program.returncode < 0, stderr.decode()
    assert program.returncode == 0
    assert kills >= 3
    options: dict[str, Any] = {"log": f"{tmp_path}/log", "follow": False} if out.startswith("log://") else {}
    order = [("window_start", "ascending"), ("key", "ascending")]
    got = ev.fetch(ev.read(out, **options)).sort_by(order)
    events = ev.read(f"{tmp_path}/in/*.csv").event_time("timestamp", lateness="2s").key_by("key")
    whole = ev.fetch(events.window(ev.tumbling("1s")).aggregate(mean=ev.mean("value"), n=ev.count())).sort_by(order)
    assert got.equals(whole.cast(got.schema))

"""Everything is killed in mid-stream, the Java process or this program with it: the next run gives the same rows."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("pyflink", reason="make test-flink runs this in Flink's own environment")

import polars as pl

import eventide as ev
from eventide.formats import arrow
from eventide.model.pipeline import Pipeline

# The other half are task managers of a cluster.
KILLS = max(1, int(os.environ.get("EVENTIDE_FLINK_KILLS", "10")) // 2)
ROWS = 200_000


def windows(out: Path) -> Pipeline:
    events = ev.read("generator://events", rows=ROWS, keys=100, disorder="2s", seed=11)
    timed = events.map_batches(_slowly, schema=None).event_time("timestamp", lateness="2s").key_by("key")
    found = timed.window(ev.sliding("2s", "1s")).aggregate(mean=ev.mean("value"), n=ev.count(), top=ev.max("value"))
    return found.write(f"file://{out}").named("windows")


def _slowly(batch):
    if batch.num_rows:
        time.sleep(0.05)
    return batch


def program(folder: Path) -> None:
    """The program that is killed."""
    options = {"mode": "thread", "lanes": 1, "buckets": 4, "batch_rows": 2_000, "checkpoint_interval": "100ms"}
    result = ev.run(windows(folder / "out.arrow"), engine="flink", checkpoint=str(folder / "state"), **options)
    assert result.rows_in == ROWS, result


def java_of(process: subprocess.Popen[bytes]) -> int | None:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rpartition(")")[::2]
        except OSError:
            continue
        if int(rest.split()[1]) == process.pid and "(java" in name:
            return int(path.parent.name)
    return None


def sorted_rows(out: Path) -> pl.DataFrame:
    return pl.from_arrow(arrow.decode(out.read_bytes()).batch).sort("key", "window_start")


def wait_for_the_middle(process: subprocess.Popen[bytes], folder: Path, source: random.Random) -> None:
    """Wait for a checkpoint of this run and then a moment more; now and then for nothing but a while."""
    before = set(folder.glob("state/*/checkpoints/*/chk-*/_metadata"))
    early = time.monotonic() + source.random() * 30 if source.random() < 0.2 else None
    while process.poll() is None:
        if early is not None and time.monotonic() > early:
            return
        if early is None and set(folder.glob("state/*/checkpoints/*/chk-*/_metadata")) - before:
            break
        time.sleep(0.02)
    time.sleep(source.random() * 4)


def one_run(folder: Path, source: random.Random | None) -> tuple[int, bool]:
    """Start the program, kill it or its Java in mid-stream where that is asked for; return its exit code, and whether."""
    killed = False
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdout=said, stderr=said, start_new_session=True
        )
        try:
            if source is not None:
                wait_for_the_middle(process, folder, source)
                killed = process.poll() is None
                java = java_of(process) if killed and source.random() < 0.5 else None
                if java is not None:
                    os.kill(java, signal.SIGKILL)
                    # Where the job had just ended, the program has too, and its rows must be there.
                    killed = process.wait(300) != 0
                elif killed:
                    os.killpg(process.pid, signal.SIGKILL)
            return process.wait(900), killed
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def test_kills(tmp_path: Path) -> None:
    """Kills of the program or of its Java alone; each run goes on from the newest checkpoint."""
    ev.run(windows(tmp_path / "undisturbed.arrow"))
    wanted = sorted_rows(tmp_path / "undisturbed.arrow")
    source, done, number = random.Random(5), 0, 0
    while done < KILLS:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        here = 0
        while True:
            code, killed = one_run(folder, source if here < 3 and done < KILLS else None)
            here, done = here + killed, done + killed
            if not killed:
                assert code == 0, (folder / "said").read_text()[-3000:]
                break
        assert sorted_rows(folder / "out.arrow").equals(wanted), f"job {number}"


if __name__ == "__main__":
    program(Path(sys.argv[1]))

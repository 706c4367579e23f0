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


def test_kills(tmp_path: Path) -> None:
    """Kills at random times, of the program or of its Java alone; each run goes on from the newest checkpoint."""
    ev.run(windows(tmp_path / "undisturbed.arrow"))
    wanted = sorted_rows(tmp_path / "undisturbed.arrow")
    source = random.Random(5)
    done = 0
    round_ = 0
    while done < KILLS:
        round_ += 1
        folder = tmp_path / str(round_)
        folder.mkdir()
        kills_here = 0
        while True:
            with (folder / "said").open("ab") as said:
                process = subprocess.Popen(
                    [sys.executable, __file__, str(folder)], stdout=said, stderr=said, start_new_session=True
                )
                try:
                    # Two or three kills a job, somewhere between its start and its end.
                    limit = 20 + source.random() * 25 if kills_here < 3 and done < KILLS else 600
                    process.wait(limit)
                except subprocess.TimeoutExpired:
                    java = java_of(process) if source.random() < 0.5 else None
                    if java is not None:
                        os.kill(java, signal.SIGKILL)
                        assert process.wait(120) != 0, "the program did not notice that Java was gone"
                    done += 1
                    kills_here += 1
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait(30)
            if process.returncode == 0:
                break
            assert kills_here or process.returncode == 0, (folder / "said").read_text()[-3000:]
        if not kills_here:
            done += 1  # it was quicker than the kill: that one is spent
        assert sorted_rows(folder / "out.arrow").equals(wanted), f"round {round_}"


if __name__ == "__main__":
    program(Path(sys.argv[1]))

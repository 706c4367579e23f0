"""What checkpoints cost: W2 with a million keys as state, with a checkpoint every second and without.

Runs with and without take turns over the same log. A checkpoint counts from the cut to the commit, files synced.
"""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import data
from benchmarks.ours.events import OWN_FRAMES, TOPIC, CountingSink, log_folder, versions
from benchmarks.worker import Figures, Job, main_figures

import eventide as ev
from eventide.engines.local.checkpointing import Checkpointer, Done

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventide.engines.local.result import RunResult
    from eventide.model.pipeline import Pipeline

ROWS_PER_KEY = 4
"""Of 4 events a key in a window, 98 % of the keys are there at its end."""


def pipeline(job: Job) -> Pipeline:
    """W2 in windows that are long enough to meet every key."""
    folder = log_folder(job.rows, keys=job.keys, batch=OWN_FRAMES)
    seconds = ROWS_PER_KEY * job.keys // (1000 * data.EVENTS_PER_MS)
    events = ev.read(f"log://{TOPIC}", log=str(folder), follow=False).event_time("ts", lateness="2s")
    keyed = events.key_by("key").window(ev.tumbling(f"{seconds}s"))
    return keyed.aggregate(n=ev.count(), mean=ev.mean("value"), std=ev.std("value")).write(CountingSink())


def prepare(job: Job) -> Callable[[], Figures]:
    """Make the log, and run both ways once."""
    made = pipeline(job).named("checkpoint")

    def run(interval: str) -> tuple[RunResult, float]:
        folder = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=data.FOLDER))
        options = {"checkpoint": str(folder), "checkpoint_interval": interval} if interval else {}
        try:
            started = time.perf_counter()
            return ev.run(made, **options), time.perf_counter() - started
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    run(""), run("1s")

    def measure() -> Figures:
        bare, seconds = math.inf, math.inf
        with _Watched() as seen:
            for _ in range(2):  # in turn, and the better of two each: what else runs here disturbs one or the other
                bare = min(bare, run("")[1])
                found, with_them = run("1s")
                seconds = min(seconds, with_them)
        large = [each for each in seen.made if each[2] > 0.5 * max(size for _, _, size in seen.made)]
        return {
            "rate": found.rows_in / seconds,
            "overhead_percent": 100 * (seconds / bare - 1),
            "checkpoints": len(seen.made) / 2,
            "cut_ms": statistics.median(cut for cut, _, _ in large) * 1e3,
            "checkpoint_ms": statistics.median(whole for _, whole, _ in large) * 1e3,
            "megabytes": statistics.median(size for _, _, size in large) / 1e6,
        }

    return measure


class _Watched:
    """Takes note of every checkpoint that is made: seconds of the cut, of the whole, and bytes."""

    def __enter__(self) -> _Watched:
        self.made: list[tuple[float, float, int]] = []
        self._poll = poll = Checkpointer.poll

        def noted(checkpointer: Checkpointer, *, wait: bool = False) -> Done | None:
            done = poll(checkpointer, wait=wait)
            if done is not None:
                self.made.append((done.cut_seconds, done.seconds, done.size))
            return done

        Checkpointer.poll = noted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Checkpointer.poll = self._poll  # type: ignore[method-assign]


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("checkpoint",))

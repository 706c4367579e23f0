"""From the start of a new process after SIGKILL to its first new result, with windows of many keys as state."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import data
from benchmarks.ours.events import SCHEMA, TOPIC, batches, versions
from benchmarks.worker import Figures, Job, NotRunnableError, main_figures

from eventide.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS_PER_KEY = 4
"""Of 4 events a key in a window, 98 % of the keys are there at its end."""

FILLED = 0.95
NEW_ROWS = 50_000
STATES = (1_000_000, 10_000_000)
PATIENCE_SECONDS = 600.0


class Victim:
    """The process, and where it runs."""

    def __init__(self, keys: int) -> None:
        data.FOLDER.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="recovery-", dir=data.FOLDER))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self._keys = keys
        self._rows = int(ROWS_PER_KEY * keys * FILLED)
        with Log(self.folder / "log", fsync="os") as log:
            log.create_topic(TOPIC, SCHEMA, event_time="ts")
            for batch in batches(0, self._rows, keys=keys, rows=65_536):
                log.append(TOPIC, batch)

    def start(self) -> subprocess.Popen[str]:
        """Start it."""
        seconds = ROWS_PER_KEY * self._keys // (1000 * data.EVENTS_PER_MS)
        command = [sys.executable, "-m", "benchmarks.ours.restored", str(self.folder / "log")]
        command += [str(self.folder / "checkpoints"), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def fill(self) -> None:
        """Let it read everything and make a checkpoint of that, and kill it."""
        process = self.start()
        await_line(process, "ready")
        folder = self.folder / "checkpoints"
        after = newest(folder) + 1  # the one on its way may have been cut before the last event
        end = time.monotonic() + PATIENCE_SECONDS
        while newest(folder) <= after and time.monotonic() < end:
            time.sleep(0.05)
        kill(process)

    def more(self) -> None:
        """Append the events that the restarted process will find."""
        with Log(self.folder / "log", fsync="os") as log:
            for batch in batches(self._rows, self._rows + NEW_ROWS, keys=self._keys, rows=10_000):
                log.append(TOPIC, batch)
        self._rows += NEW_ROWS

    def restart(self) -> float:
        """Return the seconds from the start of a new process to its first new result, and kill it."""
        started = time.perf_counter()
        process = self.start()
        await_line(process, "out")
        seconds = time.perf_counter() - started
        kill(process)
        return seconds


def newest(folder: Path) -> int:
    """Number of the newest checkpoint, 0 when there is none."""
    return max((int(p.name[4:]) for p in folder.glob("*/chk-????????")), default=0)


def await_line(process: subprocess.Popen[str], wanted: str) -> None:
    """Read what the process says up to a line."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == wanted:
            return
    msg = f"the process ended with {process.wait()} and did not say {wanted!r}"
    raise NotRunnableError(msg)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it as hard as there is."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def prepare(job: Job) -> Callable[[], Figures]:
    """Fill the states; each measurement restarts one more time from the same checkpoint, with the same new events."""
    victims = {keys: Victim(keys) for keys in STATES}
    kept = {}
    for keys, victim in victims.items():
        victim.fill()
        victim.more()
        kept[keys] = victim.folder / "kept"
        shutil.copytree(victim.folder / "checkpoints", kept[keys])

    def measure() -> Figures:
        seconds = {}
        for keys, victim in victims.items():
            shutil.rmtree(victim.folder / "checkpoints")
            shutil.copytree(kept[keys], victim.folder / "checkpoints")
            os.sync()  # the copy must not still be on its way to the disk while the process reads it
            seconds[keys] = victim.restart()
        return {
            "rate": STATES[0] / seconds[STATES[0]],
            "seconds_1m_keys": seconds[STATES[0]],
            "seconds_10m_keys": seconds[STATES[1]],
        }

    measure()  # the first process compiles the kernels, if no other has before
    return measure


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("recovery",))

"""Start the victim's driver, see how far it is, kill it, and compare what it left with the embedded engine's rows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import spark_victim as victim

import eventide as ev
from eventide.formats import arrow
from eventide.testing._compare import rows_of

LONGEST = 600  # seconds for one life of a driver, on a busy machine
# A JVM that lives for seconds is there sooner without its second compiler.
BRIEF = {"spark.driver.memory": "512m", "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
SMALL = {"batch_rows": 1500, "batch_bytes": 1, "buckets": 4, "conf": BRIEF}


class Driver:
    """One life of a driver, with the JVM that it starts, in a session of its own."""

    def __init__(self, folder: Path, *, place: str = "", program: str = victim.__file__, **options: Any) -> None:
        self.folder = folder
        self._log = (folder / "driver.log").open("ab")
        command = [sys.executable, program, str(folder), json.dumps({**SMALL, **options}), place]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)

    @property
    def epoch(self) -> int:
        """The last epoch that the sinks have noted, -1 before the first."""
        note = self.folder / "checkpoints" / "spark" / "victim" / "sinks" / "sinks.json"
        try:
            return int(json.loads(note.read_bytes())["epoch"])
        except FileNotFoundError:
            return -1

    def passes(self, epoch: int) -> bool:
        """Wait until an epoch is noted; false when the driver has ended."""
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            if self.epoch >= epoch:
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        raise AssertionError(f"epoch {epoch} has not come: {self.told()}")

    def ends(self) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the driver has not ended: {self.told()}") from None

    def kill(self, what: str = "driver") -> None:
        """Kill the Python of the driver, its JVM, or all of its processes."""
        target = {"driver": self.process.pid, "jvm": self._jvm()}.get(what)
        with contextlib.suppress(ProcessLookupError):
            if target is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                os.kill(target, signal.SIGKILL)
        self.ends()

    def _jvm(self) -> int | None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                if b"java" in Path(f"/proc/{child}/cmdline").read_bytes().partition(b"\0")[0]:
                    return child
        return None

    def told(self) -> str:
        """Return the end of what it printed."""
        return (self.folder / "driver.log").read_text()[-3000:]

    def close(self) -> None:
        """End all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


def written(folder: Path) -> dict[str, Counter[str]]:
    """Return the rows of both sinks of a finished run."""
    counts = ev.fetch(ev.read("log://counts", log=str(folder / "log"), follow=False))
    sessions = arrow.decode((folder / "sessions.arrow").read_bytes()).batch
    return {"counts": Counter(map(repr, rows_of(counts))), "sessions": Counter(map(repr, rows_of(sessions)))}


def wanted(folder: Path, other: Path) -> dict[str, Counter[str]]:
    """Return the rows that the embedded engine makes of the same input."""
    result = ev.run(victim.flow(folder, other))
    assert result.late > 0, "the input proves nothing of late events"
    return written(other)

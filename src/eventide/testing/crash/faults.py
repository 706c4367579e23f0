"""What happens to a pipeline in a soak: each fault is a method, and what it did is counted."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from eventide.errors import LogError
from eventide.log import Log
from eventide.testing.crash.children import Child, spawn

__all__ = ["Faults"]

_FAILING = "pwrite64,writev,fsync,fdatasync,ftruncate,?rename,renameat,?mkdir,mkdirat"
_LONGEST_LOCK = 2.0


class Faults:
    """Disturbs a victim and its producer.

    Parameters
    ----------
    folder
        Of the run.
    chance
        Decides what happens and for how long.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        self.done: Counter[str] = Counter()
        self._holder: Child | None = None

    def disturb(self, victim: Child, producer: Child) -> None:
        """Do one of them."""
        kinds = [self.kill, self.kill, self.stop, self.pause, self.lock, self.disk, self.producer]
        chosen = self._chance.choice(kinds)
        if victim.wait(0.0) is None:
            chosen(victim, producer)

    def kill(self, victim: Child, producer: Child) -> None:
        """SIGKILL; at times another process takes a topic before the next run can."""
        victim.kill()
        self.done["kill"] += 1
        if self._chance.random() < 0.3:
            self._hold("panes")

    def stop(self, victim: Child, producer: Child) -> None:
        """SIGTERM: a checkpoint, then the end."""
        victim.send(signal.SIGTERM)
        self.done["stop"] += 1

    def pause(self, victim: Child, producer: Child) -> None:
        """SIGSTOP, and SIGCONT a while later."""
        who = self._chance.choice([victim, producer])
        who.send(signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.1, 1.5))
        who.send(signal.SIGCONT)
        self.done["pause"] += 1

    def lock(self, victim: Child, producer: Child) -> None:
        """Another process holds the quarantine topic, which a run opens at every checkpoint."""
        self._hold("quarantine")

    def producer(self, victim: Child, producer: Child) -> None:
        """SIGKILL for the producer."""
        producer.kill()
        self.done["producer"] += 1

    def disk(self, victim: Child, producer: Child) -> None:
        """Every write and sync of the victim fails for a while, as on a full or a broken disk; needs strace."""
        if shutil.which("strace") is None:
            return
        error = self._chance.choice(["ENOSPC", "EIO"])
        inject = ["-e", f"trace={_FAILING}", "-e", f"inject={_FAILING}:error={error}"]
        command = ["strace", "-f", "-o", "/dev/null", *inject, "-p", str(victim.pid)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
            until = time.monotonic() + self._chance.uniform(0.2, 2.0)
            while time.monotonic() < until and tracer.poll() is None:
                time.sleep(0.05)
            tracer.terminate()
        self.done[f"disk {error}"] += 1

    def _hold(self, topic: str) -> None:
        if self._holder is not None and self._holder.wait(0.0) is None:
            return
        seconds = self._chance.uniform(0.2, _LONGEST_LOCK)
        self._holder = spawn(lambda: _hold(self._folder, topic, seconds=seconds), folder=self._folder)
        self.done["lock"] += 1

    def close(self) -> None:
        """Let everything go."""
        if self._holder is not None:
            self._holder.wait(2 * _LONGEST_LOCK)
            self._holder.kill()


def _hold(folder: Path, topic: str, *, seconds: float) -> None:
    """Hold the first partition of a topic, as soon as it can be had."""
    until = time.monotonic() + seconds
    with Log(folder / "log", fsync="os") as log:
        while time.monotonic() < until:
            with contextlib.suppress(LogError, LookupError):
                log.writer(topic, 0)
                time.sleep(max(0.0, until - time.monotonic()))
            time.sleep(0.002)

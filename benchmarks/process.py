"""Start a measured program, ask it for measurements, and end it with everything that it started."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.case import PEERS, Case

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LIMIT_SECONDS = 900.0


class ProgramError(Exception):
    """A measured program did not answer; the message says why."""


def peer_command(name: str, case: Case, *, rows: int) -> list[str]:
    """Command line of a peer."""
    python = ROOT / ".venvs" / PEERS[name].environment / "bin" / "python"
    if not python.exists():
        msg = f"{name}: there is no environment {python.parents[1]}; make it with: make bench-peers"
        raise ProgramError(msg)
    return _command(python, f"benchmarks.peers.{name}", case, rows=rows)


def our_command(case: Case, *, batch: int, rows: int) -> list[str]:
    """Command line of our side."""
    python = Path(sys.executable)
    if case.engine != "local":
        python = ROOT / ".venvs" / f"engine-{case.engine}" / "bin" / "python"
        if not python.exists():
            msg = f"there is no environment {python.parents[1]}; make it with: make engine-environments"
            raise ProgramError(msg)
    command = _command(python, f"benchmarks.ours.{case.program}", case, rows=rows)
    return [*command, "--batch", str(batch), "--engine", case.engine]


def _command(python: Path, module: str, case: Case, *, rows: int) -> list[str]:
    return [str(python), "-m", module, "--job", case.job, "--rows", str(rows), "--keys", str(case.keys)]


class Program:
    """A measured program that runs and waits; use it as a context."""

    def __init__(self, name: str, command: list[str], *, log: str) -> None:
        self.name = name
        self._log = RESULTS / "logs" / f"{log}-{name.replace('@', '-')}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self._log.open("wb") as output:
            # a group of its own, so that a JVM that it starts can be ended with it
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )
        self._buffer = b""

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.stdin.close()
            self._process.wait(timeout=10)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ask(self) -> dict[str, Any]:
        """Ask for one measurement and wait for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended") from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the next line of JSON."""
        assert self._process.stdout is not None
        end = time.monotonic() + LIMIT_SECONDS
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise self._failed(f"gave no answer in {LIMIT_SECONDS:.0f} s")
            chunk = os.read(self._process.stdout.fileno(), 65_536)
            if not chunk:
                raise self._failed("ended")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise ProgramError(f"{self.name}: {answer['error']}")
        return answer

    def _failed(self, how: str) -> ProgramError:
        tail = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        return ProgramError(f"{self.name} {how}: {' '.join(tail) or 'no message'} (whole output: {self._log})")

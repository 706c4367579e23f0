"""What `eventide doctor ENGINE` asks of every engine; an engine's ``doctor()`` adds what is its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

__all__ = ["Check", "package", "small_job"]

_LONGEST = 120
# Results must be those of the embedded engine, and come at all: several faults of an engine look like hangs.
_JOB = """
import sys
import eventide as ev
from eventide.connectors.memory import MemorySink

def run(engine):
    sink = MemorySink()
    events = ev.read("generator://events", rows=2000, keys=5, seed=1).event_time("timestamp", lateness="5s")
    ev.run(events.key_by("key").window(ev.tumbling("1s")).aggregate(n=ev.count()).write(sink), engine=engine)
    return sorted(map(str, sink.table().to_pylist()))

raise SystemExit(0 if run(sys.argv[1]) == run("local") else "its results are not those of the embedded engine")
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One fact: `ok` is None where a thing is not needed; `fix` is what to do."""

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def package(name: str, least: str, *, extra: str) -> Check:
    """Return whether a library is installed, in a version that will do.

    Examples
    --------
    >>> package("numpy", "2.1", extra="fast").ok
    True
    >>> package("no-such-library", "1.0", extra="nothing").fix
    "pip install 'eventide[nothing]'"
    """
    fix = f"pip install 'eventide[{extra}]'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, False, "not installed", fix)
    ok = _numbers(found) >= _numbers(least)
    return Check(name, ok, found, "" if ok else f"{fix}: version {least} or newer is needed")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def small_job(engine: str, *, longest: int = _LONGEST) -> Check:
    """Run a small pipeline on an engine, in a process of its own, at most so many seconds, and compare its results."""
    name = "a small job"
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _JOB, engine], capture_output=True, text=True, timeout=longest, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(
            name, False, f"has not ended after {longest} s", "run it with --debug and look at the engine's log"
        )
    if done.returncode:
        # The message and, where there is one, the hint of an error stand at the end.
        lines = [line.strip() for line in done.stderr.strip().splitlines()[-2:]] or ["no reason was given"]
        return Check(name, False, " ".join(lines)[:300], "mend what it says")
    return Check(name, True, f"results equal to the embedded engine's, in {time.perf_counter() - begun:.1f} s")

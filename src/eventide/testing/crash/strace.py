"""Counting and disturbing the system calls of a process by strace (https://strace.io), attached to it as it begins.

strace counts the calls of each thread and of each name for itself, and can be told which files count. So the calls of
a run are put in groups by name and by file, each written by one thread at a time: the n-th call of a group is then the
same in every run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eventide.errors import MissingDependencyError
from eventide.testing.crash.children import Child, spawn

__all__ = ["SETS", "Calls", "check", "count_calls", "disturbed"]

_WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate", "mkdir", "mkdirat")
_SYNCS = ("fsync", "fdatasync", "rename", "renameat", "renameat2")
_REMOVALS = ("unlink", "unlinkat", "rmdir")
SETS = {"kill": (*_WRITES, *_SYNCS, *_REMOVALS), "enospc": (*_WRITES, *_SYNCS), "eio": (*_WRITES, *_SYNCS, *_REMOVALS)}
_HOW = {"kill": "signal=SIGKILL", "enospc": "error=ENOSPC", "eio": "error=EIO"}
_IGNORED = ("child.log", "outputs.json")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_PATIENCE = 4.0
_PID = "{pid}"
_ANYBODY = ctypes.c_ulong(-1)
_SET_PTRACER = 0x59616D61


@dataclass(slots=True)
class Calls:
    """The calls of one name on a group of files: how many the busiest thread made, and which files they are."""

    name: str
    count: int = 0
    threads: Counter[str] = field(default_factory=Counter)
    paths: set[str] = field(default_factory=set)


def check() -> None:
    """See whether strace can be used here.

    Raises
    ------
    MissingDependencyError
        There is no strace, or it may not trace processes.
    """
    if shutil.which("strace") is None:
        msg = "strace is not installed"
        raise MissingDependencyError(msg, hint="apt-get install strace (Linux only)")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        msg = f"strace cannot trace processes here: {tried.stderr.strip()[:300]}"
        raise MissingDependencyError(msg, hint="a container needs the capability SYS_PTRACE")


def count_calls(work: Callable[[], int | None], *, folder: Path, timeout: float) -> dict[str, Calls]:
    """Run some work in a child and return its calls on the files of a folder, by group.

    Raises
    ------
    MissingDependencyError
        strace may not attach to the child.
    """
    trace = folder.with_name(f"{folder.name}.trace")
    code, pid = _run(work, folder, ["-y", "-s", "0", "-o", str(trace), "-e", _set("kill")], timeout=timeout)
    if code != 0:
        msg = f"the run whose system calls were to be counted ended with {code}; {folder}/child.log"
        raise MissingDependencyError(msg, hint="does it run without strace?")
    found: dict[str, Calls] = {}
    named = re.compile(rf"\.{pid}(?=$|\.)")
    inside = re.compile(re.escape(str(folder)) + r'/([^>",]+)')
    for line in trace.read_text("utf-8", errors="replace").splitlines():
        call = _LINE.match(line)
        paths = [named.sub(f".{_PID}", path) for path in inside.findall(call[3])] if call else []
        if call is None or not paths or paths[0] in _IGNORED:
            continue
        group = f"{_group(paths[0])} {call[2]}"
        calls = found.setdefault(group, Calls(call[2]))
        calls.threads[call[1]] += 1
        calls.count = max(calls.threads.values())
        calls.paths |= set(paths)
    return found


def disturbed(
    work: Callable[[], int | None], *, folder: Path, how: str, calls: Calls, number: int, timeout: float
) -> int | None:
    """Run some work in a child, one of whose calls goes wrong, and return the child's exit code.

    Parameters
    ----------
    work, folder
        What it does, and where.
    how
        ``"kill"`` ends it by SIGKILL as it makes the call; ``"enospc"`` and ``"eio"`` fail the call, in every thread
        that comes so far, until the work is done or some seconds have passed.
    calls, number
        The name and the files, and which of these calls, from 1.
    timeout
        How long it may take, s; then it is killed and None is returned.
    """
    paths = [option for path in sorted(calls.paths) for option in ("-P", str(folder / path))]
    inject = f"inject={calls.name}:{_HOW[how]}:when={number}"
    return _run(work, folder, ["-o", os.devnull, "-e", f"trace={calls.name}", "-e", inject, *paths], timeout=timeout)[0]


def _run(
    work: Callable[[], int | None], folder: Path, options: Sequence[str], *, timeout: float
) -> tuple[int | None, int]:
    """Fork a child that waits until strace has attached to it; return its exit code and process id."""
    ours, theirs = socket.socketpair()

    def wait_and_work() -> int | None:
        ours.close()
        # Where only ancestors may trace (Yama), a process can allow others to.
        _allow_tracing()
        theirs.send(b"ready")
        theirs.recv(1)
        return work()

    child = spawn(wait_and_work, folder=folder)
    with ours:
        theirs.close()
        ours.recv(5)
        named = [option.replace(_PID, str(child.pid)) for option in options]
        with subprocess.Popen(["strace", "-f", *named, "-p", str(child.pid)], stderr=subprocess.PIPE) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline().decode()
            if "attached" not in said:
                child.kill()
                msg = f"strace cannot attach to a process: {said.strip()}"
                raise MissingDependencyError(msg, hint="a container needs the capability SYS_PTRACE")
            ours.send(b"x")
            return _wait(child, tracer, timeout), child.pid


def _allow_tracing() -> None:
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_SET_PTRACER, _ANYBODY, 0, 0, 0)


def _wait(child: Child, tracer: subprocess.Popen[bytes], timeout: float) -> int | None:
    code = child.wait(min(_PATIENCE, timeout))
    if code is None:
        # Every new thread comes to its n-th call: a run may wait for a disk that does not get well. Now it does.
        tracer.terminate()
        code = child.wait(timeout)
    if code is None:
        # A tracer that sleeps over the end of a thread keeps the whole process from ending: seen once in 2,000 runs.
        tracer.kill()
        code = child.wait(_PATIENCE)
    if code is None:
        child.abort()
    tracer.wait()
    return code


def _set(how: str) -> str:
    # The question mark: an architecture need not have the call.
    return "trace=" + ",".join(f"?{name}" for name in SETS[how])


def _group(path: str) -> str:
    """Return the files that a call is counted with: one partition, one checkpoint, one database, one folder of parts.

    A call that names two files, as a rename does, belongs to the first.
    """
    parts = path.split("/")
    if parts[0] in ("log", "checkpoints"):
        return "/".join(parts[:3]).removesuffix(".tmp").split(".sqlite", maxsplit=1)[0]
    return parts[0].split(".sqlite", maxsplit=1)[0]

"""Child processes by `fork`: the parent has imported everything, so that a child begins to work at once.

The parent must have no threads of its own and must not have used Polars, whose threads do not survive a fork.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from eventide.errors import EventideError, RunError

__all__ = ["Child", "in_child", "spawn"]

_LOOK = 0.0005
_BROKEN = 70


class Child:
    """A running child.

    Parameters
    ----------
    pid
        Its process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None
        """Exit code; minus the signal's number when one ended it; None while it runs."""

    def wait(self, timeout: float) -> int | None:
        """Return the exit code, or None when it still runs after `timeout` seconds."""
        until = time.monotonic() + timeout
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(min(_LOOK, max(0.0, until - time.monotonic())))
        return self.code

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.wait(0.0) is None:
            os.kill(self.pid, number)

    def abort(self) -> int:
        """End it by SIGABRT, at which it prints where all its threads are, and return its exit code."""
        self.send(signal.SIGABRT)
        self.wait(10.0)
        return self.kill()

    def kill(self) -> int:
        """End it by SIGKILL, if it still runs, and return its exit code."""
        self.send(signal.SIGKILL)
        while self.wait(60.0) is None:
            pass
        return self.code or 0


def spawn(work: Callable[[], int | None], *, folder: Path) -> Child:
    """Fork a child that does some work in a folder and exits with what it returns (None is 0).

    Parameters
    ----------
    work
        What it does.
    folder
        Its working directory; what it prints is appended to ``child.log`` there.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid)
    code = _BROKEN
    try:
        os.chdir(folder)
        log = os.open("child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.enable()
        code = work() or 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        traceback.print_exc()
        code = error.exit_code if isinstance(error, EventideError) else _BROKEN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def in_child(work: Callable[[], int | None], *, folder: Path, timeout: float = 300.0) -> None:
    """Do some work in a child and wait for it.

    Raises
    ------
    RunError
        It failed, or took too long.
    """
    child = spawn(work, folder=folder)
    code = child.wait(timeout)
    if code is None:
        child.kill()
    if code:
        msg = f"a child process of the suite ended with {code}; {folder}/child.log says why"
        raise RunError(msg, hint=tail_of(folder))
    if code is None:
        msg = f"a child process of the suite took longer than {timeout:g} s; {folder}"
        raise RunError(msg, hint="is the machine very busy?")


def tail_of(folder: Path, *, characters: int = 1500) -> str:
    """Return the end of what the children of a folder printed."""
    try:
        return (folder / "child.log").read_text("utf-8", errors="replace")[-characters:]
    except FileNotFoundError:
        return ""

"""A process that forks a child for every run, and kills it after a while: so a kill costs no start of Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Run = Callable[..., tuple[str, float]]

_LOOP = """
import os, signal, sys, time

for line in sys.stdin:
    folder, delay = line.rsplit(" ", 1)
    begun, pid = time.monotonic(), os.fork()
    if not pid:
        code = 1
        try:
            child(folder)
            code = 0
        finally:
            os._exit(code)
    if float(delay) > 0:
        time.sleep(float(delay))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    print("killed" if killed else "done" if not status else "failed", time.monotonic() - begun, flush=True)
"""


@contextmanager
def nursery(program: str) -> Iterator[Run]:
    """Give a function that runs a child in a folder, and kills it after some seconds, 0: not.

    It returns how the child ended (``done``, ``killed``, ``failed``) and after how many seconds. The program imports
    what children need, once, and defines ``child(folder)``.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program + _LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, heard = process.stdin, process.stdout

    def run(folder: Path, delay: float = 0.0) -> tuple[str, float]:
        told.write(f"{folder} {delay}\n")
        told.flush()
        end, seconds = heard.readline().split()
        return end, float(seconds)

    try:
        yield run
    finally:
        told.close()
        process.wait(60)
        heard.close()

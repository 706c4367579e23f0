"""Where a victim is: it says in which phase it is, and ends itself at a chosen point.

Nothing of this is in the engine. In the victim's process the connectors that the registry opens are wrapped, and so
are the functions of the operating system that make something durable.
"""

from __future__ import annotations

import functools
import mmap
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventide import registry

__all__ = ["PHASES", "POINTS", "phase_of", "reset", "watch"]

PHASES = ("starting", "opening", "running", "preparing", "saving", "committing", "closing")
POINTS = (
    *("sink.open", "sink.write", "sink.prepare", "sink.commit", "sink.close"),
    *("quarantine.open", "quarantine.write", "quarantine.prepare", "quarantine.commit"),
    *("source.open", "source.read", "source.close", "fsync", "rename", "replace", "unlink", "rmtree"),
)
_SINK = ("open", "write", "prepare", "commit", "close")
_SOURCE = ("open", "read", "close")
_ENTER = {"sink.open": 1, "sink.prepare": 3, "sink.commit": 5, "sink.close": 6}
_LEAVE = {"sink.prepare": 4, "sink.commit": 2}
_FILE = "phase"


def phase_of(folder: Path) -> str:
    """Return the phase that a victim was in when it ended.

    Examples
    --------
    >>> phase_of(Path("nowhere"))
    'starting'
    """
    try:
        return PHASES[(folder / _FILE).read_bytes()[0]]
    except (FileNotFoundError, IndexError):
        return PHASES[0]


def reset(folder: Path) -> None:
    """Say that the next victim has not begun yet."""
    (folder / _FILE).write_bytes(b"\0")


def watch(folder: Path, *, at: str = "", count: Path | None = None, slow: float = 0.0) -> None:
    """Wrap the connectors and some functions of this process; it is for victims only.

    Parameters
    ----------
    folder
        The phase is kept in a file there.
    at
        End the process at ``point:before:n`` or ``point:after:n``, its n-th hit (from 1).
    count
        Write there how often each point is hit, at the end of every hit.
    slow
        How long every write of a sink takes more than it would, s.
    """
    watcher = _Watcher(folder, at, count=count, slow=slow)
    for kind, methods in (("sink", _SINK), ("source", _SOURCE)):
        setattr(registry, f"open_{kind}", _opener(getattr(registry, f"open_{kind}"), kind, methods=methods, of=watcher))
    for name in ("fsync", "rename", "replace", "unlink"):
        setattr(os, name, watcher.around(name, getattr(os, name)))
    setattr(shutil, "rmtree", watcher.around("rmtree", shutil.rmtree))  # noqa: B010


def _opener(
    function: Callable[..., Any], kind: str, *, methods: tuple[str, ...], of: _Watcher
) -> Callable[..., _Watched]:
    def opened(uri: str, *args: Any, **named: Any) -> _Watched:
        # The quarantine is opened and closed in the middle of a run: that says nothing about the phase.
        point = "quarantine" if "quarantine" in uri else kind
        return _Watched(function(uri, *args, **named), point, methods=methods, watcher=of)

    return opened


class _Watcher:
    """Knows the phase, counts hits, and ends the process at the chosen one."""

    def __init__(self, folder: Path, at: str, *, count: Path | None, slow: float) -> None:
        fd = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, b"\0", 0)
        # Mapped: a store outlives a kill as a write does, and cannot fail where the disk is made to.
        self._shown = mmap.mmap(fd, 1)
        os.close(fd)
        self._phase, self._slow = 0, slow
        point, when, number = [*at.split(":"), "", ""][:3] if at else ("", "", "0")
        self._at = (point, when or "before", int(number or 1))
        self._hits: Counter[tuple[str, str]] = Counter()
        self._count = None if count is None else os.open(count, os.O_RDWR | os.O_CREAT, 0o644)

    def around(self, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that passes the point before and after what it does."""

        @functools.wraps(function)
        def wrapped(*args: Any, **named: Any) -> Any:
            self._pass(point, "before", _ENTER.get(point, self._phase))
            if point == "source.read" and self._phase == 1:
                self._enter(2)
            if self._slow and point == "sink.write":
                time.sleep(self._slow)
            out = function(*args, **named)
            self._pass(point, "after", _LEAVE.get(point, self._phase))
            return out

        return wrapped

    def _enter(self, phase: int) -> None:
        if phase != self._phase:
            self._phase = phase
            self._shown[0] = phase

    def _pass(self, point: str, when: str, phase: int) -> None:
        self._enter(phase)
        self._hits[point, when] += 1
        if (point, when, self._hits[point, when]) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._count is not None:
            text = "".join(f"{p}:{w} {n}\n" for (p, w), n in sorted(self._hits.items()))
            os.pwrite(self._count, text.encode(), 0)


class _Watched:
    """A source or sink, some of whose methods are points."""

    def __init__(self, inner: Any, kind: str, *, methods: tuple[str, ...], watcher: _Watcher) -> None:
        self._inner, self._kind, self._methods, self._watcher = inner, kind, methods, watcher

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._methods:
            return found
        return self._watcher.around(f"{self._kind}.{name}", self._reader if name == "open" else found)

    def _reader(self, *args: Any) -> Any:
        made = self._inner.open(*args)
        return made if made is None else _Watched(made, self._kind, methods=self._methods, watcher=self._watcher)

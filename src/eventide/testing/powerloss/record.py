"""Record what a program does to a folder: every byte, every name, every sync.

The calls of `os` that order things (sync, rename, remove, make, cut) are replaced while the recorder is on; before
each of them, and at every mark, the folder is compared with what the recorder believes it to hold, and what differs is
recorded as written since. So writes that no Python call shows (Arrow's own files, memory maps) are caught as well, and
a renamed or removed name that the recorder did not see is an error instead of a gap: a trace that is complete by
construction. A sync that it did not see would only make the recorded program look worse than it is.

Commits of SQLite are recorded as a whole, and only from connections that sync at every commit.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import numpy as np

from eventide.testing.powerloss.database import RecorderError, WatchedConnection
from eventide.testing.powerloss.trace import (
    ROOT,
    Linked,
    Made,
    Marked,
    Moved,
    Operation,
    Removed,
    Resized,
    Stored,
    Synced,
    Tree,
    Wrote,
)

__all__ = ["SECTOR", "Recorder", "RecorderError"]

SECTOR = 512
"""Bytes that a disk writes as a whole, or not at all."""

_WRITES = ("write", "pwrite", "writev", "pwritev", "ftruncate", "posix_fallocate")
_MAPPED = 4096
"""Files up to so many bytes may be written through a memory map, which leaves no trace in their times."""
_RACY_NS = 1_000_000_000
"""A file written so shortly before it was read may have been written again within one tick of the clock."""
_SIDE_FILES = ("", "-wal", "-shm", "-journal")


class Recorder:
    """Records everything that happens in a folder while it is on.

    Parameters
    ----------
    root
        The folder; it must exist.
    trace
        What happened to it before, by earlier recorders: the folder must be as that left it.

    Examples
    --------
    >>> import tempfile
    >>> with Recorder(Path(tempfile.mkdtemp())) as recorder:
    ...     _ = (recorder.root / "a").write_bytes(b"xy")
    ...     (recorder.root / "a").rename(recorder.root / "b")
    PosixPath('...')
    >>> [type(operation).__name__ for operation in recorder.trace]
    ['Made', 'Resized', 'Wrote', 'Moved']
    """

    def __init__(self, root: Path, trace: list[Operation] | None = None) -> None:
        self.root = Path(os.path.realpath(root))
        self.trace: list[Operation] = list(trace or ())
        self._tree = Tree()
        self._lock = threading.RLock()
        self._patches = ExitStack()
        self._nodes: dict[tuple[int, int], int] = {}
        self._held: set[tuple[int, int]] = set()
        self._stamps: dict[int, tuple[int, int]] = {}
        self._next = 1
        status = self.root.stat()
        self._nodes[status.st_dev, status.st_ino] = ROOT
        for operation in self.trace:
            self._tree.apply(operation)
            if isinstance(operation, Made):
                self._next = max(self._next, operation.node + 1)
        self._database_names = {name + side for _, name in self._tree.databases for side in _SIDE_FILES}

    def __enter__(self) -> Self:
        if not Path("/proc/self/fd").is_dir():
            msg = "the recorder must see which files are open, and only Linux says so"
            raise RecorderError(msg, hint="record on Linux; a trace can be checked anywhere")
        self._scan()
        for name in _WRITES:
            if hasattr(os, name):
                self._patch(os, name, self._after_write)
        for name in ("fsync", "fdatasync"):
            self._patch(os, name, self._sync)
        for name in ("rename", "replace"):
            self._patch(os, name, self._move)
        for name in ("unlink", "remove", "rmdir"):
            self._patch(os, name, self._remove)
        for name in ("open", "truncate"):
            self._patch(os, name, self._after)
        self._patch(os, "mkdir", self._mkdir)
        self._patch(os, "link", self._link)
        self._patch(fcntl, "fcntl", self._fcntl)
        real = sqlite3.connect

        def connect(database: Any, **options: Any) -> sqlite3.Connection:
            path = self._relative(database)
            if path is None:
                other: sqlite3.Connection = real(database, **options)
                return other
            self._ours(path)
            connection: WatchedConnection = real(database, factory=WatchedConnection, **options)
            connection.watch(path, lock=self._lock, committed=self.committed)
            return connection

        self._patches.enter_context(mock.patch.object(sqlite3, "connect", connect))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._scan()
        self._patches.close()
        if kind is None:
            self.verify()

    def verify(self) -> None:
        """Read every file again, also those that look untouched.

        What changes in a small file while this looks is no gap: another thread stores through a memory map, which no
        lock holds up, and small files are read every time.

        Raises
        ------
        RecorderError
            One had changed: the trace has a gap.
        """
        with self._lock:
            self._scan()
            length = len(self.trace)
            self._scan(all_of_it=True)
            unseen = [o for o in self.trace[length:] if not (isinstance(o, Wrote) and self._mapped(o.node))]
            if unseen:
                msg = f"{self.root}: {unseen} changed unseen"
                raise RecorderError(msg, hint="files that are written through memory maps must be small")

    def frozen(self) -> AbstractContextManager[Any]:
        """Let no other thread sync, write, rename or remove anything while this is held: the trace is then complete."""
        return self._lock

    def mark(self, name: str, **facts: Any) -> None:
        """Record something that the program says, at this point of the trace."""
        with self._lock:
            self._scan()
            self._add(Marked(name, facts))

    def _patch(self, module: Any, name: str, handler: Callable[..., Any]) -> None:
        real = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                return handler(real, *args, **options)

        self._patches.enter_context(mock.patch.object(module, name, call))

    def _add(self, operation: Operation) -> None:
        self._tree.apply(operation)
        self.trace.append(operation)

    # -- where things are

    def _relative(self, path: Any, *, folder: int | None = None) -> str | None:
        """Return a path relative to the root; None when it lies elsewhere."""
        text = os.fspath(path)
        if not isinstance(text, str):
            return None
        if folder is not None:
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)  # noqa: PTH118, PTH115
        where = Path(os.path.realpath(Path(text).parent)) / Path(text).name
        return where.relative_to(self.root).as_posix() if where.is_relative_to(self.root) else None

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        folder = self._tree.find(above)
        if folder is None:
            msg = f"{path}: its folder was made unseen"
            raise RecorderError(msg, hint="make folders with os.mkdir")
        return folder, name

    def _node_of(self, descriptor: int) -> int | None:
        status = os.fstat(descriptor)
        return self._nodes.get((status.st_dev, status.st_ino))

    # -- what is called

    def _after(self, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        done = real(*args, **options)
        if isinstance(args[0], int) or self._relative(args[0], folder=options.get("dir_fd")) is not None:
            self._scan()
        return done

    def _after_write(self, real: Callable[..., Any], descriptor: int, *args: Any, **options: Any) -> Any:
        done = real(descriptor, *args, **options)
        if self._node_of(descriptor) is not None:
            self._scan()
        return done

    def _sync(self, real: Callable[..., Any], descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self._scan()
        real(descriptor)
        node = self._node_of(number)
        if node is not None:
            self._add(Synced(node))

    def _fcntl(self, real: Callable[..., Any], descriptor: Any, command: int, *args: Any) -> Any:
        if command != getattr(fcntl, "F_FULLFSYNC", -1):
            return real(descriptor, command, *args)
        return self._sync(lambda fd: real(fd, command, *args), descriptor)

    def _move(self, real: Callable[..., Any], source: Any, target: Any, **options: Any) -> None:
        old, new = self._relative(source), self._relative(target)
        self._scan()
        real(source, target, **options)
        if (old is None) != (new is None):
            msg = f"{source} was moved to {target}: one of them is outside {self.root}"
            raise RecorderError(msg, hint="record the folder that holds both")
        if old is not None and new is not None:
            self._add(Moved(*self._place(old), *self._place(new)))

    def _remove(self, real: Callable[..., Any], path: Any, *, dir_fd: int | None = None) -> None:
        where = self._relative(path, folder=dir_fd)
        if where is not None:
            self._scan()
        real(path, dir_fd=dir_fd)
        if where is not None and Path(where).name not in self._database_names:
            self._add(Removed(*self._place(where)))

    def _mkdir(self, real: Callable[..., Any], path: Any, *args: Any, **options: Any) -> None:
        where = self._relative(path, folder=options.get("dir_fd"))
        real(path, *args, **options)
        if where is not None:
            self._made(where, os.stat(path), is_folder=True)  # noqa: PTH116

    def _link(self, real: Callable[..., Any], source: Any, target: Any, **options: Any) -> None:
        old, new = self._relative(source), self._relative(target)
        self._scan()
        real(source, target, **options)
        if old is not None and new is not None:
            node = self._tree.find(old)
            assert node is not None
            self._add(Linked(node, *self._place(new)))

    def _made(self, where: str, status: os.stat_result, *, is_folder: bool) -> int:
        node, self._next = self._next, self._next + 1
        self._nodes[status.st_dev, status.st_ino] = node
        self._add(Made(node, *self._place(where), is_folder))
        return node

    # -- what is written

    def _scan(self, *, all_of_it: bool = False) -> None:
        """Bring the trace up to what the folder holds now; `all_of_it` reads files that look untouched, too."""
        with self._lock:
            now, held = time.time_ns(), _open_files()
            held, self._held = held | self._held, held
            waiting = [("", ROOT)]
            while waiting:
                path, folder = waiting.pop()
                names = self._tree.entries[folder]
                seen: set[str] = set()
                with os.scandir(f"{self.root}/{path}") as listing:
                    for entry in listing:
                        if entry.name in self._database_names:
                            continue
                        seen.add(entry.name)
                        where = f"{path}/{entry.name}" if path else entry.name
                        node = names.get(entry.name)
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append((where, self._folder(where, node, status)))
                        else:
                            node = self._made(where, status, is_folder=False) if node is None else node
                            self._nodes[status.st_dev, status.st_ino] = node
                            is_open = (status.st_dev, status.st_ino) in held
                            if all_of_it or is_open or self._may_differ(node, status, now=now):
                                self._file(node, entry.path)
                if names.keys() - seen:
                    msg = f"{self.root / path}: {sorted(names.keys() - seen)} vanished unseen"
                    raise RecorderError(msg, hint="rename and remove files with os")

    def _folder(self, where: str, node: int | None, status: os.stat_result) -> int:
        if node is None:
            msg = f"{self.root / where} was made unseen"
            raise RecorderError(msg, hint="make folders with os.mkdir")
        self._nodes[status.st_dev, status.st_ino] = node
        return node

    def _may_differ(self, node: int, status: os.stat_result, *, now: int) -> bool:
        """Tell whether a closed file must be read again: its times say so, are too fresh to tell, or a map keeps none.

        Times are not believed of open files: on a busy machine the clock that they are taken from may stand still
        for longer than any margin.
        """
        stamp = (status.st_size, status.st_mtime_ns)
        if not self._mapped(node) and self._stamps.get(node) == stamp:
            return False
        if status.st_mtime_ns < now - _RACY_NS:
            self._stamps[node] = stamp
        return True

    def _mapped(self, node: int) -> bool:
        """Tell whether a file is so small that it may be written through a memory map."""
        return len(self._tree.data[node]) <= _MAPPED

    def _file(self, node: int, path: str) -> None:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - thousands of times
            after = file.readall()
        before = self._tree.data[node]
        if before == after:
            return
        if len(before) != len(after):
            self._add(Resized(node, len(after)))
        for offset, data in differences(bytes(self._tree.data[node]), after):
            self._add(Wrote(node, offset, data))

    # -- what SQLite committed

    def _ours(self, path: str) -> None:
        """Take note of a database in the folder: its files are left to SQLite."""
        with self._lock:
            self._database_names |= {Path(path).name + side for side in _SIDE_FILES}

    def committed(self, path: str, data: bytes) -> None:
        """Record that a database holds this from now on."""
        place = self._place(path)
        if data and self._tree.databases.get(place) != data:
            self._scan()
            self._add(Stored(*place, data))


def _open_files() -> set[tuple[int, int]]:
    """Return the device and number of every file that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - at every call of the recorder
        with suppress(OSError):  # the one that listed the folder is closed by now
            status = os.fstat(int(name))
            found.add((status.st_dev, status.st_ino))
    return found


def differences(before: bytes, after: bytes) -> list[tuple[int, bytes]]:
    """Return the runs of sectors of `after` that are not those of `before`, which has the same length.

    Examples
    --------
    >>> [(offset, len(data)) for offset, data in differences(bytes(2000), bytes(600) + b"x" + bytes(1399))]
    [(512, 512)]
    """
    size = len(after)
    sectors = -(-size // SECTOR)
    old, new = (np.frombuffer(raw.ljust(sectors * SECTOR, b"\0"), np.uint8) for raw in (before, after))
    changed = (old != new).reshape(sectors, SECTOR).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], changed.view(np.int8), [0]))))
    return [
        (int(start) * SECTOR, after[int(start) * SECTOR : min(int(end) * SECTOR, size)])
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]

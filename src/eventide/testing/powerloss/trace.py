"""What a program did to a folder, one operation after another: the words in which it is recorded and replayed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "ROOT",
    "Linked",
    "Made",
    "Marked",
    "Moved",
    "Operation",
    "Removed",
    "Resized",
    "Stored",
    "Synced",
    "Tree",
    "Wrote",
    "load_trace",
    "save_trace",
]

ROOT = 0
"""Number of the folder that everything happens in; its own existence is taken for granted."""


class Made(msgspec.Struct, tag=True, frozen=True):
    """A file or folder (`node`, a number never used twice) was made under a name in a folder."""

    node: int
    folder: int
    name: str
    is_folder: bool


class Linked(msgspec.Struct, tag=True, frozen=True):
    """A file got a further name."""

    node: int
    folder: int
    name: str


class Moved(msgspec.Struct, tag=True, frozen=True):
    """A name became another one, in place of what had that name."""

    folder: int
    name: str
    to_folder: int
    to_name: str


class Removed(msgspec.Struct, tag=True, frozen=True):
    """A name of a file or of an empty folder was removed."""

    folder: int
    name: str


class Resized(msgspec.Struct, tag=True, frozen=True):
    """A file was cut, or made longer by zeros."""

    node: int
    size: int


class Wrote(msgspec.Struct, tag=True, frozen=True):
    """Bytes of a file changed, within its size."""

    node: int
    offset: int
    data: bytes


class Synced(msgspec.Struct, tag=True, frozen=True):
    """A sync of a file or of a folder returned."""

    node: int


class Stored(msgspec.Struct, tag=True, frozen=True):
    """A commit of an SQLite database returned: what the database holds from then on."""

    folder: int
    name: str
    data: bytes


class Marked(msgspec.Struct, tag=True, frozen=True):
    """The program said something: what it is about to do, or what was promised to it."""

    name: str
    facts: dict[str, Any]


Operation: TypeAlias = Made | Linked | Moved | Removed | Resized | Wrote | Synced | Stored | Marked


class Tree:
    r"""A folder in memory: what it looks like to a program when every operation has happened.

    Examples
    --------
    >>> tree = Tree()
    >>> for operation in (Made(1, ROOT, "a", False), Resized(1, 4), Wrote(1, 0, b"xy"), Moved(ROOT, "a", ROOT, "b")):
    ...     tree.apply(operation)
    >>> tree.files()
    {'b': b'xy\x00\x00'}
    """

    def __init__(self) -> None:
        self.entries: dict[int, dict[str, int]] = {ROOT: {}}
        self.data: dict[int, bytearray] = {}
        self.databases: dict[tuple[int, str], bytes] = {}

    def apply(self, operation: Operation) -> None:
        """Let one operation happen."""
        match operation:
            case Made(node, folder, name, is_folder):
                if is_folder:
                    self.entries[node] = {}
                else:
                    self.data[node] = bytearray()
                self.entries[folder][name] = node
            case Linked(node, folder, name):
                self.entries[folder][name] = node
            case Moved(folder, name, to_folder, to_name):
                self.entries[to_folder][to_name] = self.entries[folder].pop(name)
            case Removed(folder, name):
                del self.entries[folder][name]
            case Resized(node, size):
                resize(self.data[node], size)
            case Wrote(node, offset, data):
                self.data[node][offset : offset + len(data)] = data
            case Stored(folder, name, data):
                self.databases[folder, name] = data
            case _:
                pass

    def find(self, path: str) -> int | None:
        """Return the node at a path relative to the root; None when there is none."""
        node = ROOT
        for name in path.split("/") if path not in ("", ".") else ():
            found = self.entries.get(node, {}).get(name)
            if found is None:
                return None
            node = found
        return node

    def folders(self) -> dict[str, int]:
        """Return the folders that can be reached: path and node, a folder before what is in it."""
        found = {"": ROOT}
        waiting = [("", ROOT)]
        while waiting:
            path, node = waiting.pop()
            for name, child in self.entries[node].items():
                if child in self.entries:
                    below = f"{path}/{name}" if path else name
                    found[below] = child
                    waiting.append((below, child))
        return found

    def files(self) -> dict[str, bytes]:
        """Return the content of every file that can be reached, databases included."""
        found: dict[str, bytes] = {}
        folders = self.folders()
        for path, folder in folders.items():
            for name, node in self.entries[folder].items():
                if node in self.data:
                    found[f"{path}/{name}" if path else name] = bytes(self.data[node])
        paths = {node: path for path, node in folders.items()}
        for (folder, name), data in self.databases.items():
            if folder in paths:
                found[f"{paths[folder]}/{name}" if paths[folder] else name] = data
        return found


def resize(data: bytearray, size: int) -> None:
    """Cut a file, or make it longer by zeros."""
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def save_trace(path: Path, trace: Iterable[Operation]) -> None:
    """Write a trace to a file."""
    path.write_bytes(msgspec.msgpack.encode(list(trace)))


def load_trace(path: Path) -> list[Operation]:
    """Read a trace from a file."""
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Operation])

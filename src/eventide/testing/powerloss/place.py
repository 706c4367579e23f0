"""Put a tree onto a real disk, and compare the two."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from eventide.testing.powerloss.trace import ROOT, Linked, Made, Operation, Resized, Stored, Synced, Tree, Wrote

__all__ = ["as_trace", "digest_parts", "place", "scratch"]


def scratch(prefix: str) -> Path:
    """Make a folder for files that nobody needs later: in memory where the system has a file system there."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base))


def place(tree: Tree, folder: Path) -> None:
    """Make a folder hold exactly what a tree holds."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(tree.folders(), key=len):
        (folder / path).mkdir(parents=True, exist_ok=True)
    first: dict[int, Path] = {}
    for path, number in tree.folders().items():
        for name, node in tree.entries[number].items():
            if node in tree.data:
                file = folder / path / name
                if node in first:
                    os.link(first[node], file)
                else:
                    first[node] = file
                    file.write_bytes(tree.data[node])
        for (parent, name), data in tree.databases.items():
            if parent == number:
                (folder / path / name).write_bytes(data)


def as_trace(tree: Tree) -> list[Operation]:
    """Return the operations that make a tree, durably."""
    trace: list[Operation] = []
    seen: set[int] = set()
    for path, folder in tree.folders().items():
        if path:
            above, _, name = path.rpartition("/")
            trace.append(Made(folder, tree.find(above) or ROOT, name, True))
        for name, node in tree.entries[folder].items():
            if node not in tree.data:
                continue
            if node in seen:
                trace.append(Linked(node, folder, name))
                continue
            seen.add(node)
            data = bytes(tree.data[node])
            trace += [Made(node, folder, name, False), Resized(node, len(data)), Wrote(node, 0, data), Synced(node)]
    reached = tree.folders().values()
    trace += [Stored(f, name, data) for (f, name), data in tree.databases.items() if f in reached]
    return trace + [Synced(folder) for folder in reached]


def digest_parts(tree: Tree, parts: Sequence[str]) -> dict[str, bytes]:
    """Return a checksum of everything below each of some folders, and for ``""`` of all the rest.

    Examples
    --------
    >>> a, b = Tree(), Tree()
    >>> a.apply(Made(1, ROOT, "x", True))
    >>> [digest_parts(a, ["", "x"])[part] == digest_parts(b, ["", "x"])[part] for part in ("", "x")]
    [True, False]
    """
    checks = {part: hashlib.blake2b(digest_size=16) for part in parts}

    def check_of(path: str) -> hashlib.blake2b:
        return next((c for part, c in checks.items() if part and f"{path}/".startswith(f"{part}/")), checks[""])

    for path in sorted(tree.folders()):
        check_of(path).update(f"{path}\0".encode())
    for path, data in sorted(tree.files().items()):
        check = check_of(path)
        check.update(f"{path}\0{len(data)}\0".encode())
        check.update(data)
    return {part: check.digest() for part, check in checks.items()}

"""What may be on a disk after the power went: the legal states after any part of a trace.

Two models of a file system say which states are legal; both take a returned sync for a promise.

``posix``: the least that the standard promises. A sync of a file makes its bytes and its size durable, but not its
name; a sync of a folder makes the names in it durable. Of everything else any part may be on the disk, in any
order: single sectors of a write, sizes without the bytes (zeros then), a rename without the removal before it. Only
operations on the same name keep their order, a rename is one step, and nothing moves into a folder that is not there.

``ordered``: what ext4 and XFS do with their default options. Operations on names and cuts of files go to a journal and
are durable in the order in which they happened, all of them up to any sync; what was appended to a file becomes
longer only with its bytes; bytes that replace others may be there in any part.

In both a sector of 512 bytes is written as a whole, unless a state says ``torn``: then the last one that was under way
is half new, half old. The models follow Pillai et al., "All file systems are not created equal", OSDI 2014 (what real
file systems reorder), and Bornholt et al., "Specifying and checking file system crash-consistency models", ASPLOS 2016
(a model as the set of states a prefix of a program allows). Not modelled: disks that lie about a sync, bits that rot,
and old bytes of other files that show up in what was never written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from eventide.testing.powerloss.record import SECTOR
from eventide.testing.powerloss.trace import (
    ROOT,
    Linked,
    Made,
    Moved,
    Operation,
    Removed,
    Resized,
    Stored,
    Synced,
    Tree,
    Wrote,
    resize,
)

__all__ = ["MODELS", "STYLES", "CrashState", "Disk", "Model", "Style"]

Model: TypeAlias = Literal["posix", "ordered"]
Style: TypeAlias = Literal["nothing", "everything", "one lost", "one kept", "few", "half", "most", "torn"]
Name: TypeAlias = tuple[int, str]
NameOperation: TypeAlias = Made | Linked | Moved | Removed
DataOperation: TypeAlias = Resized | Wrote

MODELS: tuple[Model, ...] = ("posix", "ordered")
STYLES: tuple[Style, ...] = ("nothing", "everything", "one lost", "one kept", "few", "half", "most", "torn")
_SHARES = {"nothing": 0.0, "everything": 1.0, "few": 0.15, "half": 0.5, "most": 0.85, "torn": 0.7}


@dataclass(frozen=True, slots=True)
class CrashState:
    """A folder as it may be found after the power went.

    Parameters
    ----------
    cut
        How many operations of the trace had been called.
    model, style, seed
        How it was chosen, enough to choose it again.
    tree
        What is there.
    """

    cut: int
    model: Model
    style: Style
    seed: int
    tree: Tree

    @property
    def name(self) -> str:
        """What to call it in a report."""
        return f"cut={self.cut} model={self.model} style={self.style!r} seed={self.seed}"


@dataclass(slots=True)
class _Choice:
    """Which of the pending operations survive."""

    random: random.Random
    share: float
    count: int
    only: int = -1
    without: int = -1
    _asked: int = field(default=0)

    def keep(self) -> bool:
        asked, self._asked = self._asked, self._asked + 1
        if self.only >= 0:
            return asked == self.only
        if self.without >= 0:
            return asked != self.without
        return self.share >= 1 or (self.share > 0 and self.random.random() < self.share)


class Disk:
    """What is surely on the disk, and what may be, after the operations fed so far.

    Parameters
    ----------
    model
        Which promises the file system makes.
    """

    def __init__(self, model: Model = "posix") -> None:
        self.model: Model = model
        self.fed = 0
        self._now = Tree()
        self._entries: dict[int, dict[str, int]] = {ROOT: {}}
        self._data: dict[int, bytes] = {}
        self._names: list[NameOperation] = []
        self._pending: dict[int, list[DataOperation]] = {}
        self._databases: dict[Name, bytes] = {}

    def feed(self, operation: Operation) -> None:
        """Let one more operation happen."""
        self.fed += 1
        match operation:
            case Made(node, _, _, is_folder):
                self._names.append(operation)
                if is_folder:
                    self._entries[node] = {}
            case Linked() | Moved() | Removed():
                self._names.append(operation)
            case Resized(node) | Wrote(node):
                self._pending.setdefault(node, []).append(operation)
            case Stored(folder, name, data):
                self._databases[folder, name] = data
            case _:
                pass
        self._now.apply(operation)
        if isinstance(operation, Synced):
            self._sync(operation.node)

    def _sync(self, node: int) -> None:
        if node in self._now.data:
            self._data[node] = bytes(self._now.data[node])
            self._pending.pop(node, None)
        if self.model == "ordered":
            for operation in self._names:
                _rename(self._entries, operation)
            self._names = []
        elif node in self._entries:
            self._sync_names(node)

    def _sync_names(self, folder: int) -> None:
        """Make the names of a folder durable, and whatever came before on the names these come from."""
        wanted: set[Name] = set()
        sure: list[NameOperation] = []
        for operation in reversed(self._names):
            touched = names_of(operation)
            if any(f == folder for f, _ in touched) or wanted.intersection(touched):
                wanted.update(touched)
                sure.append(operation)
        for operation in reversed(sure):
            _rename(self._entries, operation)
        self._names = [o for o in self._names if not any(o is s for s in sure)]

    def states(self, following: Operation | None, *, styles: list[tuple[Style, int]]) -> Iterator[CrashState]:
        """Yield states in which the folder may be if the power goes now, while `following` is under way.

        Parameters
        ----------
        following
            The next operation of the trace.
        styles
            How each state is chosen, and from which seed.
        """
        for style, seed in styles:
            yield CrashState(self.fed, self.model, style, seed, self._state(following, style, seed))

    def _state(self, following: Operation | None, style: Style, seed: int) -> Tree:
        rng = random.Random(f"{self.fed}/{self.model}/{style}/{seed}")
        pieces = sum(1 for _ in self._pieces())
        count = len(self._names) + pieces
        choice = _Choice(rng, _SHARES.get(style, 1.0), count)
        if style == "one kept":
            choice.only = rng.randrange(max(count, 1))
        elif style == "one lost":
            choice.without = rng.randrange(max(count, 1))
        tree = Tree()
        tree.entries = {folder: dict(names) for folder, names in self._entries.items()}
        if self.model == "ordered":
            self._keep_first_names(tree, choice, style)
        else:
            self._keep_some_names(tree, choice)
        tree.data = {node: bytearray(self._data.get(node, b"")) for node in self._now.data}
        for node, pending in self._pending.items():
            (self._grow_in_order if self.model == "ordered" else self._scatter)(tree.data[node], pending, choice)
        if style == "torn":
            self._tear(tree, rng)
        tree.databases = dict(self._databases)
        if isinstance(following, Stored) and rng.random() < 0.5:
            tree.databases[following.folder, following.name] = following.data
        return tree

    def _pieces(self) -> Iterator[None]:
        for pending in self._pending.values():
            for operation in pending:
                size = len(operation.data) if isinstance(operation, Wrote) else 1
                yield from [None] * (-(-size // SECTOR))

    def _keep_first_names(self, tree: Tree, choice: _Choice, style: Style) -> None:
        kept = {"nothing": 0, "everything": len(self._names)}.get(style)
        for operation in self._names[: choice.random.randint(0, len(self._names)) if kept is None else kept]:
            _rename(tree.entries, operation)

    def _keep_some_names(self, tree: Tree, choice: _Choice) -> None:
        blocked: set[Name] = set()
        lost_folders: set[int] = set()
        for operation in self._names:
            touched = names_of(operation)
            keep = choice.keep() and not blocked.intersection(touched)
            if isinstance(operation, Moved) and operation.to_folder in lost_folders:
                keep = False
            if keep:
                _rename(tree.entries, operation)
            else:
                blocked.update(touched)
                if isinstance(operation, Made) and operation.is_folder:
                    lost_folders.add(operation.node)

    def _scatter(self, data: bytearray, pending: list[DataOperation], choice: _Choice) -> None:
        """Let any part of some writes happen."""
        for operation in pending:
            if isinstance(operation, Resized):
                if choice.keep():
                    resize(data, operation.size)
                elif operation.size > len(data) and 0 < choice.share < 1:
                    size = choice.random.randrange(len(data), operation.size + 1)
                    whole = choice.random.random() < 0.5  # most file systems grow by blocks
                    resize(data, max(size // SECTOR * SECTOR, len(data)) if whole else size)
                continue
            for at in range(0, len(operation.data), SECTOR):
                if choice.keep():
                    _write(data, operation.offset + at, operation.data[at : at + SECTOR])

    def _grow_in_order(self, data: bytearray, pending: list[DataOperation], choice: _Choice) -> None:
        """Let the first of some writes happen; those that replace bytes may be missing."""
        sure = len(data)
        last = len(pending) if choice.share >= 1 else choice.random.randint(0, len(pending))
        for operation in pending[: last if choice.share > 0 else 0]:
            if isinstance(operation, Resized):
                resize(data, operation.size)
                sure = min(sure, operation.size)
            elif operation.offset >= sure or choice.keep():
                _write(data, operation.offset, operation.data)

    def _tear(self, tree: Tree, rng: random.Random) -> None:
        """Let one sector that was under way be half new, half old."""
        writes = [o for pending in self._pending.values() for o in pending if isinstance(o, Wrote)]
        if writes:
            operation = rng.choice(writes)
            begin = rng.randrange(len(operation.data)) // SECTOR * SECTOR
            part = operation.data[begin : begin + SECTOR]
            at = rng.randrange(len(part) + 1)
            head, tail = (begin, part[:at]) if rng.random() < 0.5 else (begin + at, part[at:])
            _write(tree.data[operation.node], operation.offset + head, tail)


def names_of(operation: NameOperation) -> tuple[Name, ...]:
    """Return the names that an operation changes."""
    if isinstance(operation, Moved):
        return (operation.folder, operation.name), (operation.to_folder, operation.to_name)
    return ((operation.folder, operation.name),)


def _rename(entries: dict[int, dict[str, int]], operation: NameOperation) -> None:
    match operation:
        case Made(node, folder, name) | Linked(node, folder, name):
            entries[folder][name] = node
        case Moved(folder, name, to_folder, to_name):
            node = entries[folder].pop(name, -1)
            if node >= 0:
                entries[to_folder][to_name] = node
        case Removed(folder, name):
            entries[folder].pop(name, None)


def _write(data: bytearray, offset: int, piece: bytes) -> None:
    """Write what lies within the size of a file."""
    piece = piece[: max(len(data) - offset, 0)]
    data[offset : offset + len(piece)] = piece

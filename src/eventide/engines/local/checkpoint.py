"""Checkpoints of the embedded engine: one folder each, complete or absent.

A checkpoint holds the positions of all sources, the state of all operators as Arrow files and what the
sinks need to commit. It is written under a temporary name, synced, and renamed: a folder with its final
name is whole. Restoring shares the state out over however many lanes there are.

A savepoint is a checkpoint under a name of its own, in ``savepoints/<name>``, that stays until it is removed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from eventide.engines.local.durable_files import copy_folder, write_file
from eventide.engines.local.state_files import StateFiles, read_states
from eventide.errors import CheckpointError, UnknownNameError, is_retriable, near_names
from eventide.log.layout import make_folder, sync_folder
from eventide.model.state import State

__all__ = ["Checkpoint", "CheckpointStore"]

_VERSION = 3
_DAMAGED = (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, pa.ArrowException)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBERED = re.compile(r"chk-(\d{8,})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: its number, plain data, and the tables of each task."""

    number: int
    manifest: dict[str, Any]
    states: dict[str, State] = field(default_factory=dict)


class CheckpointStore:
    """The checkpoints of one pipeline in one folder.

    Parameters
    ----------
    folder
        Where checkpoints are kept; made when the first is written.
    pipeline
        Name of the pipeline, a folder of its own.
    keep
        How many are kept.
    """

    def __init__(self, folder: str | Path, pipeline: str, *, keep: int = 3) -> None:
        self.folder = Path(folder) / _folder_name(pipeline)
        self._keep = keep
        self._files = StateFiles()
        self._hidden: list[Path] = []

    def beside(self, label: str) -> Path:
        """Return the folder in which the sink of a node may keep what waits for its commit; it is not made."""
        return self.folder / "staged" / quote(label, safe="")

    def numbers(self) -> list[int]:
        """Return the numbers of the complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NUMBERED.fullmatch(p.name) for p in self.folder.iterdir())
        return sorted(int(m[1]) for m in found if m)

    def save(self, checkpoint: Checkpoint) -> int:
        """Write a checkpoint, let go of those that are no longer kept, and return how many bytes were written.

        What was let go has no name any more, but is still there until `clear`.

        Raises
        ------
        CheckpointError
            The folder cannot be written.
        """
        final = self._path(checkpoint.number)
        temporary = final.with_name(final.name + ".tmp")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            make_folder(self.folder)
            temporary.mkdir()
            entries, size = self._files.write(temporary, checkpoint.states, checkpoint=checkpoint.number)
            document = {"version": _VERSION, "number": checkpoint.number, **checkpoint.manifest, "states": entries}
            data = json.dumps(document, indent=1).encode()
            write_file(temporary / "manifest.json", data)
            self._publish(temporary, final)
        except OSError as error:
            raise _unwritable(final, error) from error
        self._files.written(final)
        self._let_go()
        return size + len(data)

    def turn(self, number: int, facts: Mapping[str, Any], *, to: Path | None = None) -> None:
        """Make it durable that the newest checkpoint is another one from now on, before any sink goes back.

        Without it, a run that is killed before its first checkpoint would leave the old newest one behind, and
        sinks from which what that one counts on is gone.

        Parameters
        ----------
        number, facts
            Its number, and what it says of itself.
        to
            The folder of the savepoint or checkpoint that it repeats; None: it is a beginning, without any state.

        Raises
        ------
        CheckpointError
            The folder cannot be written.
        """
        if to is None:
            nothing = {"positions": {}, "sinks": {}, "tasks": {}, "ledger": {}, "metrics": [], "final": False}
            self.save(Checkpoint(number, {**nothing, "quarantine": {"transaction": 0, "rows": 0}, **facts}))
            self.clear()
            return
        final = self._path(number)
        temporary = final.with_name(final.name + ".tmp")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            copy_folder(to, temporary)
            (temporary / "manifest.json").unlink()  # it may be a link to that of the other
            write_file(
                temporary / "manifest.json",
                json.dumps({**self.manifest(to), **facts, "number": number}, indent=1).encode(),
            )
            self._publish(temporary, final)
        except OSError as error:
            raise _unwritable(final, error) from error
        self._let_go()
        self.clear()

    def _publish(self, temporary: Path, final: Path) -> None:
        sync_folder(temporary)
        temporary.rename(final)
        sync_folder(self.folder)

    def _let_go(self) -> None:
        for number in self.numbers()[: -self._keep]:
            self._hidden += _hide(self._path(number))

    def clear(self) -> None:
        """Give back the room of what was let go, which can take as long as writing it did."""
        while self._hidden:
            shutil.rmtree(self._hidden.pop(), ignore_errors=True)

    def load(self, savepoint: str = "") -> Checkpoint | None:
        """Return the newest checkpoint, or None when there is none; or a savepoint.

        Parameters
        ----------
        savepoint
            Its name; or ``pipeline/name``, where it is one of another pipeline of the same graph; or the path of the
            folder that a savepoint or a checkpoint is in.

        Raises
        ------
        CheckpointError
            It cannot be read.
        UnknownNameError
            There is no such savepoint.
        """
        if savepoint:
            path = self.path_of(savepoint)
        else:
            numbers = self.numbers()
            if not numbers:
                return None
            path = self._path(numbers[-1])
        manifest = self.manifest(path)
        try:
            states = read_states(path, manifest["states"])
            self._files.loaded(path, manifest["states"], states)
            return Checkpoint(int(manifest["number"]), manifest, states)
        except _DAMAGED as error:
            raise _unreadable(path, error) from error

    def manifest(self, path: Path) -> dict[str, Any]:
        """Return the plain data of a checkpoint or savepoint, without its state.

        Raises
        ------
        CheckpointError
            It cannot be read, or another version of eventide wrote it.
        """
        try:
            manifest: dict[str, Any] = json.loads((path / "manifest.json").read_bytes())
            version = manifest["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, error) from error
        if version != _VERSION:
            msg = f"the checkpoint {path} has version {version}, this eventide reads {_VERSION}"
            raise CheckpointError(msg, hint="run with resume=False (--fresh) to begin again")
        return manifest

    def tidy(self) -> None:
        """Remove what a crash left half written or half removed, and make durable what is there.

        A crash between the renaming of a checkpoint and the sync of its folder leaves one that a power failure may
        still undo: nothing may be committed on its word before.
        """
        for left in [
            *self.folder.glob("chk-*.tmp"),
            *self.folder.glob(".chk-*.tmp"),
            *self.folder.glob("savepoints/.*.tmp"),
        ]:
            shutil.rmtree(left, ignore_errors=True)
        if self.folder.is_dir():
            try:
                sync_folder(self.folder)
            except OSError as error:
                raise _unwritable(self.folder, error) from error

    def oldest(self, since: int = 0) -> dict[str, Any] | None:
        """Return the plain data of the oldest checkpoint kept: nothing before its positions is needed any more.

        Parameters
        ----------
        since
            Number of the first that counts: those before a run that began again know nothing of its positions.
        """
        numbers = [n for n in self.numbers() if n >= since]
        return self.manifest(self._path(numbers[0])) if numbers else None

    def newest(self) -> dict[str, Any] | None:
        """Return the plain data of the newest checkpoint."""
        numbers = self.numbers()
        return self.manifest(self._path(numbers[-1])) if numbers else None

    # -- savepoints

    def savepoints(self) -> list[str]:
        """Return the names of the savepoints."""
        folder = self.folder / "savepoints"
        return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []

    def keep_as(self, name: str, number: int = 0) -> Path:
        """Make a savepoint of a checkpoint, of the newest where no number is given, and return its folder.

        Raises
        ------
        CheckpointError
            There is no checkpoint, the name is taken or cannot be one, or the disk refused.
        """
        self.check_new(name)
        numbers = self.numbers()
        if not numbers:
            msg = f"there is no checkpoint in {self.folder} to make a savepoint of"
            raise CheckpointError(msg, hint="run the pipeline with --checkpoint first; `eventide inspect checkpoint`")
        final = self.folder / "savepoints" / name
        temporary = final.with_name(f".{name}.tmp")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            copy_folder(self._path(number or numbers[-1]), temporary)
            temporary.rename(final)
            sync_folder(final.parent)
            sync_folder(self.folder)
        except OSError as error:
            msg = f"the savepoint {final} cannot be written: {error}"
            raise CheckpointError(msg, hint="see whether the folder is writable and has room") from error
        return final

    def check_new(self, name: str) -> None:
        """Refuse a name that is taken or cannot be one.

        Raises
        ------
        CheckpointError
            Always then.
        """
        if not _NAME.fullmatch(name):
            msg = f"{name!r} cannot be the name of a savepoint"
            raise CheckpointError(msg, hint="letters, digits, '.', '_' and '-', beginning with a letter or digit")
        if name in self.savepoints():
            msg = f"there is a savepoint {name!r} already in {self.folder}"
            raise CheckpointError(msg, hint="choose another name, or `eventide savepoint delete` that one")

    def delete_savepoint(self, name: str) -> None:
        """Remove a savepoint.

        Raises
        ------
        UnknownNameError
            There is none of that name.
        CheckpointError
            It cannot be removed.
        """
        if name not in self.savepoints():
            raise self._unknown(name)
        for hidden in _hide(self.folder / "savepoints" / name):
            shutil.rmtree(hidden, ignore_errors=True)
        if name in self.savepoints():
            msg = f"the savepoint {self.folder / 'savepoints' / name} cannot be removed"
            raise CheckpointError(msg, hint="see whether the folder is writable, and yours")

    def path_of(self, name: str) -> Path:
        """Return the folder of a savepoint, named as in `load`.

        Raises
        ------
        UnknownNameError
            There is none.
        """
        if name in self.savepoints():
            return self.folder / "savepoints" / name
        pipeline, _, short = name.rpartition("/")
        for path in (self.folder.parent / _folder_name(pipeline) / "savepoints" / short, Path(name)):
            if (path / "manifest.json").is_file():
                return path
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownNameError:
        return UnknownNameError(
            f"there is no savepoint {name!r} in {self.folder}", hint=near_names(name, self.savepoints())
        )

    def _path(self, number: int) -> Path:
        return self.folder / f"chk-{number:08d}"


def _folder_name(pipeline: str) -> str:
    """Return a name that no other pipeline has, and that is no path."""
    name = "".join(c if c.isalnum() or c in "-_." else quote(c, safe="") for c in pipeline)
    return name.replace(".", "%2E") if not name.strip(".") else name


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    msg = f"the checkpoint {path} cannot be written: {error}"
    return CheckpointError(msg, hint="see whether the folder is writable and has room")


def _hide(path: Path) -> list[Path]:
    """Take a folder's name away, durably, so that a crash while it is removed leaves nothing under it."""
    temporary = path.with_name(
        f".{path.name.lstrip('.')}.tmp" if path.parent.name == "savepoints" else f"{path.name}.tmp"
    )
    try:
        path.rename(temporary)
        sync_folder(path.parent)  # else its files could be gone and its name still there
    except OSError:
        return []  # somebody else removed it, or the folder cannot be written: that is no reason to stop a run
    return [temporary]


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    msg = f"the checkpoint {path} cannot be read: {error}"
    hint = "it is tried again" if is_retriable(error) else "go on from a savepoint, or begin again with --fresh"
    return CheckpointError(msg, hint=hint)

"""Checkpoints of the embedded engine: one folder each, complete or absent.

A checkpoint holds the positions of all sources, the state of all operators as Arrow files and what the
sinks need to commit. It is written under a temporary name, synced, and renamed: a folder with its final
name is whole. Restoring shares the state out over however many lanes there are.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide.errors import CheckpointError
from eventide.model.state import State

__all__ = ["Checkpoint", "CheckpointStore"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: its number, plain data, and the tables of each task."""

    number: int
    manifest: dict[str, Any]
    states: dict[str, State]


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
        self.folder = Path(folder) / "".join(c if c.isalnum() or c in "-_." else "_" for c in pipeline)
        self._keep = keep

    def numbers(self) -> list[int]:
        """Return the numbers of the complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        names = [p.name for p in self.folder.iterdir() if p.name.startswith("chk-") and not p.name.endswith(".tmp")]
        return sorted(int(n[4:]) for n in names)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove those that are no longer kept.

        Raises
        ------
        CheckpointError
            The folder cannot be written.
        """
        final = self._path(checkpoint.number)
        temporary = final.with_name(final.name + ".tmp")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            files = _write_states(temporary, checkpoint.states)
            document = {"version": _VERSION, **checkpoint.manifest, "states": files}
            _write(temporary / "manifest.json", json.dumps(document, indent=1).encode())
            _sync_folder(temporary)
            temporary.rename(final)
            _sync_folder(self.folder)
        except OSError as error:
            msg = f"the checkpoint {final} cannot be written: {error}"
            raise CheckpointError(msg, hint="see whether the folder is writable and has room") from error
        for number in self.numbers()[: -self._keep]:
            shutil.rmtree(self._path(number), ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None when there is none.

        Raises
        ------
        CheckpointError
            It cannot be read.
        """
        numbers = self.numbers()
        if not numbers:
            return None
        path = self._path(numbers[-1])
        try:
            manifest = json.loads((path / "manifest.json").read_bytes())
            states = {
                task: {name: _read(path / file) for name, file in tables.items()}
                for task, tables in manifest["states"].items()
            }
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            msg = f"the checkpoint {path} cannot be read: {error}"
            raise CheckpointError(msg, hint="remove that folder to go on from the one before it") from error
        if manifest.get("version") != _VERSION:
            msg = f"the checkpoint {path} has version {manifest.get('version')}, this eventide reads {_VERSION}"
            raise CheckpointError(msg, hint="run with resume=False to begin again")
        return Checkpoint(numbers[-1], manifest, states)

    def _path(self, number: int) -> Path:
        return self.folder / f"chk-{number:08d}"


def _write_states(folder: Path, states: dict[str, State]) -> dict[str, dict[str, str]]:
    files: dict[str, dict[str, str]] = {}
    for index, (task, tables) in enumerate(sorted(states.items())):
        files[task] = {}
        for position, (name, table) in enumerate(sorted(tables.items())):
            file = f"{index:03d}-{position:03d}.arrow"
            with (folder / file).open("wb") as out:
                with pa.ipc.new_file(out, table.schema) as writer:
                    writer.write_table(table)
                out.flush()
                os.fsync(out.fileno())
            files[task][name] = file
    return files


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        return reader.read_all()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

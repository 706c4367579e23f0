"""State tables as files of a checkpoint: large ones each in a file, small ones together, every one with a checksum.

A table that is the very object that the checkpoint before had is not written again: its file is linked. So an
operator makes its checkpoints incremental by returning the same table for what did not change.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide.engines.local.durable_files import write_file
from eventide.log.checked_file import CheckedFile
from eventide.log.checksum import crc32
from eventide.model.state import State

__all__ = ["StateFiles", "read_states"]

_LARGE_BYTES = 1 << 18
_PACK = "small.bin"
_ALIGN = 64


class StateFiles:
    """Writes the tables of one checkpoint after another.

    Parameters
    ----------
    links
        Whether a file may be a link to that of the checkpoint before.
    """

    def __init__(self, *, links: bool = True) -> None:
        self._links = links
        self._before: dict[int, tuple[Callable[[], pa.Table | None], dict[str, Any]]] = {}
        self._folder = Path()

    def write(
        self, folder: Path, states: Mapping[str, State], *, checkpoint: int
    ) -> tuple[dict[str, dict[str, dict[str, Any]]], int]:
        """Write and sync all tables; return where each one is, and how many bytes were written."""
        entries: dict[str, dict[str, dict[str, Any]]] = {}
        written = number = 0
        self._now: dict[int, tuple[Callable[[], pa.Table | None], dict[str, Any]]] = {}
        small: list[tuple[dict[str, Any], pa.Buffer]] = []
        for task, tables in sorted(states.items()):
            entries[task] = {}
            for name, table in sorted(tables.items()):
                if table.nbytes < _LARGE_BYTES:
                    entry: dict[str, Any] = {}
                    small.append((entry, _as_buffer(table)))
                else:
                    entry = self._link(folder, table) or _large(folder / f"{checkpoint:08d}-{number:04d}.arrow", table)
                    written += 0 if entry.pop("linked", False) else entry["length"]
                    self._now[id(table)] = weakref.ref(table), entry
                    number += 1
                entries[task][name] = entry
        if small:
            written += _write_pack(folder / _PACK, small)
        return entries, written

    def written(self, folder: Path) -> None:
        """Say that the checkpoint is complete, under its final name: the next one may link to its files."""
        self._before, self._folder = self._now, folder

    def loaded(
        self, folder: Path, entries: Mapping[str, Mapping[str, Mapping[str, Any]]], states: Mapping[str, State]
    ) -> None:
        """Say which tables a complete checkpoint holds that was read: the next one may link to its files."""
        known = self._before if folder == self._folder else {}
        self._before = known | {
            id(table): (weakref.ref(table), dict(entries[task][name]))
            for task, tables in states.items()
            for name, table in tables.items()
            if entries[task][name]["file"] != _PACK
        }
        self._folder = folder

    def _link(self, folder: Path, table: pa.Table) -> dict[str, Any] | None:
        reference, entry = self._before.get(id(table), (None, {}))
        if not self._links or reference is None or reference() is not table:
            return None
        try:
            os.link(self._folder / entry["file"], folder / entry["file"])
        except OSError:
            return None  # no links here, or the checkpoint before is gone: written like any other
        return {**entry, "linked": True}


def _large(path: Path, table: pa.Table) -> dict[str, Any]:
    with path.open("wb", buffering=0) as file:
        checked = CheckedFile(file)
        with pa.PythonFile(checked, mode="w") as out, pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        os.fsync(file.fileno())
    return {"file": path.name, "offset": 0, "length": checked.size, "crc": checked.crc}


def read_states(folder: Path, entries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, State]:
    """Return the tables of a checkpoint, mapped from its files.

    Raises
    ------
    ValueError
        A checksum is wrong.
    """
    files: dict[str, pa.Buffer] = {}
    states: dict[str, State] = {}
    for task, tables in entries.items():
        states[task] = {}
        for name, entry in tables.items():
            file = str(entry["file"])
            if file not in files:
                with pa.memory_map(str(folder / file)) as mapped:
                    files[file] = mapped.read_buffer()
            data = files[file].slice(entry["offset"], entry["length"])
            if data.size != entry["length"] or crc32(memoryview(data)) != entry["crc"]:
                msg = f"{file} is not what was written (table {name!r} of {task!r})"
                raise ValueError(msg)
            states[task][name] = pa.ipc.open_stream(data).read_all()
    return states


def _as_buffer(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _write_pack(path: Path, small: list[tuple[dict[str, Any], pa.Buffer]]) -> int:
    pieces: list[bytes] = []
    at = 0
    for entry, data in small:
        entry.update(file=path.name, offset=at, length=data.size, crc=crc32(memoryview(data)))
        padding = -data.size % _ALIGN
        pieces += [data.to_pybytes(), bytes(padding)]
        at += data.size + padding
    write_file(path, b"".join(pieces))
    return at

"""What a service keeps on disk, so that it goes on where it was after a kill or a stop.

A state is one file: JSON with positions, configuration and what is on its way, and the counts as Arrow tables. It is
written beside the last one, synced, and takes its place under its number; counts that did not change since stay in a
file of their own. What is on its way stands in the state before it is sent, and is sent again when it is not known
whether it was: a topic of the log takes it once, and to Kafka it is, byte for byte, the same message with the same
``sequence`` in its info.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from eventide.errors import CheckpointError

__all__ = ["Kept", "Store"]

_MAGIC: Final = b"EVRSTRM1"
_ROWS: Final = pa.schema([("name", pa.string()), ("data", pa.large_binary())])


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A state.

    Parameters
    ----------
    said
        Plain data.
    tables
        Counts, by name.
    messages
        What is on its way: the messages themselves, in order.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    messages: tuple[bytes, ...] = ()


class Store:
    """A folder of states, of which the newest counts.

    Parameters
    ----------
    folder
        Made where it is not there.

    Raises
    ------
    CheckpointError
        The folder cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     number = Store(folder).save(Kept({"a": 1}, messages=(b"x",)))
    ...     number, Store(folder).load().said["a"], Store(folder).load().messages
    (1, 1, (b'x',))
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            numbers = sorted(int(p.stem.partition("-")[2]) for p in self._folder.glob("state-*.bin"))
        except (OSError, ValueError) as error:
            msg = f"the folder {folder} of the service cannot be used: {error}"
            raise CheckpointError(msg, hint="name a folder that only this service writes, with --state") from None
        self.number = numbers[-1] if numbers else 0
        self._tables: dict[str, pa.Table] = {}
        self._counts = ""

    def save(self, kept: Kept) -> int:
        """Write a state; return its number, one more than that of the last.

        Raises
        ------
        CheckpointError
            The disk refused; the state before is still there.
        """
        number = self.number + 1
        before = self._counts
        try:
            if not self._same(kept.tables):
                self._counts = f"counts-{number}.bin"
                self._write(self._counts, {n: _ipc(t) for n, t in kept.tables.items()})
                self._tables = dict(kept.tables)
            said = json.dumps({**kept.said, "counts": self._counts}).encode()
            pieces = {"said": said, **{str(at): m for at, m in enumerate(kept.messages)}}
            self._write(f"state-{number}.bin", pieces)
            (self._folder / f"state-{self.number}.bin").unlink(missing_ok=True)
            if before and before != self._counts:
                (self._folder / before).unlink(missing_ok=True)
        except OSError as error:
            msg = f"the state of the service cannot be written: {error}"
            raise CheckpointError(msg, hint=f"is there room in {self._folder}?") from None
        self.number = number
        return number

    def load(self) -> Kept | None:
        """Return the newest state, None where there is none.

        Raises
        ------
        CheckpointError
            It is damaged.
        """
        if not self.number:
            return None
        newest = f"state-{self.number}.bin"
        pieces = self._read(newest)
        try:
            said = json.loads(pieces.pop("said"))
            self._counts = str(said.pop("counts"))
        except (KeyError, ValueError):
            raise self._damaged(newest) from None
        tables = {}
        if self._counts:
            for name, data in self._read(self._counts).items():
                try:
                    tables[name] = pa.ipc.open_stream(data).read_all()
                except pa.ArrowInvalid:
                    raise self._damaged(self._counts) from None
        self._tables = dict(tables)
        for path in self._folder.glob("*.bin*"):  # what a kill left behind
            if path.name not in (newest, self._counts):
                path.unlink(missing_ok=True)
        return Kept(said, tables, tuple(pieces[str(at)] for at in range(len(pieces))))

    def _same(self, tables: Mapping[str, pa.Table]) -> bool:
        """Tell whether these are the very tables that were written last."""
        return tables.keys() == self._tables.keys() and all(t is self._tables[n] for n, t in tables.items())

    def _write(self, name: str, pieces: Mapping[str, bytes]) -> None:
        batch = pa.RecordBatch.from_arrays(
            [pa.array(list(pieces), pa.string()), pa.array(list(pieces.values()), pa.large_binary())], schema=_ROWS
        )
        data = _ipc(pa.Table.from_batches([batch]))
        new = self._folder / f"{name}.new"
        with new.open("wb") as file:
            file.write(_MAGIC + zlib.crc32(data).to_bytes(4, "little"))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / name)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, name: str) -> dict[str, bytes]:
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            msg = f"the state of the service cannot be read: {error}"
            raise CheckpointError(msg, hint="name another folder with --state to begin anew") from None
        if data[:8] != _MAGIC or zlib.crc32(data[12:]).to_bytes(4, "little") != data[8:12]:
            raise self._damaged(name)
        table = pa.ipc.open_stream(data[12:]).read_all()
        return dict(zip(table["name"].to_pylist(), table["data"].to_pylist(), strict=True))

    def _damaged(self, name: str) -> CheckpointError:
        msg = f"the state of the service is damaged: {self._folder / name}"
        return CheckpointError(msg, hint="name another folder with --state to begin anew")


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())

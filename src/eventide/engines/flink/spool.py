"""Results on their way from Flink to the sinks: files that Flink makes visible when a checkpoint is complete.

A file is a sequence of outputs, each with its length before it. Flink may bring a file, or an output, again after a
failure; the numbers of the outputs tell.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from eventide.engines._dataflow import Output
from eventide.errors import CheckpointError

__all__ = ["CHARSET", "Spool", "frame"]

_LENGTH = struct.Struct("<I")
# One character a byte, both ways: Flink's row format takes text.
CHARSET = "latin-1"


def frame(output: Output) -> str:
    r"""Return an output as text for a file.

    Examples
    --------
    >>> frame(Output(1, 2, b"\x00\xff")).encode("latin-1")[4:]
    b'\x93\x01\x02\xc4\x02\x00\xff'
    """
    data = msgspec.msgpack.encode(output)
    return (_LENGTH.pack(len(data)) + data).decode(CHARSET)


class Spool:
    """The files that were made visible and have not been taken yet.

    Parameters
    ----------
    folder
        Where Flink writes them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._early: dict[tuple[int, int], bytes] = {}
        self._read: set[Path] = set()

    def fetch(self, taken: Callable[[int], int]) -> Iterator[Output]:
        """Go through the outputs that are there, of each bucket in order.

        Parameters
        ----------
        taken
            The number of the output of a bucket that comes next.
        """
        for path in self._new():
            for output in _outputs(path):
                if output.seq > taken(output.bucket):
                    self._early[output.bucket, output.seq] = output.data
                    continue
                yield output
                while (data := self._early.pop(at := (output.bucket, taken(output.bucket)), None)) is not None:
                    yield Output(*at, data)
            self._read.add(path)

    def _new(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        found = [p for p in self.folder.iterdir() if not p.name.startswith(".") and p not in self._read]
        return sorted(found, key=lambda p: (p.stat().st_mtime_ns, len(p.name), p.name))

    @property
    def waiting(self) -> bool:
        """Whether files were read that can be done away with, or outputs wait for those before them."""
        return bool(self._read)

    def clear(self) -> None:
        """Remove the files that were read: the sinks have committed what is in them."""
        if self._early:
            return  # what came too early is only there
        for path in self._read:
            path.unlink(missing_ok=True)
        self._read.clear()


def _outputs(path: Path) -> Iterator[Output]:
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            data = file.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
            end = file.read(1)
            if end != b"\n":
                msg = f"{path} is not what Flink wrote"
                raise CheckpointError(msg, hint="the disk has lost part of it; begin again from an older savepoint")
            yield msgspec.msgpack.decode(data, type=Output)

"""Where the messages of a checkpoint wait until they are committed: in a topic, or in a folder beside the checkpoints.

The folder saves a second way to the cluster; it is used where the engine has one that goes with its checkpoints.
Engines of many machines have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import pyarrow as pa

from eventide.connectors._kafka_encode import MESSAGES
from eventide.model.batch import concat

__all__ = ["InFolder", "InTopic", "Message", "Part", "Stage", "pack", "part_of", "unpacked"]

Message: TypeAlias = dict[str, Any]


class InTopic(NamedTuple):
    """A part in the topic: its number, the offsets of its first and last piece, and what their keys begin with.

    That is another one for every process, so that pieces of one that was believed dead never replace others.
    """

    number: int
    first: int
    last: int
    key: str
    pieces: int

    def piece_keys(self) -> list[bytes]:
        """Return the keys of its pieces."""
        return [f"{self.key}/{i}".encode() for i in range(self.pieces)]


class InFolder(NamedTuple):
    """A part in the folder: its number, the file, where it begins there, its bytes, and their checksum."""

    number: int
    file: str
    start: int
    size: int
    crc: int


Part: TypeAlias = InTopic | InFolder


def part_of(state: Sequence[Any]) -> Part:
    """Return a part as a checkpoint has it.

    Examples
    --------
    >>> part_of([3, "b-3", 0, 7, 1])
    InFolder(number=3, file='b-3', start=0, size=7, crc=1)
    >>> part_of([3, 10, 12, "a/b/3", 2]).piece_keys()
    [b'a/b/3/0', b'a/b/3/1']
    """
    return InFolder(*state) if isinstance(state[1], str) else InTopic(*state)


class Stage(Protocol):
    """Where parts wait."""

    def add(self, number: int, messages: list[pa.RecordBatch]) -> None:
        """Begin to make a part durable."""

    def settle(self) -> list[Part]:
        """Wait until all that was added is durable, and return it."""

    def read(self, part: Any) -> pa.RecordBatch:
        """Return the messages of a part."""

    def farewell(self, part: Any) -> list[Message]:
        """Return what goes to the cluster with the commit of a part."""

    def drop(self, parts: Iterable[Part], *, left: Iterable[Part]) -> None:
        """Let go of parts that were committed; others are still needed."""

    def close(self) -> None:
        """Drop what was not settled."""


def pack(messages: list[pa.RecordBatch], out: pa.NativeFile, *, text: bool) -> None:
    """Write messages as bytes; text is compressed, numbers would hardly shrink."""
    options = pa.ipc.IpcWriteOptions(compression="lz4" if text else None)
    with pa.ipc.new_stream(out, MESSAGES, options=options) as writer:
        for batch in messages:
            writer.write_batch(batch)


def unpacked(data: bytes) -> pa.RecordBatch:
    """Return the messages that `pack` wrote."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return concat(list(reader))

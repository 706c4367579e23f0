"""A followed topic that ends: once its producer has said how much it wrote, the source is finished after that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide import registry
from eventide.model.protocols import Chunk, Position, Source, SourceReader

__all__ = ["EndingReader", "EndingSource", "read_ends", "write_ends"]

_FILE = "input.end"


def write_ends(folder: Path, ends: Mapping[str, Mapping[str, int]]) -> None:
    """Say that the input is complete: for each topic and partition the offset at its end."""
    temporary = folder / f"{_FILE}.tmp"
    temporary.write_text(json.dumps(ends), "utf-8")
    temporary.replace(folder / _FILE)


def read_ends(folder: Path, topic: str) -> dict[str, int] | None:
    """Return where a topic ends, or None while it is being written.

    Examples
    --------
    >>> read_ends(Path("nowhere"), "readings") is None
    True
    """
    try:
        ends: dict[str, int] = json.loads((folder / _FILE).read_text("utf-8"))[topic]
    except FileNotFoundError:
        return None
    return ends


class EndingSource:
    """Follows a topic of the log in `folder` until its producer has ended it.

    Parameters
    ----------
    folder
        Folder of the suite's run; the log is in ``log/``.
    topic
        Name of the topic.
    rows
        Most events taken at once, so that a run has many steps between which it can be disturbed.
    """

    def __init__(self, folder: Path, topic: str, *, rows: int) -> None:
        self._folder, self._topic, self._rows = folder, topic, rows
        self._inner: Source = registry.open_source(f"log://{topic}", {"log": str(folder / "log")})

    def schema(self) -> pa.Schema:
        """Return the topic's schema."""
        return self._inner.schema()

    def partitions(self) -> list[str]:
        """Return the topic's partitions."""
        return self._inner.partitions()

    def open(self, positions: Mapping[str, Position]) -> EndingReader:
        """Open at `positions`."""
        reader = self._inner.open(positions)
        read = {p: int(positions[p]["offset"]) if p in positions else 0 for p in self.partitions()}
        return EndingReader(reader, self._folder, topic=self._topic, rows=self._rows, read=read)


class EndingReader:
    """An open `EndingSource`; what it does not know, such as ``release``, the log's own reader does."""

    def __init__(self, inner: SourceReader, folder: Path, *, topic: str, rows: int, read: dict[str, int]) -> None:
        self._inner, self._folder, self._topic, self._rows = inner, folder, topic, rows
        self._read = read
        self._ends: dict[str, int] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def finished(self) -> bool:
        """Whether the producer has ended the topic and all of it was read."""
        if self._ends is None:
            self._ends = read_ends(self._folder, self._topic)
        return self._ends is not None and all(self._read[p] >= end for p, end in self._ends.items())

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events."""
        if self.finished:
            return []
        chunks = self._inner.read(max_rows=min(max_rows, self._rows), timeout=timeout)
        for chunk in chunks:
            self._read[chunk.partition] = int(chunk.position["offset"])
        return chunks

    def backlog(self) -> int | None:
        """Return how many events wait."""
        return self._inner.backlog()

    def close(self) -> None:
        """Close the log's reader."""
        self._inner.close()

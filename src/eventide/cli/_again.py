"""Sources that bring quarantined input once more, and which of it a replay has taken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from eventide import registry
from eventide.cli._quarantined import REPLAY
from eventide.engines.local.checkpoint import CheckpointStore
from eventide.errors import EventideError
from eventide.model.batch import empty
from eventide.model.protocols import BadInput, Chunk, Decoded, Position

__all__ = ["Again", "AgainReader", "AgainSource", "Rows", "Selection"]

_AT_ONCE = 8_192


class Again(Protocol):
    """What can decode once more."""

    def again(self, bad: Sequence[BadInput]) -> Decoded:
        """Return what can be decoded now, and what still cannot."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Decodes rows that were refused, which are JSON or Arrow.

    Parameters
    ----------
    schema
        Their schema.
    """

    schema: pa.Schema

    def again(self, bad: Sequence[BadInput]) -> Decoded:
        """Return the rows, and those that are not of the schema any more."""
        batches: list[pa.RecordBatch] = []
        still: list[BadInput] = []
        for item in bad:
            form = registry.resolve("format", "json" if item.data[:1] == b"{" else "arrow")
            try:
                decoded: Decoded = form.decode(item.data, schema=self.schema)
            except (EventideError, pa.ArrowException) as error:
                decoded = Decoded(empty(self.schema), (replace(item, reason=str(error).splitlines()[0]),))
            batches.append(decoded.batch)
            still += [replace(item, reason=b.reason) for b in decoded.bad[:1]]
        return Decoded(_together(batches, self.schema), tuple(still))


def _together(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    found = pa.Table.from_batches(batches, schema=schema).combine_chunks().to_batches()
    return found[0] if found else empty(schema)


class AgainSource:
    """A bounded source of quarantined input.

    Parameters
    ----------
    schema
        Of the events.
    items
        What is decoded again.
    decoder
        What does it; None where there are no items.
    """

    def __init__(self, schema: pa.Schema, items: Sequence[BadInput], decoder: Again | None) -> None:
        self._schema, self.items, self._decoder = schema, items, decoder

    def schema(self) -> pa.Schema:
        """Return the schema of the events."""
        return self._schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["quarantine"]

    def tried(self) -> tuple[int, int]:
        """Return how many events can be decoded now, and how many inputs are still bad."""
        if not self.items or self._decoder is None:
            return 0, 0
        decoded = self._decoder.again(self.items)
        return decoded.batch.num_rows, len(decoded.bad)

    def open(self, positions: Mapping[str, Position]) -> AgainReader:
        """Open at ``{"item": n}``."""
        done = int(positions.get("quarantine", {}).get("item", 0))
        return AgainReader(self.items, self._decoder, done)


class AgainReader:
    """Decodes some thousand items at a time."""

    def __init__(self, items: Sequence[BadInput], decoder: Again | None, done: int) -> None:
        self._items, self._decoder, self._done = items, decoder, done

    @property
    def finished(self) -> bool:
        """Whether all was read."""
        return self._done >= len(self._items)

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events, and what is still bad."""
        some = self._items[self._done : self._done + _AT_ONCE]
        if not some or self._decoder is None:
            return []
        decoded = self._decoder.again(some)
        self._done += len(some)
        return [Chunk("quarantine", decoded.batch, {"item": self._done}, decoded.bad)]

    def backlog(self) -> int:
        """Return how many items wait."""
        return len(self._items) - self._done

    def close(self) -> None:
        """Nothing is open."""


class Selection:
    """Which entries an unfinished replay has taken; kept beside its checkpoints.

    Parameters
    ----------
    folder
        Folder of all checkpoints.
    pipeline
        Name of the pipeline.
    """

    def __init__(self, folder: str, pipeline: str) -> None:
        self.place = Path(folder) / ".replays"
        self._file = self.place / f"{pipeline}.json"
        self._name = pipeline + REPLAY
        self._checkpoints = CheckpointStore(self.place, self._name).folder

    def unfinished(self) -> dict[str, Any] | None:
        """Return what `begin` wrote down of a replay that was cut off, None where there is no such replay.

        One that had no checkpoint yet has changed nothing, and is forgotten.
        """
        if self._file.exists() and CheckpointStore(self.place, self._name).numbers():
            facts: dict[str, Any] = json.loads(self._file.read_bytes())
            return facts
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self._checkpoints, ignore_errors=True)
        return None

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write down what is taken, and what becomes of it."""
        self.place.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        with temporary.open("wb") as out:
            out.write(json.dumps(facts).encode())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self._file)
        _sync(self.place)

    def done(self) -> None:
        """Forget it: from now on the marks say what was replayed."""
        self._file.unlink()
        _sync(self.place)
        shutil.rmtree(self._checkpoints, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

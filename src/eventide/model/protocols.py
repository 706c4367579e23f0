"""What a source, a sink and a format must do. Anything that does it is one; nothing is inherited.

A connector is a file in `connectors/` named as its URI scheme, with ``source(uri, options)`` and/or
``sink(uri, options)``. A format is a file in `formats/` with ``decode(data, ...)`` and/or
``encode(batch, ...)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import pyarrow as pa

from eventide.model.time import MIN_TIME

__all__ = ["BadInput", "Chunk", "Decoded", "Delivery", "Options", "Position", "Sink", "Source", "SourceReader"]

Delivery: TypeAlias = Literal["exactly_once", "idempotent", "at_least_once"]

Position: TypeAlias = Mapping[str, Any]
"""Where to go on in one partition: plain JSON-able values that only the source understands."""


@dataclass(frozen=True, slots=True)
class BadInput:
    """Input that could not be decoded: the bytes, where they stood, and why."""

    data: bytes
    position: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a format made of some bytes: events, and what it could not read."""

    batch: pa.RecordBatch
    bad: tuple[BadInput, ...] = ()


class Chunk(NamedTuple):
    """Events of one partition in order, the position after them, and what could not be decoded.

    `clock` is the processing time at which the events arrived, ns, where the source recorded it. `heartbeat`
    is the source's promise that this partition will bring no event before that event time, ns; a chunk
    without events may bring one, so that a silent partition does not hold the others back.
    """

    partition: str
    batch: pa.RecordBatch
    position: Position
    bad: tuple[BadInput, ...] = ()
    clock: int = MIN_TIME
    heartbeat: int = MIN_TIME


class SourceReader(Protocol):
    """An open source.

    - `read` returns at once with what is there, at most about `max_rows` events, else waits at most
      `timeout` seconds and may return nothing. It never returns events twice.
    - `finished` is true when no event can come any more; an unbounded source never finishes.
    - A position given by a chunk and passed to `Source.open` continues right after that chunk.
    - After `read` has raised an error that may pass (`eventide.errors.is_retriable`) the engine closes the reader
      and opens the source again at the last positions that it got.

    Where a source opened without positions may begin somewhere else each time (at what is the latest event just
    then), a reader has a method ``began()``: the positions at which it began. A run that has read nothing of a
    partition yet, and goes on later, goes on from there.

    Where the source can keep or delete events, a reader may have two more methods. ``release(owner, positions)``
    says that `owner` (a pipeline, or a savepoint of it) will never again read before `positions`, but may from there
    on; a partition that is not named may be read from where this reader began. ``forget(owner)`` ends that.
    """

    @property
    def finished(self) -> bool:
        """Whether the input is complete and has been read."""

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events."""

    def backlog(self) -> int | None:
        """Return how many events wait, or None when that cannot be known."""

    def close(self) -> None:
        """Let go of files and connections. Safe to call twice."""


class Source(Protocol):
    """Where events come from.

    One that cannot go back to a position has an attribute ``replayable = False``, one whose readers never finish an
    attribute ``unbounded = True``.
    """

    def schema(self) -> pa.Schema:
        """Return the schema of the events, without reading them all."""

    def partitions(self) -> list[str]:
        """Return the partitions that exist now; order holds within one, not between them."""

    def open(self, positions: Mapping[str, Position]) -> SourceReader:
        """Open for reading: from `positions` where given, else from where the source's options say."""

    # A source may also have ``again(bad) -> Decoded``: decode once more what could not be decoded, with the schema
    # and options as they are now. `eventide quarantine replay` asks for it.


class Sink(Protocol):
    """Where results go.

    The engine calls `open` once, `write` for each batch, and for every checkpoint `prepare` (make all that
    was written so far durable, but not yet visible where that is possible) and, once the checkpoint
    is committed, `commit` (make it visible). `commit` of the same checkpoint may be called again
    after a crash and must then do nothing more. After a crash `open` gets what the last `prepare` returned,
    and the sink removes whatever was written after it.

    Between `prepare` of a checkpoint and its `commit` the engine goes on: `write` may bring batches of the
    next checkpoint. No second one is prepared before the first is committed, but for a crash. Calls never overlap.

    A sink that finishes something when it is closed also has a method ``abandon()``, which lets go without that: it is
    called in place of `close` where the run has failed.

    A sink may have a method ``owned(owner)``: before `open` the engine tells it by that which pipeline and node
    it belongs to, a name under which it can find again what it prepared.

    A sink may have a method ``beside(folder)``: before `open` an engine that keeps its checkpoints in files tells it by
    that of a folder that goes with them, for what waits for its `commit`.

    In a run that keeps no checkpoints, a sink that also has a method ``publish()`` is told by it, after each
    item of input, to make what was written visible.

    A sink whose commits take long, and that can be written to meanwhile, has an attribute ``commits_aside = True``: its
    `commit` may be called in another thread while `write` is; any other call waits until it has returned.

    A sink to whose place several runs may write side by side has an attribute ``shared = True``, and takes the option
    ``name``: under it a run finds what it prepared, and leaves alone what others did.
    """

    delivery: Delivery

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Get ready for events of `schema`; `state` is what `prepare` returned at the checkpoint resumed from."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Make everything written so far durable and return what is needed to commit it, as plain data."""

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Make the prepared output visible."""

    def close(self) -> None:
        """Let go of files and connections. Safe to call twice."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of an address, checked by name so that a misspelt one is an error.

    Examples
    --------
    >>> Options({"follow": True}, where="file://x").take("follow", False)
    True
    """

    values: Mapping[str, Any]
    where: str
    _taken: set[str] = field(default_factory=set)

    def take(self, name: str, default: Any = None) -> Any:
        """Return an option, or its default."""
        self._taken.add(name)
        return self.values.get(name, default)

    def finish(self) -> None:
        """Refuse options that nothing asked for.

        Raises
        ------
        UsageError
            An option is unknown; the hint names near ones.
        """
        from eventide.errors import UsageError, near_names

        for name in self.values:
            if name not in self._taken:
                msg = f"{self.where} has no option {name!r}"
                raise UsageError(msg, hint=near_names(name, self._taken))

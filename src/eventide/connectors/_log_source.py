"""A topic of the embedded log as a source."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from eventide.log import Frame, Log, Reader, TopicInfo
from eventide.model.batch import concat
from eventide.model.protocols import Chunk, Position
from eventide.model.time import MIN_TIME

__all__ = ["LogReader", "LogSource"]

_UNDECIDED_SECONDS = 1.0
"""A bounded read waits so long for a transaction that is not decided."""

_SMALL_ROWS = 32_768
_MOST_ROWS = 1 << 16


class LogSource:
    """Events of one topic; made by `eventide.connectors.log.source`."""

    def __init__(
        self,
        root: Path,
        topic: str,
        *,
        start: str,
        offsets: Mapping[Any, int] | None,
        partitions: Iterable[int] | int | None,
        follow: bool,
        recorded_clock: bool,
        verify: bool,
    ) -> None:
        self._root, self._topic = root, topic
        self._start = start
        self._offsets = {str(p): int(o) for p, o in (offsets or {}).items()}
        self._chosen = [partitions] if isinstance(partitions, int) else None if partitions is None else list(partitions)
        self._follow, self._recorded, self._verify = follow, recorded_clock, verify
        self._info: TopicInfo | None = None

    def _known(self) -> TopicInfo:
        if self._info is None:
            with Log(self._root, create=False) as log:
                self._info = log.topic(self._topic)
        return self._info

    def schema(self) -> pa.Schema:
        """Return the topic's schema.

        Raises
        ------
        LogError
            There is no log in the folder.
        UnknownNameError
            It has no such topic.
        """
        return self._known().schema

    def partitions(self) -> list[str]:
        """Return the numbers of the partitions that are read, as text."""
        return [str(p) for p in (range(self._known().partitions) if self._chosen is None else self._chosen)]

    def open(self, positions: Mapping[str, Position]) -> LogReader:
        """Open at ``{"offset": n}`` in each partition, else where the options say."""
        log = Log(self._root, create=False)
        try:
            chosen = [int(p) for p in self.partitions()]
            reader = log.reader(self._topic, partitions=chosen, start=self._start, verify=self._verify)
            resumed = {p: int(at["offset"]) for p, at in positions.items()}
            reader.seek({int(p): o for p, o in (self._offsets | resumed).items()})
        except BaseException:
            log.close()
            raise
        return LogReader(log, reader, follow=self._follow, recorded_clock=self._recorded)


class LogReader:
    """Reads frames; neighbours that are small and wait already are put together, nothing is waited for."""

    def __init__(self, log: Log, reader: Reader, *, follow: bool, recorded_clock: bool) -> None:
        self._log, self._reader = log, reader
        self._recorded = recorded_clock
        # What a bounded read ends at: the end of every partition as it is now.
        ends = {p: reader.positions[p] + waiting for p, waiting in reader.backlog().items()}
        self._ends = None if follow else ends
        self._over = False
        self._empty_since = math.inf
        self._held: dict[str, dict[int, int]] = {}

    @property
    def finished(self) -> bool:
        """Whether a bounded read has come to its end."""
        if self._ends is None:
            return False
        return self._over or all(at >= self._ends[p] for p, at in self._reader.positions.items())

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events."""
        if self.finished:
            return []
        began = time.monotonic()
        frames = self._reader.read(max_rows, timeout=timeout)
        if self._ends is not None:
            # Nothing visible before the end: the rest was aborted, or belongs to a transaction still undecided.
            # Whether its process lives is asked a few times a second, so that one look is not enough.
            self._empty_since = math.inf if frames else min(self._empty_since, began)
            self._over = time.monotonic() - self._empty_since > _UNDECIDED_SECONDS
            frames = [_before(f, self._ends[f.partition]) for f in frames if f.base_offset < self._ends[f.partition]]
        if self._recorded:
            return [_chunk([f], f.append_time) for f in frames]
        chunks: list[Chunk] = []
        together: list[Frame] = []
        rows = 0
        for frame in frames:
            if together and not (_joins(together[-1], frame) and rows + frame.batch.num_rows <= _MOST_ROWS):
                chunks.append(_chunk(together, MIN_TIME))
                together, rows = [], 0
            together.append(frame)
            rows += frame.batch.num_rows
        return [*chunks, _chunk(together, MIN_TIME)] if together else chunks

    def backlog(self) -> int:
        """Return how many events wait (those of transactions that are not decided or were aborted included)."""
        if self._ends is None:
            return sum(self._reader.backlog().values())
        return sum(max(0, self._ends[p] - at) for p, at in self._reader.positions.items())

    def release(self, owner: str, positions: Mapping[str, Position]) -> None:
        """Let retention have what lies before these positions: nothing at or after them is deleted for `owner`."""
        held = {int(p): int(at["offset"]) for p, at in positions.items()}
        if held != self._held.get(owner):
            self._log.hold(owner, self._reader.topic.name, held)
            self._held[owner] = held

    def forget(self, owner: str) -> None:
        """Take back what `release` held for an owner."""
        self._held.pop(owner, None)
        self._log.unhold(owner)

    def close(self) -> None:
        """Close the log."""
        self._reader.close()
        self._log.close()


def _before(frame: Frame, end: int) -> Frame:
    rows = end - frame.base_offset
    return frame if frame.batch.num_rows <= rows else replace(frame, batch=frame.batch.slice(0, rows))


def _joins(one: Frame, two: Frame) -> bool:
    small = one.batch.num_rows < _SMALL_ROWS and two.batch.num_rows < _SMALL_ROWS
    return small and one.partition == two.partition


def _chunk(frames: list[Frame], clock: int) -> Chunk:
    last = frames[-1]
    batch = last.batch if len(frames) == 1 else concat([f.batch for f in frames])
    return Chunk(str(last.partition), batch, {"offset": last.base_offset + last.batch.num_rows}, clock=clock)

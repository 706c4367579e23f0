"""A topic of the embedded log as a source."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from eventide.errors import UsageError
from eventide.log import Frame, Log, Reader, TopicInfo
from eventide.model.batch import concat
from eventide.model.protocols import Chunk, Position
from eventide.model.time import MIN_TIME

__all__ = ["LogReader", "LogSource"]

_UNDECIDED_SECONDS = 1.0
"""A bounded read waits so long for a transaction that is not decided."""

_LARGE_BYTES = 1 << 18
"""Bytes above which frames are passed on as they are: rows with lists may be few and large."""

_AT_ONCE_BYTES = 1 << 25
"""Bytes that are read at once."""

_FIRST_ROWS = 1024
"""Rows that are read at once before it is known how large they are."""


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
        until: tuple[int | None, int | None],
        follow: bool,
        recorded_clock: bool,
        verify: bool,
    ) -> None:
        self._root, self._topic = root, topic
        self._start = start
        self._offsets = {str(p): int(o) for p, o in (offsets or {}).items()}
        self._chosen = [partitions] if isinstance(partitions, int) else None if partitions is None else list(partitions)
        self._until = until
        self._follow = follow and until == (None, None)
        self._recorded, self._verify = recorded_clock, verify
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

    @property
    def unbounded(self) -> bool:
        """Whether it waits for more at the end."""
        return self._follow

    def partitions(self) -> list[str]:
        """Return the numbers of the partitions that are read, as text."""
        return [str(p) for p in (range(self._known().partitions) if self._chosen is None else self._chosen)]

    def open(self, positions: Mapping[str, Position]) -> LogReader:
        """Open at ``{"offset": n}`` in each partition, else where the options say.

        Raises
        ------
        UsageError
            The topic has no event time to end at.
        """
        if self._until[1] is not None and self._known().event_time is None:
            msg = f"log://{self._topic}: the topic has no event time to end at"
            raise UsageError(msg, hint="give until as an offset")
        log = Log(self._root, create=False)
        try:
            chosen = [int(p) for p in self.partitions()]
            # The schema that was told before, also when the topic has evolved since then.
            schema = self.schema()
            reader = log.reader(self._topic, chosen, start=self._start, schema=schema, verify=self._verify)
            resumed = {p: int(at["offset"]) for p, at in positions.items()}
            reader.seek({int(p): o for p, o in (self._offsets | resumed).items()})
        except BaseException:
            log.close()
            raise
        return LogReader(log, reader, follow=self._follow, until=self._until, recorded_clock=self._recorded)


class LogReader:
    """Reads frames; neighbours that are small and wait already are put together, nothing is waited for."""

    def __init__(
        self, log: Log, reader: Reader, *, follow: bool, until: tuple[int | None, int | None], recorded_clock: bool
    ) -> None:
        self._log, self._reader = log, reader
        self._recorded = recorded_clock
        last, self._until_time = until
        # What a bounded read ends at: the end of every partition as it is now.
        ends = {p: reader.positions[p] + waiting for p, waiting in reader.backlog().items()}
        self._ends = None if follow else {p: end if last is None else min(last, end) for p, end in ends.items()}
        self._over = False
        # How many rows are much to read at once, where they can be of any size; seeing how large costs time too.
        self._vary = any(
            pa.types.is_nested(t) or pa.types.is_binary(t) or _is_large(t) for t in reader.topic.schema.types
        )
        self._rows = _FIRST_ROWS if self._vary else 2**62
        self._empty_since = math.inf
        self._began = dict(reader.positions)
        self._held: dict[str, dict[int, int]] = {}

    def began(self) -> dict[str, Position]:
        """Return where reading began: what is ``"latest"`` now is not any more when the run goes on."""
        return {str(p): {"offset": offset} for p, offset in self._began.items()}

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
        frames = self._reader.read(min(max_rows, self._rows), timeout=timeout)
        sizes = [f.batch.nbytes if self._vary else 0 for f in frames]
        if sum(sizes):
            rows = sum(f.batch.num_rows for f in frames)
            self._rows = max(1, rows * _AT_ONCE_BYTES // sum(sizes))
        if self._ends is not None:
            # Nothing visible before the end: the rest was aborted, or belongs to a transaction still undecided.
            # Whether its process lives is asked a few times a second, so that one look is not enough.
            self._empty_since = math.inf if frames else min(self._empty_since, began)
            self._over = time.monotonic() - self._empty_since > _UNDECIDED_SECONDS
            frames = [_before(f, self._ends[f.partition]) for f in frames if f.base_offset < self._ends[f.partition]]
        parts = [(self._before_time(f), f.end_offset) for f in frames]
        if self._recorded:
            return [_chunk([part], part[0].append_time) for part in parts]
        return self._together(parts, max_rows)

    def _together(self, parts: list[tuple[Frame, int]], max_rows: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        together: list[tuple[Frame, int]] = []
        rows = size = 0
        for part in parts:
            added, more = part[0].batch.num_rows, part[0].batch.nbytes if self._vary else 0
            fits = rows + added <= max_rows and max(size, more) <= _LARGE_BYTES
            if together and not (fits and _joins(together[-1][0], part[0], most=max_rows // 4)):
                chunks.append(_chunk(together, MIN_TIME))
                together, rows, size = [], 0, 0
            together.append(part)
            rows, size = rows + added, size + more
        return [*chunks, _chunk(together, MIN_TIME)] if together else chunks

    def _before_time(self, frame: Frame) -> Frame:
        """Leave out the events at or after a time; the frame keeps its offsets, so that reading goes on after it."""
        column, time = self._reader.topic.event_time, self._until_time
        if column is None or time is None or frame.max_event_time is None or frame.max_event_time < time:
            return frame
        early = pc.less(frame.batch.column(column).cast(pa.int64()), time)
        return replace(frame, batch=frame.batch.filter(early))

    def backlog(self) -> int:
        """Return how many events wait (those of transactions that are not decided or were aborted included)."""
        if self._ends is None:
            return sum(self._reader.backlog().values())
        return sum(max(0, self._ends[p] - at) for p, at in self._reader.positions.items())

    def release(self, owner: str, positions: Mapping[str, Position]) -> None:
        """Let retention have what lies before these positions: nothing at or after them is deleted for `owner`."""
        # A partition of which nothing has been read yet will be read from where this reader began.
        held = self._began | {int(p): int(at["offset"]) for p, at in positions.items()}
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


def _is_large(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _before(frame: Frame, end: int) -> Frame:
    rows = end - frame.base_offset
    return frame if frame.batch.num_rows <= rows else replace(frame, batch=frame.batch.slice(0, rows))


def _joins(one: Frame, two: Frame, *, most: int) -> bool:
    """Tell whether two frames, of at most so many rows, are put together; copying larger ones is too dear."""
    small = one.batch.num_rows <= most and two.batch.num_rows <= most
    return small and one.partition == two.partition


def _chunk(parts: list[tuple[Frame, int]], clock: int) -> Chunk:
    last, end = parts[-1]
    batch = last.batch if len(parts) == 1 else concat([f.batch for f, _ in parts])
    return Chunk(str(last.partition), batch, {"offset": end}, clock=clock)

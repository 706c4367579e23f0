"""Read a topic: from any position, following what is appended, never blocking a writer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from eventide.errors import LogError, UsageError
from eventide.log.bell import wait
from eventide.log.cursor import PartitionCursor, find_time
from eventide.log.frame import Frame
from eventide.log.layout import partition_path
from eventide.log.states import TransactionStates
from eventide.log.topic import TopicInfo
from eventide.model.time import instant

__all__ = ["Reader", "Start"]

Start = str | datetime | int | Mapping[int, int]

_SHORT_S, _LONG_S = 0.0005, 0.005
_IDLE_S = 1.0
_RUNG_S = 0.1
"""Where writers ring, a reader still looks so often by itself."""


class Reader:
    """Follow the partitions of a topic; made by `Log.reader`. One thread, one reader.

    Parameters
    ----------
    root
        Folder of the log.
    topic
        The topic.
    partitions
        Which partitions; None: all.
    start
        ``"earliest"``, ``"latest"``, ``{partition: offset}`` (others begin at the earliest), or an event
        time (datetime, ISO 8601 text, or ns since 1970): then reading begins at the first frame of each
        partition that may hold an event of that time or later.
    states
        What became of transactions.
    verify
        Check every checksum while reading. Off by default: the bytes come from a memory map, and
        recovery and `Log.verify` check them.

    Examples
    --------
    >>> import pyarrow as pa, tempfile
    >>> from eventide.log import Log
    >>> with Log(tempfile.mkdtemp()) as log:
    ...     _ = log.create_topic("a", pa.schema([("x", pa.int64())]))
    ...     _ = log.append("a", pa.record_batch({"x": [1, 2, 3]}))
    ...     with log.reader("a", start={0: 1}) as reader:
    ...         frames = reader.read()
    ...         print(frames[0].batch.to_pydict(), reader.positions, reader.backlog())
    {'x': [2, 3]} {0: 3} {0: 0}
    """

    def __init__(
        self,
        root: Path,
        topic: TopicInfo,
        *,
        partitions: Iterable[int] | None = None,
        start: Start = "earliest",
        states: TransactionStates,
        verify: bool = False,
    ) -> None:
        self.topic = topic
        self._root = root
        chosen = sorted(range(topic.partitions) if partitions is None else set(partitions))
        self._cursors: dict[int, PartitionCursor] = {}
        for p in chosen:
            check_partition(topic, p)
            folder = partition_path(root, topic.name, p)
            self._cursors[p] = PartitionCursor(
                folder, topic=topic.name, partition=p, states=states, schema=topic.schema, verify=verify
            )
        self._turn = 0
        self._found_at = time.monotonic()
        self.seek(start)

    @property
    def positions(self) -> dict[int, int]:
        """Next offset to be read of every partition."""
        return {p: cursor.position for p, cursor in self._cursors.items()}

    def backlog(self) -> dict[int, int]:
        """Return for every partition the events between its position and its end."""
        return {p: max(0, cursor.end - cursor.position) for p, cursor in self._cursors.items()}

    def seek(self, start: Start) -> None:
        """Go to another position; takes what `start` takes. Partitions that a mapping leaves out stay where they are.

        Raises
        ------
        UsageError
            `start` is none of these, or the topic has no event time.
        LogError
            An offset is negative.
        """
        if isinstance(start, Mapping):
            for p, offset in start.items():
                if p not in self._cursors:
                    msg = f"this reader of topic {self.topic.name!r} does not read partition {p}"
                    raise UsageError(msg, hint=f"it reads {sorted(self._cursors)}")
                self._cursors[p].seek(offset)
            for p, cursor in self._cursors.items():
                if p not in start and not cursor.position:
                    cursor.seek(cursor.earliest())
            return
        for cursor in self._cursors.values():
            cursor.seek(self._offset(cursor, start))

    def _offset(self, cursor: PartitionCursor, start: str | datetime | int) -> int:
        if start == "earliest":
            return cursor.earliest()
        if start == "latest":
            return cursor.end
        if self.topic.event_time is None:
            msg = f"topic {self.topic.name!r} has no event time; it cannot be read from {start!r}"
            raise UsageError(msg, hint="start at 'earliest', 'latest' or {partition: offset}")
        folder = partition_path(self._root, self.topic.name, cursor.partition)
        time_ns = instant(start, what="start (beside 'earliest' and 'latest')")
        for _ in range(10):
            try:
                return find_time(folder, time_ns, end=cursor.end)
            except LogError:  # retention was faster than the look-up
                continue
        return cursor.earliest()

    def read(self, max_rows: int = 1 << 20, *, timeout: float | None = 0.0) -> list[Frame]:
        """Return the next frames, in the order of each partition.

        Parameters
        ----------
        max_rows
            At most so many rows in all; the last frame is cut if need be.
        timeout
            How long to wait for at least one event, s; 0 returns at once, None waits for ever. New
            events are seen at once (where writers cannot ring, which Linux lets them: within about a
            millisecond, and within five after a second without any).

        Returns
        -------
        Frames, or an empty list when nothing came in time. The rest of a transaction that is still
        open is waited for; aborted ones are passed over.

        Raises
        ------
        LogCorruptError
            Bytes are not what was written.
        LogError
            The position was deleted by retention, or the topic was.
        """
        found = self._take(max_rows)
        if found or timeout == 0:
            return found
        began = time.monotonic()
        while True:
            now = time.monotonic()
            if timeout is not None and now - began >= timeout:
                return found
            self._wait(now, _RUNG_S if timeout is None else min(_RUNG_S, timeout - (now - began)))
            if all(cursor.still for cursor in self._cursors.values()):
                continue
            found = self._take(max_rows)
            if found:
                return found

    def _wait(self, now: float, most: float) -> None:
        """Wait until a writer rings, at most so many s; where none can, or what is there is undecided, a little."""
        bells = [cursor.bell for cursor in self._cursors.values()]  # before the look: what changes after it rings
        if all(cursor.still for cursor in self._cursors.values()) and wait(bells, most):
            return
        idle = now - self._found_at - _IDLE_S
        time.sleep(min(most, _SHORT_S if idle < 0 else min(_LONG_S, _SHORT_S * (1 + 4 * idle))))

    def next_frame(self, partition: int) -> Frame | None:
        """Return the next frame of one partition, whole; None when there is none (yet)."""
        return self._cursors[partition].read(1 << 62)

    def _take(self, max_rows: int) -> list[Frame]:
        found: list[Frame] = []
        cursors = list(self._cursors.values())
        self._turn = (self._turn + 1) % max(1, len(cursors))
        share = -(-max_rows // max(1, len(cursors)))
        for cursor in cursors[self._turn :] + cursors[: self._turn]:
            quota = min(share, max_rows)
            while quota > 0:
                frame = cursor.read(quota)
                if frame is None:
                    break
                found.append(frame)
                quota -= frame.batch.num_rows
                max_rows -= frame.batch.num_rows
        if found:
            self._found_at = time.monotonic()
        return found

    def close(self) -> None:
        """Close the files; frames stay valid."""
        for cursor in self._cursors.values():
            cursor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_partition(topic: TopicInfo, partition: int) -> None:
    """Raise `UsageError` when a topic has no such partition."""
    if not 0 <= partition < topic.partitions:
        msg = f"topic {topic.name!r} has no partition {partition}"
        raise UsageError(msg, hint=f"it has {topic.partitions}, numbered from 0")

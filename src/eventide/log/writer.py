"""What a program holds to write one partition, and the thread that syncs in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyarrow as pa

from eventide.errors import EventideError, UsageError
from eventide.log.frame import NO_SEQUENCE
from eventide.log.partition import PartitionWriter
from eventide.log.topic import TopicInfo

__all__ = ["Flusher", "Writer"]

_LOG = logging.getLogger("eventide.log")
GROUP_S = 0.002
"""How long a group of appends gathers before it is synced, s."""


class Flusher:
    """The background thread of the policies ``"group"`` (sync soon) and ``"os"`` (sync sealed segments)."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._dirty: set[PartitionWriter] = set()
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="eventide-log-flusher", daemon=True)
        self._thread.start()

    def note(self, writer: PartitionWriter) -> None:
        """Ask for a sync of a partition."""
        self._dirty.add(writer)
        self._wake.set()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait()
            time.sleep(GROUP_S)
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            for writer in dirty:
                try:
                    if self._whole:
                        writer.sync()
                    else:
                        writer.sync_sealed()
                except (EventideError, OSError) as error:  # the next append or flush of that partition raises it
                    _LOG.error("background sync of %s/%d: %s", writer.topic.name, writer.partition, error)

    def close(self) -> None:
        """Stop the thread; closing a partition syncs the rest."""
        self._stop = True
        self._wake.set()
        self._thread.join()


class Writer:
    """Append to one partition; made by `Log.writer`.

    Parameters
    ----------
    partition
        The partition's writer.
    producer
        Number of the producer whose sequences make appends idempotent, 0: none.
    flusher
        The background thread, if the policy has one.
    fit
        Returns a batch in the schema of its topic, looked up again if need be.

    Examples
    --------
    >>> import tempfile
    >>> from eventide.log import Log
    >>> batch = pa.record_batch({"x": [1, 2, 3]})
    >>> with Log(tempfile.mkdtemp()) as log:
    ...     _ = log.create_topic("a", batch.schema)
    ...     writer = log.writer("a", producer="camera")
    ...     print(writer.append(batch, sequence=1), writer.append(batch, sequence=2), writer.append(batch, sequence=1))
    0 3 0
    """

    def __init__(
        self,
        partition: PartitionWriter,
        *,
        producer: int = 0,
        flusher: Flusher | None = None,
        fit: Callable[[str, pa.RecordBatch], tuple[TopicInfo, pa.RecordBatch]],
    ) -> None:
        self._partition, self._producer, self._flusher, self._fit = partition, producer, flusher, fit

    @property
    def end(self) -> int:
        """Offset of the next event."""
        return self._partition.end

    @property
    def durable_end(self) -> int:
        """Offset before which everything is on the disk."""
        return self._partition.durable_end

    def append(self, batch: pa.RecordBatch, *, sequence: int | None = None) -> int:
        """Append a batch and return the offset of its first event.

        Parameters
        ----------
        batch
            Events in the topic's schema (columns in any order).
        sequence
            Number of this batch at its producer, growing from batch to batch, gaps allowed. A repeat is
            dropped and the offset of the first time returned.

        Raises
        ------
        SchemaError
            The batch does not fit the topic.
        LogUnavailableError
            The disk refused, now or before: nothing is acknowledged until the log is opened again.
        LogError
            `sequence` is too old to be known.
        UsageError
            `sequence` without a producer, or the other way round.
        """
        if (sequence is None) != (not self._producer):
            msg = "a writer with a producer needs a sequence for every append, and one without takes none"
            raise UsageError(msg, hint="log.writer(topic, producer='name').append(batch, sequence=n)")
        number = NO_SEQUENCE if sequence is None else sequence
        _, fitting = self._fit(self._partition.topic.name, batch)
        offset = self._partition.append(fitting, producer=self._producer, sequence=number)
        if self._flusher is not None:
            self._flusher.note(self._partition)
        return offset

    def flush(self) -> int:
        """Make everything appended so far durable; return the offset after it."""
        return self._partition.sync()

    def wait(self, offset: int) -> None:
        """Return when everything before `offset` is durable."""
        if self._partition.durable_end < offset:
            self._partition.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

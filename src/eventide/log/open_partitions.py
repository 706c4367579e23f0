"""The partitions that one `Log` object writes: locked from the first append until it is closed."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pyarrow as pa

from eventide.errors import EventideError, LogError, SchemaError
from eventide.log.catalog import find_topic
from eventide.log.layout import partition_path
from eventide.log.meta import Meta
from eventide.log.partition import Fsync, PartitionWriter
from eventide.log.partitioner import split
from eventide.log.reader import check_partition
from eventide.log.topic import TopicInfo, conform
from eventide.log.writer import Flusher

__all__ = ["OpenPartitions"]

_INDEX_BYTES = 1 << 20


class OpenPartitions:
    """Writers by topic and partition, and the versions of the topics that they write.

    Parameters
    ----------
    root, meta
        Folder and database of the log.
    fsync
        When appends are durable.
    """

    def __init__(self, root: Path, meta: Meta, *, fsync: Fsync) -> None:
        self._root, self._meta, self._fsync = root, meta, fsync
        self._mutex = threading.RLock()
        self._writers: dict[tuple[str, int], PartitionWriter] = {}
        self._topics: dict[str, TopicInfo] = {}
        self._closed = False
        self.flusher: Flusher | None = None

    def writer(self, topic: TopicInfo, partition: int, *, first_offset: int = 0) -> PartitionWriter:
        """Return the writer of a partition, opened if need be.

        Parameters
        ----------
        topic, partition
            Where to.
        first_offset
            Where a partition that has never held an event begins.

        Raises
        ------
        LogLockedError
            Somebody else writes it.
        LogUnavailableError
            The disk refused.
        """
        writer = self._writers.get((topic.name, partition))
        if writer is not None:
            return writer
        check_partition(topic, partition)
        with self._mutex:
            if self._closed:
                msg = f"the log {self._root} is closed"
                raise LogError(msg, hint="open it again")
            key = (topic.name, partition)
            if key not in self._writers:
                self._writers[key] = self._open(topic, partition, first_offset)
            if self.flusher is None and self._fsync != "each":
                self.flusher = Flusher(whole=self._fsync == "group")
            return self._writers[key]

    def _open(self, topic: TopicInfo, partition: int, first_offset: int) -> PartitionWriter:
        folder = partition_path(self._root, topic.name, partition)
        try:
            writer = PartitionWriter(
                folder, topic,
                partition=partition, fsync=self._fsync, index_bytes=_INDEX_BYTES, first_offset=first_offset,
            )  # fmt: skip
        except FileNotFoundError as error:
            msg = f"partition {partition} of topic {topic.name!r} has no folder {folder}"
            raise LogError(msg, hint="the topic was deleted, or the folder was moved away") from error
        # While a partition is locked its topic cannot be deleted: from here on what is known of it stays true.
        try:
            same = [t.created for t in self._meta.topics(topic.name)] == [topic.created]
        except BaseException:
            with contextlib.suppress(EventideError):  # what went wrong first is what matters
                writer.close()  # nobody else knows of it, and it holds the lock
            raise
        if not same:
            writer.close()
            msg = f"topic {topic.name!r} was deleted or made anew meanwhile; {self._root}"
            raise LogError(msg, hint="look it up again with log.topic(name)")
        self._topics.setdefault(topic.name, topic)
        return writer

    def fit(self, name: str, batch: pa.RecordBatch) -> tuple[TopicInfo, pa.RecordBatch]:
        """Return a topic and a batch in its schema; what another process changed is looked up when it is needed.

        Raises
        ------
        SchemaError
            The batch does not fit.
        UnknownNameError
            There is no such topic.
        """
        topic = self._topics.get(name) or find_topic(self._root, self._meta, name)
        try:
            return topic, conform(batch, topic)
        except SchemaError:
            newest = find_topic(self._root, self._meta, name)
            if newest.evolution == topic.evolution:
                raise
        fitting = conform(batch, newest)
        self.adopt(newest)
        return newest, fitting

    def adopt(self, topic: TopicInfo) -> None:
        """Let the writers that are open go on with a version of a topic."""
        with self._mutex:
            for (name, _), writer in self._writers.items():
                if name == topic.name:
                    writer.evolve(topic)
            self._topics.pop(topic.name, None)
            if any(name == topic.name for name, _ in self._writers):
                self._topics[topic.name] = topic

    def targets(
        self, topic: str, batch: pa.RecordBatch, *, partition: int, key: str | None
    ) -> list[tuple[PartitionWriter, pa.RecordBatch]]:
        """Return the writer and the batch for each partition that a batch goes to."""
        info, batch = self.fit(topic, batch)
        parts = {partition: batch} if key is None else split(batch, key, partitions=info.partitions)
        return [(self.writer(info, p), part) for p, part in parts.items()]

    def flush(self) -> None:
        """Make everything appended durable and visible."""
        for writer in list(self._writers.values()):
            writer.sync()

    def forget(self, topic: TopicInfo) -> None:
        """Let go of a topic that was deleted."""
        with self._mutex:
            self._topics.pop(topic.name, None)
            for p in range(topic.partitions):
                self._writers.pop((topic.name, p)).close()

    def close(self) -> None:
        """Make everything durable and let all partitions go.

        Raises
        ------
        LogUnavailableError
            Something could not be made durable; the rest was.
        """
        with self._mutex:
            self._closed = True
            if self.flusher is not None:
                self.flusher.close()
            failed: Exception | None = None
            for writer in self._writers.values():
                try:
                    writer.close()
                except Exception as error:  # the others are closed all the same
                    failed = failed or error
            if failed is not None:
                raise failed

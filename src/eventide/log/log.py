"""The embedded durable log: the object that programs open."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from eventide.errors import ConfigError, LogError, UsageError
from eventide.log.catalog import add_topic, describe_topic, find_topic, remove_topic
from eventide.log.layout import check_topic_name, partition_path
from eventide.log.meta import ABORTED, COMMITTED, Meta
from eventide.log.partition import Fsync, PartitionWriter
from eventide.log.partitioner import split
from eventide.log.reader import Reader, Start, check_partition
from eventide.log.retention import apply_retention
from eventide.log.states import Session, TransactionStates
from eventide.log.topic import SEGMENT_BYTES, PartitionInfo, Retention, TopicInfo, conform, stored_schema
from eventide.log.transaction import Transaction
from eventide.log.verify import VerifyReport, verify_partition
from eventide.log.writer import Flusher, Writer

__all__ = ["Log"]

_INDEX_BYTES = 1 << 20


class Log:
    """A folder of topics: append here, read there, in any process of the machine.

    Parameters
    ----------
    path
        The folder.
    fsync
        When an append is durable: ``"each"`` when it returns; ``"group"`` some milliseconds later
        (`flush` waits for it); ``"os"`` when the operating system writes it (a crash of the machine may
        lose it, a crash of the process does not). Commits of transactions are always durable.
    create
        Make the log when it is not there.

    Raises
    ------
    LogError
        There is no log at `path` and `create` is false, or it cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with Log(tempfile.mkdtemp()) as log:
    ...     _ = log.create_topic("readings", pa.schema([("node", pa.int64()), ("value", pa.float64())]), partitions=2)
    ...     print(log.append("readings", pa.record_batch({"node": [1, 2], "value": [0.5, 0.25]}), key="node"))
    ...     print([frame.batch.to_pylist() for frame in log.reader("readings", partitions=[0]).read()])
    {0: 0, 1: 0}
    [[{'node': 2, 'value': 0.25}]]
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: Fsync = "each", create: bool = True) -> None:
        self.path = Path(path)
        if fsync not in ("each", "group", "os"):
            msg = f"fsync={fsync!r} is no policy of the log {self.path}"
            raise ConfigError(msg, hint="choose 'each', 'group' or 'os'")
        database = self.path / "meta.sqlite"
        if not database.exists():
            if not create:
                msg = f"there is no log at {self.path}"
                raise LogError(msg, hint="check the path, or make it by opening it without create=False")
            self.path.mkdir(parents=True, exist_ok=True)
        self._fsync: Fsync = fsync
        self._meta = Meta(database)
        self._states = TransactionStates(self.path, self._meta)
        self._mutex = threading.RLock()
        self._writers: dict[tuple[str, int], PartitionWriter] = {}
        self._topics: dict[str, TopicInfo] = {}
        self._session: Session | None = None
        self._flusher: Flusher | None = None
        self._closed = False

    # --- topics -------------------------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        schema: pa.Schema,
        *,
        event_time: str | None = None,
        partitions: int = 1,
        segment_bytes: int = SEGMENT_BYTES,
        retention: Retention | None = None,
        exist_ok: bool = False,
    ) -> TopicInfo:
        """Make a topic.

        Parameters
        ----------
        name
            Its name, also a folder name.
        schema
            Schema of its events.
        event_time
            Its event-time column, ``timestamp[ns, UTC]``; None: it has none.
        partitions
            Number of partitions.
        segment_bytes
            Size at which a segment is sealed and the next one begun.
        retention
            How long events are kept; None: for ever.
        exist_ok
            Return the topic that is there, if its schema, event time and partitions are the same.

        Raises
        ------
        SchemaError
            The schema cannot be stored, or the event-time column is wrong.
        UsageError
            The name cannot be used, or the topic exists (and is different).
        """
        check_topic_name(name)
        if partitions < 1 or segment_bytes < 1024:
            msg = f"topic {name!r}: partitions={partitions}, segment_bytes={segment_bytes}"
            raise UsageError(msg, hint="a topic has at least 1 partition and segments of at least 1024 bytes")
        stored = stored_schema(schema, topic=name, event_time=event_time)
        wanted = TopicInfo(
            name=name, schema=stored, event_time=event_time, partitions=partitions, segment_bytes=segment_bytes,
            retention=retention or Retention(), created=time.time_ns(),
        )  # fmt: skip
        with self._mutex:
            return add_topic(self.path, self._meta, wanted, exist_ok=exist_ok)

    def topic(self, name: str) -> TopicInfo:
        """Return a topic.

        Raises
        ------
        UnknownNameError
            There is none of that name.
        """
        self._check_open()
        return self._topics.get(name) or find_topic(self.path, self._meta, name)

    def topics(self) -> list[TopicInfo]:
        """Return all topics, by name."""
        return self._meta.topics()

    def describe(self, name: str) -> list[PartitionInfo]:
        """Return what each partition of a topic holds."""
        return describe_topic(self.path, self.topic(name))

    def set_retention(self, name: str, retention: Retention) -> TopicInfo:
        """Change how long a topic keeps its events; `apply_retention` then deletes."""
        topic = replace(find_topic(self.path, self._meta, name), retention=retention)
        self._meta.put_retention(topic)
        self._topics.pop(name, None)
        return topic

    def delete_topic(self, name: str) -> None:
        """Delete a topic, its events and the consumers' offsets in it.

        Readers that are inside a segment may finish it and then get a `LogError`.

        Raises
        ------
        UnknownNameError
            There is none of that name.
        LogLockedError
            Somebody else writes one of its partitions.
        """
        topic = self.topic(name)
        with self._mutex:
            writers = [self._partition_writer(topic, p) for p in range(topic.partitions)]  # nobody else may be writing
            remove_topic(self.path, self._meta, topic)
            self._topics.pop(name, None)
            for p, writer in enumerate(writers):
                del self._writers[name, p]
                writer.close()

    # --- writing ------------------------------------------------------------------------------------

    def _partition_writer(self, topic: TopicInfo, partition: int) -> PartitionWriter:
        writer = self._writers.get((topic.name, partition))
        if writer is not None:
            return writer
        check_partition(topic, partition)
        with self._mutex:
            self._check_open()
            key = (topic.name, partition)
            if key not in self._writers:
                self._writers[key] = self._open_partition(topic, partition)
            if self._flusher is None and self._fsync != "each":
                self._flusher = Flusher(whole=self._fsync == "group")
            return self._writers[key]

    def _open_partition(self, topic: TopicInfo, partition: int) -> PartitionWriter:
        folder = partition_path(self.path, topic.name, partition)
        try:
            writer = PartitionWriter(folder, topic, partition=partition, fsync=self._fsync, index_bytes=_INDEX_BYTES)
        except FileNotFoundError as error:
            msg = f"partition {partition} of topic {topic.name!r} has no folder {folder}"
            raise LogError(msg, hint="the topic was deleted, or the folder was moved away") from error
        # While a partition is locked its topic cannot be deleted: from here on what is known of it stays true.
        if [t.created for t in self._meta.topics(topic.name)] != [topic.created]:
            writer.close()
            msg = f"topic {topic.name!r} was deleted or made anew meanwhile; {self.path}"
            raise LogError(msg, hint="look it up again with log.topic(name)")
        self._topics[topic.name] = topic
        return writer

    def _targets(
        self, topic: str, batch: pa.RecordBatch, *, partition: int, key: str | None
    ) -> list[tuple[PartitionWriter, pa.RecordBatch]]:
        info = self.topic(topic)
        batch = conform(batch, info)
        parts = {partition: batch} if key is None else split(batch, key, partitions=info.partitions)
        return [(self._partition_writer(info, p), part) for p, part in parts.items()]

    def append(
        self, topic: str, batch: pa.RecordBatch, *, partition: int = 0, key: str | None = None
    ) -> dict[int, int]:
        """Append a batch and return the offset of its first event in each partition it went to.

        Parameters
        ----------
        topic, batch
            Where to, and the events, in the topic's schema.
        partition
            The partition, when `key` is not given.
        key
            Column whose hash chooses the partition of every event.

        Raises
        ------
        UnknownNameError
            There is no such topic.
        SchemaError
            The batch does not fit.
        LogLockedError
            Another process writes the partition.
        LogError
            The disk refused.
        """
        offsets = {}
        for writer, part in self._targets(topic, batch, partition=partition, key=key):
            offsets[writer.partition] = writer.append(part)
            if self._flusher is not None:
                self._flusher.note(writer)
        return offsets

    def writer(self, topic: str, partition: int = 0, *, producer: str | None = None) -> Writer:
        """Return a writer of one partition, locked until the log is closed.

        Parameters
        ----------
        topic, partition
            Where to.
        producer
            Name under which batches are numbered, which makes appends idempotent.

        Raises
        ------
        LogLockedError
            Another process writes the partition.
        """
        number = 0 if producer is None else self._meta.producer(producer)
        writer = self._partition_writer(self.topic(topic), partition)
        return Writer(writer, producer=number, flusher=self._flusher)

    def flush(self) -> None:
        """Make everything that this log appended durable and visible."""
        for writer in list(self._writers.values()):
            writer.sync()

    def transaction(self, *, owner: str = "") -> Transaction:
        """Begin a transaction: its batches, offsets and checkpoint become durable and visible together or not at all.

        Parameters
        ----------
        owner
            Under this name `prepared` finds the transaction when it was prepared and never decided.

        Examples
        --------
        >>> import tempfile
        >>> batch = pa.record_batch({"x": [1]})
        >>> with Log(tempfile.mkdtemp()) as log:
        ...     for name in ("a", "b"):
        ...         _ = log.create_topic(name, batch.schema)
        ...     with log.transaction() as tx:
        ...         _ = tx.append("a", batch), tx.append("b", batch)
        ...         tx.put_checkpoint("pipeline", b"state")
        ...     print(len(log.reader("b").read()), log.checkpoint("pipeline"))
        1 b'state'
        """
        with self._mutex:
            self._check_open()
            if self._session is None:
                self._session = Session(self.path, self._meta)
            number = self._session.next_transaction()
        return Transaction(number, meta=self._meta, states=self._states, writers=self._targets, owner=owner)

    def prepared(self, owner: str) -> list[int]:
        """Return the numbers of an owner's transactions that are prepared and not decided, oldest first."""
        return self._meta.prepared(owner)

    def commit_prepared(self, number: int) -> None:
        """Commit a prepared transaction, from any process; a second time does nothing.

        Raises
        ------
        LogError
            It was aborted, or this log never had it.
        """
        self._decide_prepared(number, COMMITTED)

    def abort_prepared(self, number: int) -> None:
        """Abort a prepared transaction, from any process; a second time does nothing.

        Raises
        ------
        LogError
            It was committed, or this log never had it.
        """
        self._decide_prepared(number, ABORTED)

    def _decide_prepared(self, number: int, state: int) -> None:
        self._check_open()
        with self._meta.commit() as db:
            self._meta.decide(db, number, state)
        self._states.changed()

    # --- reading ------------------------------------------------------------------------------------

    def reader(
        self,
        topic: str,
        partitions: Iterable[int] | None = None,
        *,
        start: Start = "earliest",
        verify: bool = False,
    ) -> Reader:
        """Return a reader of a topic; see `Reader` for the parameters.

        Raises
        ------
        UnknownNameError
            There is no such topic.
        UsageError
            No such partition, or `start` is none of what it may be.
        """
        self._check_open()
        return Reader(
            self.path, self.topic(topic), partitions=partitions, start=start, states=self._states, verify=verify
        )

    def commit_offsets(self, group: str, positions: Mapping[str, Mapping[int, int]]) -> None:
        """Record how far a consumer group has come: topic, partition, next offset."""
        with self._meta.commit() as db:
            self._meta.put_offsets(db, group, positions)

    def offsets(self, group: str) -> dict[str, dict[int, int]]:
        """Return how far a consumer group has come: topic, partition, next offset."""
        return self._meta.offsets(group)

    def checkpoint(self, pipeline: str) -> bytes | None:
        """Return the checkpoint that a transaction recorded last for a pipeline."""
        return self._meta.checkpoint(pipeline)

    # --- care ---------------------------------------------------------------------------------------

    def apply_retention(
        self,
        topic: str | None = None,
        *,
        protect: Mapping[str, Mapping[int, int]] | None = None,
        now: int | None = None,
    ) -> int:
        """Delete segments that topics need not keep; return how many.

        Parameters
        ----------
        topic
            Only this one; None: all.
        protect
            What somebody still needs (topic, partition, offset): everything from that offset on stays.
        now
            Processing time, ns since 1970; None: the clock.
        """
        gone = 0
        for info in self.topics() if topic is None else [find_topic(self.path, self._meta, topic)]:
            kept = (protect or {}).get(info.name, {})
            went = 0
            for p in range(info.partitions):
                folder = partition_path(self.path, info.name, p)
                went += apply_retention(folder, info.retention, protect=kept.get(p), now=now)
            if went:
                earliest = {part.partition: part.earliest for part in self.describe(info.name)}
                self._meta.forget_transactions(info.name, earliest)
            gone += went
        return gone

    def verify(self, topic: str | None = None) -> VerifyReport:
        """Check every checksum of a topic, or of all, and report what is damaged."""
        report = VerifyReport()
        for info in self.topics() if topic is None else [self.topic(topic)]:
            for p in range(info.partitions):
                verify_partition(partition_path(self.path, info.name, p), report)
        return report

    def _check_open(self) -> None:
        if self._closed:
            msg = f"the log {self.path} is closed"
            raise LogError(msg, hint="open it again")

    def close(self) -> None:
        """Make everything durable, abort open transactions and let all partitions go."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            if self._flusher is not None:
                self._flusher.close()
            try:
                for writer in self._writers.values():
                    writer.close()
            finally:
                if self._session is not None:
                    self._session.close()
                    self._states.changed()
                self._meta.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

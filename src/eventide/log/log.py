"""The embedded durable log: the object that programs open."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from eventide.errors import ConfigError, LogError, UsageError
from eventide.log.catalog import add_topic, describe_topic, evolve_topic, find_topic, remove_topic
from eventide.log.exported import Exported
from eventide.log.exporting import ExportFormat, Span, export_topic
from eventide.log.failure import reaching
from eventide.log.holds import Hold, drop_holds, list_holds, put_hold
from eventide.log.importing import import_topic
from eventide.log.layout import check_topic_name, make_folder, partition_path
from eventide.log.meta import ABORTED, COMMITTED, Meta
from eventide.log.open_partitions import OpenPartitions
from eventide.log.partition import Fsync
from eventide.log.reader import Reader, Start
from eventide.log.retention import OldSegment, retain_partition
from eventide.log.states import Session, TransactionStates
from eventide.log.topic import SEGMENT_BYTES, PartitionInfo, Retention, TopicInfo, stored_schema
from eventide.log.transaction import Transaction
from eventide.log.verify import VerifyReport, verify_partition
from eventide.log.writer import Writer

__all__ = ["Log"]

_WHOLE = Span()


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
    LogUnavailableError
        The disk or the database refuses just now.
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
            with reaching(self.path, "made"):
                make_folder(self.path)
        self._meta = Meta(database)
        try:
            with reaching(self.path, "opened"):
                self._states = TransactionStates(self.path, self._meta)
        except BaseException:
            self._meta.close()
            raise
        self._mutex = threading.RLock()
        self._session: Session | None = None
        self._open = OpenPartitions(self.path, self._meta, fsync=fsync)
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
        return find_topic(self.path, self._meta, name)

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
        return topic

    def evolve(self, name: str, schema: pa.Schema) -> TopicInfo:
        """Add columns to a topic, or widen types; return the topic, as it was where nothing changes.

        Events of before are read with nulls in new columns. Readers that are open go on in the schema they
        were opened with, writers of other processes too until they append something that needs the new one.

        Parameters
        ----------
        name
            The topic.
        schema
            All its columns: those it has, and new ones, which must allow nulls. Integers may become longer
            ones, and float32 may become float64.

        Raises
        ------
        SchemaError
            A column is missing, or would change in another way; the message names it and both types.
        LogUnavailableError
            The disk refused. If it was after the change was recorded, it is in force at the next opening.

        Examples
        --------
        >>> import tempfile
        >>> with Log(tempfile.mkdtemp()) as log:
        ...     topic = log.create_topic("a", pa.schema([("x", pa.int64())]))
        ...     _ = log.append("a", pa.record_batch({"x": [1]}))
        ...     _ = log.evolve("a", topic.schema.append(pa.field("note", pa.string())))
        ...     _ = log.append("a", pa.record_batch({"x": [2], "note": ["high"]}))
        ...     print([frame.batch.to_pylist() for frame in log.reader("a").read()])
        [[{'x': 1, 'note': None}], [{'x': 2, 'note': 'high'}]]
        """
        self._check_open()
        topic = evolve_topic(self.path, self._meta, name, schema=schema)
        self._open.adopt(topic)
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
            for p in range(topic.partitions):
                self._open.writer(topic, p)  # nobody else may be writing
            remove_topic(self.path, self._meta, topic)
            self._open.forget(topic)

    # --- writing ------------------------------------------------------------------------------------

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
        LogUnavailableError
            The disk refused, now or before: nothing is acknowledged until the log is opened again.
        """
        self._check_open()
        offsets = {}
        for writer, part in self._open.targets(topic, batch, partition=partition, key=key):
            offsets[writer.partition] = writer.append(part)
            if self._open.flusher is not None:
                self._open.flusher.note(writer)
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
        writer = self._open.writer(self.topic(topic), partition)
        return Writer(writer, producer=number, flusher=self._open.flusher, fit=self._open.fit)

    def flush(self) -> None:
        """Make everything that this log appended durable and visible."""
        self._open.flush()

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
                with reaching(self.path / ".sessions", "used"):
                    self._session = Session(self.path, self._meta)
            number = self._session.next_transaction()
        return Transaction(number, meta=self._meta, states=self._states, writers=self._open.targets, owner=owner)

    def prepared(self, owner: str) -> list[int]:
        """Return the numbers of an owner's transactions that are prepared and not decided, oldest first."""
        return self._meta.prepared(owner)

    def undecided(self) -> list[tuple[int, str, int, tuple[str, ...]]]:
        """Return number, owner, time (ns) and topics of all that is prepared and not decided; readers wait there."""
        return self._meta.undecided()

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
        schema: pa.Schema | None = None,
        verify: bool = False,
    ) -> Reader:
        """Return a reader of a topic; see `Reader` for the parameters.

        Parameters
        ----------
        topic, partitions, start, verify
            As there.
        schema
            Deliver batches in the schema that the topic had once; None: in its newest.

        Raises
        ------
        UnknownNameError
            There is no such topic.
        UsageError
            No such partition, or `start` is none of what it may be.
        """
        self._check_open()
        info = self.topic(topic)
        info = info if schema is None else replace(info, schema=schema)
        return Reader(self.path, info, partitions=partitions, start=start, states=self._states, verify=verify)

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

    # --- moving topics ------------------------------------------------------------------------------

    def export(
        self,
        topic: str,
        target: str | os.PathLike[str],
        *,
        format: ExportFormat | None = None,
        span: Span = _WHOLE,
        progress: Callable[[int, int], None] | None = None,
    ) -> Exported:
        """Write what a topic holds now to Arrow or Parquet files, from which `import_` makes it again.

        Parameters
        ----------
        topic
            The topic.
        target, format, span, progress
            See `eventide.log.exporting.export_topic`: a file, or a folder that gets one for every partition.

        Raises
        ------
        LogError
            The disk refused; what was at `target` before is as it was.
        UsageError
            The span has times and the topic has none, or the format is neither.
        """
        start = "earliest" if span.from_time is None else span.from_time
        with self.reader(topic, start=start) as reader:
            return export_topic(reader, Path(target), kind=format, span=span, progress=progress)

    def import_(
        self,
        source: str | os.PathLike[str],
        topic: str | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Exported:
        """Make a topic from what `export` wrote: the same partitions, offsets, frames and append times.

        Numbers of producers are not kept: a producer that repeats a batch of before is not recognised.

        Parameters
        ----------
        source
            The file or the folder.
        topic
            Its name here; None: as it was called.
        progress
            Is told how many offsets are done, of how many.

        Raises
        ------
        DataError
            It is no export, or it is damaged; then there is no topic.
        UsageError
            There is a topic of that name.
        """
        self._check_open()
        return import_topic(self, Path(source), topic, meta=self._meta, partitions=self._open, progress=progress)

    # --- care ---------------------------------------------------------------------------------------

    def apply_retention(
        self,
        topic: str | None = None,
        *,
        retention: Retention | None = None,
        protect: Mapping[str, Mapping[int, int]] | None = None,
        now: int | None = None,
        dry_run: bool = False,
    ) -> list[OldSegment]:
        """Delete segments that topics need not keep and nobody holds; return which, oldest first in each partition.

        Parameters
        ----------
        topic
            Only this one; None: all.
        retention
            Limits to go by this time; None: those of each topic.
        protect
            What is needed beside what is held (topic, partition, offset): everything from that offset on stays.
        now
            Processing time, ns since 1970; None: the clock.
        dry_run
            Delete nothing, only return what would go.

        Raises
        ------
        LogUnavailableError
            The disk or the database refused; what went before that is gone.

        Examples
        --------
        >>> import tempfile
        >>> with Log(tempfile.mkdtemp()) as log:
        ...     _ = log.create_topic("a", pa.schema([("x", pa.int64())]), segment_bytes=1024)
        ...     for x in range(20):
        ...         _ = log.append("a", pa.record_batch({"x": [x]}))
        ...     log.hold("me", "a", {0: 7})
        ...     gone = log.apply_retention(retention=Retention(max_bytes=0))
        ...     print(gone[-1].end_offset, log.describe("a")[0].earliest)
        6 6
        """
        gone = []
        for info in self.topics() if topic is None else [find_topic(self.path, self._meta, topic)]:
            kept = (protect or {}).get(info.name, {})
            went: list[OldSegment] = []
            limits = retention or info.retention
            for p in range(info.partitions):
                went += retain_partition(
                    self.path, info, p, meta=self._meta, retention=limits, protect=kept.get(p), now=now, dry_run=dry_run
                )
            if went and not dry_run:
                earliest = {part.partition: part.earliest for part in self.describe(info.name)}
                self._meta.forget_transactions(info.name, earliest)
            gone += went
        return gone

    def hold(self, owner: str, topic: str, positions: Mapping[int, int]) -> None:
        """Keep everything of a topic from these offsets on, whatever its retention says, until `unhold`.

        Parameters
        ----------
        owner
            Who needs it; a later hold of the same owner takes the place of this one, partition by partition.
        topic
            The topic.
        positions
            Offset by partition.

        Raises
        ------
        LogError
            Some of it is gone already; nothing is held then.
        UnknownNameError
            There is no such topic.
        UsageError
            There is no such partition, or an offset is negative.
        """
        self._check_open()
        put_hold(self.path, self.topic(topic), meta=self._meta, owner=owner, positions=positions)

    def unhold(self, owner_prefix: str) -> int:
        """Release what an owner holds, and owners whose names go on with one of ``/ : @ #``; return how many rows.

        ``"hot"`` releases the holds of ``hot`` and ``hot/savepoint-1``, not those of ``hotter``; ``"hot/"``
        only those of the second kind.
        """
        self._check_open()
        return drop_holds(self._meta, owner_prefix)

    def holds(self, topic: str | None = None) -> list[Hold]:
        """Return who holds what, of all topics or of one, by topic and owner."""
        self._check_open()
        return list_holds(self._meta, topic)

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
        """Make everything durable, abort open transactions and let all partitions go.

        Raises
        ------
        LogUnavailableError
            Something could not be made durable; the rest was, and everything was let go.
        """
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            try:
                self._open.close()
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

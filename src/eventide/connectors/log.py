"""``log://topic``: source and sink of the embedded log.

The log's folder is the option ``log``, else the environment variable ``EVENTIDE_LOG``, else ``.eventide/log``.

The sink is exactly once: what is written between two checkpoints is one transaction, prepared with the
checkpoint and committed after it; readers see it from then on. In a run that keeps no checkpoints, what is
written is committed after each item of input. With ``visible="at once"`` every batch is
appended as it comes, readers see it within milliseconds, and what was written after the checkpoint resumed
from is there twice (at least once).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from eventide.errors import SchemaError, UnknownNameError, UsageError, near_names
from eventide.log import Frame, Log, Reader, TopicInfo, Transaction
from eventide.model.batch import visible
from eventide.model.protocols import Chunk, Delivery, Options, Position
from eventide.model.time import EVENT_TIME, MIN_TIME

__all__ = ["LogReader", "LogSink", "LogSource", "sink", "source"]

_SMALL_ROWS = 8192
_MOST_ROWS = 1 << 16
_VISIBLE = ("commit", "at once")


def _root(given: Options) -> Path:
    return Path(given.take("log") or os.environ.get("EVENTIDE_LOG") or Path(".eventide", "log"))


def _topic(uri: str) -> str:
    name = uri.partition("://")[2]
    if not name:
        msg = f"{uri} names no topic"
        raise UsageError(msg, hint="write it as log://readings")
    return name


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        msg = f"log:// option {name}={value!r}"
        raise UsageError(msg, hint=near_names(str(value), [str(a) for a in allowed]))
    return value


def source(uri: str, options: Mapping[str, Any]) -> LogSource:
    """Return a source of the events of a topic.

    Parameters
    ----------
    uri
        ``log://topic``.
    options
        ``log``: folder of the log. ``start``: ``"earliest"`` (default), ``"latest"``, or an event time in ISO 8601:
        then reading begins where events of that time or later may lie. ``offsets``: ``{partition: offset}`` to
        begin at instead. ``partitions``: which ones (all). ``follow``: whether to go on with what is appended
        later (true), or to end at what is visible when the source is opened. ``clock``: ``"recorded"`` gives
        every batch the processing time at which it was appended, for triggers in processing time. ``verify``:
        check every checksum while reading (false).

    Raises
    ------
    UsageError
        An option is unknown or wrong. That there is no such log or topic is found when its schema is asked for.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with Log(folder) as log:
    ...     _ = log.create_topic("a", pa.schema([("x", pa.int64())]))
    ...     _ = log.append("a", pa.record_batch({"x": [1, 2, 3]}))
    >>> reader = source("log://a", {"log": folder, "follow": False}).open({"0": {"offset": 1}})
    >>> [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=0)], reader.finished
    ([[2, 3]], True)
    >>> reader.close()
    """
    given = Options(options, where="log://")
    made = LogSource(
        _root(given),
        _topic(uri),
        start=given.take("start", "earliest"),
        offsets=given.take("offsets"),
        partitions=given.take("partitions"),
        follow=_one_of("follow", given.take("follow", True), (True, False)),
        recorded_clock=_one_of("clock", given.take("clock"), (None, "recorded")) is not None,
        verify=_one_of("verify", given.take("verify", False), (True, False)),
    )
    given.finish()
    return made


def sink(uri: str, options: Mapping[str, Any]) -> LogSink:
    """Return a sink that appends to a topic, which is made when it is not there.

    Parameters
    ----------
    uri
        ``log://topic``.
    options
        ``log``: folder of the log. ``key``: column whose hash chooses the partition. ``partition``: the one to
        write to, where there is no key (0). ``partitions``: how many a new topic gets (1). ``event_time``:
        event-time column of a new topic (the first column of that type). ``visible``: ``"commit"`` or ``"at
        once"``. ``fsync``: ``"each"``, ``"group"`` or ``"os"`` (for ``"at once"``; commits are always durable).
        ``name``: under which prepared transactions are found after a crash (the topic and the partition);
        two sinks that write to one topic from different pipelines need different names.

    Raises
    ------
    UsageError
        An option is unknown or wrong.

    Examples
    --------
    >>> import tempfile
    >>> out = sink("log://b", {"log": tempfile.mkdtemp()})
    >>> out.open(pa.schema([("x", pa.int64())]), None)
    >>> out.write(pa.record_batch({"x": [1]}))
    >>> out.commit(1, out.prepare(1))
    >>> out.close()
    """
    given = Options(options, where="log://")
    topic = _topic(uri)
    key, partition = given.take("key"), given.take("partition", 0)
    made = LogSink(
        _root(given),
        topic,
        key=key,
        partition=partition,
        partitions=given.take("partitions"),
        event_time=given.take("event_time"),
        at_once=_one_of("visible", given.take("visible", "commit"), _VISIBLE) == "at once",
        fsync=_one_of("fsync", given.take("fsync", "each"), ("each", "group", "os")),
        name=given.take("name") or f"{topic}/{key or partition}",
    )
    given.finish()
    return made


class LogSource:
    """Events of one topic; made by `source`."""

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
        frames = self._reader.read(max_rows, timeout=timeout if self._ends is None else 0.0)
        if self._ends is not None:
            # Nothing visible before the end: the rest was aborted, or belongs to a transaction still undecided.
            self._over = not frames
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
    batch = last.batch if len(frames) == 1 else pa.concat_batches([f.batch for f in frames])
    return Chunk(str(last.partition), batch, {"offset": last.base_offset + last.batch.num_rows}, clock=clock)


class LogSink:
    """Appends to one topic; made by `sink`."""

    def __init__(
        self,
        root: Path,
        topic: str,
        *,
        key: str | None,
        partition: int,
        partitions: int | None,
        event_time: str | None,
        at_once: bool,
        fsync: Any,
        name: str,
    ) -> None:
        self._root, self._topic = root, topic
        self._key, self._partition, self._partitions = key, partition, partitions
        self._event_time = event_time
        self._at_once, self._fsync, self._name = at_once, fsync, name
        self.delivery: Delivery = "at_least_once" if at_once else "exactly_once"
        self._log: Log | None = None
        self._transaction: Transaction | None = None

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Open the log, make the topic if need be, and abort what was prepared after the checkpoint resumed from.

        Raises
        ------
        SchemaError
            The topic is there with another schema, or `schema` has no column `key`.
        """
        schema = visible(schema)
        if self._key is not None and self._key not in schema.names:
            msg = f"log://{self._topic}: there is no column {self._key!r} to choose the partition by"
            raise SchemaError(msg, hint=near_names(self._key, schema.names))
        self._log = Log(self._root, fsync=self._fsync)
        try:
            _make_topic(self._log, self._topic, schema, event_time=self._event_time, partitions=self._partitions)
        except BaseException:
            self.close()
            raise
        kept = int(state["transaction"]) if state else 0
        for number in self._log.prepared(self._name):
            if number != kept:
                self._log.abort_prepared(number)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one batch: to the transaction of the next checkpoint, or at once."""
        if not batch.num_rows:
            return
        assert self._log is not None
        batch = batch if visible(batch.schema).equals(batch.schema) else batch.select(visible(batch.schema).names)
        if self._at_once:
            self._log.append(self._topic, batch, partition=self._partition, key=self._key)
            return
        if self._transaction is None:
            self._transaction = self._log.transaction(owner=self._name)
        self._transaction.append(self._topic, batch, partition=self._partition, key=self._key)

    def publish(self) -> None:
        """Make what was written durable and visible now; for runs that keep no checkpoints."""
        if self._transaction is not None:
            self._transaction.commit()
            self._transaction = None

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Make what was written durable, and return the number of its transaction (0: there is none)."""
        assert self._log is not None
        if self._at_once:
            self._log.flush()
        if self._transaction is None:
            return {"transaction": 0}
        number = self._transaction.prepare()
        self._transaction = None
        return {"transaction": number}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Commit the transaction; a second time does nothing."""
        assert self._log is not None
        if state["transaction"]:
            self._log.commit_prepared(int(state["transaction"]))

    def close(self) -> None:
        """Abort what was not prepared, and close the log."""
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None
        if self._log is not None:
            self._log.close()
            self._log = None


def _make_topic(log: Log, name: str, schema: pa.Schema, *, event_time: str | None, partitions: int | None) -> None:
    try:
        topic = log.topic(name)
    except UnknownNameError:
        times = [f.name for f in schema if f.type == EVENT_TIME]
        column = event_time or (times[0] if times else None)
        topic = log.create_topic(name, schema, event_time=column, partitions=partitions or 1, exist_ok=True)
    if partitions is not None and topic.partitions != partitions:
        msg = f"topic {name!r} has {topic.partitions} partitions, not {partitions}"
        raise UsageError(msg, hint="leave the option partitions out, or write to another topic")
    stored = {f.name: f.type for f in topic.schema}
    wanted = {f.name: f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in schema}
    if stored != wanted:
        differ = sorted(n for n in stored.keys() | wanted.keys() if stored.get(n) != wanted.get(n))
        is_, has = wanted.get(differ[0], "absent"), stored.get(differ[0], "absent")
        msg = f"topic {name!r} has another schema: column {differ[0]!r} is {has} there and {is_} here"
        raise SchemaError(msg, hint="write to another topic, or delete this one: eventide log delete")

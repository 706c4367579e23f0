"""A topic of Kafka as a source: the positions are ours, a group's committed offsets are never asked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventide.connectors._file_form import Form
from eventide.connectors._kafka_client import SECONDS, Cluster
from eventide.connectors._kafka_decode import Decoder, Message
from eventide.errors import UnavailableError, UsageError, near_names
from eventide.model.protocols import BadInput, Chunk, Decoded, Position

__all__ = ["KafkaReader", "KafkaSource"]

_FIRST_MESSAGES = 1000
_MOST_MESSAGES = 100_000
_EARLIEST = 0
_GATHER = 0.01
_NEW_SECONDS = 5.0
_DECIDED_SECONDS = 2.0


class KafkaSource:
    """The events of a topic; made by `eventide.connectors.kafka.source`.

    Parameters
    ----------
    cluster, topic
        Where.
    form, beside, skip_empty
        How messages become events, see `Decoder`.
    start
        ``"earliest"``, ``"latest"``, or a time (ns) of the messages.
    offsets
        Offsets by partition that win over `start`.
    partitions
        Which ones; None is all, those that are added later too.
    follow
        Whether to go on with what comes later, or end at what is there when it is opened.
    isolation
        ``"read_committed"`` or ``"read_uncommitted"``.
    group
        Under which group progress is shown to others ("": not).
    look
        How often to look for new partitions, in seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        *,
        form: Form,
        beside: Mapping[str, str],
        skip_empty: bool,
        start: str | int,
        offsets: Mapping[int, int],
        partitions: Sequence[int] | None,
        follow: bool,
        isolation: str,
        group: str,
        look: float,
    ) -> None:
        self.cluster, self.topic = cluster, topic
        self._form, self._beside, self._skip_empty = form, beside, skip_empty
        self.start, self.offsets, self._chosen = start, offsets, partitions
        self.follow, self._isolation, self.group, self.look = follow, isolation, group, look
        self._schema: pa.Schema | None = None

    def consumer(self) -> Consumer:
        """Return a new consumer."""
        return self.cluster.consumer(isolation_level=self._isolation, group_id=self.group or "eventide")

    @property
    def unbounded(self) -> bool:
        """Whether it waits for more at the end."""
        return self.follow

    def schema(self) -> pa.Schema:
        """Return the schema: the declared one or that of the first messages, and columns for what stands beside.

        Raises
        ------
        UsageError
            None is declared, and the topic has no messages.
        UnavailableError
            The cluster cannot be reached.
        """
        if self._schema is None:
            values = self._form.schema or self._found()
            self._form = replace(self._form, schema=values)
            for what, name in self._beside.items():
                if name in values.names:
                    msg = f"{self.cluster.where}: the events have a column {name!r} already"
                    raise UsageError(msg, hint=f"pass another name: {what}='{what}_of_message'")
            self._schema = self.decoder().schema
        return self._schema

    def decoder(self) -> Decoder:
        """Return what makes events of messages."""
        return Decoder(self._form, self._beside, self._skip_empty)

    def _found(self) -> pa.Schema:
        """Return the schema that the first messages suggest."""
        consumer = self.consumer()
        values: list[bytes] = []
        try:
            with self.cluster.errors():
                left = {p: self.bounds(consumer, p) for p in self.known(consumer)}
                left = {p: at for p, at in left.items() if at[0] < at[1]}
                consumer.assign([TopicPartition(self.topic, p, low) for p, (low, _) in left.items()])
                deadline = time.monotonic() + SECONDS
                while left and len(values) < _FIRST_MESSAGES and time.monotonic() < deadline:
                    for message in consumer.consume(_FIRST_MESSAGES, 0.1):
                        if message.error() is not None:
                            left.pop(message.partition(), None)
                        elif message.value():
                            values.append(message.value())
        finally:
            consumer.close()
        if not values:
            msg = f"{self.cluster.where}: the topic is empty, nothing says which columns there are"
            raise UsageError(msg, hint="pass schema={'column': 'type', ...}")
        if hasattr(self._form.module, "infer"):
            text = b"\n".join(values) if hasattr(self._form.module, "cut") else values[0]
            found: pa.Schema = self._form.module.infer(text, **self._form.options)
        else:
            found = self._form.module.decode(values[0], **self._form.options).batch.schema
        return found

    def known(self, consumer: Consumer, *, fresh: bool = True) -> list[int]:
        """Return the partitions that are there now and are read; `fresh` is a consumer that reads nothing yet.

        Raises
        ------
        UsageError
            There is no such topic or partition.
        """
        with self.cluster.errors(consumer if fresh else None):
            topic = consumer.list_topics(self.topic, timeout=SECONDS).topics[self.topic]
            if topic.error is not None and topic.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                names = [t for t in consumer.list_topics(timeout=SECONDS).topics if not t.startswith("_")]
                msg = f"{self.cluster.where}: there is no such topic"
                raise UsageError(
                    msg, hint=near_names(self.topic, names[:200]) if names else "the cluster has no topics"
                )
            if topic.error is not None:
                raise self.cluster.told(topic.error)
        there = sorted(topic.partitions)
        missing = sorted({*(self._chosen or ()), *self.offsets} - set(there))
        if missing:
            msg = f"{self.cluster.where} has no partition {missing[0]}"
            raise UsageError(msg, hint=f"it has {len(there)}, the first is 0")
        return there if self._chosen is None else sorted(self._chosen)

    def bounds(self, consumer: Consumer, partition: int) -> tuple[int, int]:
        """Return the first offset that is there, and the one after the last that can be read."""
        at, deadline = TopicPartition(self.topic, partition), time.monotonic() + _NEW_SECONDS
        while True:
            try:
                with self.cluster.errors():
                    low, high = consumer.get_watermark_offsets(at, timeout=SECONDS)
            except UnavailableError:  # a partition that was made just now has no leader yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return low, high

    def ends(self, consumer: Consumer, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offsets at which a bounded read ends: after what is committed now.

        A commit is decided when it returns, and its partitions are told a moment later: that moment is waited for.
        A transaction that stays open longer is left to the next read.
        """
        found = {p: self.bounds(consumer, p)[1] for p in partitions}
        if self._isolation != "read_committed":
            return found
        plain, deadline = self.cluster.consumer(isolation_level="read_uncommitted"), time.monotonic() + _DECIDED_SECONDS
        try:
            wanted = {p: self.bounds(plain, p)[1] for p in found}
        finally:
            plain.close()
        while time.monotonic() < deadline:
            waiting = [p for p, end in found.items() if end < wanted[p]]
            if not waiting:
                break
            time.sleep(0.02)
            found |= {p: self.bounds(consumer, p)[1] for p in waiting}
        return found

    def partitions(self) -> list[str]:
        """Return the numbers of the partitions, as text."""
        consumer = self.consumer()
        try:
            return [str(p) for p in self.known(consumer)]
        finally:
            consumer.close()

    def again(self, bad: Sequence[BadInput]) -> Decoded:
        """Decode once more what could not be decoded."""
        self.schema()
        return self.decoder().again(bad)

    def open(self, positions: Mapping[str, Position]) -> KafkaReader:
        """Open at ``{"offset": n}`` of each partition, else where the options say.

        Raises
        ------
        UnavailableError
            The cluster cannot be reached.
        """
        self.schema()
        return KafkaReader(self, {int(p): int(at["offset"]) for p, at in positions.items()})

    def begin(self, consumer: Consumer, partitions: Iterable[int], *, resumed: bool) -> dict[int, int]:
        """Return where to begin in partitions that no position is known of."""
        partitions = list(partitions)
        begin = {p: self.offsets[p] for p in partitions if p in self.offsets}
        rest = [p for p in partitions if p not in begin]
        if isinstance(self.start, int):
            wanted = [TopicPartition(self.topic, p, max(0, -(-self.start // 1_000_000))) for p in rest]
            with self.cluster.errors():
                found = consumer.offsets_for_times(wanted, timeout=SECONDS) if wanted else []
            begin |= {t.partition: t.offset if t.offset >= 0 else self.bounds(consumer, t.partition)[1] for t in found}
            return begin
        # The first position of every partition was noted (`began`): one that has none was added later, and all of
        # it is new.
        latest = self.start == "latest" and not resumed
        return begin | {p: self.bounds(consumer, p)[int(latest)] for p in rest}


class KafkaReader:
    """Reads the partitions of a topic."""

    def __init__(self, source: KafkaSource, positions: Mapping[int, int]) -> None:
        self._source, self._decoder = source, source.decoder()
        self._down: KafkaError | None = None
        self._consumer: Consumer | None = source.cluster.consumer(
            isolation_level=source._isolation, group_id=source.group or "eventide", error_cb=self._failed
        )
        try:
            known = source.known(self._consumer)
            begin = source.begin(self._consumer, [p for p in known if p not in positions], resumed=bool(positions))
            self._at = {p: positions.get(p, begin.get(p, _EARLIEST)) for p in known}
            self._ends: dict[int, int] | None = None
            if not source.follow:
                self._ends = source.ends(self._consumer, known)
            self._left = {p for p, at in self._at.items() if self._ends is None or at < self._ends[p]}
            with source.cluster.errors():
                self._consumer.assign([TopicPartition(source.topic, p, self._at[p]) for p in sorted(self._left)])
        except BaseException:
            self.close()
            raise
        self._began = dict(self._at)
        self._looked = time.monotonic()
        self._rows_per_message = 1.0 if hasattr(source._form.module, "cut") else 512.0

    def _failed(self, error: KafkaError) -> None:
        self._source.cluster._failed(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down = error

    def began(self) -> dict[str, Position]:
        """Return where reading began: what is ``"latest"`` now is not any more when the run goes on."""
        return {str(p): {"offset": at} for p, at in self._began.items()}

    @property
    def finished(self) -> bool:
        """Whether a bounded read has come to its end."""
        return self._ends is not None and not self._left

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events.

        Raises
        ------
        UnavailableError
            No broker can be reached.
        DataError
            Events were deleted before they were read, or we may not read them.
        """
        if self.finished:
            return []
        if self._ends is None and time.monotonic() - self._looked > self._source.look:
            self._look_for_partitions()
        messages = self._next(max(1, min(_MOST_MESSAGES, int(max_rows / self._rows_per_message))), timeout)
        parts: dict[int, list[Message]] = {}
        for message in messages:
            parts.setdefault(message.partition(), []).append(message)
        chunks = [chunk for p, part in parts.items() if (chunk := self._chunk(p, part)) is not None]
        if chunks:
            rows = sum(c.batch.num_rows for c in chunks)
            self._rows_per_message = max(1.0, rows / max(1, sum(map(len, parts.values()))))
        return chunks

    def _next(self, most: int, timeout: float) -> list[Message]:
        """Return what is there, else what comes first within the timeout."""
        assert self._consumer is not None
        with self._source.cluster.errors():
            # A bounded read is about throughput: it lets some more come, in place of many small batches.
            gather = 0 if self._ends is None else min(timeout, _GATHER)
            messages: list[Message] = self._consumer.consume(most, gather)
            if not messages and timeout > 0:
                messages = self._consumer.consume(1, timeout)
                if messages and most > 1:
                    messages += self._consumer.consume(most - 1, gather)
            if not messages and self._down is not None:
                raise KafkaException(self._down)
        if messages:
            self._down = None
        return messages

    def _chunk(self, partition: int, messages: list[Message]) -> Chunk | None:
        end = math.inf if self._ends is None else self._ends[partition]
        good = [m for m in messages if m.error() is None]
        ended = bool(good) and good[-1].offset() >= end - 1
        for message in messages if len(good) != len(messages) else ():
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise self._source.cluster.told(error)
            # What lies between the last event and the end of a partition are markers of transactions.
            ended |= error is not None and message.offset() >= end
        if partition not in self._left:
            return None
        if ended:
            good = [m for m in good if m.offset() < end]
            self._done(partition)
        if not good:
            return None
        self._at[partition] = good[-1].offset() + 1
        decoded = self._decoder.decode(good)
        return Chunk(str(partition), decoded.batch, {"offset": self._at[partition]}, decoded.bad)

    def _done(self, partition: int) -> None:
        if partition in self._left and self._ends is not None:
            self._left.discard(partition)
            assert self._consumer is not None
            with self._source.cluster.errors():
                self._consumer.incremental_unassign([TopicPartition(self._source.topic, partition)])

    def _look_for_partitions(self) -> None:
        """Find partitions that were added; all that they hold is read."""
        assert self._consumer is not None
        self._looked = time.monotonic()
        try:
            new = [p for p in self._source.known(self._consumer, fresh=False) if p not in self._at]
            begin = {p: self._source.bounds(self._consumer, p)[0] for p in new}
        except UnavailableError:
            return
        if new:
            with self._source.cluster.errors():
                self._consumer.incremental_assign([TopicPartition(self._source.topic, p, begin[p]) for p in new])
            self._at |= begin
            self._began |= begin
            self._left |= set(new)

    def backlog(self) -> int | None:
        """Return how many messages wait, markers of transactions included; None before that is known."""
        if self._consumer is None:
            return 0
        ends = self._ends
        if ends is None:
            cached = {p: self._cached_end(p) for p in self._at}
            if any(end < 0 for end in cached.values()):
                return None
            ends = cached
        elif self._rows_per_message > 1:
            return 0 if self.finished else None  # messages hold any number of events
        return int(sum(max(0, ends[p] - self._at[p]) for p in self._left) * self._rows_per_message)

    def _cached_end(self, partition: int) -> int:
        assert self._consumer is not None
        with self._source.cluster.errors():
            found = self._consumer.get_watermark_offsets(TopicPartition(self._source.topic, partition), cached=True)
        return int(found[1]) if found else -1

    def release(self, owner: str, positions: Mapping[str, Position]) -> None:
        """Show the group's progress to whoever watches it; nothing depends on that."""
        if not self._source.group or self._consumer is None or not positions:
            return
        at = [TopicPartition(self._source.topic, int(p), int(x["offset"])) for p, x in positions.items()]
        self._consumer.commit(offsets=at, asynchronous=True)

    def forget(self, owner: str) -> None:
        """Do nothing: a topic of Kafka keeps nothing for a reader."""

    def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

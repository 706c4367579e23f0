"""A topic of Kafka as a sink, exactly once.

A producer of Kafka cannot commit what another process prepared: after a crash its open transaction is aborted. So the
messages of a checkpoint are first *staged*: while they are written they go to a folder beside the checkpoints too, or,
where the engine has none, to a topic beside the target (parts of some MiB, as Arrow bytes), and `prepare` waits until
they are durable there. `commit` writes them to the target together
with a note of the last part committed, in one transaction. After any crash the note tells whether a commit was done;
where it was not, the staged messages are read back and written. No timeout of a transaction runs meanwhile.

The transactional id is that of the sink, so a process that was believed dead and is not is fenced by the next one that
opens (KIP-98, 2016): it can commit nothing more, and what it stages nobody looks at.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer

from eventide.connectors import _kafka_staged as staged
from eventide.connectors._kafka_client import SECONDS, Cluster
from eventide.connectors._kafka_encode import Encoder, dictionaries
from eventide.connectors._kafka_stage import InFolder, InTopic, Message, Part, Stage, part_of
from eventide.connectors._kafka_stage_folder import FolderStage
from eventide.connectors._kafka_stage_topic import TopicStage
from eventide.connectors._kafka_staged import COMMITS, STAGED, Committed
from eventide.errors import CheckpointError, UnavailableError
from eventide.model.batch import visible
from eventide.model.protocols import Delivery

__all__ = ["KafkaSink"]

_Done: TypeAlias = Callable[..., None]

_PART_BYTES = 2 << 20
_HELD_BYTES = 256 << 20
_BLOCK = 10_000
_QUEUE_BYTES = 64 << 20
_TRANSACTION_MS = 120_000
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
_CLIENT_BYTES = 1_000_000_000
_ENVELOPE_BYTES = 1_000
"""What a message may have beside its value: key, headers, and the batch around it."""


class KafkaSink:
    """Writes to one topic; made by `eventide.connectors.kafka.sink`.

    Parameters
    ----------
    cluster, topic
        Where.
    encoder
        How events become messages.
    partitions
        Of a topic that is made; 0 is what the cluster makes.
    partitioner
        How a key chooses the partition, by librdkafka's names.
    at_once
        Whether messages are written as they come, without staging and transactions.
    name
        Of the transactions; "" is one of the sink's own.
    """

    shared = True
    commits_aside = True  # `write` and `commit` use a client each

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        *,
        encoder: Encoder,
        partitions: int,
        partitioner: str,
        at_once: bool,
        name: str,
    ) -> None:
        self._cluster, self._topic, self._encoder = cluster, topic, encoder
        self._partitions, self._partitioner = partitions, partitioner
        self._at_once, self._name = at_once, name
        self.delivery: Delivery = "at_least_once" if at_once else "exactly_once"
        self._owner = ""
        self._producer: Producer | None = None
        self._folder: Path | None = None
        self._stage: Stage | None = None
        self._names: list[str] = []
        self._forget()

    def _forget(self) -> None:
        self._sink, self._epoch, self._place = "", "", 0
        self._part, self._committed = 0, Committed(0, -1)
        self._buffer: list[pa.RecordBatch] = []
        self._bytes = 0
        self._staged: list[Part] = []
        self._held: dict[int, tuple[list[pa.RecordBatch], int]] = {}  # parts and their bytes
        self._failed: list[KafkaError] = []  # what was not written

    def owned(self, owner: str) -> None:
        """Take the name of the pipeline and node that write, for whoever reads the notes of commits."""
        self._owner = owner

    def beside(self, folder: Path) -> None:
        """Take a folder that goes with the checkpoints, for what waits for its commit."""
        self._folder = folder

    # -- opening and closing

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Connect, make the topic if need be, fence who wrote as this sink before, and see what was committed.

        Raises
        ------
        SchemaError
            The events cannot be made messages.
        CheckpointError
            The topic has results of later checkpoints than the one resumed from.
        UnavailableError
            The cluster cannot be reached.
        """
        self.close()
        schema = visible(schema)
        self._encoder.check(schema)
        self._names = schema.names
        try:
            if self._at_once:
                staged.make_topics(self._cluster, self._topic, self._partitions, own=False)
                self._producer = self._made()
            else:
                self._begin(state or {})
        except BaseException:
            self.close()
            raise

    def _made(self, **own: Any) -> Producer:
        """Return a producer of messages as large as the topic takes them."""
        most = min(staged.largest(self._cluster, self._topic), _CLIENT_BYTES)
        self._encoder = replace(self._encoder, largest=most - _ENVELOPE_BYTES)
        return self._cluster.producer(
            partitioner=self._partitioner, message_max_bytes=max(most, _ENVELOPE_BYTES), **own
        )

    def _begin(self, state: Mapping[str, Any]) -> None:
        found = staged.make_topics(self._cluster, self._topic, self._partitions)
        self._sink = str(state.get("sink") or uuid.uuid4().hex)
        self._epoch = uuid.uuid4().hex[:8]
        self._place = int(state.get("place", staged.partition_of(self._sink, min(found[COMMITS], found[STAGED]))))
        parts = [part_of(p) for p in state.get("staged", ())]
        self._stage = self._stage_of(parts)
        self._producer = self._made(
            transactional_id=f"eventide-{self._name or self._sink}", transaction_timeout_ms=_TRANSACTION_MS
        )
        self._patiently(self._producer.init_transactions)
        if not state:
            return
        self._part = int(state["part"])
        self._staged = parts
        self._committed = staged.committed(self._cluster, self._sink, partition=self._place, start=int(state["seen"]))
        first = self._staged[0].number if self._staged else self._part + 1
        if self._committed.part > self._part:
            msg = f"{self._cluster.where}: the topic has results of later checkpoints than the one resumed from"
            raise CheckpointError(msg, hint="resume from the newest checkpoint, or run afresh into another topic")
        if self._committed.part < first - 1:
            msg = f"{self._cluster.where}: the cluster does not know of commits that the checkpoint knows of"
            raise CheckpointError(msg, hint="it is another cluster, or an older copy: run afresh (resume=False)")

    def _stage_of(self, parts: list[Part]) -> Stage:
        """Return where parts wait: the topic as long as there are some from a run that had no folder."""
        if self._folder is None and any(isinstance(part, InFolder) for part in parts):
            msg = (
                f"{self._cluster.where}: results of the checkpoint wait in files beside it, and this engine keeps none"
            )
            raise CheckpointError(msg, hint="go on with the engine that wrote the checkpoint")
        if self._folder is None or any(isinstance(part, InTopic) for part in parts):
            name = f"{self._sink}/{self._epoch}"
            return TopicStage(self._cluster, name, partition=self._place, text=self._encoder.text)
        stage = FolderStage(self._folder, self._epoch, text=self._encoder.text)
        stage.tidy(parts)
        return stage

    def close(self) -> None:
        """Drop what was not prepared, and disconnect; at once, what was written is waited for."""
        producer = self._producer
        if producer is not None and self._at_once:
            with suppress(KafkaException):
                producer.flush(SECONDS)
        self.abandon()

    def abandon(self) -> None:
        """Disconnect without waiting for anything."""
        producer, stage, self._producer, self._stage = self._producer, self._stage, None, None
        self._forget()
        if stage is not None:
            with suppress(KafkaException):
                stage.close()
        if producer is not None:
            with suppress(KafkaException, SystemError):  # the second is what the client makes of one that was fenced
                producer.purge()
                producer.close()

    # -- writing

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch: for the next checkpoint, or into the topic at once.

        Raises
        ------
        DataError
            A message is larger than the topic takes.
        """
        if not batch.num_rows:
            return
        messages = self._encoder.encode(batch.select(self._names))
        if self._at_once:
            with self._cluster.errors():
                self._produce(messages, self._topic)
            self._check()
            return
        self._buffer.append(messages)
        self._bytes += messages.nbytes
        if self._bytes >= _PART_BYTES:
            self._part_done()

    def _produce(self, messages: pa.RecordBatch, topic: str) -> None:
        """Hand messages to the client, as fast as it takes them."""
        assert self._producer is not None
        rows = max(1, min(_BLOCK, messages.num_rows * _QUEUE_BYTES // max(4 * messages.nbytes, 1)))
        for start in range(0, messages.num_rows, rows):
            block = dictionaries(messages.slice(start, rows))
            plain = not ({"headers", "timestamp"} & block[0].keys())
            done: _Done | None = self._delivered
            if plain and not self._at_once:
                # A transaction fails with any of its messages, so only the first of a block reports: it tells why where
                # the whole topic is refused, and a call of Python for every message costs a tenth of the rate.
                self._alone({"topic": topic, **block.pop(0)})
                done = None
            while plain and block:
                if self._producer.produce_batch(topic, block, on_delivery=done) == len(block):
                    break
                block = self._refused(block)
            for message in () if plain else block:
                self._alone({"topic": topic, **message})
            self._producer.poll(0)

    def _refused(self, block: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages that the client had no room for; what else is wrong with one is an error."""
        assert self._producer is not None
        again = [(m, m.pop("_error")) for m in block if "_error" in m]
        for _, error in again:
            if error.code() != KafkaError._QUEUE_FULL:
                raise self._cluster.told(error)
        self._producer.poll(0.05)
        return [m for m, _ in again]

    def _alone(self, message: Message, done: _Done | None = None) -> None:
        """Hand one message to the client."""
        assert self._producer is not None
        while True:
            try:
                with self._cluster.errors():
                    self._producer.produce(**message, on_delivery=done or self._delivered)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed.append(error)

    def _noted(self, offsets: list[int]) -> _Done:
        """Return a function that keeps the offsets of what was written, and why something was not."""

        def done(error: KafkaError | None, message: Any) -> None:
            if error is None:
                offsets.append(message.offset())
            else:
                self._failed.append(error)

        return done

    def _check(self) -> None:
        if self._failed:
            first = self._failed[0]
            self._failed.clear()
            raise self._cluster.told(first)

    # -- transactions

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Return a block whose messages appear together, or not at all."""
        assert self._producer is not None
        self._failed.clear()
        with self._cluster.errors():
            self._producer.begin_transaction()
            try:
                yield
                self._patiently(self._producer.commit_transaction)
            except BaseException as error:
                # An error of the commit may leave open whether it was done: then this is refused, and the next
                # producer that opens sees.
                # What was purged is what comes of a failure, not why.
                why = next((e for e in self._failed if e.code() not in _PURGED), None)
                with suppress(KafkaException):
                    self._producer.abort_transaction(SECONDS)
                if why is not None:
                    raise self._cluster.told(why) from error  # why it could not be committed
                raise

    def _patiently(self, call: Callable[[float], object]) -> None:
        """Make a call that the client may make again when it says so, for a while."""
        deadline = time.monotonic() + 2 * SECONDS
        while True:
            try:
                with self._cluster.errors(self._producer):
                    call(SECONDS)
            except UnavailableError as error:
                cause = error.__cause__
                again = isinstance(cause, KafkaException) and cause.args[0].retriable()
                if not again or time.monotonic() > deadline:
                    raise
            else:
                return

    def _part_done(self) -> None:
        """Begin to make the messages that were written durable beside the target."""
        if not self._buffer:
            return
        assert self._stage is not None
        self._part += 1
        self._stage.add(self._part, self._buffer)
        # The last parts stay in memory too, so that a commit need not read them back.
        if sum(size for _, size in list(self._held.values())) + self._bytes <= _HELD_BYTES:
            self._held[self._part] = (self._buffer, self._bytes)
        self._buffer, self._bytes = [], 0

    def _settle(self) -> None:
        """Wait until all that was staged is durable."""
        assert self._stage is not None
        self._staged += self._stage.settle()

    def _flush(self) -> None:
        assert self._producer is not None
        with self._cluster.errors():
            left = self._producer.flush(SECONDS)
        self._check()
        if left:
            msg = f"{self._cluster.where}: {left:,} messages were not taken in {SECONDS:g} s"
            raise UnavailableError(msg, hint="see whether the broker runs")

    def publish(self) -> None:
        """Make what was written visible now; for runs that keep no checkpoints."""
        assert self._producer is not None
        if self._at_once:
            self._flush()
            return
        self._settle()
        if not (self._buffer or self._staged):
            return
        with self._transaction():
            self._move(self._part)
            for messages in self._buffer:
                self._produce(messages, self._topic)
        self._moved(self._part)
        self._buffer, self._bytes = [], 0

    # -- checkpoints

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Make what was written durable, and return where it is."""
        assert self._producer is not None
        if self._at_once:
            self._flush()
            return {}
        self._part_done()
        self._settle()
        parts = [list(p) for p in self._staged]
        seen = self._committed.offset
        return {"sink": self._sink, "place": self._place, "part": self._part, "staged": parts, "seen": seen}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Write the prepared messages to the topic, in one transaction; a second time does nothing.

        Raises
        ------
        CheckpointError
            Messages that were prepared are not there any more.
        """
        if self._at_once or int(state["part"]) <= self._committed.part:
            return
        assert self._producer is not None
        upto, offsets = int(state["part"]), list[int]()
        note = {"part": upto, "checkpoint": checkpoint, "topic": self._topic, "owner": self._owner}
        with self._transaction():
            self._move(upto)
            message = {
                "topic": COMMITS,
                "key": self._sink.encode(),
                "value": json.dumps(note).encode(),
                "partition": self._place,
            }
            self._alone(message, self._noted(offsets))
        self._moved(upto)
        self._committed = Committed(upto, offsets[0])

    def _move(self, upto: int) -> None:
        """Write staged parts to the target, and take them away."""
        assert self._stage is not None
        for part in self._staged:
            if self._committed.part < part.number <= upto:
                held = self._held.get(part.number)
                for messages in held[0] if held else [self._stage.read(part)]:
                    self._produce(messages, self._topic)
                for message in self._stage.farewell(part):
                    self._alone(message)

    def _moved(self, upto: int) -> None:
        assert self._stage is not None
        gone = [p for p in self._staged if p.number <= upto]
        self._staged = [p for p in self._staged if p.number > upto]
        self._stage.drop(gone, left=self._staged)
        for number in [n for n in list(self._held) if n <= upto]:  # `write` may add to it just now
            del self._held[number]

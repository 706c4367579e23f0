"""Parts that wait for their commit as messages of a topic: whoever goes on, wherever, finds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, Producer, TopicPartition

from eventide.connectors._kafka_client import SECONDS, Cluster, read_range
from eventide.connectors._kafka_stage import InTopic, Message, Part, pack, unpacked
from eventide.connectors._kafka_staged import STAGED
from eventide.errors import CheckpointError, UnavailableError

__all__ = ["TopicStage"]

_PIECE_BYTES = 900_000


class TopicStage:
    """Parts as messages of the topic ``_eventide_staged``, in pieces that it takes.

    Parameters
    ----------
    cluster
        Where the topic is.
    name
        What the keys of parts begin with.
    partition
        Of the topic.
    text
        Whether to compress: text shrinks, numbers hardly do.
    """

    def __init__(self, cluster: Cluster, name: str, *, partition: int, text: bool) -> None:
        self._cluster, self._name, self._partition, self._text = cluster, name, partition, text
        self._producer: Producer | None = None
        self._underway: dict[int, tuple[str, list[int], int]] = {}
        self._failed: list[KafkaError] = []

    def add(self, number: int, messages: list[pa.RecordBatch]) -> None:
        """Hand a part to the client."""
        if self._producer is None:
            self._producer = self._cluster.producer()
        offsets, count = list[int](), 0
        key = f"{self._name}/{number}"
        out = pa.BufferOutputStream()
        pack(messages, out, text=self._text)
        data = memoryview(out.getvalue())
        for count, at in enumerate(range(0, len(data), _PIECE_BYTES), 1):
            piece = {"key": f"{key}/{count - 1}".encode(), "value": bytes(data[at : at + _PIECE_BYTES])}
            self._send({"topic": STAGED, "partition": self._partition, **piece}, offsets)
        self._producer.poll(0)
        self._underway[number] = (key, offsets, count)

    def _send(self, message: Message, offsets: list[int]) -> None:
        assert self._producer is not None

        def done(error: KafkaError | None, sent: Any) -> None:
            if error is None:
                offsets.append(sent.offset())
            else:
                self._failed.append(error)

        while True:
            try:
                with self._cluster.errors():
                    self._producer.produce(**message, on_delivery=done)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def settle(self) -> list[Part]:
        """Wait until the cluster has all that was added."""
        if self._producer is None or not self._underway:
            return []
        with self._cluster.errors():
            left = self._producer.flush(SECONDS)
        if self._failed:
            first = self._failed[0]
            self._failed.clear()
            raise self._cluster.told(first)
        found: list[Part] = []
        for number, (key, offsets, count) in self._underway.items():
            if left or len(offsets) != count:
                msg = f"{self._cluster.where}: not all of what was staged was taken in {SECONDS:g} s"
                raise UnavailableError(msg, hint="see whether the broker runs")
            found.append(InTopic(number, min(offsets), max(offsets), key, count))
        self._underway = {}
        return found

    def read(self, part: InTopic) -> pa.RecordBatch:
        """Return the messages of a part.

        Raises
        ------
        CheckpointError
            They are not there any more.
        """
        place = TopicPartition(STAGED, self._partition, part.first)
        found = {m.key(): m.value() for m in read_range(self._cluster, place, end=part.last + 1)}
        data = [found.get(key) or b"" for key in part.piece_keys()]
        try:
            return unpacked(b"".join(data))
        except (pa.ArrowException, IndexError, OSError) as error:
            msg = f"{self._cluster.where}: what the checkpoint staged in {STAGED} is not there any more ({error})"
            raise CheckpointError(msg, hint="the topic was deleted or emptied: run afresh (resume=False)") from None

    def farewell(self, part: InTopic) -> list[Message]:
        """Return tombstones for the pieces of a part."""
        keys = part.piece_keys()
        return [{"topic": STAGED, "key": key, "value": None, "partition": self._partition} for key in keys]

    def drop(self, parts: Iterable[Part], *, left: Iterable[Part]) -> None:
        """Do nothing: tombstones went with the commit."""

    def close(self) -> None:
        """Disconnect without waiting for anything."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.close()

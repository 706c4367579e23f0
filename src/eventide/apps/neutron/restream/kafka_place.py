"""Messages in Kafka."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from eventide.apps.neutron.restream.machine import Outgoing, Received, Subscription
from eventide.apps.neutron.restream.place import Positions, Stamp
from eventide.errors import EventideError, MissingDependencyError, UnavailableError, UsageError

__all__ = ["KafkaPlace"]

_LOG = logging.getLogger("eventide.neutron")
_TOO_OLD = "Cannot find start time in the data: messages of that time were deleted"
_GONE = "messages that were not counted yet were deleted"
_SECONDS = 30.0
_MESSAGES = 10_000
_MOST_BYTES = 160 << 20  # a histogram of the most bins


class KafkaPlace:
    """A cluster.

    Parameters
    ----------
    brokers
        ``host:port``, several with commas.
    settings
        More settings of librdkafka.
    """

    def __init__(self, brokers: str, settings: Mapping[str, Any]) -> None:
        try:
            client = importlib.import_module("eventide.connectors._kafka_client")
            self.kafka = importlib.import_module("confluent_kafka")
        except ImportError:
            msg = "the service needs confluent-kafka"
            raise MissingDependencyError(msg, hint="pip install 'eventide[kafka]'") from None
        self.cluster = client.Cluster(brokers, dict(settings), f"kafka://{brokers}")
        self._producer: Any = None
        self._refused = ""

    def prepare(self, topic: str) -> None:
        """Do nothing: topics are the business of those who run the brokers."""

    def has(self, topic: str) -> bool:
        """Tell whether there is such a topic."""
        consumer = self.cluster.consumer()
        try:
            with self.cluster.errors(consumer):
                return bool(self.partitions(consumer, topic))
        finally:
            consumer.close()

    def partitions(self, client: Any, topic: str) -> list[Any]:
        """Return the partitions of a topic; none where there is no such topic."""
        found = client.list_topics(topic, timeout=_SECONDS).topics.get(topic)
        if found is None or found.error is not None:
            return []
        return [self.kafka.TopicPartition(topic, number) for number in sorted(found.partitions)]

    def reading(self) -> _Reader:
        """Return what reads topics."""
        return _Reader(self)

    def send(self, messages: Sequence[Outgoing], stamp: Stamp | None) -> None:
        """Send messages. Kafka is not told the stamp: a message sent again is the same, byte for byte."""
        if self._producer is None:
            self._producer = self.cluster.producer(message_max_bytes=_MOST_BYTES)
        for each in messages:
            try:
                self._produced(each, needed=stamp is not None)
            except self.kafka.KafkaException as error:
                _LOG.error("a message for %s cannot be sent: %s", each.topic, error)

    def _produced(self, each: Outgoing, *, needed: bool) -> None:
        until = time.monotonic() + _SECONDS
        while True:
            try:
                self._producer.produce(each.topic, each.value, on_delivery=self._needed if needed else _delivered)
                return
            except BufferError:  # as much is on its way as may be: wait until brokers took some of it
                if time.monotonic() > until and not needed:
                    _LOG.error("a message for %s was left out: brokers took none in %g s", each.topic, _SECONDS)
                    return
                self._producer.poll(0.1)

    def _needed(self, error: Any, message: Any) -> None:
        if error is not None:
            self._refused = f"a message for {message.topic()} was not taken: {error}"

    def poll(self) -> None:
        """Hear what became of messages."""
        if self._producer is not None:
            self._producer.poll(0)

    def settle(self) -> None:
        """Wait until brokers have everything, or librdkafka gives it up (``message.timeout.ms``)."""
        while self._producer is not None and self._producer.flush(_SECONDS):
            _LOG.warning("brokers did not take everything in %g s", _SECONDS)
        if self._refused:
            raise UnavailableError(self._refused, hint="begin the service again: it sends it once more")

    def close(self) -> None:
        """Give brokers time to take what is on its way, and let go."""
        if self._producer is not None:
            self._producer.flush(_SECONDS)
        self._producer = None


class _Reader:
    """Topics of a cluster, read together."""

    def __init__(self, place: KafkaPlace) -> None:
        self._place, self._kafka, self._cluster = place, place.kafka, place.cluster
        self._consumer = self._cluster.consumer()
        self.behind: set[tuple[str, int]] = set()
        self.positions: Positions = {}

    def begin(self, several: Sequence[Subscription], positions: Positions) -> dict[str, str]:
        """Begin to read; return topics that cannot be read, with the reason."""
        failed: dict[str, str] = {}
        assigned = []
        for asked in several:
            try:
                with self._cluster.errors(self._consumer):
                    assigned += self._placed(asked, positions.get(asked.topic))
            except EventideError as error:
                failed[asked.topic] = error.message
        self._consumer.assign(assigned)
        self.behind = {(at.topic, at.partition) for at in assigned}
        for at in assigned:
            self.positions.setdefault(at.topic, {})[at.partition] = at.offset
        return failed

    def _placed(self, asked: Subscription, known: Mapping[int, int] | None) -> list[Any]:
        partitions = self._place.partitions(self._consumer, asked.topic)
        if not partitions:
            msg = f"there is no topic {asked.topic!r}"
            raise UsageError(msg)
        if known is not None:
            for at in partitions:
                at.offset = known.get(at.partition, 0)  # a partition that was not there began after that
                if at.offset < self._consumer.get_watermark_offsets(at, timeout=_SECONDS)[0]:
                    raise UsageError(_GONE)
            return partitions
        if asked.start is None:
            for at in partitions:
                at.offset = self._consumer.get_watermark_offsets(at, timeout=_SECONDS)[1]
            return partitions
        wanted = [self._kafka.TopicPartition(at.topic, at.partition, asked.start) for at in partitions]
        found = self._consumer.offsets_for_times(wanted, timeout=_SECONDS)
        for at in found:
            low, high = self._consumer.get_watermark_offsets(at, timeout=_SECONDS)
            if at.offset < 0:
                at.offset = high
            elif at.offset == low and low > 0:
                raise UsageError(_TOO_OLD)
        return list(found)

    def read(self, timeout: float) -> tuple[list[Received], dict[str, str]]:
        """Return messages, waiting for the first at most `timeout` s, and topics that cannot be read any more."""
        out, failed = [], {}
        found = self._consumer.consume(1, timeout)
        if found:  # with a number above 1 it would wait for so many
            found += self._consumer.consume(_MESSAGES, 0)
        for message in found:
            error = message.error()
            place = (message.topic(), message.partition())
            if error is None:
                self.behind.add(place)
                self.positions.setdefault(place[0], {})[place[1]] = message.offset() + 1
                out.append(Received(*place, message.timestamp()[1], message.value() or b""))
            elif error.code() == self._kafka.KafkaError._PARTITION_EOF:
                self.behind.discard(place)
            elif message.topic() and not error.retriable():
                failed[message.topic()] = self._cluster.told(error).message
            else:
                _LOG.warning("Kafka: %s", error)
        return out, failed

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()


def _delivered(error: Any, message: Any) -> None:
    if error is not None:
        _LOG.error("a message for %s was not taken: %s", message.topic(), error)

"""The service on Kafka: reads commands and events, and sends what the machine answers.

Where reading begins follows just-bin-it: commands from now on; events from now on, or from the first message of the
start time. A start time of which messages were deleted is an error of the histogram. An offset is never committed:
what is counted is in the histograms alone.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from eventide.apps.neutron.restream.machine import Outgoing, Received, Restream, Subscription
from eventide.errors import EventideError, MissingDependencyError, UnavailableError, UsageError
from eventide.formats import x5f2

__all__ = ["KafkaService", "restream"]

_LOG = logging.getLogger("eventide.neutron")
_TOO_OLD = "Cannot find start time in the data: messages of that time were deleted"
_SECONDS = 30.0
_MESSAGES = 10_000
_MOST_BYTES = 160 << 20  # a histogram of the most bins


def restream(  # what a process runs
    brokers: str,
    *,
    command_topic: str,
    response_topic: str = "",
    heartbeat_topic: str = "",
    settings: Mapping[str, Any] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    brokers
        ``host:port``, several with commas: where commands come from.
    command_topic, response_topic, heartbeat_topic
        Topics; without the last two there are no answers and no heartbeats.
    settings
        More settings of librdkafka, as for ``kafka://``: of secrets the place, ``env:NAME`` or ``file:PATH``.
    stop
        Ends it when it is set.

    Raises
    ------
    MissingDependencyError
        confluent-kafka is not installed.
    UnavailableError
        The topic of commands cannot be read.

    Examples
    --------
    >>> restream("localhost:9092", command_topic="hist_commands")  # doctest: +SKIP
    """
    service = KafkaService(brokers, command_topic, Restream(
        response_topic=response_topic, heartbeat_topic=heartbeat_topic, identity=_identity()
    ), settings=settings)  # fmt: skip
    ended = stop or threading.Event()
    try:
        while not ended.is_set():
            service.step(0.05)
    finally:
        service.close()


class KafkaService:
    """A machine with its transport; `step` does everything once.

    Parameters
    ----------
    brokers, command_topic
        Where commands come from; answers and heartbeats go to the same brokers.
    machine
        The machine.
    settings
        As for `restream`.
    """

    def __init__(
        self, brokers: str, command_topic: str, machine: Restream, *, settings: Mapping[str, Any] | None = None
    ) -> None:
        try:
            self._client = importlib.import_module("eventide.connectors._kafka_client")
            self._kafka = importlib.import_module("confluent_kafka")
        except ImportError:
            msg = "the service needs confluent-kafka"
            raise MissingDependencyError(msg, hint="pip install 'eventide[kafka]'") from None
        self.machine = machine
        machine.check = self._check
        self._brokers, self._settings = brokers, dict(settings or {})
        self._generation = machine.generation
        self._producers: dict[str, Any] = {}
        self._readers: list[_Reader] = []
        self._commands = _Reader(self, brokers)
        reason = self._commands.begin([Subscription((brokers,), command_topic, None)])
        if reason:
            self.close()
            msg = f"the topic {command_topic} of commands cannot be read: {'; '.join(reason.values())}"
            raise UnavailableError(msg, hint=f"is there a topic of that name at {brokers}?")

    def step(self, timeout: float) -> None:
        """Follow commands, count events (waiting for them at most so many s), and send what is due."""
        for message in self._commands.read(0.0 if self._readers else timeout)[0]:
            self._send(self.machine.command(message.value, _now()))
        if self.machine.generation != self._generation:
            self._generation = self.machine.generation
            self._subscribe()
        for reader in self._readers:
            messages, failed = reader.read(timeout / len(self._readers))
            self.machine.events(messages)
            for topic, reason in failed.items():
                self._send(self.machine.failed(topic, reason, _now()))
        behind = [place for reader in self._readers for place in reader.behind]
        self._send(self.machine.tick(_now(), behind))
        for producer in self._producers.values():
            producer.poll(0)

    def close(self) -> None:
        """Send what is on its way, and close the connections."""
        for producer in self._producers.values():
            producer.flush(_SECONDS)
        for reader in (*self._readers, self._commands):
            reader.close()
        self._producers, self._readers = {}, []

    def cluster(self, brokers: str) -> Any:
        """Return the cluster at an address, with our settings."""
        return self._client.Cluster(brokers, self._settings, f"kafka://{brokers}")

    def partitions(self, client: Any, topic: str) -> list[Any]:
        """Return the partitions of a topic; none where there is no such topic."""
        found = client.list_topics(topic, timeout=_SECONDS).topics.get(topic)
        if found is None or found.error is not None:
            return []
        return [self._kafka.TopicPartition(topic, number) for number in sorted(found.partitions)]

    def _check(self, asked: Subscription) -> None:
        """Refuse a topic that is not there: a command gets an answer instead of a histogram that stays empty."""
        cluster = self.cluster(",".join(asked.brokers))
        consumer = cluster.consumer()
        try:
            with cluster.errors(consumer):
                there = self.partitions(consumer, asked.topic)
        finally:
            consumer.close()
        if not there:
            msg = f"there is no topic {asked.topic!r} at {', '.join(asked.brokers)}"
            raise UsageError(msg)

    def _subscribe(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers = []
        by_brokers: dict[str, list[Subscription]] = {}
        for asked in self.machine.subscriptions:
            by_brokers.setdefault(",".join(asked.brokers), []).append(asked)
        for brokers, several in by_brokers.items():
            reader = _Reader(self, brokers)
            self._readers.append(reader)
            for topic, reason in reader.begin(several).items():
                self._send(self.machine.failed(topic, reason, _now()))

    def _send(self, messages: list[Outgoing]) -> None:
        for each in messages:
            brokers = ",".join(each.brokers) or self._brokers
            if brokers not in self._producers:
                self._producers[brokers] = self.cluster(brokers).producer(message_max_bytes=_MOST_BYTES)
            producer = self._producers[brokers]
            try:
                self._produced(producer, each)
            except self._kafka.KafkaException as error:
                _LOG.error("a message for %s cannot be sent: %s", each.topic, error)

    def _produced(self, producer: Any, each: Outgoing) -> None:
        until = time.monotonic() + _SECONDS
        while True:
            try:
                producer.produce(each.topic, each.value, on_delivery=_delivered)
                return
            except BufferError:  # as much is on its way as may be: wait until brokers took some of it
                if time.monotonic() > until:
                    _LOG.error("a message for %s was left out: brokers took none in %g s", each.topic, _SECONDS)
                    return
                producer.poll(0.1)


class _Reader:
    """The topics of one cluster, read together."""

    def __init__(self, service: KafkaService, brokers: str) -> None:
        self._service, self._kafka = service, service._kafka
        self._cluster = service.cluster(brokers)
        self._consumer = self._cluster.consumer()
        self.behind: set[tuple[str, int]] = set()

    def begin(self, several: list[Subscription]) -> dict[str, str]:
        """Begin to read; return topics that cannot be read, with the reason."""
        failed: dict[str, str] = {}
        assigned = []
        for asked in several:
            try:
                with self._cluster.errors(self._consumer):
                    assigned += self._placed(asked)
            except EventideError as error:
                failed[asked.topic] = error.message
        self._consumer.assign(assigned)
        self.behind = {(at.topic, at.partition) for at in assigned}
        return failed

    def _placed(self, asked: Subscription) -> list[Any]:
        partitions = self._service.partitions(self._consumer, asked.topic)
        if not partitions:
            msg = f"there is no topic {asked.topic!r}"
            raise UsageError(msg)
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
                out.append(Received(*place, message.timestamp()[1], message.value() or b""))
            elif error.code() == self._kafka.KafkaError._PARTITION_EOF:
                self.behind.discard(place)
            elif message.topic() and not error.retriable():
                failed[message.topic()] = self._cluster.told(error).message
            else:
                _LOG.warning("Kafka: %s", error)
        return out, failed

    def close(self) -> None:
        self._consumer.close()


def _delivered(error: Any, message: Any) -> None:
    if error is not None:
        _LOG.error("a message for %s was not taken: %s", message.topic(), error)


def _identity() -> x5f2.Heartbeat:
    return x5f2.Heartbeat(
        software_name="eventide restream",
        host_name=socket.gethostname(),
        process_id=os.getpid(),
        update_interval=1000,
    )


def _now() -> int:
    return time.time_ns() // 1_000_000

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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventide.apps.neutron.restream.machine import Outgoing, Restream, Subscription
from eventide.apps.neutron.restream.reader import Reader
from eventide.errors import MissingDependencyError, UnavailableError, UsageError
from eventide.formats import x5f2

__all__ = ["KafkaService", "restream"]

_LOG = logging.getLogger("eventide.neutron")
_SECONDS = 30.0
_MOST_BYTES = 160 << 20  # a histogram of the most bins


def restream(  # what a process runs
    brokers: str,
    *,
    command_topic: str,
    response_topic: str = "",
    heartbeat_topic: str = "",
    settings: Mapping[str, Any] | None = None,
    commands: Sequence[bytes] = (),
    on_begin: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve until told to stop. What runs then is published once more, as FINISHED.

    Parameters
    ----------
    brokers
        ``host:port``, several with commas: where commands come from.
    command_topic, response_topic, heartbeat_topic
        Topics; without the last two there are no answers and no heartbeats.
    settings
        More settings of librdkafka, as for ``kafka://``: of secrets the place, ``env:NAME`` or ``file:PATH``.
    commands
        Followed before those of the topic, and answered like them.
    on_begin
        Called when the topic of commands is read.
    stop
        Ends it when it is set.

    Raises
    ------
    MissingDependencyError
        confluent-kafka is not installed.
    UnavailableError
        The topic of commands cannot be read.
    UsageError
        One of `commands` is refused.

    Examples
    --------
    >>> restream("localhost:9092", command_topic="hist_commands")  # doctest: +SKIP
    """
    service = KafkaService(brokers, command_topic, Restream(
        response_topic=response_topic, heartbeat_topic=heartbeat_topic, identity=_identity()
    ), settings=settings)  # fmt: skip
    ended = stop or threading.Event()
    try:
        if on_begin is not None:
            on_begin()
        for data in commands:
            service.follow(data)
        while not ended.is_set():
            service.step(0.05)
        service.end()
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
        self._readers: list[Reader] = []
        self._commands = Reader(self, brokers)
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

    def follow(self, data: bytes) -> None:
        """Follow a command that did not come through Kafka.

        Raises
        ------
        UsageError
            It is refused; the answer says so too.
        """
        refused = self.machine.refused
        self._send(self.machine.command(data, _now()))
        if self.machine.refused != refused:
            msg = f"a command is refused: {self.machine.reason}"
            raise UsageError(msg, hint="mend it: see the documentation of just-bin-it for its fields")

    def end(self) -> None:
        """Publish what runs for the last time."""
        self._send(self.machine.end(_now()))

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
            reader = Reader(self, brokers)
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

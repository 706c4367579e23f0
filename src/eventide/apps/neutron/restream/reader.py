"""The topics of one Kafka cluster, read together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from eventide.apps.neutron.restream.machine import Received, Subscription
from eventide.errors import EventideError, UsageError

if TYPE_CHECKING:
    from eventide.apps.neutron.restream.service import KafkaService

__all__ = ["Reader"]

_LOG = logging.getLogger("eventide.neutron")
_TOO_OLD = "Cannot find start time in the data: messages of that time were deleted"
_SECONDS = 30.0
_MESSAGES = 10_000


class Reader:
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
        """Leave the cluster."""
        self._consumer.close()

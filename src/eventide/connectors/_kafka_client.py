"""Clients of a Kafka cluster: their settings, their secrets, and what their errors mean to us."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from eventide.config import secret
from eventide.connectors._kafka_errors import PASSING, REFUSED, told
from eventide.errors import ConfigError, EventideError, UnavailableError

__all__ = ["SECONDS", "Cluster", "is_secret", "read_range"]

SECONDS = 30.0
"""How long one request may take; what takes longer is tried again by the engine."""

Message: TypeAlias = Any

_LOG = logging.getLogger("eventide.kafka")
_SECRET_ENDS = ("password", "secret", "passphrase", "key.pem", "oauthbearer.config")


def is_secret(setting: str) -> bool:
    """Tell whether a setting of the client holds a secret.

    Examples
    --------
    >>> is_secret("sasl.password"), is_secret("sasl.username")
    (True, False)
    """
    return setting.endswith(_SECRET_ENDS)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as clients are made for it.

    Parameters
    ----------
    servers
        ``host:port``, several with commas.
    settings
        Settings of librdkafka; of secrets it has the place (``env:NAME``), not the value.
    where
        What messages call the topic.
    """

    servers: str
    settings: Mapping[str, Any]
    where: str
    _refusals: list[KafkaError] = field(default_factory=list, repr=False, compare=False)

    def _resolved(self) -> tuple[dict[str, Any], list[str]]:
        settings = {k: secret(v) if is_secret(k) and isinstance(v, str) else v for k, v in self.settings.items()}
        hidden = [str(settings[k]) for k in settings if is_secret(k)]
        return {"bootstrap.servers": self.servers, "client.id": "eventide", **settings}, hidden

    def _made(self, kind: Any, own: Mapping[str, Any]) -> Any:
        settings, hidden = self._resolved()
        try:
            return kind({"error_cb": self._failed, **settings, **own}, logger=_LOG)
        except (KafkaException, ValueError, TypeError) as error:
            text = error.args[0].str() if isinstance(error, KafkaException) else str(error)
            for value in hidden:
                text = text.replace(value, "***")
            msg = f"{self.where}: a setting of the client is wrong: {text}"
            # Not chained: the cause may say what was hidden.
            raise ConfigError(msg, hint="the names are librdkafka's, see its CONFIGURATION.md") from None

    def _failed(self, error: KafkaError) -> None:
        """Keep why a cluster refuses us: the call that fails by it only says that nobody answered."""
        if error.code() in REFUSED:
            self._refusals[:] = [error]

    def consumer(self, **own: Any) -> Consumer:
        """Return a consumer that commits nothing by itself and never skips what it cannot find."""
        base = {
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "group.id": "eventide",
            "fetch.wait.max.ms": 50,
            "fetch.message.max.bytes": 4 << 20,
        }
        return self._made(Consumer, {**{k: v for k, v in base.items() if k not in self.settings}, **_named(own)})

    def producer(self, **own: Any) -> Producer:
        """Return a producer whose retries neither double nor reorder."""
        base = {"enable.idempotence": True, "linger.ms": 5, "queue.buffering.max.messages": 2_000_000}
        return self._made(Producer, {**{k: v for k, v in base.items() if k not in self.settings}, **_named(own)})

    def admin(self) -> AdminClient:
        """Return a client that makes topics."""
        return self._made(AdminClient, {})

    @contextmanager
    def errors(self, asking: Any = None) -> Iterator[None]:
        """Turn errors of the client into ours.

        Parameters
        ----------
        asking
            A client that nothing is read with, or nothing yet: what it has to say about a failure is heard.
        """
        try:
            yield
        except KafkaException as error:
            if asking is not None:
                asking.poll(0)
            refused = self._refusals and error.args[0].code() in PASSING
            raise self.told(self._refusals.pop() if refused else error.args[0]) from error

    def told(self, error: KafkaError) -> EventideError:
        """Return what an error of the client means."""
        return told(error, self.where)


def _named(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under librdkafka's names; functions keep theirs."""
    return {k if callable(v) else k.replace("_", "."): v for k, v in own.items()}


def read_range(cluster: Cluster, at: TopicPartition, *, end: int | None = None) -> list[Message]:
    """Return the messages of a partition from an offset on.

    Parameters
    ----------
    cluster
        Where.
    at
        Topic, partition and first offset.
    end
        The offset before which to end; what was aborted is among the messages then. None: all that is committed of
        what is there now; a transaction that is not decided yet is waited for.

    Raises
    ------
    UnavailableError
        They did not come in time, or a transaction was not decided in time.
    """
    plain = cluster.consumer(isolation_level="read_uncommitted")
    consumer = plain if end is not None else cluster.consumer(isolation_level="read_committed")
    found: list[Message] = []
    deadline = time.monotonic() + SECONDS
    try:
        with cluster.errors():
            low, high = plain.get_watermark_offsets(at, timeout=SECONDS)
            last = high if end is None else end
            begin = max(at.offset, low)
            if begin >= last:
                return []
            consumer.assign([TopicPartition(at.topic, at.partition, begin)])
            while time.monotonic() < deadline:
                for message in consumer.consume(1000, 0.02):
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    if error is None and message.offset() < last:
                        found.append(message)
                    if message.offset() >= last - (error is None):
                        return found
    finally:
        for one in {plain, consumer}:
            one.close()
    msg = f"{cluster.where}: {at.topic} partition {at.partition} could not be read up to {last} in {SECONDS:g} s"
    raise UnavailableError(msg, hint="a transaction there may be undecided; that passes within two minutes")

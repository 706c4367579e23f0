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
from eventide.errors import ConfigError, DataError, EventideError, RunError, UnavailableError, UsageError

__all__ = ["SECONDS", "Cluster", "is_secret", "read_range"]

SECONDS = 30.0
"""How long one request may take; what takes longer is tried again by the engine."""

Message: TypeAlias = Any

_LOG = logging.getLogger("eventide.kafka")
_SECRET_ENDS = ("password", "secret", "passphrase", "key.pem", "oauthbearer.config")

_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
_REFUSED = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError._SSL,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD}
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
_PASSING = {
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError._WAIT_COORD,
    KafkaError._RETRY,
    KafkaError._STATE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.KAFKA_STORAGE_ERROR,
}


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
        if error.code() in _REFUSED:
            self._refusals[:] = [error]

    def consumer(self, **own: Any) -> Consumer:
        """Return a consumer that commits nothing by itself and never skips what it cannot find."""
        base = {"enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "error"}
        more = {
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "group.id": "eventide",
            "fetch.wait.max.ms": 50,
        }
        return self._made(Consumer, {**base, **more, **_named(own)})

    def producer(self, **own: Any) -> Producer:
        """Return a producer whose retries neither double nor reorder."""
        base = {"enable.idempotence": True, "linger.ms": 5, "queue.buffering.max.messages": 2_000_000}
        return self._made(Producer, {**base, **{k: v for k, v in self.settings.items() if k in base}, **_named(own)})

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
            refused = self._refusals and error.args[0].code() in _PASSING
            raise self.told(self._refusals.pop() if refused else error.args[0]) from error

    def told(self, error: KafkaError) -> EventideError:
        """Return what an error of the client means."""
        code, text = error.code(), f"{self.where}: {error.str()}"
        if code in _FENCED:
            msg = f"{self.where}: another run writes as this sink since"
            return RunError(msg, hint="the same checkpoint was resumed twice, or the option name is used twice")
        if code in _REFUSED:
            return DataError(f"{self.where} refuses us: {error.str()}", hint="see sasl_*, ssl_* and the ACLs")
        if code in _MISSING:
            msg = f"{self.where}: there is no such topic or partition"
            return UsageError(msg, hint="make it: kafka-topics.sh --create --topic NAME --partitions N")
        if code in _TOO_LARGE:
            hint = "raise max.message.bytes of the topic, or pass fewer rows_per_message"
            return DataError(f"{text}: a message is larger than the topic takes", hint=hint)
        if code in _GONE:
            msg = f"{self.where}: events after the position were deleted before they were read ({error.str()})"
            return DataError(msg, hint="retention of the topic is too short; to go on without them, run afresh")
        if code in _PASSING or error.retriable() or error.fatal() or error.txn_requires_abort():
            return UnavailableError(f"{text} (cannot be used just now)", hint="see whether the broker runs")
        return RunError(text, hint="see the log of the broker")


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

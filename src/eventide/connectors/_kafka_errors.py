"""What errors of a Kafka client mean to us: which pass, which refuse us, and what to do about the others."""

from __future__ import annotations

from confluent_kafka import KafkaError

from eventide.errors import DataError, EventideError, RunError, UnavailableError, UsageError

__all__ = ["PASSING", "REFUSED", "told"]

_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
REFUSED = {
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
PASSING = {
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


def told(error: KafkaError, where: str) -> EventideError:
    """Return the error of ours for one of the client; `where` is what messages call the topic."""
    code, text = error.code(), f"{where}: {error.str()}"
    if code in _FENCED:
        msg = f"{where}: another run writes as this sink since"
        return RunError(msg, hint="the same checkpoint was resumed twice, or the option name is used twice")
    if code in REFUSED:
        return DataError(f"{where} refuses us: {error.str()}", hint="see sasl_*, ssl_* and the ACLs")
    if code in _MISSING:
        msg = f"{where}: there is no such topic or partition"
        return UsageError(msg, hint="make it: kafka-topics.sh --create --topic NAME --partitions N")
    if code in _TOO_LARGE:
        hint = "raise max.message.bytes of the topic, or pass fewer rows_per_message"
        return DataError(f"{text}: a message is larger than the topic takes", hint=hint)
    if code in _GONE:
        msg = f"{where}: events after the position were deleted before they were read ({error.str()})"
        return DataError(msg, hint="retention of the topic is too short; to go on without them, run afresh")
    if code in PASSING or error.retriable() or error.fatal() or error.txn_requires_abort():
        return UnavailableError(f"{text} (cannot be used just now)", hint="see whether the broker runs")
    return RunError(text, hint="see the log of the broker")

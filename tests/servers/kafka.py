"""A real Kafka broker of our own: in a temporary folder, on free ports of the loopback, gone at the end."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eventide.errors import MissingDependencyError, UnavailableError
from eventide.services.kafka import Broker

_numbers = itertools.count()


def started(**settings: Any) -> Broker:
    """Return a running broker; without Java or Kafka's jars the tests are skipped, or fail where they must run."""
    broker = Broker(Path(tempfile.mkdtemp(prefix="eventide-kafka-")), settings=settings, bound=True)
    try:
        broker.start()
    except (MissingDependencyError, UnavailableError) as error:
        remove(broker)
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    except BaseException:
        remove(broker)
        raise
    return broker


def remove(broker: Broker) -> None:
    """Stop a broker and take its folder away."""
    broker.stop(kill=True)
    shutil.rmtree(broker.folder, ignore_errors=True)


def fixture() -> Iterator[Broker]:
    """Bring a broker for a session of tests."""
    pytest.importorskip("confluent_kafka", reason="pip install 'eventide[kafka]'")
    broker = started()
    try:
        yield broker
    finally:
        remove(broker)


def new_topic(broker: Broker, partitions: int = 1, *, name: str = "", settings: Mapping[str, str] | None = None) -> str:
    """Make a topic, under a name that was not used before."""
    from confluent_kafka.admin import AdminClient, NewTopic

    name = name or f"topic-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": broker.address})
    made = admin.create_topics([NewTopic(name, partitions, 1, config=dict(settings or {}))], operation_timeout=30)
    made[name].result(60)
    return name


def produce(broker: Broker, topic: str, values: Any, **settings: Any) -> None:
    """Produce messages: bytes, or dictionaries of what `Producer.produce` takes."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.address, "queue.buffering.max.messages": 2_000_000, **settings})
    for value in values:
        producer.produce(topic, **(value if isinstance(value, dict) else {"value": value}))
        producer.poll(0)
    assert producer.flush(60) == 0
    producer.close()


def consume(broker: Broker, topic: str) -> list[Any]:
    """Return the messages of a topic that are committed, partition after partition, as another program sees them.

    A commit is decided when it returns, and its partitions are told a moment later: that moment is waited for.
    """
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    base = {"bootstrap.servers": broker.address, "group.id": "reader", "enable.auto.commit": False}
    any_kind = Consumer({**base, "isolation.level": "read_uncommitted"})
    consumer = Consumer({**base, "fetch.wait.max.ms": 20, "enable.partition.eof": True, "auto.offset.reset": "error"})
    try:
        left = dict.fromkeys(any_kind.list_topics(topic, timeout=30).topics[topic].partitions, 0)
        for p in left:
            left[p] = any_kind.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1]
        consumer.assign([TopicPartition(topic, p, 0) for p in left])
        found = []
        until = time.monotonic() + 60
        while left and time.monotonic() < until:
            for message in consumer.consume(10_000, 0.02):
                if message.error() is None:
                    found.append(message)
                elif message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
                elif message.offset() >= left.get(message.partition(), 0):
                    left.pop(message.partition(), None)
        assert not left, f"partitions {left} of {topic} were not read to their ends in time"
    finally:
        consumer.close()
        any_kind.close()
    return sorted(found, key=lambda m: (m.partition(), m.offset()))

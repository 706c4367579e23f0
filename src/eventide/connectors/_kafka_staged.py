"""What the sink keeps in Kafka besides the results: parts that wait for their commit, and how far commits got.

Two compacted topics, made when they are not there. ``_eventide_staged`` has the messages of prepared checkpoints, as
Arrow bytes in pieces; what nobody came back for is deleted after 30 days. ``_eventide_commits`` has, under the name of
a sink, the last part that was committed, for ever. Everything of one sink is in one partition of each.
"""

from __future__ import annotations

import json
import time
import zlib
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic

from eventide.connectors._kafka_client import SECONDS, Cluster, read_range
from eventide.errors import UnavailableError

__all__ = [
    "COMMITS",
    "STAGED",
    "Committed",
    "committed",
    "largest",
    "make_topics",
    "partition_of",
]

STAGED, COMMITS = "_eventide_staged", "_eventide_commits"
_PARTITIONS = 16
_LARGEST = 1_048_588
_SETTINGS = {
    "segment.bytes": str(64 << 20),
    "segment.ms": str(3_600_000),
    "min.cleanable.dirty.ratio": "0.2",
    "max.message.bytes": "1048588",
}
_POLICIES = {
    STAGED: {"cleanup.policy": "compact,delete", "retention.ms": str(30 * 86_400_000)},
    COMMITS: {"cleanup.policy": "compact"},
}


class Committed(NamedTuple):
    """How far a sink has committed: the last part, and where in the topic that is said (-1: nowhere)."""

    part: int
    offset: int


def make_topics(cluster: Cluster, topic: str, partitions: int, *, own: bool = True) -> dict[str, int]:
    """Make what is not there, and return the number of partitions of the target and of our own topics."""
    admin = cluster.admin()
    wanted = {topic: NewTopic(topic, partitions or -1)}
    if own:
        wanted |= {n: NewTopic(n, _PARTITIONS, config=_SETTINGS | more) for n, more in _POLICIES.items()}
    with cluster.errors(admin):
        there = admin.list_topics(timeout=SECONDS).topics
        missing = [made for name, made in wanted.items() if name not in there]
        for made in admin.create_topics(missing, operation_timeout=SECONDS).values() if missing else ():
            try:
                made.result(SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        deadline = time.monotonic() + SECONDS
        # A topic is made before every broker tells of it.
        while not all(name in there and there[name].partitions for name in wanted):
            if time.monotonic() > deadline:
                msg = f"{cluster.where}: the cluster does not tell of {', '.join(sorted(wanted.keys() - there.keys()))}"
                raise UnavailableError(msg, hint="it was made just now: try again")
            time.sleep(0.02)
            there = admin.list_topics(timeout=SECONDS).topics
    return {name: len(there[name].partitions) for name in wanted}


def largest(cluster: Cluster, topic: str) -> int:
    """Return how many bytes a message of a topic may have (what Kafka begins with, where we may not ask)."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = cluster.admin()  # kept until the answer is there
    try:
        found = admin.describe_configs([resource], request_timeout=SECONDS)[resource].result(SECONDS)
        return int(found["max.message.bytes"].value)
    except (KafkaException, KeyError, ValueError):
        return _LARGEST


def partition_of(sink: str, partitions: int) -> int:
    """Return the partition that has everything of a sink."""
    return zlib.crc32(sink.encode()) % max(1, partitions)


def committed(cluster: Cluster, sink: str, *, partition: int, start: int) -> Committed:
    """Return how far a sink has committed, as is said at an offset or after it."""
    found = Committed(0, -1)
    for message in read_range(cluster, TopicPartition(COMMITS, partition, max(0, start))):
        if message.key() == sink.encode():
            found = Committed(int(json.loads(message.value())["part"]), message.offset())
    return found

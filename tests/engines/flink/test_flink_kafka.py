"""From Kafka to Kafka on a real cluster, from one worker to two: other programs see the rows that one machine gives."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyflink", reason="make test-flink runs this in Flink's own environment")

import eventide as ev
from eventide.formats import json
from eventide.model.pipeline import Pipeline
from eventide.services.kafka import Broker
from servers import kafka
from servers.flink import Cluster

ROWS = 60_000
PARTITIONS = 3
SCHEMA = {"timestamp": "event_time", "key": "int64", "value": "float64"}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    yield from kafka.fixture()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(slots=1) as made:
        made.add(2)
        yield made


@pytest.fixture(scope="module")
def source(broker: Broker) -> str:
    """Return a topic of events whose partitions are in order but for the two seconds of disorder."""
    topic = kafka.new_topic(broker, PARTITIONS, name="events")
    events = ev.fetch(ev.read("generator://e", rows=ROWS, keys=50, seed=7, disorder="1s")).combine_chunks()
    events = events.select(list(SCHEMA))
    keys = events["key"].to_pylist()
    lines = b"".join(json.encode(b) for b in events.to_batches()).splitlines()
    kafka.produce(broker, topic, [{"value": v, "partition": k % PARTITIONS} for v, k in zip(lines, keys, strict=True)])
    return topic


def windows(broker: Broker, source: str, out: str) -> Pipeline:
    events = ev.read(f"kafka://{broker.address}/{source}", format="json", schema=SCHEMA, follow=False)
    slowed = events.map_batches(_slowly, schema=None)
    keyed = slowed.event_time("timestamp", lateness="2s").key_by("key")
    found = keyed.window(ev.tumbling("1s")).aggregate(mean=ev.mean("value"), std=ev.std("value"), n=ev.count())
    return found.write(f"kafka://{broker.address}/{out}", format="json", key="key", partitions=2).named(out)


def _slowly(batch: Any) -> Any:
    if batch.num_rows:
        time.sleep(0.1)
    return batch


def rows(broker: Broker, topic: str) -> Counter[tuple[bytes, bytes]]:
    return Counter((m.key(), m.value()) for m in kafka.consume(broker, topic))


@pytest.fixture(scope="module")
def wanted(broker: Broker, source: str) -> Counter[tuple[bytes, bytes]]:
    ev.run(windows(broker, source, "wanted"))
    found = rows(broker, "wanted")
    assert found.total() > 1_000
    return found


def on(cluster: Cluster, folder: Path, **more: Any) -> dict[str, Any]:
    common = {"url": cluster.url, "checkpoint": str(folder), "checkpoint_interval": "500ms", "batch_rows": 300}
    return {"engine": "flink", "buckets": 4, **common, **more}


def test_a_savepoint_takes_one_worker_to_two(
    broker: Broker, cluster: Cluster, source: str, wanted: Counter[tuple[bytes, bytes]], tmp_path: Path
) -> None:
    state, kept, stop = tmp_path / "state", tmp_path / "savepoints", threading.Event()

    def watch(progress: Any) -> None:
        if progress.rows_out:
            stop.set()

    pipeline = windows(broker, source, "found")
    first = ev.run(pipeline, **on(cluster, state, lanes=1, savepoint=kept, stop=stop, on_progress=watch))
    assert first.stopped and 0 < first.rows_in < ROWS
    before = rows(broker, "found")
    assert 0 < before.total() < wanted.total() and not before - wanted
    second = ev.run(pipeline, **on(cluster, state, lanes=2, from_savepoint=kept))
    assert not second.stopped and second.rows_in == ROWS and second.ledger_balanced
    assert rows(broker, "found") == wanted

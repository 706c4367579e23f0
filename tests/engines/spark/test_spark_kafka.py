"""From Kafka to Kafka on a standalone cluster, from one worker to two: other programs see the rows of one machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="Spark has an environment of its own: `make test-spark`")

import spark_kafka
from spark_driver import BRIEF, Driver

import eventide as ev
from eventide.formats import json
from eventide.services.kafka import Broker
from servers import kafka
from servers.spark import Cluster

pytestmark = pytest.mark.slow
CLUSTERED = BRIEF | {"spark.executor.memory": "512m", "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
PARTITIONS = 3


@pytest.fixture
def broker() -> Iterator[Broker]:
    yield from kafka.fixture()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(workers=1)
    try:
        yield made
    finally:
        made.close()


def rows(broker: Broker, topic: str) -> Counter[tuple[bytes, bytes]]:
    return Counter((m.key(), m.value()) for m in kafka.consume(broker, topic))


def test_one_worker_becomes_two(broker: Broker, cluster: Cluster, tmp_path: Path) -> None:
    kafka.new_topic(broker, PARTITIONS, name="events")
    events = ev.fetch(ev.read("generator://e", rows=40_000, keys=50, seed=7, disorder="1s")).combine_chunks()
    events = events.select(list(spark_kafka.SCHEMA))
    keys = events["key"].to_pylist()
    lines = b"".join(json.encode(b) for b in events.to_batches()).splitlines()
    values = [{"value": v, "partition": k % PARTITIONS} for v, k in zip(lines, keys, strict=True)]
    kafka.produce(broker, "events", values)
    ev.run(spark_kafka.flow(broker.address, "wanted"))
    wanted = rows(broker, "wanted")
    (tmp_path / "broker").write_text(broker.address)
    how = {"program": spark_kafka.__file__, "master": cluster.master, "conf": CLUSTERED}
    driver = Driver(tmp_path, **how)
    try:
        assert driver.passes(4), driver.told()
        driver.kill("all")
    finally:
        driver.close()
    before = rows(broker, "found")
    assert before.total() < wanted.total() and not before - wanted
    cluster.add()
    driver = Driver(tmp_path, **how)
    try:
        assert driver.passes(driver.epoch + 2), driver.told()
        assert len([w for w in cluster.facts()["workers"] if w["coresused"]]) == 2, "both workers work"
        assert driver.ends() == 0, driver.told()
    finally:
        driver.close()
    assert wanted.total() > 1_000 and rows(broker, "found") == wanted
    assert '"balanced": true' in driver.told()

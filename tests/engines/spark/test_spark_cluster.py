"""A job on a standalone cluster: a master and workers as separate processes, of which one dies in mid-stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="Spark has an environment of its own: `make test-spark`")

import spark_victim as victim
from spark_driver import BRIEF, Driver, wanted, written

from servers.spark import Cluster

pytestmark = pytest.mark.slow
CLUSTERED = BRIEF | {"spark.executor.memory": "512m", "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(workers=2)
    try:
        yield made
    finally:
        made.close()


def test_a_worker_dies_and_the_driver_too(cluster: Cluster, tmp_path: Path) -> None:
    victim.write_events(tmp_path, seed=1)
    other = tmp_path / "other"
    other.mkdir()
    expected = wanted(tmp_path, other)
    where = {"master": cluster.master, "conf": CLUSTERED}
    driver = Driver(tmp_path, **where)
    try:
        assert driver.passes(3), driver.told()
        assert len([w for w in cluster.facts()["workers"] if w["coresused"]]) == 2, "both workers work"
        cluster.kill(0)
        assert driver.passes(driver.epoch + 3), driver.told()
        driver.kill("all")
    finally:
        driver.close()
    # The next life begins with one worker, and goes on with two.
    driver = Driver(tmp_path, **where)
    try:
        assert driver.passes(driver.epoch + 2), driver.told()
        cluster.add()
        assert driver.ends() == 0, driver.told()
    finally:
        driver.close()
    assert written(tmp_path) == expected
    assert '"balanced": true' in driver.told()

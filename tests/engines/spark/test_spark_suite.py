"""The contract of an engine, on Spark in local mode; run by `make test-spark`, in its environment."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eventide.testing.engines import EngineSuite

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None, reason="Spark has an environment of its own: `make test-spark`"
)


class TestSpark(EngineSuite):
    plugin = engine = "spark"
    gaps = {"test_savepoint": "a Spark job goes on from its checkpoint folder; asking for a savepoint is refused"}
    options = {"buckets": 3, "conf": {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}}

    def resuming(self, folder: Path) -> Mapping[str, Any]:
        """Return the options of a run with as many micro-batches as possible, each of which is a checkpoint."""
        return {"checkpoint": str(folder / "checkpoints"), "batch_rows": 1, "batch_bytes": 1}

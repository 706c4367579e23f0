"""The contract of an engine, on Spark in local mode; run by `make test-spark`, in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eventide.testing.engines import EngineSuite

pytest.importorskip("pyspark", reason="Spark has an environment of its own: `make test-spark`")


class TestSpark(EngineSuite):
    plugin = engine = "spark"
    options = {"buckets": 3}

    def resuming(self, folder: Path) -> Mapping[str, Any]:
        """Return the options of a run with as many micro-batches as possible, each of which is a checkpoint."""
        return {"checkpoint": str(folder / "checkpoints"), "batch_rows": 1, "batch_bytes": 1}

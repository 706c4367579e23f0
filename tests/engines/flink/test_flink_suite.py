"""Flink passes the suite that every engine passes, without a gap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyflink", reason="Flink has an environment of its own: `make test-flink`")

from eventide.engines.flink import savepoints
from eventide.model.pipeline import Pipeline
from eventide.testing.engines import EngineSuite


class TestFlink(EngineSuite):
    plugin = engine = "flink"
    # Threads, because a worker process for each of these jobs would take seconds to start.
    options = {"mode": "thread", "lanes": 1, "buckets": 4, "checkpoint_interval": "100ms"}

    def savepoint(self, made: Pipeline, folder: Path, name: str) -> Callable[[], object]:
        return savepoints.create(made, folder / "checkpoints", name)

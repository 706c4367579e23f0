"""The contract of an engine, on Beam's local runner; run by `make test-beam`, in its environment."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eventide.testing.engines import EngineSuite

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Beam has an environment of its own: `make test-beam`"
)


class TestBeam(EngineSuite):
    plugin = engine = "beam"
    options = {"buckets": 3}
    gaps = {
        "test_endless_input": "Beam's local runners deliver everything at the end of a run; input without end is refused",
        "test_savepoint": "Beam's runners have no savepoints that eventide could begin from; asking for one is refused",
    }

    def resuming(self, folder: Path) -> Mapping[str, Any]:
        """Return the options of a run that is completed by running it again."""
        return {"checkpoint": str(folder / "checkpoints"), "batch_rows": 1}

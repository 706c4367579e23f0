"""One recorded workload for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventide.testing.powerloss.run import record
from eventide.testing.powerloss.trace import Operation, load_trace, save_trace


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    # Workers of pytest-xdist each record their own: it takes seconds, and files shared between them would need locks.
    return record(tmp_path_factory.mktemp("workload"), seed=1)


@pytest.fixture
def saved_trace(trace: list[Operation], tmp_path: Path) -> list[Operation]:
    """The same trace, written and read again."""
    save_trace(tmp_path / "trace", trace)
    return load_trace(tmp_path / "trace")

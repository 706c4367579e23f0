"""Flink's tests run in an environment of its own (`make test-flink`); elsewhere they are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
os.environ.setdefault("JVM_ARGS", "-Xmx768m")

# PyFlink and py4j warn of themselves, and leave sockets to the garbage collector.
_THEIRS = ["ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"]
_THEIRS += ["ignore::pytest.PytestUnraisableExceptionWarning"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for text in _THEIRS:
                item.add_marker(pytest.mark.filterwarnings(text))
            item.add_marker(pytest.mark.slow)

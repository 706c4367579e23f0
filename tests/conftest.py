"""Shared test set-up: Hypothesis profiles and the optional folder of real data."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from eventide.engines.local import joining

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("fast", max_examples=50, deadline=None, suppress_health_check=_QUIET)
settings.register_profile("ci", max_examples=200, deadline=None, suppress_health_check=_QUIET, derandomize=True)
settings.register_profile("fuzz", max_examples=10_000, deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("EVENTIDE_HYPOTHESIS", "fast"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a Kafka broker."""
    for item in items:
        if "kafka" in item.nodeid.lower() or "test_services" in item.nodeid:
            item.add_marker("kafka")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real data, or skip the test with the reason."""
    folder = os.environ.get("EVENTIDE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EVENTIDE_DATA is not set: the real data folder is not here")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _batches_as_cut() -> Iterator[None]:
    """Tests cut batches in every way: the engine of this process must not join them (`test_joining` lets it)."""
    before, joining._ROWS = joining._ROWS, 0
    yield
    joining._ROWS = before


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that is called in this process sets up the log of its own; the next test must not find it so."""
    logger = logging.getLogger("eventide")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield
    logger.setLevel(before[0])
    logger.propagate = before[1]
    logger.handlers[:] = before[2]

"""What tests of the neutron application share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def kafka() -> Iterator[object]:
    """Return a running Kafka broker."""
    from servers.kafka import fixture

    yield from fixture()

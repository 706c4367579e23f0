"""Servers that the tests of connectors share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def postgresql() -> Iterator[object]:
    """Return a running PostgreSQL server."""
    pytest.importorskip("psycopg", reason="pip install 'eventide[postgresql]'")
    from servers.postgresql import Server, folder_with_server

    server = Server(folder_with_server())
    yield server
    server.remove()


@pytest.fixture(scope="session")
def kafka() -> Iterator[object]:
    """Return a running Kafka broker."""
    from servers.kafka import fixture

    yield from fixture()

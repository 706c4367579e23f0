"""A partition that could be opened but not used is let go: who tries again must not find it locked by himself."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from eventide.errors import LogUnavailableError
from eventide.log import Log
from eventide.log.meta import Meta


def test_a_database_that_fails_keeps_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.record_batch({"x": [1]})
    with Log(tmp_path) as log:
        log.create_topic("a", batch.schema)
        known = Meta.topics
        failing: list[str] = []

        def topics(self: Meta, name: str | None = None) -> object:
            if failing and (tmp_path / "a" / "0" / "writer.lock").exists():
                failing.clear()
                raise LogUnavailableError("disk I/O error")
            return known(self, name)

        monkeypatch.setattr(Meta, "topics", topics)
        topic = log.topic("a")
        failing.append("once")
        with pytest.raises(LogUnavailableError):
            log._open.writer(topic, 0)
        assert not failing
        with Log(tmp_path) as other:
            other.append("a", batch)

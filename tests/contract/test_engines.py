"""Every built-in engine passes the suite that ships with eventide."""

from __future__ import annotations

from eventide.testing.engines import EngineSuite


class TestLocal(EngineSuite):
    plugin = engine = "local"


class TestLocalInLanes(EngineSuite):
    plugin = engine = "local"
    options = {"lanes": 3}

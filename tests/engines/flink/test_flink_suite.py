"""Flink passes the suite that every engine passes, but for the gaps that are named here."""

from __future__ import annotations

import pytest

pytest.importorskip("pyflink", reason="make test-flink runs this in Flink's own environment")

from eventide.testing.engines import EngineSuite

_CLOCK = "a clock of the test's own cannot be given to Flink's workers: option clock"


class TestFlink(EngineSuite):
    plugin = engine = "flink"
    # Threads, because a worker process for each of these jobs would take seconds to start.
    options = {"mode": "thread", "lanes": 1, "buckets": 4, "checkpoint_interval": "100ms"}
    gaps = {"test_panes_by_processing_time": _CLOCK, "test_clock_timers": _CLOCK}

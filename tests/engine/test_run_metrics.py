"""What a run measures of itself, and how it can be watched."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import pytest

import eventide as ev
from eventide.engines.local.loop import Loop
from eventide.engines.local.metrics import RunMetrics
from eventide.engines.local.options import options_of
from eventide.engines.local.plan import plan
from eventide.model.pipeline import Pipeline

RUN = "20261120T230501-3f2a"


def counting(rows: int = 5_000) -> Pipeline:
    events = ev.read("generator://events", rows=rows, rate=10, keys=3, seed=1, name="events").event_time("timestamp")
    few = events.filter("value > 0") if False else events
    counts = few.key_by("key").window(ev.tumbling("10s")).aggregate(n=ev.count())
    return counts.write("memory://metrics-counts").named("hot")


def run(pipeline: Pipeline, metrics: RunMetrics, **options: Any) -> None:
    settings = options_of({"lanes": 1, **options})
    made = plan(pipeline, settings)
    metrics.attach(made)
    metrics.enter("running")
    Loop(made, settings, stop=None, on_progress=None).run()
    metrics.enter("finished")


def value(metrics: RunMetrics, name: str, **labels: str) -> float:
    found = [s.value for s in metrics.samples() if s.name == name and labels.items() <= s.labels.items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.mark.parametrize("name", ["metrics", "endpoint", "watch"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"eventide.engines.local.{name}"))
    assert result.attempted and not result.failed


def test_counts_and_times_of_a_run() -> None:
    metrics = RunMetrics("hot", RUN)
    run(counting(), metrics)
    assert value(metrics, "eventide_operator_events_in_total", operator="assigntime-1") == 5_000
    assert value(metrics, "eventide_operator_events_out_total", operator="write-4") == 150
    assert value(metrics, "eventide_watermark_seconds", operator="window-3") == float("inf")
    assert value(metrics, "eventide_partition_watermark_seconds", source="events", partition="0") > 1.7e9
    assert value(metrics, "eventide_run_state", state="finished") == 1
    found = metrics.samples()
    for label in ("assigntime-1", "keyby-2", "window-3", "write-4"):
        assert value(metrics, "eventide_operator_busy_seconds_total", operator=label) > 0
        shares = [s.value for s in found if s.name.endswith("_ratio") and s.labels["operator"] == label]
        assert len(shares) == 3 and sum(shares) == pytest.approx(1) and min(shares) >= 0


def test_times_are_exclusive() -> None:
    metrics = RunMetrics("hot", RUN)
    run(counting(), metrics)
    times = metrics._times
    inside = times["keyby-2"].blocked
    assert inside == pytest.approx(times["window-3"].busy + times["window-3"].blocked)
    assert times["assigntime-1"].blocked == pytest.approx(times["keyby-2"].busy + inside)
    assert times["write-4"].blocked == 0

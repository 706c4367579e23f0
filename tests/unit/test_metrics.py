"""Metric names, samples, and the text that Prometheus reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from eventide.metrics import METRICS, Histogram, Sample, from_plain, reference, render, to_plain

NAMED = [
    "eventide_operator_events_in_total",
    "eventide_operator_events_out_total",
    "eventide_operator_busy_ratio",
    "eventide_operator_idle_ratio",
    "eventide_operator_backpressured_ratio",
    "eventide_watermark_seconds",
    "eventide_event_time_lag_seconds",
    "eventide_source_backlog_events",
    "eventide_late_events_total",
    "eventide_quarantined_events_total",
    "eventide_checkpoint_duration_seconds",
    "eventide_checkpoint_bytes",
    "eventide_checkpoint_age_seconds",
    "eventide_state_bytes",
    "eventide_state_keys",
    "eventide_end_to_end_latency_seconds",
]

# Prometheus takes any text without a control character; its parser splits at line ends of Unicode too.
text = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")) | st.sampled_from('\n"\\'))
figures = st.integers(-(2**60), 2**60) | st.floats()


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    name = draw(st.sampled_from([m for m in METRICS.values() if m.kind != "histogram"])).name
    labels = draw(st.dictionaries(st.sampled_from(["pipeline", "run", "operator", "source", "partition"]), text))
    return Sample(name, draw(figures), labels)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or one == other


def test_names_are_those_agreed_and_well_formed() -> None:
    assert set(NAMED) <= set(METRICS)
    for name, metric in METRICS.items():
        assert name.startswith("eventide_") and metric.name == name
        assert (metric.kind == "counter") == name.endswith("_total")
        assert metric.help.endswith(".") and "|" not in metric.help
        assert name.endswith(("_total", f"_{metric.unit}")) or metric.unit in ("rows", "0 or 1")


@given(st.lists(samples(), max_size=8))
def test_rendered_samples_can_be_read(made: list[Sample]) -> None:
    families = list(text_string_to_metric_families(render(made)))
    read = [(s.name, s.labels, s.value) for f in families for s in f.samples]
    want = [s for name in METRICS for s in made if s.name == name]
    assert len(read) == len(want)
    for (name, labels, value), sample in zip(read, want, strict=True):
        assert (name, labels) == (sample.name, sample.labels) and same(float(value), float(sample.value))
    for family in families:
        metric = METRICS.get(family.name) or METRICS[f"{family.name}_total"]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


@given(st.lists(samples(), max_size=8))
def test_plain_samples_are_json_and_come_back(made: list[Sample]) -> None:
    back = from_plain(json.loads(json.dumps(to_plain(made), allow_nan=False)))
    assert [(s.name, s.labels, s.buckets) for s in back] == [(s.name, s.labels, s.buckets) for s in made]
    assert all(same(a.value, b.value) for a, b in zip(back, made, strict=True))


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=30))
def test_histogram(seen: list[tuple[float, int]]) -> None:
    histogram = Histogram([0.5, 1.0, 10.0])
    for value, count in seen:
        histogram.add(value, count=count)
    sample = histogram.sample("eventide_end_to_end_latency_seconds", {"operator": "write-4"})
    for bound, count in sample.buckets:
        assert count == sum(n for v, n in seen if v <= bound)
    (family,) = text_string_to_metric_families(render([sample]))
    by_name = {(s.name.rpartition("_")[2], s.labels.get("le")): s.value for s in family.samples}
    total = sum(n for _, n in seen)
    assert by_name["bucket", "+Inf"] == by_name["count", None] == total
    assert by_name["sum", None] == pytest.approx(sum(v * n for v, n in seen))
    assert from_plain(json.loads(json.dumps(to_plain([sample])))) == [sample]


def test_an_unknown_metric_is_an_error_here_and_left_out_of_what_was_stored() -> None:
    with pytest.raises(KeyError):
        render([Sample("eventide_nothing", 1)])
    assert from_plain([{"name": "eventide_nothing", "value": 1, "labels": {}}]) == []


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/reference/metrics.md"
    assert reference() in page.read_text("utf-8"), "paste the table of `eventide.metrics.reference()`"

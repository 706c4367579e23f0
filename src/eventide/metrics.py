"""Every metric that eventide knows, by name, and the text that Prometheus reads them in.

This is the only module with metric names. Whoever has figures makes a `Sample` of each, whoever serves them calls
`render`; `reference` is the table in ``docs/reference/metrics.md``.

Source of the format: "Exposition formats", text format 0.0.4, prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = [
    "CIRCUIT_STATES",
    "CONTENT_TYPE",
    "METRICS",
    "RUN_STATES",
    "Histogram",
    "Metric",
    "Sample",
    "from_plain",
    "reference",
    "render",
    "to_plain",
]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What an HTTP answer with `render`'s text says that it is."""

RUN_STATES = ("starting", "running", "waiting", "stopping", "finished", "stopped", "failed")
"""States of a run; `waiting` is for a source, a sink or a disk that cannot be used just now."""

CIRCUIT_STATES = ("closed", "open", "half_open")
"""States of a connection: it works, waits before the next try, is trying."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, what kind it is, its unit, its labels beside ``pipeline`` and ``run``, what it means."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str


def _metric(name: str, kind: Kind, unit: str, /, *, labels: str = "", text: str) -> Metric:
    return Metric(f"eventide_{name}", kind, unit, tuple(labels.split()), text)


_ALL = (
    _metric(
        "operator_events_in_total",
        "counter",
        "events",
        labels="operator",
        text="Events that came in; of a source, events read.",
    ),
    _metric(
        "operator_events_out_total",
        "counter",
        "events",
        labels="operator",
        text="Events that went out by the main port; of a sink, events written.",
    ),
    _metric(
        "operator_events_filtered_total", "counter", "events", labels="operator", text="Events that a filter left out."
    ),
    _metric(
        "operator_busy_seconds_total",
        "counter",
        "seconds",
        labels="operator",
        text="Time spent in an operator itself, without what comes after it.",
    ),
    _metric(
        "operator_busy_ratio",
        "gauge",
        "ratio",
        labels="operator",
        text="Share of the last seconds that an operator was at work.",
    ),
    _metric(
        "operator_idle_ratio",
        "gauge",
        "ratio",
        labels="operator",
        text="Share of the last seconds that an operator had nothing to do.",
    ),
    _metric(
        "operator_backpressured_ratio",
        "gauge",
        "ratio",
        labels="operator",
        text="Share of the last seconds that an operator waited for what comes after it.",
    ),
    _metric(
        "watermark_seconds",
        "gauge",
        "seconds",
        labels="operator",
        text="Watermark of an operator, since 1970; +Inf when its input has ended.",
    ),
    _metric(
        "partition_watermark_seconds",
        "gauge",
        "seconds",
        labels="operator source partition",
        text="Watermark of one partition of a source, since 1970.",
    ),
    _metric(
        "event_time_lag_seconds",
        "gauge",
        "seconds",
        labels="operator",
        text="How far the watermark of an operator is behind the clock.",
    ),
    _metric(
        "source_backlog_events", "gauge", "events", labels="source", text="Events that wait in a source to be read."
    ),
    _metric(
        "late_events_total",
        "counter",
        "events",
        labels="operator",
        text="Events that came after their window had closed for good.",
    ),
    _metric(
        "quarantined_events_total",
        "counter",
        "events",
        labels="operator",
        text="Events that could not be processed, by the source or operator that refused them.",
    ),
    _metric(
        "duplicate_events_total",
        "counter",
        "events",
        labels="operator",
        text="Events that were left out because they had come before.",
    ),
    _metric("checkpoint_duration_seconds", "gauge", "seconds", text="How long the last checkpoint took."),
    _metric("checkpoint_bytes", "gauge", "bytes", text="What the last checkpoint wrote."),
    _metric("checkpoint_age_seconds", "gauge", "seconds", text="Time since the last checkpoint was durable."),
    _metric("checkpoints_total", "counter", "checkpoints", text="Checkpoints written by this run."),
    _metric("state_bytes", "gauge", "bytes", labels="operator", text="Size of an operator's state."),
    _metric("state_keys", "gauge", "rows", labels="operator", text="Rows of keyed state that an operator holds."),
    _metric(
        "end_to_end_latency_seconds",
        "histogram",
        "seconds",
        labels="operator",
        text="From when a source handed out events to when a sink took what came of them; weighed by events written.",
    ),
    _metric(
        "retries_total", "counter", "tries", labels="operator", text="Times that a source or sink was tried again."
    ),
    _metric(
        "circuit_state",
        "gauge",
        "0 or 1",
        labels="operator state",
        text=f"The state ({', '.join(CIRCUIT_STATES)}) of the connection of a source or sink: 1 in force, else 0.",
    ),
    _metric("disk_free_bytes", "gauge", "bytes", labels="place", text="Room left where a folder is."),
    _metric("disk_size_bytes", "gauge", "bytes", labels="place", text="Size of the disk where a folder is."),
    _metric(
        "run_state",
        "gauge",
        "0 or 1",
        labels="state",
        text=f"The state ({', '.join(RUN_STATES)}) of the run: 1 in force, else 0.",
    ),
    _metric("run_started_seconds", "gauge", "seconds", text="When the run began, since 1970."),
    _metric("run_restarts_total", "counter", "restarts", text="Times that the run began again within its process."),
)

METRICS: Mapping[str, Metric] = {m.name: m for m in _ALL}
"""Every metric by its name, in the order in which they are shown."""


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure of a metric.

    Parameters
    ----------
    name
        The metric's.
    value
        The figure; of a histogram, the sum of what was observed.
    labels
        What it belongs to.
    buckets
        Of a histogram: upper bounds, the last is infinity, and how many observations are not above each.

    Examples
    --------
    >>> Sample("eventide_checkpoint_bytes", 2048, {"pipeline": "hot"}).value
    2048
    """

    name: str
    value: float
    labels: dict[str, str] = {}
    buckets: tuple[tuple[float, int], ...] = ()


class Histogram:
    """Counts of observations in buckets; may be added to by one thread and read by others.

    Parameters
    ----------
    bounds
        Upper bounds of the buckets, rising; one for all that is above is added.

    Examples
    --------
    >>> seen = Histogram([0.1, 1.0])
    >>> seen.add(0.25, count=3)
    >>> seen.sample("eventide_end_to_end_latency_seconds", {}).buckets
    ((0.1, 0), (1.0, 3), (inf, 3))
    """

    __slots__ = ("_bounds", "_counts", "_lock", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, value: float, *, count: int = 1) -> None:
        """Take note of an observation, or of several that are equal."""
        place = bisect.bisect_left(self._bounds, value)
        with self._lock:
            self._counts[place] += count
            self._sum += value * count

    def sample(self, name: str, labels: Mapping[str, str]) -> Sample:
        """Return what was observed up to now."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        seen = 0
        buckets = []
        for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
            seen += count
            buckets.append((bound, seen))
        return Sample(name, total, dict(labels), tuple(buckets))


def render(samples: Iterable[Sample]) -> str:
    r"""Return samples in the text format of Prometheus, version 0.0.4.

    Parameters
    ----------
    samples
        In any order; those of one metric are put together, in the order of `METRICS`.

    Raises
    ------
    KeyError
        A sample has a name that is not in `METRICS`.

    Examples
    --------
    >>> print(render([Sample("eventide_checkpoint_bytes", 2048, {"pipeline": 'a "b"'})]), end="")
    # HELP eventide_checkpoint_bytes What the last checkpoint wrote.
    # TYPE eventide_checkpoint_bytes gauge
    eventide_checkpoint_bytes{pipeline="a \"b\""} 2048
    """
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(METRICS[sample.name].name, []).append(sample)
    lines: list[str] = []
    for name in METRICS:
        if name in found:
            metric = METRICS[name]
            lines += (f"# HELP {name} {_escape(metric.help)}", f"# TYPE {name} {metric.kind}")
            lines += (line for sample in found[name] for line in _lines(sample, metric.kind))
    return "".join(f"{line}\n" for line in lines)


def _lines(sample: Sample, kind: Kind) -> list[str]:
    if kind != "histogram":
        return [f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}"]
    lines = [
        f"{sample.name}_bucket{_labels({**sample.labels, 'le': _number(bound)})} {count}"
        for bound, count in sample.buckets
    ]
    count = sample.buckets[-1][1] if sample.buckets else 0
    labels = _labels(sample.labels)
    return [*lines, f"{sample.name}_sum{labels} {_number(sample.value)}", f"{sample.name}_count{labels} {count}"]


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escape(value).replace(chr(34), chr(92) + chr(34))}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def to_plain(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Return samples as plain data for JSON: what is not finite becomes the text that Prometheus has for it.

    Examples
    --------
    >>> to_plain([Sample("eventide_watermark_seconds", float("inf"), {"operator": "window-2"})])
    [{'name': 'eventide_watermark_seconds', 'value': '+Inf', 'labels': {'operator': 'window-2'}}]
    """
    return [_plain(s) for s in samples]


def _plain(sample: Sample) -> dict[str, Any]:
    out: dict[str, Any] = {"name": sample.name, "value": _finite(sample.value), "labels": dict(sample.labels)}
    if sample.buckets:
        out["buckets"] = [[_finite(bound), count] for bound, count in sample.buckets]
    return out


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else _number(value)


def from_plain(data: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """Return the samples that `to_plain` made plain, without those whose metric is not known any more.

    Examples
    --------
    >>> from_plain([{"name": "eventide_watermark_seconds", "value": "+Inf", "labels": {}}])
    [Sample(name='eventide_watermark_seconds', value=inf, labels={}, buckets=())]
    """
    return [
        Sample(
            d["name"],
            _value(d["value"]),
            dict(d["labels"]),
            tuple((_value(bound), int(count)) for bound, count in d.get("buckets", ())),
        )
        for d in data
        if d["name"] in METRICS
    ]


def _value(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value


def reference() -> str:
    """Return the table of all metrics in Markdown, as it stands in the documentation.

    Examples
    --------
    >>> print(reference().splitlines()[0])
    | metric | type | unit | labels | meaning |
    """
    rows = [
        f"| `{m.name}` | {m.kind} | {m.unit} | {' '.join(f'`{n}`' for n in m.labels)} | {m.help} |"
        for m in METRICS.values()
    ]
    return "\n".join(["| metric | type | unit | labels | meaning |", "|---|---|---|---|---|", *rows]) + "\n"

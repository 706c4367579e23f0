"""What holds for a pipeline is the weakest of its sources, its sinks and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import eventide as ev
from eventide.engines.local import guarantee

SCHEMA = {"t": "event_time", "v": "float64"}


def stdin() -> ev.Stream:
    return ev.read("-", schema=SCHEMA)


def events() -> ev.Stream:
    return ev.read("generator://g", rows=1)


def counted(stream: ev.Stream, time: str) -> ev.Stream:
    return stream.event_time(time).window(ev.tumbling("1s")).aggregate(n=ev.count())


CASES: list[tuple[Any, str, str]] = [
    # the pipeline, with checkpoints, without
    (lambda: events().write("log://a"), "exactly_once", "at_least_once"),
    (lambda: events().write("sqlite://a.db?table=t"), "exactly_once", "at_least_once"),
    (lambda: events().write("sqlite://a.db?table=t&key=key"), "exactly_once", "at_least_once"),
    (lambda: events().write("sqlite://a.db?table=t&key=key", visible="at once"), "idempotent", "idempotent"),
    (lambda: events().write("sqlite://a.db?table=t", visible="at once"), "at_least_once", "at_least_once"),
    (lambda: events().write("-"), "at_least_once", "at_least_once"),
    (lambda: stdin().write("log://a"), "at_most_once", "at_most_once"),
    (lambda: stdin().write("-"), "at_most_once", "at_most_once"),
    (lambda: counted(stdin(), "t").write("log://a"), "at_most_once", "at_most_once"),
    (lambda: counted(stdin(), "t").write("-"), "none", "at_most_once"),
    (lambda: events().write("log://a") + events().write("-"), "at_least_once", "at_least_once"),
    (lambda: events().write("-") + stdin().write("log://a"), "at_most_once", "at_most_once"),
]


@pytest.mark.parametrize(("made", "kept", "bare"), CASES)
def test_the_weakest_counts(made: Any, kept: str, bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = guarantee(made())
    assert found.guarantee == kept
    assert guarantee(made(), checkpoints=False).guarantee == bare
    for sink in found.sinks:
        assert bool(sink.why) == (sink.guarantee != sink.delivery)
    assert list(tmp_path.iterdir()) == []  # nothing was opened


def test_only_the_sources_before_a_sink_count() -> None:
    found = guarantee(events().write("log://a") + stdin().write("log://b"))
    assert [s.guarantee for s in found.sinks] == ["exactly_once", "at_most_once"]
    assert [(s.name, s.replayable) for s in found.sources] == [("read-0", True), ("read-2", False)]
    assert found.sinks[1].why.startswith("read-2 (-) cannot be read again")

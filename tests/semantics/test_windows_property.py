"""Any script of events, ticks and watermarks, cut and moved in any way: the machine gives the oracle's panes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import Event
from window_scripts import Happening, Setting, Workers, by_window, run_machine, run_oracle

from eventide.errors import UsageError
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.trigger import (
    AfterCount,
    AfterPredicate,
    AfterProcessingTime,
    AllOf,
    AnyOf,
    AtWatermark,
    InOrder,
    Repeatedly,
    Trigger,
)
from eventide.model.window import CountWindow, GlobalWindow, Session, Sliding, Tumbling, WindowSpec

LEAVES = st.one_of(
    st.integers(1, 4).map(AfterCount),
    st.integers(1, 12).map(AfterProcessingTime),
    st.sampled_from([1, 3]).map(lambda d: AfterPredicate(pl.col("v") % 4 == d)),
    st.just(AtWatermark()),
)


def _deeper(inner: st.SearchStrategy[Trigger]) -> st.SearchStrategy[Trigger]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        inner.map(Repeatedly),
        several.map(AnyOf),
        several.map(AllOf),
        several.map(InOrder),
        st.builds(AtWatermark, st.none() | inner, st.none() | inner),
    )


TRIGGERS = st.none() | st.recursive(LEAVES, _deeper, max_leaves=4)

CLOSED = st.sampled_from(["left", "right"])
ALIGNED: st.SearchStrategy[WindowSpec] = st.one_of(
    st.builds(Tumbling, st.integers(3, 15), st.integers(0, 2), CLOSED),
    st.tuples(st.integers(2, 5), st.integers(0, 9), st.integers(0, 1), CLOSED).map(
        lambda p: Sliding(p[0] + p[1], p[0], p[2], p[3])
    ),
    st.just(GlobalWindow()),
)
SESSIONS: st.SearchStrategy[WindowSpec] = st.integers(2, 9).map(Session)
COUNTS: st.SearchStrategy[WindowSpec] = st.tuples(st.integers(1, 3), st.integers(0, 3)).map(
    lambda p: CountWindow(p[0] + p[1], p[0])
)


def settings_of(
    windows: st.SearchStrategy[WindowSpec], triggers: st.SearchStrategy[Trigger | None]
) -> st.SearchStrategy[Setting]:
    return st.builds(
        Setting,
        windows,
        triggers,
        st.sampled_from(["discarding", "accumulating", "retracting"]),
        st.sampled_from([0, 0, 3, 12, 40]),
        st.sampled_from(["start", "end", "earliest", "latest"]),
    )


@st.composite
def scripts(draw: st.DrawFn) -> list[Happening]:
    """Time moves on in small steps, events lie around it, some far behind; now and then a tick."""
    keys = "abc"[: draw(st.integers(1, 3))]
    out: list[Happening] = []
    now, clock, watermark = 0, 0, MIN_TIME
    for _ in range(draw(st.integers(1, 7))):
        events = []
        for _ in range(draw(st.integers(0, 8))):
            now += draw(st.integers(0, 4))
            time = now - draw(st.sampled_from([0, 0, 0, 1, 2, 5, 9, 20]))
            events.append(Event(draw(st.sampled_from(keys)), time, draw(st.integers(0, 30))))
        tick = None
        if draw(st.booleans()):
            clock += draw(st.integers(1, 8))
            tick = clock
        mark = None
        if draw(st.booleans()):
            watermark = max(watermark, now - draw(st.integers(0, 6)))
            mark = watermark
        out.append(Happening(tuple(events), mark, tick))
    out.append(Happening((), MAX_TIME))
    return out


def marked(script: list[Happening]) -> list[Happening]:
    """Join steps without ticks into one batch whose rows say which watermark they met, as engines do under load."""
    out: list[Happening] = []
    watermark = MIN_TIME
    for happening in script:
        events = tuple(replace_mark(e, watermark) for e in happening.events)
        if happening.watermark is not None:
            watermark = max(watermark, happening.watermark)
        if out and happening.clock is None and happening.watermark != MAX_TIME:
            out[-1] = Happening(out[-1].events + events, watermark, out[-1].clock)
        else:
            out.append(Happening(events, watermark, happening.clock))
    return out


def replace_mark(event: Event, watermark: int) -> Event:
    return event._replace(mark=watermark if event.time < watermark else None)


def same(setting: Setting, script: list[Happening], **how: object) -> None:
    expected = run_oracle(setting, script)
    got = run_machine(setting, script, **how)  # type: ignore[arg-type]
    assert by_window(got) == by_window(expected)
    assert sorted(got.late) == sorted(expected.late)


HOW = st.fixed_dictionaries(
    {
        "parts": st.sampled_from([1, 1, 2, 8]),
        "cut": st.sampled_from([0, 0, 1, 2, 3]),
        "moves": st.dictionaries(st.integers(0, 7), st.sampled_from([1, 2, 8]), max_size=2),
    }
)


@given(settings_of(ALIGNED, TRIGGERS), scripts(), HOW)
def test_aligned_windows(setting: Setting, script: list[Happening], how: dict[str, object]) -> None:
    same(setting, script, **how)


@given(settings_of(SESSIONS, TRIGGERS), scripts(), HOW)
def test_sessions(setting: Setting, script: list[Happening], how: dict[str, object]) -> None:
    same(setting, script, **how)


@given(settings_of(SESSIONS, st.none()), scripts(), HOW)
def test_sessions_with_the_default_trigger(setting: Setting, script: list[Happening], how: dict[str, object]) -> None:
    same(setting, script, **how)


@given(settings_of(COUNTS, st.none()), scripts(), HOW)
def test_count_windows(setting: Setting, script: list[Happening], how: dict[str, object]) -> None:
    same(setting, script, **how)


@given(settings_of(ALIGNED | SESSIONS, TRIGGERS) | settings_of(COUNTS, st.none()), scripts(), HOW)
def test_joined_batches_with_marks(setting: Setting, script: list[Happening], how: dict[str, object]) -> None:
    plain = run_oracle(setting, script)
    joined = marked(script)
    assert by_window(run_oracle(setting, joined)) == by_window(plain)
    same(setting, joined, **how)


COUNTING = st.integers(1, 3).flatmap(
    lambda n: st.sampled_from(
        [Repeatedly(AfterCount(n)), AtWatermark(AfterCount(n)), AtWatermark(Repeatedly(AfterCount(n)), AfterCount(2))]
    )
)


@given(settings_of(ALIGNED | SESSIONS, COUNTING), scripts(), HOW)
def test_many_panes_in_a_batch(setting: Setting, script: list[Happening], how: dict[str, object]) -> None:
    script = [Happening(tuple(e for h in script for e in h.events)), *script]
    same(replace(setting, accumulation="discarding"), script, **{**how, "cut": 0})


@given(settings_of(ALIGNED | SESSIONS, TRIGGERS) | settings_of(COUNTS, st.none()), scripts(), st.integers(0, 7))
def test_a_restored_machine_goes_on_in_the_same_order(setting: Setting, script: list[Happening], at: int) -> None:
    """Not only the same panes: the same rows in the same order, so that sinks can drop repeats by position."""
    assert run_machine(setting, script, moves={at: 1}) == run_machine(setting, script)


@given(settings_of(ALIGNED | SESSIONS, TRIGGERS), scripts())
def test_events_are_in_a_pane_or_late(setting: Setting, script: list[Happening]) -> None:
    """Nothing is lost: with one window an event and discarding panes, every event is in exactly one output."""
    if isinstance(setting.window, Sliding):
        setting = replace(setting, window=Tumbling(setting.window.size))
    result = run_machine(replace(setting, accumulation="discarding"), script)
    values = [v for p in result.panes for v in p.values] + [v for _, _, v in result.late]
    assert sorted(values) == sorted(e.value for h in script for e in h.events)


@pytest.mark.parametrize("gap", [1, 5])
def test_sessions_partition_time(gap: int) -> None:
    times = [0, 3, 4, 9, 30, 31, 29]
    script = [Happening(tuple(Event("a", t, t) for t in times)), Happening((), MAX_TIME)]
    panes = run_machine(Setting(Session(gap)), script).panes
    ends = sorted((p.start, p.end) for p in panes)
    assert all(one[1] <= two[0] for one, two in pairwise(ends))
    assert sorted(v for p in panes for v in p.values) == sorted(times)


@given(settings_of(ALIGNED | SESSIONS, TRIGGERS), scripts())
def test_nothing_is_held_in_the_end(setting: Setting, script: list[Happening]) -> None:
    workers = Workers(setting)
    watermark = MIN_TIME
    for happening in script:
        watermark = watermark if happening.watermark is None else max(watermark, happening.watermark)
        workers.push(happening.events, watermark=watermark, clock=happening.clock)
    state = workers.machines[0].snapshot()
    assert all(table.num_rows == 0 for name, table in state.items() if name != "time")
    assert workers.machines[0].watermark == MAX_TIME


def test_a_count_window_takes_no_trigger() -> None:
    with pytest.raises(UsageError, match="count_window"):
        Workers(Setting(CountWindow(2, 2), AfterCount(1)))

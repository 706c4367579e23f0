"""Watermarks of a partition against a plain model of one event at a time, and the engine's use of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.kernel.watermarks import CONFIRM, PartitionWatermark
from eventide.model.protocols import Chunk, Position
from eventide.model.time import EVENT_TIME, MIN_TIME

TIMES = st.lists(st.integers(-1000, 1000), max_size=300)


def naive(times: list[int], lateness: int, max_jump: int) -> tuple[list[int], list[bool], int]:
    """Return the watermark that each event met, which events are strays, and the final watermark."""
    newest: int | None = None
    streak = 0
    met, strays = [], []
    for t in times:
        met.append(MIN_TIME if newest is None else newest - lateness)
        stray = bool(max_jump) and newest is not None and t - newest > max_jump
        if stray:
            streak += 1
            if streak >= CONFIRM:
                stray, streak = False, 0
        else:
            streak = 0
        strays.append(stray)
        if not stray:
            newest = t if newest is None else max(newest, t)
    return met, strays, MIN_TIME if newest is None else newest - lateness


@given(TIMES, st.integers(0, 300), st.sampled_from([0, 50, 400]), st.lists(st.integers(1, 200), min_size=1))
def test_any_cut_gives_what_one_event_at_a_time_gives(
    times: list[int], lateness: int, max_jump: int, cuts: list[int]
) -> None:
    met, strays, final = naive(times, lateness, max_jump)
    watermark = PartitionWatermark(lateness, max_jump)
    start, cut = 0, 0
    while start < len(times):
        part = times[start : start + cuts[cut % len(cuts)]]
        verdict = watermark.push(np.array(part, np.int64))
        behind = [t < m for t, m in zip(part, met[start:], strict=False)]
        if verdict.marks is not None:
            assert verdict.marks.tolist() == met[start : start + len(part)]
        else:
            assert not any(b and not s for b, s in zip(behind, strays[start:], strict=False))
        found = [False] * len(part) if verdict.strays is None else verdict.strays.tolist()
        assert found == strays[start : start + len(part)]
        start, cut = start + len(part), cut + 1
    assert watermark.watermark == final


def test_times_that_lie_centuries_apart() -> None:
    late, early = 8_800_000_000_000_000_000, -8_800_000_000_000_000_000  # their difference is no int64
    watermark = PartitionWatermark(lateness=5)
    verdict = watermark.push(np.array([late, early], np.int64))
    assert verdict.marks is not None
    assert verdict.marks.tolist() == [MIN_TIME, late - 5]


def test_a_hundred_strays_in_a_row_are_believed() -> None:
    watermark = PartitionWatermark(0, max_jump=10)
    watermark.push(np.array([0], np.int64))
    verdict = watermark.push(np.full(CONFIRM + 5, 10_000, np.int64))
    assert verdict.strays is not None
    assert verdict.strays.sum() == CONFIRM - 1
    assert watermark.watermark == 10_000


@given(TIMES, st.integers(0, 300))
def test_compiled_and_plain_agree(times: list[int], lateness: int) -> None:
    values = np.array(times, np.int64)
    one, two = PartitionWatermark(lateness), PartitionWatermark(lateness)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eventide.kernel.watermarks.have_compiler", lambda: False)
        first = one.push(values)
    second = two.push(values)
    assert one == two
    assert (first.marks is None) == (second.marks is None)


class Silent:
    """A source of two partitions of which one only sends heartbeats."""

    def schema(self) -> pa.Schema:
        return pa.schema([("time", EVENT_TIME), ("v", pa.int64())])

    def partitions(self) -> list[str]:
        return ["busy", "silent"]

    def open(self, positions: Mapping[str, Position]) -> Silent:
        self.turn = 0
        return self

    @property
    def finished(self) -> bool:
        return self.turn >= 3

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        self.turn += 1
        if self.turn > 2:
            return []
        times = pa.array([0, 5, 100] if self.turn == 1 else [7], EVENT_TIME)
        rows = pa.record_batch([times, pa.array(range(len(times)), pa.int64())], schema=self.schema())
        silence = rows.slice(0, 0)
        return [Chunk("busy", rows, {}), Chunk("silent", silence, {}, heartbeat=100)]

    def backlog(self) -> None:
        return None

    def close(self) -> None:
        pass


def test_a_heartbeat_moves_the_watermark_of_a_silent_partition() -> None:
    events = ev.read(Silent()).event_time("time")
    counts = events.window(ev.tumbling(pa_ns(10))).aggregate(n=ev.count())
    late = ev.fetch(counts.side("late"))
    # The window [0, 10) closed at the heartbeat, so the event at 7 that came after it is late.
    assert late["v"].to_pylist() == [0]
    assert ev.fetch(counts)["n"].to_pylist() == [2, 1]


def pa_ns(count: int) -> str:
    return f"{count}ns"

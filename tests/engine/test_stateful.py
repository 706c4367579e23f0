"""The embedded engine with state: late events, other numbers of lanes after a stop, order of ports, failures."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.engines.local import run
from eventide.errors import RunError
from eventide.model.machine import Emit, Step
from eventide.model.state import State
from eventide.model.time import EVENT_TIME, MIN_TIME

SECOND = 10**9


def events(seconds: list[int], keys: int = 3) -> pa.Table:
    size = len(seconds)
    return pa.table(
        {
            "time": pa.array(np.array(seconds, np.int64) * SECOND, EVENT_TIME),
            "key": [f"k{i % keys}" for i in range(size)],
            "value": np.arange(float(size)),
        }
    )


def cut(table: pa.Table, sizes: list[int]) -> list[pa.RecordBatch]:
    whole = table.combine_chunks().to_batches()[0]
    out, start, turn = [], 0, 0
    while start < whole.num_rows:
        out.append(whole.slice(start, sizes[turn % len(sizes)]))
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    return out


WINDOWS = [ev.tumbling("10s"), ev.sliding("10s", "5s"), ev.session("4s")]


@given(
    seconds=st.lists(st.integers(0, 60), min_size=1, max_size=40),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    window=st.sampled_from(WINDOWS),
)
def test_what_is_late_does_not_depend_on_cuts(seconds: list[int], sizes: list[int], window: object) -> None:
    """Events far beyond the lateness: the results and the late events are those of one event at a time."""
    table = events(seconds)

    def outcome(parts: list[pa.RecordBatch], rows: int) -> tuple[list[dict[str, object]], list[float]]:
        counts = (
            ev.from_table(parts)
            .event_time("time", lateness="3s")
            .key_by("key")
            .window(window)  # type: ignore[arg-type]
            .aggregate(n=ev.count(), total=ev.sum("value"))
        )
        main, late = MemorySink(), MemorySink()
        ev.run(counts.write(main), counts.side("late").write(late), batch_rows=rows)
        order = [("key", "ascending"), ("window_start", "ascending")]
        return main.table().sort_by(order).to_pylist(), sorted(late.table()["value"].to_pylist())

    one_by_one = outcome(cut(table, [1]), 1)
    assert outcome(cut(table, sizes), 100) == one_by_one
    assert outcome(cut(table, [1000]), 1000) == one_by_one


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 5)])
def test_state_is_taken_over_by_another_number_of_lanes(tmp_path: Path, before: int, after: int) -> None:
    rng = np.random.default_rng(7)
    table = events(sorted(rng.integers(0, 300, 600).tolist()), keys=40)
    batches = cut(table, [10])
    stop = threading.Event()
    seen: list[int] = []

    def watch(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen.append(batch.num_rows)
        if sum(seen) >= 300:
            stop.set()
        return batch

    def flow(sink: MemorySink) -> ev.pipeline:  # type: ignore[valid-type]
        timed = ev.read(MemorySource(batches)).map_batches(watch).event_time("time", lateness="2s").key_by("key")
        sessions = timed.window(ev.session("30s")).aggregate(n=ev.count(), s=ev.std("value"))
        return sessions.write(sink)

    whole = MemorySink()
    run(flow(whole))
    sink = MemorySink()
    seen.clear()
    stop.clear()
    first = run(flow(sink), stop=stop, checkpoint=tmp_path, batch_rows=10, lanes=before)
    assert first.stopped
    stop.clear()
    seen[:] = [-(10**9)]
    second = run(flow(sink), checkpoint=tmp_path, batch_rows=10, lanes=after)
    assert second.resumed_from
    order = [("key", "ascending"), ("window_start", "ascending")]
    assert sink.table().sort_by(order).equals(whole.table().sort_by(order))


class Fragile:
    """A machine that fails at its third step."""

    watermark = MIN_TIME

    def __init__(self) -> None:
        self.steps = 0

    def push(self, step: Step) -> list[Emit]:
        self.steps += 1
        if self.steps == 3:
            msg = "out of range"
            raise IndexError(msg)
        return []

    def snapshot(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        pass


def test_a_failing_machine_says_which_and_where() -> None:
    schema = pa.schema([("n", pa.int64())])
    stream = ev.from_table(cut(events(list(range(10))), [1])).event_time("time").key_by("key")
    broken = stream.process(lambda context: Fragile(), schema=schema, name="fragile")
    with pytest.raises(RunError, match=r"fragile \(test_stateful.py:\d+\) failed: IndexError: out of range"):
        ev.fetch(broken, batch_rows=1)


def test_windows_of_windows() -> None:
    """Minutes roll up to hours: the event time of a window's result is its start, and nothing is late."""
    table = events(list(range(0, 7200, 10)), keys=1)
    minutes = (
        ev.from_table(cut(table, [50]))
        .event_time("time")
        .key_by("key")
        .window(ev.tumbling("1m"))
        .aggregate(n=ev.count(), top=ev.max("value"))
    )
    hours = minutes.window(ev.tumbling("1h")).aggregate(n=ev.sum("n"), top=ev.max("top"))
    sink = MemorySink()
    result = ev.run(hours.write(sink))
    assert sink.table()["n"].to_pylist() == [360, 360]
    assert sink.table()["top"].to_pylist() == [359.0, 719.0]
    assert result.late == 0

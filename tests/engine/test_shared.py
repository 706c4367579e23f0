"""Threads that share the rows of a batch: the same bits as one thread, across windows, late rows and stops."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.engines.local import run
from eventide.kernel.compiled import have_compiler
from eventide.kernel.window import filling
from eventide.kernel.window.aligned import AlignedWindowMachine
from eventide.model.graph import Read, Ref, Window
from eventide.model.machine import Step
from eventide.model.time import EVENT_TIME

SECOND = 10**9
ORDER = [("key", "ascending"), ("window_start", "ascending")]
WINDOWS = {"tumbling": ev.tumbling("10s"), "sliding": ev.sliding("10s", "5s")}


def events(rows: int, *, seed: int, keys: int = 5, disorder: int = 4) -> pa.Table:
    rng = np.random.default_rng(seed)
    times = np.arange(rows) * SECOND // 20 - rng.integers(0, disorder * SECOND, rows)
    values = rng.normal(0, 1, rows) * 10.0 ** rng.integers(-9, 9, rows)
    return pa.table({"time": pa.array(times, EVENT_TIME), "key": rng.integers(0, keys, rows), "value": values})


def flow(table: pa.Table, window: object, chunk: int, lateness: str = "4s") -> ev.Stream:
    timed = ev.read(MemorySource(table.to_batches(max_chunksize=chunk))).event_time("time", lateness=lateness)
    return (
        timed.key_by("key")
        .window(window)  # type: ignore[arg-type]
        .aggregate(n=ev.count(), total=ev.sum("value"), mean=ev.mean("value"), std=ev.std("value"))
    )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("lanes", [2, 3])
def test_large_batches_give_the_same_bits(window: str, lanes: int) -> None:
    table = events(200_000, seed=1, keys=50)
    one = ev.fetch(flow(table, WINDOWS[window], 65_536), lanes=1).sort_by(ORDER)
    assert ev.fetch(flow(table, WINDOWS[window], 65_536), lanes=lanes).sort_by(ORDER).equals(one)
    assert ev.fetch(flow(table, WINDOWS[window], 1_000), lanes=lanes).sort_by(ORDER).equals(one)


@given(
    rows=st.integers(1, 400),
    chunk=st.integers(1, 120),
    seed=st.integers(0, 2**20),
    window=st.sampled_from(sorted(WINDOWS)),
    lateness=st.sampled_from(["0", "1s", "4s"]),
    stop_at=st.integers(0, 400),
)
def test_any_input_late_or_not_stopped_and_resumed(
    rows: int, chunk: int, seed: int, window: str, lateness: str, stop_at: int
) -> None:
    """With the thresholds lowered every batch is shared; stopping takes a snapshot of what the threads hold."""
    table = events(rows, seed=seed)
    plain = MemorySink()
    ev.run(flow(table, WINDOWS[window], chunk, lateness).write(plain), lanes=1)
    stop = threading.Event()
    seen = [0]

    def watch(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen[0] += batch.num_rows
        if stop_at and seen[0] >= stop_at:
            stop.set()
        return batch

    timed = ev.read(MemorySource(table.to_batches(max_chunksize=chunk))).event_time("time", lateness=lateness)
    counted = (
        timed.key_by("key")
        .window(WINDOWS[window])
        .aggregate(n=ev.count(), total=ev.sum("value"), mean=ev.mean("value"), std=ev.std("value"))
    )
    shared = MemorySink()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(filling, "SHARED_ROWS", 2)
        pipeline = counted.map_batches(watch).write(shared)
        run(pipeline, stop=stop, checkpoint=folder, batch_rows=chunk, lanes=3)
        stop.clear()
        seen[0] = -(10**9)
        run(pipeline, checkpoint=folder, batch_rows=chunk, lanes=2)
    assert shared.table().sort_by(ORDER).equals(plain.table().sort_by(ORDER))


class AtOnce:
    """A thread that does all of its work before the caller goes on, so that no row is left to the caller."""

    others = 1

    def start(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()


def pushed(machine: AlignedWindowMachine, table: pa.Table) -> list[pa.RecordBatch]:
    batch = table.combine_chunks().to_batches()[0]
    return [e.batch for e in machine.push(Step(0, 0, batch, watermark=10**15))]


def machine_of(table: pa.Table) -> AlignedWindowMachine:
    node = Window(Ref(Read("log://a")), ev.tumbling("2000s"), (("n", ev.count()), ("total", ev.sum("value"))))
    return AlignedWindowMachine(node, schema=table.schema, keys=("key",), event_time="time")


@pytest.mark.skipif(not have_compiler(), reason="only the compiled pass shares rows")
def test_rows_that_another_thread_adds_and_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    table = events(200_000, seed=2, keys=50, disorder=9)
    alone = pushed(machine_of(table), table)
    shared = machine_of(table)
    assert shared.share(AtOnce())
    assert pushed(shared, table) == alone
    add = filling.Filling._add

    def fails(self: filling.Filling, *arguments: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("no room")
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(filling.Filling, "_add", fails)
    broken = machine_of(table)
    broken.share(AtOnce())
    with pytest.raises(MemoryError, match="no room"):
        pushed(broken, table)

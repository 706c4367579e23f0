"""Functions given parts of batches by several threads, and before their turn: the same as one thread after the other."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors.memory import MemorySource
from eventide.engines.local import run, split
from eventide.engines.local.lanes import Workers
from eventide.engines.local.spare import Spare
from eventide.errors import RunError
from eventide.kernel.parts import Parts, in_parts
from eventide.model.row_wise import RowWise
from eventide.model.time import EVENT_TIME

SECOND = 10**9


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_ROWS", 4)


def events(rows: int, seed: int, *, nulls: bool = False) -> pa.Table:
    rng = np.random.default_rng(seed)
    times = np.arange(rows) * SECOND // 4 - rng.integers(0, 12 * SECOND, rows) * (rng.random(rows) < 0.2)
    column = pa.array(times, EVENT_TIME, mask=(rng.random(rows) < 0.05) if nulls else None)
    return pa.table({"time": column, "x": rng.integers(0, 100, rows)})


def doubled(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Array]:
    kept = pc.not_equal(batch["x"], 7)
    some = batch.filter(kept)
    return some.set_column(1, "x", pc.multiply(some["x"], 2)), kept


def same(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
    return batch.append_column("thread", pa.array([threading.get_ident()] * batch.num_rows, pa.int64())), None


def flow(table: pa.Table, chunk: int) -> tuple[ev.Stream, ev.Stream]:
    timed = ev.read(MemorySource(table.to_batches(max_chunksize=chunk))).event_time("time", lateness="3s")
    made = timed.map_batches(RowWise(doubled, in_parts=True)).map_batches(RowWise(same, in_parts=True))
    counted = made.window(ev.tumbling("5s")).aggregate(n=ev.count(), total=ev.sum("x"))
    return counted, counted.side("late")


@given(
    rows=st.integers(1, 300),
    chunk=st.integers(1, 120),
    seed=st.integers(0, 2**20),
    lanes=st.integers(2, 4),
    nulls=st.booleans(),
    batch=st.integers(1, 200),
)
@settings(max_examples=80)
def test_windows_and_late_rows_do_not_depend_on_threads(
    rows: int, chunk: int, seed: int, lanes: int, nulls: bool, batch: int
) -> None:
    table = events(rows, seed, nulls=nulls)
    for port in (0, 1):
        one = ev.fetch(flow(table, chunk)[port], lanes=1)
        many = ev.fetch(flow(table, chunk)[port], lanes=lanes, batch_rows=batch)
        wanted = [n for n in one.column_names if n != "thread"]
        assert many.select(wanted).equals(one.select(wanted))


def test_two_threads_work() -> None:
    def slowly(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        time.sleep(0.005)  # whoever waits for the interpreter gets a turn, however loaded the machine is
        return same(batch)

    table = events(20_000, seed=3)
    found = ev.fetch(
        ev.read(MemorySource(table.to_batches(max_chunksize=500)))
        .event_time("time", lateness="3s")
        .map_batches(RowWise(slowly, in_parts=True)),
        lanes=2,
    )
    assert found.select(["time", "x"]).equals(table)
    assert len(set(found["thread"].to_pylist())) >= 2


def test_the_ledger_adds_up() -> None:
    table = events(500, seed=4, nulls=True)
    counted, late = flow(table, 50)
    result = run(ev.pipeline(counted.write("memory://split-a"), late.write("memory://split-b")), lanes=2)
    assert result.ledger.check() == []
    assert any(c.dropped for c in result.ledger)


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_error_in_a_part_is_that_of_the_function(lanes: int) -> None:
    def bad(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        if 480 in batch["x"].to_pylist():
            raise ValueError("480")
        return batch, None

    before = sys.getswitchinterval()
    table = pa.table({"time": pa.array(np.arange(500) * SECOND, EVENT_TIME), "x": np.arange(500)})
    stream = ev.read(MemorySource(table.to_batches(max_chunksize=50))).event_time("time", lateness="0s")
    with pytest.raises(RunError, match=r"mapbatches-\d.*ValueError: 480"):
        ev.fetch(stream.map_batches(RowWise(bad, in_parts=True)), lanes=lanes)
    assert sys.getswitchinterval() == before


def test_a_plain_function_is_given_whole_batches() -> None:
    sizes = []

    def seen(batch: pa.RecordBatch) -> pa.RecordBatch:
        sizes.append(batch.num_rows)
        return batch

    table = events(100, seed=1)
    ev.fetch(ev.read(MemorySource(table.to_batches(max_chunksize=50))).map_batches(seen), lanes=2)
    assert [s for s in sizes if s] == [50, 50]


# -- parts by themselves


def test_results_are_in_order_whoever_did_them() -> None:
    parts = Parts(lambda n: (n, threading.get_ident()), range(200))
    others = [threading.Thread(target=parts.drain) for _ in range(3)]
    for thread in others:
        thread.start()
    found = parts.finish()
    for thread in others:
        thread.join()
    assert [n for n, _ in found] == list(range(200))
    assert not parts.waiting


def test_the_first_error_is_raised_when_all_is_done() -> None:
    done = []

    def odd(n: int) -> None:
        done.append(n)
        if n % 2:
            raise ValueError(n)

    with pytest.raises(ValueError, match=r"^1$"):
        Parts(odd, range(5)).finish()
    assert done == list(range(5))


def test_what_is_dropped_is_not_begun() -> None:
    parts = Parts(lambda n: n, range(5))
    assert parts.work()
    parts.drop()
    assert not parts.work()
    assert parts.finish() == [0]


def test_what_nobody_has_begun_can_be_taken_back() -> None:
    parts = Parts(lambda n: n, range(3))
    assert parts.take_back()
    assert not parts.work()
    parts = Parts(lambda n: n, range(3))
    assert parts.work()
    assert not parts.take_back()
    assert parts.finish() == [0, 1, 2]


def test_other_work_is_done_while_parts_are_not_there() -> None:
    begun, told = threading.Event(), threading.Event()

    def slow(n: int) -> int:
        begun.set()
        assert told.wait(10)
        return n

    parts = Parts(slow, [1])
    thread = threading.Thread(target=parts.work)
    thread.start()
    assert begun.wait(10)
    did = []

    def meanwhile() -> bool:
        did.append(len(did))
        if len(did) == 3:
            told.set()
        return len(did) < 4

    assert parts.finish(meanwhile) == [1]
    assert len(did) >= 3
    thread.join()


def test_there_are_no_more_helpers_than_there_may_be() -> None:
    """A feed that waits and a worker are two, and one is allowed: the third thread would only take turns."""
    workers = Workers(2)
    spare = Spare(2, workers)
    at_once, most, lock = [0], [0], threading.Lock()

    def part(n: int) -> int:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.002)
        with lock:
            at_once[0] -= 1
        return n

    def feed() -> None:
        with spare.idle():
            while not over.is_set():
                if spare:
                    spare.help()
                time.sleep(0.0005)

    over = threading.Event()
    waits = threading.Thread(target=feed)
    waits.start()
    offers = [Parts(part, range(20)) for _ in range(4)]
    for each in offers:
        spare.offer(each)
    deadline = time.monotonic() + 20
    while any(p.waiting for p in offers) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert [p.finish() for p in offers] == [list(range(20))] * 4
    over.set()
    waits.join()
    workers.close()
    assert most[0] == 1
    assert spare.free == 1


def test_workers_take_offers_and_nothing_is_kept() -> None:
    workers = Workers(3)
    spare = Spare(3, workers)
    try:
        for _ in range(100):
            assert in_parts(spare, lambda n: n + 1, range(8)) == list(range(1, 9))
        assert not spare
    finally:
        workers.close()

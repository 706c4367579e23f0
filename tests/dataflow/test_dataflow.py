"""A pipeline cut for a distributed engine gives what the embedded engine gives, whatever fails in between."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide import op
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.engines._dataflow import Dataflow, Element, Output
from eventide.engines._dataflow.cut import one_bucket
from eventide.engines._dataflow.packing import pack, unpack
from eventide.engines.local import run
from eventide.errors import CheckpointError, DataError, UsageError
from eventide.model.pipeline import Pipeline, pipeline
from eventide.model.stream import Stream
from eventide.model.time import EVENT_TIME
from eventide.testing._compare import rows_of

SECOND = 10**9


def events(rows: int, *, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 120, rows)) + rng.integers(0, 6, rows)
    return pa.table(
        {
            "time": pa.array(times * SECOND, EVENT_TIME),
            "key": pa.array([f"k{k}" for k in rng.integers(0, 7, rows)]),
            "value": rng.normal(0, 10, rows).round(3),
        }
    )


def fed(table: pa.Table, chunk: int) -> Stream:
    source = MemorySource(table.to_batches(max_chunksize=chunk))
    return ev.read(source).event_time("time", lateness="3s").key_by("key")


def windows(table: pa.Table, chunk: int) -> list[Stream]:
    made = fed(table, chunk).window(ev.tumbling("10s")).aggregate(n=ev.count(), mean=ev.mean("value"))
    return [made, made.side("late")]


def sliding(table: pa.Table, chunk: int) -> list[Stream]:
    return [fed(table, chunk).window(ev.sliding("10s", "4s")).aggregate(n=ev.count(), high=ev.max("value"))]


def sessions(table: pa.Table, chunk: int) -> list[Stream]:
    return [
        fed(table, chunk)
        .window(ev.session("3s"), allowed_lateness="2s", accumulation="discarding")
        .aggregate(n=ev.count())
    ]


def again(table: pa.Table, chunk: int) -> list[Stream]:
    first = fed(table, chunk).window(ev.tumbling("5s")).aggregate(n=ev.count())
    return [first.filter(pl.col("n") > 1).window(ev.tumbling("20s")).aggregate(total=ev.sum("n"))]


def other_key(table: pa.Table, chunk: int) -> list[Stream]:
    first = fed(table, chunk).window(ev.tumbling("5s")).aggregate(n=ev.count())
    return [first.key_by("n").window(ev.tumbling("20s")).aggregate(times=ev.count())]


def joined(table: pa.Table, chunk: int) -> list[Stream]:
    half = table.num_rows // 2
    left, right = fed(table.slice(0, half), chunk), fed(table.slice(half), chunk)
    return [left.join(right, ev.interval("-2s", "2s"))]


def stateless(table: pa.Table, chunk: int) -> list[Stream]:
    return [fed(table, chunk).filter(pl.col("value") > 0).with_columns(twice=pl.col("value") * 2)]


def copied(table: pa.Table, chunk: int) -> list[Stream]:
    return [ev.read(MemorySource(table.to_batches(max_chunksize=chunk)))]


def doubles(table: pa.Table, chunk: int) -> list[Stream]:
    return [op.dedup(fed(table, chunk), by=["key", "value"], within="1h")]


SHAPES: dict[str, Callable[[pa.Table, int], list[Stream]]] = {
    f.__name__: f for f in (windows, sliding, sessions, again, other_key, joined, stateless, copied, doubles)
}


def written(streams: list[Stream]) -> tuple[Pipeline, list[MemorySink]]:
    sinks = [MemorySink() for _ in streams]
    return pipeline(*(s.write(k, name=f"out-{i}") for i, (s, k) in enumerate(zip(streams, sinks, strict=True)))), sinks


def counted(sinks: list[MemorySink]) -> list[Counter[str]]:
    return [Counter(map(repr, rows_of(s.table()))) for s in sinks]


def locally(streams: list[Stream]) -> list[Counter[str]]:
    flow, sinks = written(streams)
    run(flow, lanes=1)
    return counted(sinks)


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    rows=st.integers(2, 120),
    chunk=st.integers(1, 50),
    buckets=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=120)
def test_equal_to_the_embedded_engine(
    shape: str, rows: int, chunk: int, buckets: int, seed: int, data: st.DataObject
) -> None:
    """Elements in any order, repeats, states taken and restored at any moment, outputs twice, epochs at any moment."""
    table = events(rows, seed=seed)
    pipe, sinks = written(SHAPES[shape](table, chunk))
    flow = Dataflow(pipe, buckets=buckets, batch_rows=data.draw(st.integers(1, 60)))
    folder = Path(tempfile.mkdtemp())
    head, outlet = flow.head(), flow.outlet(folder)
    parts = [flow.bucket(b) for b in range(flow.count)]
    held: list[Element] = []
    saved: tuple[bytes, list[bytes], list[Element]] | None = None
    rng = np.random.default_rng(seed)
    for step in range(10_000):
        fails = data.draw(st.integers(0, 19), label="event") if step < 60 else 0
        if fails == 19 and saved is not None:  # the engine goes back to its checkpoint, the driver stays
            head.close()
            head = flow.head(saved[0])
            parts = [flow.bucket(b, s) for b, s in enumerate(saved[1])]
            held = list(saved[2])
        elif fails == 18:
            saved = head.state(), [p.state() for p in parts], list(held)
            outlet.commit(outlet.next_epoch)
        elif fails == 17:  # the driver dies: what it had not committed comes again from the engine's checkpoint
            if saved is None:
                continue
            outlet.close(failed=True)
            outlet = flow.outlet(folder)
            head.close()
            head = flow.head(saved[0])
            parts = [flow.bucket(b, s) for b, s in enumerate(saved[1])]
            held = list(saved[2])
        held += head.read(timeout=0.0)
        rng.shuffle(held)  # type: ignore[arg-type]
        take = len(held) if head.finished else int(rng.integers(0, len(held) + 1))
        for element in held[:take]:
            made: list[Output] = parts[element.bucket].push(Element(*element))
            outlet.write(made)
            if fails == 16:
                outlet.write(made)
                parts[element.bucket].push(Element(*element))
        held = held[take:]
        if outlet.ended:
            break
    outlet.commit(outlet.next_epoch)
    assert counted(sinks) == locally(SHAPES[shape](table, chunk))
    assert outlet.result().ledger_balanced, outlet.result().ledger.check()
    outlet.close()
    head.close()


def test_operators_that_do_not_agree_on_a_key_meet_in_one_bucket() -> None:
    table = events(20, seed=1)
    assert not one_bucket(written(again(table, 5))[0])
    assert "has the key n after" in one_bucket(written(other_key(table, 5))[0])
    assert Dataflow(written(other_key(table, 5))[0]).count == 1


def test_an_output_that_is_missing_is_noticed(tmp_path: Path) -> None:
    pipe, _ = written(stateless(events(5, seed=1), 5))
    outlet = Dataflow(pipe).outlet(tmp_path)
    with pytest.raises(CheckpointError, match="output 3 of bucket 0 came, where 0 is the next"):
        outlet.write([Output(0, 3, b"")])
    outlet.close()


def test_a_folder_of_another_pipeline_is_refused(tmp_path: Path) -> None:
    outlet = Dataflow(written(stateless(events(5, seed=1), 5))[0]).outlet(tmp_path)
    outlet.commit(0)
    outlet.close()
    with pytest.raises(CheckpointError, match="of another pipeline"):
        Dataflow(written(windows(events(5, seed=1), 5))[0]).outlet(tmp_path)


@pytest.mark.parametrize("cut", [0, 3, 8, 20, -1])
def test_bytes_that_were_cut_are_refused(cut: int) -> None:
    whole = pack({"a": 1}, [pa.record_batch({"x": [1, 2]})])
    with pytest.raises(DataError):
        unpack(whole[:cut])


def test_buckets_are_of_the_256_key_groups() -> None:
    with pytest.raises(UsageError, match="buckets is 300"):
        Dataflow(written(windows(events(5, seed=1), 5))[0], buckets=300)

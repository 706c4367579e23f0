"""The memory connector: every row once, whatever the read size, the partitions and the place of a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.connectors.memory import MemorySink, MemorySource, sink, source
from eventide.errors import CheckpointError, UnknownNameError, UsageError
from eventide.registry import open_sink, open_source

SCHEMA = pa.schema([("a", pa.int64())])


def _read_all(src: MemorySource, positions: Mapping[str, Any], *, max_rows: int, chunks: int = 10**9) -> Any:
    reader = src.open(positions)
    got: dict[str, list[int]] = {p: [] for p in src.partitions()}
    where = dict(positions)
    while not reader.finished and chunks > 0:
        for chunk in reader.read(max_rows=max_rows, timeout=0):
            got[chunk.partition] += chunk.batch.column(0).to_pylist()
            where[chunk.partition] = chunk.position
        chunks -= 1
    return got, where, reader


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    partitions=st.integers(1, 4),
    max_rows=st.integers(1, 12),
    stop=st.integers(0, 10),
)
def test_stop_and_resume_gives_every_row_once_in_order(
    sizes: list[int], partitions: int, max_rows: int, stop: int
) -> None:
    total = sum(sizes)
    table = pa.table({"a": pa.array(range(total), pa.int64())})
    cuts = [table.slice(sum(sizes[:i]), n).combine_chunks().to_batches() for i, n in enumerate(sizes)]
    batches = [b for c in cuts for b in c] or [pa.RecordBatch.from_pylist([], SCHEMA)]
    src = MemorySource(batches, partitions=partitions)
    first, where, _ = _read_all(src, {}, max_rows=max_rows, chunks=stop)
    second, _, reader = _read_all(src, where, max_rows=max_rows + 1)
    assert reader.backlog() == 0
    for p in src.partitions():
        assert first[p] + second[p] == list(range(int(p), total, partitions))


def test_read_never_exceeds_max_rows_and_keeps_batches() -> None:
    src = MemorySource([pa.record_batch({"a": [1, 2]}), pa.record_batch({"a": [3]})])
    chunks = src.open({}).read(max_rows=10, timeout=0)
    assert [c.batch.num_rows for c in chunks] == [2, 1]
    assert [c.position for c in chunks] == [{"row": 2}, {"row": 3}]
    reader = src.open({})
    assert sum(c.batch.num_rows for c in reader.read(max_rows=1, timeout=0)) == 1
    reader.close()
    reader.close()
    assert reader.finished


def test_uncommitted_rows_are_dropped_on_restore() -> None:
    out = MemorySink()
    out.open(SCHEMA, None)
    out.write(pa.record_batch({"a": [1, 2]}))
    state = out.prepare(1)
    out.commit(1, state)
    out.write(pa.record_batch({"a": [3]}))
    out.prepare(2)
    assert out.table()["a"].to_pylist() == [1, 2]
    out.open(SCHEMA, state)
    out.commit(1, state)
    out.write(pa.record_batch({"a": [4]}))
    out.commit(2, out.prepare(2))
    assert out.table()["a"].to_pylist() == [1, 2, 4]
    assert [b.num_rows for b in out.batches()] == [2, 1]
    out.open(SCHEMA, None)
    assert out.table().num_rows == 0


def test_rows_prepared_but_not_committed_survive_a_restore() -> None:
    out = MemorySink()
    out.open(SCHEMA, None)
    out.write(pa.record_batch({"a": [1]}))
    state = out.prepare(1)
    out.open(SCHEMA, state)
    out.commit(1, state)
    out.commit(1, state)
    assert out.table()["a"].to_pylist() == [1]


def test_a_checkpoint_of_another_process_is_refused() -> None:
    with pytest.raises(CheckpointError, match="0 of the 5 rows"):
        MemorySink().open(SCHEMA, {"rows": 5})


def test_named_memory_is_read_back() -> None:
    out = open_sink("memory://squares")
    out.open(SCHEMA, None)
    out.write(pa.record_batch({"a": [1, 4, 9]}))
    out.commit(1, out.prepare(1))
    got, _, _ = _read_all(open_source("memory://squares?partitions=2"), {}, max_rows=10)
    assert got == {"0": [1, 9], "1": [4]}


def test_mistakes_are_named() -> None:
    sink("memory://temperature", {})
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        source("memory://temprature", {})
    with pytest.raises(UsageError, match="no option 'partition'"):
        source("memory://temperature", {"partition": 2})
    with pytest.raises(UsageError, match="at least 1"):
        MemorySource(pa.table({"a": [1]}), partitions=0)
    with pytest.raises(UsageError, match="at least one record batch"):
        MemorySource([])
    with pytest.raises(UsageError, match="one schema"):
        MemorySource([pa.record_batch({"a": [1]}), pa.record_batch({"b": [1]})])
    with pytest.raises(UsageError, match="nothing was written"):
        MemorySink().table()

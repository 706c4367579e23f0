"""The generator: the same rows for the same seed, whatever the read size, and from any position."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import UsageError
from eventide.model.time import EVENT_TIME
from eventide.registry import open_source


def _read(options: dict[str, Any], positions: dict[str, Any], *, max_rows: int, reads: int = 10**6) -> Any:
    reader = open_source("generator://events", options).open(positions)
    got: dict[str, list[pa.RecordBatch]] = {}
    where = dict(positions)
    while not reader.finished and reads > 0:
        for chunk in reader.read(max_rows=max_rows, timeout=0):
            got.setdefault(chunk.partition, []).append(chunk.batch)
            where[chunk.partition] = chunk.position
        reads -= 1
    return got, where


def _plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = batch.set_column(0, "timestamp", batch["timestamp"].cast(pa.int64())).to_pylist()
    return rows


def _table(*parts: dict[str, list[pa.RecordBatch]]) -> dict[str, list[Any]]:
    names = sorted({p for part in parts for p in part})
    return {p: [r for part in parts for b in part.get(p, []) for r in _plain(b)] for p in names}


@given(
    rows=st.integers(0, 60),
    partitions=st.integers(1, 4),
    first=st.integers(1, 20),
    second=st.integers(1, 80),
    stop=st.integers(0, 10),
)
def test_rows_do_not_depend_on_reads_or_restarts(
    rows: int, partitions: int, first: int, second: int, stop: int
) -> None:
    options = {"rows": rows, "partitions": partitions, "seed": 5, "disorder": "2s", "rate": 7}
    whole, _ = _read(options, {}, max_rows=10**6)
    one, where = _read(options, {}, max_rows=first, reads=stop)
    two, _ = _read(options, where, max_rows=second)
    assert _table(one, two) == _table(whole)
    assert sum(len(r) for r in _table(whole).values()) == rows


def test_partitions_deal_out_one_and_the_same_stream() -> None:
    single = _table(_read({"rows": 10, "seed": 1}, {}, max_rows=3)[0])["0"]
    dealt = _table(_read({"rows": 10, "seed": 1, "partitions": 3}, {}, max_rows=4)[0])
    assert [dealt[str(i % 3)][i // 3] for i in range(10)] == single


def test_the_law_of_the_events() -> None:
    reader = open_source("generator://x", {"rows": 200_000, "rate": 3, "keys": 4, "seed": 9}).open({})
    (chunk,) = reader.read(max_rows=10**6, timeout=0)
    assert chunk.batch.schema.types == [EVENT_TIME, pa.int64(), pa.float64()]
    times = chunk.batch["timestamp"].cast(pa.int64()).to_numpy()
    assert (times[3::3] - times[:-3:3] == 10**9).all()
    assert np.bincount(chunk.batch["key"].to_numpy()).min() > 49_000
    values = chunk.batch["value"].to_numpy()
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.01


def test_disorder_is_bounded_and_seeds_differ() -> None:
    late, _ = _read({"rows": 5000, "rate": 100, "disorder": "1s", "seed": 2}, {}, max_rows=10**6)
    times = late["0"][0]["timestamp"].cast(pa.int64()).to_numpy()
    behind = np.maximum.accumulate(times) - times
    assert 0.9e9 < behind.max() < 1.01e9
    other, _ = _read({"rows": 5000, "rate": 100, "disorder": "1s", "seed": 3}, {}, max_rows=10**6)
    assert not other["0"][0].equals(late["0"][0])


def test_a_pace_holds_events_back() -> None:
    reader = open_source("generator://x", {"rate": 10, "pace": 1e-6}).open({})
    assert reader.backlog() is None
    assert sum(c.batch.num_rows for c in reader.read(max_rows=100, timeout=0)) == 1
    began = time.monotonic()
    assert reader.read(max_rows=100, timeout=0.02) == []
    assert time.monotonic() - began >= 0.015
    fast = open_source("generator://x", {"rows": 50, "rate": 10, "pace": 1e6}).open({"0": {"row": 40}})
    got = 0
    while not fast.finished:
        got += sum(c.batch.num_rows for c in fast.read(max_rows=100, timeout=1))
    assert got == 10
    fast.close()


def test_half_an_event_a_second() -> None:
    got, _ = _read({"rows": 3, "rate": 0.5, "start": "1970-01-01"}, {}, max_rows=9)
    assert got["0"][0]["timestamp"].cast(pa.int64()).to_pylist() == [0, 2 * 10**9, 4 * 10**9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row": 1}, "did you mean 'rows'"),
        ({"rows": -1}, "rows must be"),
        ({"keys": 0}, "keys must be"),
        ({"rate": 0}, "rate must be"),
        ({"pace": "slow"}, "pace must be"),
        ({"disorder": 3}, "no unit"),
        ({"partitions": 1.5}, "partitions must be"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source("generator://events", options)


def test_what_waits_at_a_pace_is_what_has_come() -> None:
    slow = open_source("generator://events", {"rows": 1000, "rate": 1, "pace": 0.001}).open({})
    assert slow.backlog() == 1
    assert sum(c.batch.num_rows for c in slow.read(max_rows=10, timeout=0)) == 1
    assert slow.backlog() == 0 and not slow.finished
    assert open_source("generator://events", {"rows": 1000}).open({}).backlog() == 1000
    assert open_source("generator://events", {}).open({}).backlog() is None

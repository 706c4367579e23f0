"""Playing back: positions, pace, repeated runs, recordings."""

from __future__ import annotations

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eventide.apps.neutron.playback import Playback, recorded, recorded_schema, repeated
from eventide.apps.neutron.schema import MESSAGES, PULSES
from eventide.apps.neutron.simulate import simulate
from eventide.errors import DataError, UsageError
from eventide.testing._compare import same_rows


def rest(source: Playback, positions, *, rows: int) -> pa.Table:
    reader = source.open(positions)
    batches = []
    while not reader.finished:
        batches += [c.batch for c in reader.read(max_rows=rows, timeout=0.05)]
    reader.close()
    return pa.Table.from_batches(batches, source.schema())


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("row", [0, 5, 28, 55, 56, 99])
def test_goes_on_at_any_row(row, rows):
    pulses = simulate("amor", seconds=2, rate=500)
    found = rest(Playback(pulses.to_batches), {"0": {"row": row}}, rows=rows)
    same_rows(found, pulses.slice(row), ordered=True)


def test_pace():
    pulses = simulate("amor", seconds=2, rate=100)
    began = time.monotonic()
    found = rest(Playback(pulses.to_batches, speed=10), {}, rows=1000)
    assert time.monotonic() - began > 0.19
    assert found.num_rows == pulses.num_rows
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(UsageError):
            Playback(pulses.to_batches, speed=wrong)


def test_runs_follow_each_other():
    run = simulate("amor", seconds=2, rate=100)
    times = (
        pa.Table.from_batches(repeated(run.to_batches, 3, period=1000)(), PULSES)["event_time"]
        .cast(pa.int64())
        .to_numpy()
    )
    span = int(times[run.num_rows - 1] - times[0])
    assert times[run.num_rows] - times[0] == span + 1000
    assert times.size == 3 * run.num_rows
    assert list(repeated(list, 3, period=1)()) == []


def test_recordings(tmp_path):
    table = pa.table({"timestamp_ms": [1, 2, 3], "value": [b"a", b"b", b"c"], "topic": ["x", "y", "x"]})
    path = str(tmp_path / "r.parquet")
    pq.write_table(table, path)
    assert recorded_schema(path) == MESSAGES
    assert [v for b in recorded(path, topic="x") for v in b["value"].to_pylist()] == [b"a", b"c"]
    assert next(recorded(path, topic="y"))["timestamp"].cast(pa.int64()).to_pylist() == [2_000_000]
    with pytest.raises(DataError, match="topics x, y"):
        list(recorded(path))
    pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(DataError, match="no recording"):
        list(recorded(path))
    (tmp_path / "r.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="Parquet"):
        list(recorded(path))

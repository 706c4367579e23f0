"""Parquet: exact round trips, reading from any row, damage that is found and named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import DataError, SchemaError
from eventide.formats import parquet
from eventide.model.time import EVENT_TIME

BATCH = pa.record_batch(
    {
        "t": pa.array([1, None, 3], pa.int64()).cast(EVENT_TIME),
        "s": pa.array(["x", None, ""]),
        "n": pa.array([{"a": [1, None]}, None, {"a": []}]),
        "b": pa.array([b"\xff", b"", None]),
        "d": pa.array([5, None, 7], pa.duration("ns")),
    }
)


def test_round_trip() -> None:
    got = parquet.decode(parquet.encode(BATCH))
    assert got.bad == ()
    assert got.batch.equals(BATCH)
    assert parquet.infer(parquet.encode(BATCH)).equals(BATCH.schema)


@given(rows=st.integers(0, 40), group=st.integers(1, 12), start=st.integers(0, 45), batch_rows=st.integers(1, 15))
def test_reading_from_any_row(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, start: int, batch_rows: int
) -> None:
    path = tmp_path_factory.mktemp("p") / "x.parquet"
    pq.write_table(pa.table({"a": pa.array(range(rows), pa.int64())}), path, row_group_size=group)
    batches = list(parquet.open_file(path, start=start, batch_rows=batch_rows))
    assert [x for b in batches for x in b["a"].to_pylist()] == list(range(start, rows))
    assert all(0 < b.num_rows <= batch_rows for b in batches)


def test_small_batches_make_large_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    writer = parquet.open_writer(path, pa.schema([("a", pa.int64())]))
    for i in range(300):
        writer.write(pa.record_batch({"a": pa.array(range(i * 1000, i * 1000 + 1000), pa.int64())}))
    writer.close()
    meta = pq.ParquetFile(path).metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [132_000, 132_000, 36_000]
    assert sum(b.num_rows for b in parquet.open_file(path, start=150_000)) == 150_000


def test_an_empty_file_keeps_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.open_writer(path, BATCH.schema).close()
    assert parquet.file_schema(path).equals(BATCH.schema)
    assert list(parquet.open_file(path)) == []


def test_columns_are_chosen_and_converted(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet.encode(pa.record_batch({"a": [1, 2], "b": ["x", "y"]})))
    schema = pa.schema([("a", pa.int8())])
    (batch,) = parquet.open_file(path, schema=schema)
    assert batch.equals(pa.record_batch({"a": pa.array([1, 2], pa.int8())}))
    with pytest.raises(SchemaError, match="no column 'c'"):
        list(parquet.open_file(path, schema=pa.schema([("c", pa.int8())])))
    with pytest.raises(DataError, match="column 'b'"):
        list(parquet.open_file(path, schema=pa.schema([("b", pa.int8())])))


def test_a_damaged_row_group_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"a": pa.array(range(3000), pa.int64())})
    pq.write_table(table, path, row_group_size=1000, write_page_checksum=True, use_dictionary=False)
    data = bytearray(path.read_bytes())
    meta = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data[meta.data_page_offset + meta.total_compressed_size // 2] ^= 0xFF
    got = parquet.decode(bytes(data), where="x.parquet")
    assert got.batch["a"].to_pylist() == [*range(1000), *range(2000, 3000)]
    assert [b.position for b in got.bad] == ["x.parquet: row group 1"]
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="rows from"):
        list(parquet.open_file(path))


@given(st.binary(max_size=80))
def test_foreign_bytes_are_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        parquet.decode(data)


@given(st.data())
def test_mutated_files_raise_nothing_else(data: st.DataObject) -> None:
    wire = bytearray(parquet.encode(BATCH))
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(len(wire) // 2, len(wire)))])
    with contextlib.suppress(DataError):
        parquet.decode(cut)

"""``format="arrow"``: round trips of any batch, both forms, and bytes that are not what they seem."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import DataError, SchemaError
from eventide.formats import arrow
from eventide.model.time import EVENT_TIME

COLUMNS = {
    "t": (EVENT_TIME, st.none() | st.integers(-(2**52), 2**52).map(lambda us: us * 1000)),
    "i": (pa.int32(), st.none() | st.integers(-(2**31), 2**31 - 1)),
    "f": (pa.float64(), st.none() | st.floats(allow_nan=False)),
    "s": (pa.string(), st.none() | st.text(max_size=5)),
    "d": (pa.dictionary(pa.int8(), pa.string()), st.none() | st.sampled_from(["x", "y"])),
    "l": (pa.list_(pa.float32()), st.none() | st.lists(st.integers(0, 9), max_size=3)),
    "b": (pa.bool_(), st.none() | st.booleans()),
}


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    rows = draw(st.integers(0, 20))
    lists = {n: draw(st.lists(COLUMNS[n][1], min_size=rows, max_size=rows)) for n in names}
    return pa.record_batch({n: pa.array(v, COLUMNS[n][0]) for n, v in lists.items()})


@given(batches())
def test_a_batch_comes_back(batch: pa.RecordBatch) -> None:
    got = arrow.decode(arrow.encode(batch))
    assert got.batch.equals(batch)
    assert got.batch.schema.equals(batch.schema)
    assert got.bad == ()
    assert arrow.infer(arrow.encode(batch)).equals(batch.schema)


@given(batches(), st.integers(0, 20), st.integers(1, 7), st.booleans())
def test_files_of_both_forms(
    tmp_path_factory: pytest.TempPathFactory, batch: pa.RecordBatch, start: int, batch_rows: int, stream: bool
) -> None:
    path = tmp_path_factory.mktemp("arrow") / "x.arrow"
    if stream:
        with pa.ipc.new_stream(str(path), batch.schema) as writer:
            writer.write(batch)
            writer.write(batch)
    else:
        writer = arrow.open_writer(path, batch.schema)
        writer.write(batch)
        writer.write(batch)
        writer.close()
    kept = [
        f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) and not stream else f for f in batch.schema
    ]
    assert arrow.file_schema(path).equals(pa.schema(kept))
    found = list(arrow.open_file(path, start=start, batch_rows=batch_rows))
    assert all(b.num_rows <= batch_rows for b in found)
    rows = [row for b in found for row in b.to_pylist()]
    assert rows == (batch.to_pylist() * 2)[start:]
    assert arrow.decode(path.read_bytes()).batch.to_pylist() == batch.to_pylist() * 2


def test_batches_of_a_file_bring_dictionaries_of_their_own(tmp_path: Path) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    writer = arrow.open_writer(tmp_path / "x.arrow", pa.schema([("d", kind)]))
    for words in (["a", None], ["b", "a"]):
        writer.write(pa.record_batch({"d": pa.array(words, kind)}))
    writer.close()
    assert [b["d"].to_pylist() for b in arrow.open_file(tmp_path / "x.arrow")] == [["a", None], ["b", "a"]]


def test_columns_and_types_are_chosen() -> None:
    data = arrow.encode(pa.record_batch({"a": [1, 300], "b": ["x", "y"]}))
    assert arrow.decode(data, schema=pa.schema([("b", pa.string())])).batch.to_pydict() == {"b": ["x", "y"]}
    got = arrow.decode(data, schema=pa.schema([("a", pa.int8())]), where="x")
    assert got.batch.num_rows == 0
    assert got.batch.schema.names == ["a"]
    assert got.bad[0].position == "x: batch 0"
    assert "column 'a'" in got.bad[0].reason
    assert got.bad[0].data == data
    with pytest.raises(SchemaError, match="no column 'c'"):
        arrow.decode(data, schema=pa.schema([("c", pa.int8())]))


def stream(*values: list[int]) -> bytes:
    sink = pa.BufferOutputStream()
    schema = pa.schema([("a", pa.int64())])
    with pa.ipc.new_stream(sink, schema) as writer:
        for v in values:
            writer.write_batch(pa.record_batch([pa.array(v, pa.int64())], schema=schema))
    return bytes(sink.getvalue())


def test_a_stream_that_breaks_off_gives_what_is_before() -> None:
    whole = stream([1, 2], [3], [4, 5])
    first = len(stream([1, 2])) - 8  # the end mark
    for size in range(first, len(whole) - 16):
        got = arrow.decode(whole[:size])
        assert got.batch.column(0).to_pylist() in ([1, 2], [1, 2, 3], [1, 2, 3, 4, 5])


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    try:
        got = arrow.decode(data)
    except DataError as error:
        assert "cannot be read as Arrow IPC" in error.message
    else:
        assert got.bad or got.batch.num_rows == 0


@given(batches(), st.data())
def test_a_changed_byte_never_gives_an_invalid_batch(batch: pa.RecordBatch, data: st.DataObject) -> None:
    raw = bytearray(arrow.encode(batch))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        got = arrow.decode(bytes(raw))
    except (DataError, SchemaError):
        return
    got.batch.validate(full=True)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(b"ARROW1\0\0 no")
    with pytest.raises(DataError, match=r"x\.arrow cannot be read"):
        list(arrow.open_file(path))
    with pytest.raises(DataError, match="cannot be read"):
        arrow.file_schema(path)
    whole = stream([1, 2], [3])
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"batch 1 \(row 2\)"):
        list(arrow.open_file(path))

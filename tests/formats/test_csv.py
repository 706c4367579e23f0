"""CSV: what is read does not depend on how the input is cut, broken rows cost no other row, round trips are exact."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import DataError, SchemaError
from eventide.formats import csv
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema(
    [
        ("t", EVENT_TIME),
        ("i", pa.int64()),
        ("u", pa.uint64()),
        ("f", pa.float64()),
        ("b", pa.bool_()),
        ("s", pa.string()),
        ("d", pa.date32()),
        ("raw", pa.binary()),
        ("span", pa.duration("us")),
    ]
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**62), 2**62),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | TEXT,
        st.none() | st.integers(-700_000, 2_000_000),
        st.none() | st.binary(max_size=6),
        st.none() | st.integers(-(2**62), 2**62),
    ),
    max_size=12,
)


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    raw = {"t": pa.int64(), "d": pa.int32(), "span": pa.int64()}
    arrays = [
        pa.array([r[i] for r in rows], raw.get(field.name, field.type)).cast(field.type)
        for i, field in enumerate(SCHEMA)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _same(a: pa.RecordBatch, b: pa.RecordBatch) -> bool:
    """Equal to the bit, where NaN is equal to itself."""
    floats = str(a.column("f").to_pylist()) == str(b.column("f").to_pylist())
    return floats and a.drop_columns(["f"]).equals(b.drop_columns(["f"]))


@given(ROWS)
def test_round_trip(rows: list[tuple[Any, ...]]) -> None:
    batch = _batch(rows)
    got = csv.decode(csv.encode(batch), schema=SCHEMA)
    assert got.bad == ()
    assert _same(got.batch, batch)


@given(ROWS)
def test_round_trip_with_line_breaks_and_another_delimiter(rows: list[tuple[Any, ...]]) -> None:
    text = pa.array([None if r[5] is None else f"{r[5]}\n\r\n{r[5]}" for r in rows], pa.string())
    batch = _batch(rows).set_column(5, "s", text)
    data = csv.encode(batch, delimiter=";")
    assert csv.cut(data, multiline=True) == len(data)
    got = csv.decode(data, schema=SCHEMA, delimiter=";", multiline=True)
    assert got.bad == ()
    assert _same(got.batch, batch)


CELLS = st.sampled_from(
    ["1", "-7", " 3 ", "2.5", "", '""', '"4"', "x", 'y"', '"open', "0x1F", "9" * 25, "nan", "é", "\r", "a,b"]
)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=3).map(",".join), max_size=12)
SMALL = pa.schema([("a", pa.int64()), ("b", pa.string())])


@given(LINES, st.integers(0, 12))
def test_rows_do_not_depend_on_how_the_input_is_cut(lines: list[str], at: int) -> None:
    parts = ["".join(line + "\n" for line in part) for part in (lines, lines[:at], lines[at:], *([x] for x in lines))]
    got = [csv.decode(p.encode(), schema=SMALL, header=False) for p in parts]
    whole, cut, single = got[0], got[1:3], got[3:]
    for pieces in (cut, single):
        assert [r for g in pieces for r in g.batch.to_pylist()] == whole.batch.to_pylist()
        assert [(b.data, b.reason) for g in pieces for b in g.bad] == [(b.data, b.reason) for b in whole.bad]


@given(st.binary(max_size=60), st.booleans(), st.booleans())
def test_no_bytes_raise(data: bytes, header: bool, multiline: bool) -> None:
    try:
        csv.decode(data, schema=SMALL, header=header, multiline=multiline, columns=["a", "b"])
        csv.decode(data, header=header, multiline=multiline)
        csv.cut(data, multiline=multiline)
    except DataError:
        assert header


@given(ROWS, st.data())
def test_mutated_bytes_never_raise(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    wire = bytearray(csv.encode(_batch(rows), header=False))
    for _ in range(data.draw(st.integers(1, 4))):
        if wire:
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    csv.decode(bytes(wire[: data.draw(st.integers(0, len(wire)))]), schema=SCHEMA, header=False)


def test_bad_rows_are_kept_with_place_and_reason() -> None:
    data = b"t,v\n1,2.5\n2,high\n3\n4,5,6\n\n7,\n8,\xff\n"
    got = csv.decode(data, schema=pa.schema([("t", pa.int64()), ("v", pa.float64())]), where="x.csv", offset=100)
    assert got.batch.to_pylist() == [{"t": 1, "v": 2.5}, {"t": 7, "v": None}]
    assert [(b.data, b.position, b.reason) for b in got.bad] == [
        (b"2,high", "x.csv: byte 110", "column 'v': 'high' is not double"),
        (b"3", "x.csv: byte 117", "not 2 cells"),
        (b"4,5,6", "x.csv: byte 119", "not 2 cells"),
        (b"8,\xff", "x.csv: byte 129", "not UTF-8"),
    ]


def test_header_forms() -> None:
    wanted = pa.schema([("b", pa.int64())])
    assert csv.decode(b'\xef\xbb\xbfa,"b"\r\nx,1\r\n', schema=wanted).batch.to_pylist() == [{"b": 1}]
    assert csv.decode(b"x,1", schema=wanted, header=False, columns=["a", "b"]).batch.to_pylist() == [{"b": 1}]
    assert csv.decode(b"a\tb\n1\t2\n", delimiter="\t").batch.to_pylist() == [{"a": 1, "b": 2}]
    assert csv.decode(b"", schema=wanted).batch.num_rows == 0
    assert csv.decode(b"a,b\n").batch.schema.names == ["a", "b"]
    with pytest.raises(DataError, match="header line"):
        csv.decode(b"a,a\n1,2\n")
    with pytest.raises(SchemaError, match="did you mean 'beta'"):
        csv.decode(b"alpha,beta\n1,2\n", schema=pa.schema([("betta", pa.int64())]))


def test_inferred_types() -> None:
    data = b"i,f,b,t,s,n,z\n1,1,true,2026-01-01 10:00,x,,007\n2,2.5,False,2026-01-01T11:00:00.5+01:00,1,,008\n"
    got = csv.decode(data)
    assert [str(k) for k in got.batch.schema.types] == [
        "int64", "double", "bool", "timestamp[ns, tz=UTC]", "string", "string", "string",
    ]  # fmt: skip
    assert got.batch.column("t").cast(pa.int64()).to_pylist() == [1767261600 * 10**9, 1767261600 * 10**9 + 5 * 10**8]


def test_own_null_words_and_single_column() -> None:
    schema = pa.schema([("v", pa.float64())])
    assert csv.decode(b"v\n1\nNA\n", schema=schema, nulls=("", "NA")).batch.to_pylist() == [{"v": 1}, {"v": None}]
    assert [b.data for b in csv.decode(b"v\n1\nNA\n", schema=schema).bad] == [b"NA"]
    batch = pa.record_batch({"v": pa.array([1.0, None, 2.0])})
    assert csv.decode(csv.encode(batch), schema=schema).batch.equals(batch)


def test_nested_columns_are_refused() -> None:
    with pytest.raises(SchemaError, match="cannot hold the column 'x'"):
        csv.encode(pa.record_batch({"x": [[1]]}))
    with pytest.raises(SchemaError, match="cannot be read as list"):
        csv.decode(b"x\n1\n", schema=pa.schema([("x", pa.list_(pa.int64()))]))


def test_cut_waits_for_quotes_only_when_asked() -> None:
    assert csv.cut(b'1,"a\nb"\n2,"c\n') == 13
    assert csv.cut(b'1,"a\nb"\n2,"c\n', multiline=True) == 8
    assert csv.cut(b'1,"a', multiline=True) == 0

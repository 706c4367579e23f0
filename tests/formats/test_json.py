"""JSON lines: a broken line costs no other line, nothing depends on how the input is cut, round trips are exact."""

from __future__ import annotations

from json import dumps
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import SchemaError
from eventide.formats import json
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema(
    [
        ("t", EVENT_TIME),
        ("i", pa.int64()),
        ("u", pa.uint64()),
        ("f", pa.float64()),
        ("b", pa.bool_()),
        ("s", pa.string()),
        ("raw", pa.binary()),
        ("span", pa.duration("us")),
        ("n", pa.struct([("x", pa.list_(pa.float64())), ("y", pa.string())])),
    ]
)
INT64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**62), 2**62),
        st.none() | INT64,
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | st.text(max_size=8),
        st.none() | st.binary(max_size=6),
        st.none() | st.integers(-(2**62), 2**62),
        st.none()
        | st.fixed_dictionaries(
            {"x": st.none() | st.lists(st.none() | st.floats(), max_size=3), "y": st.none() | st.text(max_size=3)}
        ),
    ),
    max_size=10,
)


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    raw = {"t": pa.int64(), "span": pa.int64()}
    arrays = [
        pa.array([r[i] for r in rows], raw.get(field.name, field.type)).cast(field.type)
        for i, field in enumerate(SCHEMA)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _same(a: pa.RecordBatch, b: pa.RecordBatch) -> bool:
    """Equal to the bit, where NaN is equal to itself."""
    floats = ["f", "n"]
    text = [str(x.select(floats).to_pylist()) for x in (a, b)]
    return text[0] == text[1] and a.drop_columns(floats).equals(b.drop_columns(floats))


@given(ROWS)
def test_round_trip(rows: list[tuple[Any, ...]]) -> None:
    batch = _batch(rows)
    got = json.decode(json.encode(batch), schema=SCHEMA)
    assert got.bad == ()
    assert _same(got.batch, batch)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
LINES = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "z"]), PLAIN, max_size=3).map(dumps)
    | PLAIN.map(dumps)
    | st.sampled_from(
        [
            '{"a":1}{"a":2}',
            '{"a":1',
            "}",
            "",
            "  ",
            ' {"a": 3} ',
            '{"a":1,"a":2}',
            '{"z":"\\ud800"}',
            '{"a":\x00}',
            '{"b":Inf}',
            '{"a":01}',
            '{"a":1.0}',
            '{"a":' + "9" * 30 + "}",
            '{"z":1e999}',
            '{"a":1}x',
            "{'a':1}",
            '{"a":1,}',
            '{"z":"\t"}',
            "\x00",
        ]
    ),
    max_size=10,
)
SMALL = pa.schema([("a", pa.int64()), ("b", pa.float64())])


@given(LINES, st.integers(0, 10))
def test_lines_do_not_depend_on_how_the_input_is_cut(lines: list[str], at: int) -> None:
    parts = ["".join(line + "\n" for line in part) for part in (lines, lines[:at], lines[at:], *([x] for x in lines))]
    got = [json.decode(p.encode(), schema=SMALL) for p in parts]
    whole, cut, single = got[0], got[1:3], got[3:]
    for pieces in (cut, single):
        assert str([r for g in pieces for r in g.batch.to_pylist()]) == str(whole.batch.to_pylist())
        assert [b.data for g in pieces for b in g.bad] == [b.data for b in whole.bad]
    assert whole.batch.num_rows + len(whole.bad) == sum(bool(line.strip()) for line in lines)


@given(st.lists(st.dictionaries(st.text(max_size=3), PLAIN, min_size=1, max_size=3).map(dumps), max_size=6))
def test_inference_never_fails(lines: list[str]) -> None:
    got = json.decode("\n".join(lines).encode())
    assert got.batch.num_rows + len(got.bad) == len(lines)


@given(st.binary(max_size=60))
def test_no_bytes_raise(data: bytes) -> None:
    json.decode(data, schema=SMALL)
    json.decode(data)
    assert json.cut(data) <= len(data)


@given(ROWS, st.data())
def test_mutated_bytes_never_raise(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    wire = bytearray(json.encode(_batch(rows)))
    for _ in range(data.draw(st.integers(1, 4))):
        if wire:
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))])
    json.decode(cut, schema=SCHEMA)
    json.decode(cut)


def test_bad_lines_are_kept_with_place_and_reason() -> None:
    data = b'{"a":1}\n{"a":"x"}\n\n[1]\n{"a":2\n{"a":"\xff"}\n{"a":3}\n{"a":99999999999999999999}\n'
    got = json.decode(data, schema=pa.schema([("a", pa.int64())]), where="x.jsonl", offset=10)
    assert got.batch.to_pylist() == [{"a": 1}, {"a": 3}]
    assert [(b.data, b.position) for b in got.bad] == [
        (b'{"a":"x"}', "x.jsonl: byte 18"),
        (b"[1]", "x.jsonl: byte 29"),
        (b'{"a":2', "x.jsonl: byte 33"),
        (b'{"a":"\xff"}', "x.jsonl: byte 40"),
        (b'{"a":99999999999999999999}', "x.jsonl: byte 58"),
    ]
    reasons = ["changed from number to string", "not one JSON object", "not one JSON object", "not UTF-8", "int64"]
    assert all(r in b.reason for r, b in zip(reasons, got.bad, strict=True))


def test_a_time_that_is_none_is_a_bad_line_that_names_its_column() -> None:
    schema = pa.schema([("when", EVENT_TIME), ("v", pa.int64())])
    data = b'{"when":"2026-01-01T00:00:00Z","v":1}\n{"when":"noon","v":2}\n{"v":3}\n'
    got = json.decode(data, schema=schema)
    assert got.batch.column("v").to_pylist() == [1, 3]
    assert got.bad[0].reason == "column 'when': 'noon' is not timestamp[ns, tz=UTC]"


def test_inferred_types() -> None:
    data = b'{"t":"2026-01-01T00:00:00Z","i":1,"f":1,"big":18446744073709551616,"n":null,"o":{"k":[1,null]}}\n'
    data += b'{"t":"2026-01-01 00:00:01","i":2,"f":NaN,"big":1,"s":"x","o":{"l":[]}}\n'
    got = json.decode(data)
    assert {f.name: str(f.type) for f in got.batch.schema} == {
        "t": "timestamp[ns, tz=UTC]",
        "i": "int64",
        "f": "double",
        "big": "decimal128(38, 0)",
        "n": "string",
        "o": "struct<k: list<item: int64>, l: list<item: string>>",
        "s": "string",
    }
    assert got.bad == ()
    assert int(got.batch.column("big")[0].as_py()) == 2**64


def test_deep_nesting_is_only_a_bad_line() -> None:
    deep = b'{"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    got = json.decode(b'{"a":1}\n' + deep + b"\n", schema=pa.schema([("a", pa.int64())]))
    assert got.batch.column("a").to_pylist()[:1] == [1]
    json.decode(b'{"z":' + b"[" * 500 + b"]" * 500 + b"}\n")
    json.decode(deep)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(SchemaError, match="cannot hold the column 'm'"):
        json.encode(pa.record_batch({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}))
    with pytest.raises(SchemaError, match="json cannot hold"):
        json.decode(b'{"m":{}}\n', schema=pa.schema([("m", pa.map_(pa.string(), pa.int64()))]))


def test_nan_beside_a_nanosecond_time_in_one_struct() -> None:
    kind = pa.struct([("t", EVENT_TIME), ("x", pa.float64())])
    times = pa.array([1, 2], pa.int64()).cast(EVENT_TIME)
    column = pa.StructArray.from_arrays([times, pa.array([float("nan"), float("-inf")])], fields=list(kind))
    batch = pa.RecordBatch.from_arrays([column], names=["s"])
    got = json.decode(json.encode(batch), schema=batch.schema).batch.column(0)
    assert got.field("t").equals(times)
    assert str(got.field("x").to_pylist()) == "[nan, -inf]"

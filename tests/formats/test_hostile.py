"""Hostile input: whatever the bytes, a format returns what it could read and says what it could not."""

from __future__ import annotations

import contextlib
import json as stdlib_json
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide import registry
from eventide.errors import DataError, SchemaError
from eventide.formats import csv, json
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema([("t", EVENT_TIME), ("n", pa.int64()), ("x", pa.float64()), ("s", pa.string())])
GOOD_JSON = b'{"t":"2026-01-01T00:00:00Z","n":1,"x":2.5,"s":"ok"}'
GOOD_CSV = b"2026-01-01T00:00:00Z,1,2.5,ok"

BAD_JSON = {
    "open object": b'{"n":1',
    "open string": b'{"s":"abc}',
    "array": b"[1,2,3]",
    "scalar": b"17",
    "null": b"null",
    "two objects": b'{"n":1}{"n":2}',
    "comma at the end": b'{"n":1,}',
    "single quotes": b"{'n':1}",
    "name twice": b'{"n":1,"n":2}',
    "integer too large": b'{"n":9223372036854775808}',
    "integer with a fraction": b'{"n":1.5}',
    "text for a number": b'{"n":"1"}',
    "number for text": b'{"s":1}',
    "object for text": b'{"s":{"a":1}}',
    "float too large": b'{"x":1e999}',
    "hexadecimal": b'{"n":0x10}',
    "leading zero": b'{"n":01}',
    "plus": b'{"n":+1}',
    "lone surrogate": b'{"s":"\\ud800"}',
    "not UTF-8": b'{"s":"\xff\xfe"}',
    "overlong UTF-8": b'{"s":"\xc0\x80"}',
    "control character": b'{"s":"\x01"}',
    "NUL in the line": b'{"n":1}\x00',
    "NUL alone": b"\x00",
    "byte order mark": b'\xef\xbb\xbf{"n":1}',
    "UTF-16": '{"n":1}'.encode("utf-16"),
    "comment": b'{"n":1} // one',
    "no time": b'{"t":"yesterday"}',
    "month 13": b'{"t":"2026-13-01T00:00:00Z"}',
    "year 10000": b'{"t":"10000-01-01T00:00:00Z"}',
    "time before 1677": b'{"t":"1066-10-14T09:00:00Z"}',
    "deep": b'{"s":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "markup": b"<html><body>502 Bad Gateway</body></html>",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
}
BAD_CSV = {
    "too few": b"2026-01-01T00:00:00Z,1,2.5",
    "too many": b"2026-01-01T00:00:00Z,1,2.5,ok,more",
    "open quote": b'2026-01-01T00:00:00Z,1,2.5,"ok',
    "three quotes": b'2026-01-01T00:00:00Z,1,2.5,""ok"',
    "no number": b"2026-01-01T00:00:00Z,one,2.5,ok",
    "integer too large": b"2026-01-01T00:00:00Z,9223372036854775808,2.5,ok",
    "integer with a fraction": b"2026-01-01T00:00:00Z,1.5,2.5,ok",
    "decimal comma": b'2026-01-01T00:00:00Z,1,"2,5",ok',
    "no time": b"yesterday,1,2.5,ok",
    "29 February": b"2026-02-29T00:00:00Z,1,2.5,ok",
    "not UTF-8": b"2026-01-01T00:00:00Z,1,2.5,\xff",
    "lone carriage return": b"2026-01-01T00:00:00Z,1,2.5,o\rk",
    "UTF-16": "2026-01-01T00:00:00Z,1,2.5,ok".encode("utf-16"),
    "NUL": b"\x00",
    "markup": b"<html><body>502 Bad Gateway</body></html>",
    "spaces": b"   ",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_one_bad_line_of_json_costs_nothing_else(name: str) -> None:
    got = json.decode(b"\n".join([GOOD_JSON, BAD_JSON[name], GOOD_JSON, GOOD_JSON]), schema=SCHEMA)
    assert got.batch.column("n").to_pylist() == [1, 1, 1]
    assert b"\n".join(b.data for b in got.bad) == BAD_JSON[name]
    assert all(b.reason for b in got.bad)


@pytest.mark.parametrize("name", BAD_CSV)
def test_one_bad_row_of_csv_costs_nothing_else(name: str) -> None:
    got = csv.decode(b"\n".join([GOOD_CSV, BAD_CSV[name], GOOD_CSV, GOOD_CSV]), schema=SCHEMA, header=False)
    assert got.batch.column("n").to_pylist() == [1, 1, 1]
    assert b"\n".join(b.data for b in got.bad) == BAD_CSV[name]
    assert all(b.reason for b in got.bad)


def test_all_of_it_at_once() -> None:
    lines = [line for bad in BAD_JSON.values() for line in (bad, GOOD_JSON)]
    got = json.decode(b"\n".join(lines), schema=SCHEMA)
    assert got.batch.num_rows == len(BAD_JSON)
    assert len(got.bad) >= len(BAD_JSON)
    rows = [row for bad in BAD_CSV.values() for row in (bad, GOOD_CSV)]
    got = csv.decode(b"\n".join(rows), schema=SCHEMA, header=False)
    assert got.batch.num_rows == len(BAD_CSV)


def test_long_lines_and_many_members() -> None:
    long = b'{"s":"' + b"x" * 5_000_000 + b'"}'
    got = json.decode(long + b"\n" + long[:-2], schema=SCHEMA)
    assert [len(s) for s in got.batch.column("s").to_pylist()] == [5_000_000]
    assert len(got.bad) == 1
    many = stdlib_json.dumps({f"k{i}": i for i in range(20_000)}).encode()
    assert json.decode(many + b"\n" + GOOD_JSON, schema=SCHEMA).batch.num_rows == 2
    assert len(csv.decode(b",".join([b"1"] * 100_000), schema=SCHEMA, header=False).bad) == 1


@given(st.sampled_from([GOOD_JSON, GOOD_CSV]), st.data())
def test_a_valid_line_never_suffers_from_its_neighbours(good: bytes, data: st.DataObject) -> None:
    """Bytes without a line break between valid lines cost at most themselves."""
    noise = data.draw(st.binary(max_size=30)).replace(b"\n", b"")
    module: Any = json if good is GOOD_JSON else csv
    options = {} if module is json else {"header": False}
    got = module.decode(b"\n".join([good, noise, good]), schema=SCHEMA, **options)
    assert got.batch.num_rows - 2 + len(got.bad) <= 1
    assert got.batch.column("n").to_pylist().count(1) >= 2


@pytest.mark.parametrize("name", ["arrow", "parquet"])
@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_lengths_that_lie(name: str, length: int) -> None:
    module = registry.resolve("format", name)
    whole = module.encode(pa.record_batch({"a": list(range(100)), "s": ["x"] * 100}))
    for place in range(0, len(whole) - 4, 4):
        data = whole[:place] + struct.pack("<I", length) + whole[place + 4 :]
        try:
            module.decode(data)
        except (DataError, SchemaError):  # two columns whose names became one
            continue


@pytest.mark.fuzz
@given(st.sampled_from(["json", "csv", "parquet", "arrow"]), st.data())
def test_mutations(name: str, data: st.DataObject) -> None:
    module = registry.resolve("format", name)
    wire = bytearray(module.encode(pa.record_batch({"n": [1, 2, 3], "s": ["a", None, "c"]})))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not wire:
            break
    with contextlib.suppress(DataError, SchemaError):
        module.decode(bytes(wire))

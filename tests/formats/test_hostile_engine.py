"""Hostile files through the whole engine: every record is an event or in quarantine with its bytes and a reason.

What is good is decided by readers of their own, written here from the standard library: what comes out must be that.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eventide as ev
from eventide import registry
from eventide.errors import DataError, EventideError, SchemaError
from eventide.log import Log
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema([("t", EVENT_TIME), ("n", pa.int64()), ("x", pa.float64()), ("s", pa.string())])
# The engine keeps ten years away from the ends of 64 bits, because windows and latenesses are added to times.
FIRST, LAST = -(2**63) + 1 + 3652 * 86_400 * 10**9, 2**63 - 1 - 3652 * 86_400 * 10**9
GOOD_TIME = '"2026-01-01T00:00:00Z"'


def through(pattern: Path, log: Path, **options: Any) -> tuple[pa.Table, list[dict[str, Any]], Any]:
    """Read files, give the events their time, and return what came out, what was kept in quarantine, and the result."""
    table: list[pa.RecordBatch] = []

    class Sink:
        delivery = "at_least_once"

        def open(self, schema: pa.Schema, state: Any) -> None:
            self.schema = schema

        def write(self, batch: pa.RecordBatch) -> None:
            batch.validate(full=True)
            table.append(batch)

        def prepare(self, checkpoint: int) -> dict[str, Any]:
            return {}

        def commit(self, checkpoint: int, state: Any) -> None:
            pass

        def close(self) -> None:
            pass

    sink = Sink()
    result = ev.run(ev.read(f"file://{pattern}", **options).event_time("t").write(sink), quarantine=log)
    with Log(log) as opened:
        there = any(t.name == "quarantine" for t in opened.topics())
    read = ev.read("log://quarantine", log=str(log), follow=False)
    kept = ev.fetch(read).drop_columns(["timestamp"]).to_pylist() if there else []
    assert all(row["reason"] and row["position"] for row in kept)
    assert result.ledger.kept == result.quarantined == len(kept)
    out = pa.Table.from_batches(table, SCHEMA) if table and table[0].schema.equals(SCHEMA) else None
    return out if out is not None else pa.table({"rows": range(sum(b.num_rows for b in table))}), kept, result


# -- what is good, decided independently

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


def time_ns(text: str) -> int | None:
    """Return ns since 1970, or None for what is no time, or none that 64 bits can hold."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(x or 0) for x in found.groups()[:6])
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    zone = found[8] or "Z"
    shift = 0 if zone == "Z" else int(zone[:3] + "1") // 10 * 3600 + int(zone[0] + zone[-2:]) * 60
    ns = (int((whole - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) - shift) * 10**9
    ns += int((found[7] or "").ljust(9, "0"))
    return ns if FIRST <= ns <= LAST else None


def json_is_good(line: bytes) -> bool:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({k for k, _ in pairs}) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        text = line.decode("utf-8")
        record = json.loads(text, object_pairs_hook=once)
        json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict) or not isinstance(record.get("t"), str) or time_ns(record["t"]) is None:
        return False
    n, x, s = (record.get(k) for k in "nxs")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not -(2**63) <= n < 2**63):
        return False
    if x is not None and (isinstance(x, bool) or not isinstance(x, (int, float))):
        return False
    if isinstance(x, float) and np.isinf(x) and "Infinity" not in text:
        return False
    return s is None or isinstance(s, str)


TIMES = [
    GOOD_TIME, '"1677-09-21T00:12:43.145224194Z"', '"1677-09-21T00:12:43.145224193Z"', '"1677-09-21T00:12:43.145224192Z"',
    '"2262-04-11T23:47:16.854775806Z"', '"2262-04-11T23:47:16.854775807Z"', '"2262-04-11T23:47:16.854775808Z"',
    '"1677-01-01T00:00:00Z"', '"2262-12-31T00:00:00Z"', '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59Z"',
    '"2026-02-29T00:00:00Z"', '"2024-02-29T00:00:00Z"', '"2026-13-01T00:00:00Z"', '"2026-01-01T25:00:00Z"',
    '"2026-01-01T00:00:60Z"', '"2026-01-01T00:00:00+14:00"', '"2026-01-01T00:00:00.1234567890Z"', '"NaN"', '"Infinity"',
    '"nan"', '"-inf"', '"now"', '""', '" "', "null", "NaN", "Infinity", "true", "[]", '"\\u0000"',
    '"1969-12-31T23:59:59.999999999Z"', '"2026-01-01"', '"2026-01-01T00:00:00"', '"２０２６-01-01T00:00:00Z"',
]  # fmt: skip
NUMBERS = [
    "0", "-0", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
    "1" + "0" * 400, "1.0", "1e3", "true", '"1"', "null", "01", "+1", "0x10", "NaN", "1_000", "[]", "{}",
]  # fmt: skip
FLOATS = [
    "0.5", "-0.0", "1e308", "1e309", "-1e999", "5e-324", "1e-999", "NaN", "Infinity", "-Infinity", "nan", "inf", ".5", "5.",
    "1e", "--1", "null", "true", '"0.5"', "1" + "0" * 400, "0." + "1" * 1000,
]  # fmt: skip
TEXTS = [
    '"ok"', '""', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00"', '"\\u0000"', '"\\x"', '"tab\there"', "null", "1", "[]",
    '"' + "x" * 100_000 + '"', '"' + "\\n" * 10_000 + '"', '"open',
]  # fmt: skip
WHOLE = [
    b"", b"   ", b"\t", b"{}", b"[]", b"null", b"{", b"}", b'{"t":' + GOOD_TIME.encode(), b"{}{}", b"\xff\xfe", b"\x00" * 100,
    b'{"t":' + GOOD_TIME.encode() + b',"s":"\xc3\x28"}', b'{"t":' + GOOD_TIME.encode() + b',"s":"\xed\xa0\x80"}',
    b'{"t":' + GOOD_TIME.encode() + b',"n":1,"n":2}', b'{"t":' + GOOD_TIME.encode() + b',"z":' + b"[" * 100_000 + b"}",
    b'{"t":' + GOOD_TIME.encode() + b',"z":' + b"[" * 50 + b"]" * 50 + b"}",
    b'\xef\xbb\xbf{"t":' + GOOD_TIME.encode() + b"}", b"\x1f\x8b\x08\x00\x00\x00", b"PAR1", b"ARROW1",
]  # fmt: skip


def json_lines() -> list[bytes]:
    found = [f'{{"t":{t},"n":1,"x":0.5,"s":"ok"}}'.encode() for t in TIMES]
    found += [f'{{"t":{GOOD_TIME},"n":{n},"x":0.5,"s":"ok"}}'.encode() for n in NUMBERS]
    found += [f'{{"t":{GOOD_TIME},"n":1,"x":{x},"s":"ok"}}'.encode() for x in FLOATS]
    found += [f'{{"t":{GOOD_TIME},"n":1,"x":0.5,"s":{s}}}'.encode() for s in TEXTS]
    return [*found, *WHOLE]


def test_lines_of_json(tmp_path: Path) -> None:
    lines = json_lines()
    good = f'{{"t":{GOOD_TIME},"n":7,"x":null,"s":"good"}}'.encode()
    # A good line beside every hostile one: none of them suffers.
    mixed = list(itertools.chain.from_iterable((line, good) for line in lines))
    (tmp_path / "a.json").write_bytes(b"\n".join(mixed[: len(mixed) // 2]))
    (tmp_path / "b.json").write_bytes(b"\r\n".join(mixed[len(mixed) // 2 :]) + b"\n")
    out, kept, _ = through(tmp_path / "*.json", tmp_path / "log", schema=SCHEMA)
    records = [line for line in mixed if line.strip()]
    expected = [line for line in records if json_is_good(line)]
    assert len(records) == out.num_rows + len(kept)
    assert out.column("n").to_pylist().count(7) == len(lines)
    doubtful = [line for line in records if b"\xef\xbb\xbf" in line or b"[" * 51 in line]
    assert abs(out.num_rows - len(expected)) <= len(doubtful)
    raw = [row["data"] for row in kept if row["format"] == ""]  # the others have no time, and are kept as rows
    assert not [line for line in raw if json_is_good(line) and line not in doubtful]
    bad = [line for line in records if not json_is_good(line)]
    assert not [line for line in raw if line not in bad and line not in doubtful], "bytes were changed"


def csv_rows() -> list[bytes]:
    def bare(values: list[str]) -> list[str]:
        return [v[1:-1] if v.startswith('"') else "" if v == "null" else v for v in values]

    plain = [t for t in bare(TIMES) if not set(t) & set('\\",\n')]
    found = [f"{t},1,0.5,ok" for t in plain]
    good = GOOD_TIME[1:-1]
    found += [f"{good},{n},0.5,ok" for n in bare(NUMBERS)]
    found += [f"{good},1,{x},ok" for x in bare(FLOATS)]
    found += [
        f"{good},1,0.5,{s}"
        for s in ('""', '"a,b"', '"a""b"', '"open', 'a"b', "ü", "x" * 100_000, "a,b", "\x0b", "\x00")
    ]
    raw = [
        b",,,", b",", b",,,,", b"   ", b"\x00", b'"', b'"""', b"\xff\xfe,1,0.5,ok", good.encode() + b",1,0.5,\xc3\x28",
        b"," * 10_000, b'"' * 9_999, b"t,n,x,s", good.encode() + b",1,0.5", good.encode() + b";1;0.5;ok",
    ]  # fmt: skip
    return [row.encode() for row in found] + raw


def test_rows_of_csv(tmp_path: Path) -> None:
    lines = csv_rows()
    good = b"2026-01-01T00:00:00Z,7,,good"
    mixed = list(itertools.chain.from_iterable((line, good) for line in lines))
    (tmp_path / "a.csv").write_bytes(b"\n".join(mixed))
    out, kept, _ = through(tmp_path / "a.csv", tmp_path / "log", schema=SCHEMA, header=False)
    assert len(mixed) == out.num_rows + len(kept)
    assert out.column("n").to_pylist().count(7) == len(lines)
    raw = [row["data"] for row in kept if row["format"] == ""]
    assert all(line in lines for line in raw), "bytes were changed"
    # What Python's own reader takes for four cells with a number, a float and a time must not be in quarantine.
    for line in raw:
        assert not csv_is_good(line), line[:100]


def csv_is_good(line: bytes) -> bool:
    try:
        (cells,) = csv.reader(io.StringIO(line.decode("utf-8")), strict=True)
    except (ValueError, csv.Error):
        return False
    if len(cells) != 4 or time_ns(cells[0]) is None or line.count(b'"') % 2:
        return False
    number = re.fullmatch(r"-?\d{1,18}|", cells[1], re.ASCII) is not None
    return number and re.fullmatch(r"-?\d+\.\d+|", cells[2], re.ASCII) is not None


# -- containers

_EDGE = [-(2**63), -(2**63) + 1, -(2**63) + 2, FIRST - 1, FIRST, -1, 0, 1, LAST, LAST + 1, 2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize("name", ["arrow", "parquet"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_at_the_edges(tmp_path: Path, name: str, unit: str) -> None:
    """Times that 64 bits of nanoseconds cannot hold, or that mean "no time", go to quarantine; the others come through."""
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    values = [*_EDGE, None, *(e // scale for e in _EDGE[1:-1])]
    if name == "parquet" and unit == "s":  # Parquet has no seconds: it keeps them as milliseconds
        values = [v for v in values if v is None or abs(v) < 2**53]
    t = pa.array([None if v is None else v for v in values], pa.int64()).cast(pa.timestamp(unit, "UTC"))
    write(tmp_path / f"a.{name}", pa.table({"t": t, "n": range(len(values))}), name)
    out, kept, _ = through(tmp_path / f"a.{name}", tmp_path / "log")
    wanted = [v for v in values if v is not None and FIRST <= v * scale <= LAST]
    assert len(values) == out.num_rows + len(kept)
    assert out.num_rows == len(wanted) > 3


@pytest.mark.parametrize("name", ["json", "csv"])
@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("ns")]
)
def test_times_that_text_cannot_hold_are_an_error_and_no_panic(name: str, kind: pa.DataType) -> None:
    bits = pa.int32() if kind.bit_width == 32 else pa.int64()
    far = (
        2 ** (kind.bit_width - 2)
        // (86_400_000 if kind == pa.date64() else 1)
        * (86_400_000 if kind == pa.date64() else 1)
    )
    encode = registry.resolve("format", name).encode
    for value in (far, -far):
        with pytest.raises(SchemaError, match="cannot hold the times"):
            encode(pa.record_batch({"a": pa.array([0, None, value], bits).cast(kind)}))
    assert encode(pa.record_batch({"a": pa.array([0, None], bits).cast(kind)}))


def write(path: Path, table: pa.Table, name: str, **options: Any) -> None:
    if name == "parquet":
        pq.write_table(table, path, **options)
    else:
        with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
            out.write_table(table, max_chunksize=100)


def rows(count: int) -> pa.Table:
    t = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * count, EVENT_TIME)
    return pa.table({"t": t, "n": pa.array(range(count), pa.int64()), "s": [str(i) * 20 for i in range(count)]})


@pytest.mark.parametrize("name", ["arrow", "parquet"])
@pytest.mark.parametrize("damage", ["empty", "cut", "cut at the end", "zeros inside", "other bytes", "text", "doubled"])
def test_a_damaged_container_beside_good_ones(tmp_path: Path, name: str, damage: str) -> None:
    """The others are read; what cannot be opened is in quarantine by its name, or the run says which file it is."""
    for file in "ac":
        write(tmp_path / f"{file}.{name}", rows(300), name)
    whole = (tmp_path / f"a.{name}").read_bytes()
    half = len(whole) // 2
    data = {
        "empty": b"", "cut": whole[:half], "cut at the end": whole[:-3], "zeros inside": whole[:half] + bytes(64) + whole[half + 64 :],
        "other bytes": whole[:100] + bytes(255 - b for b in whole[100:164]) + whole[164:], "text": b"t,n\n1,2\n", "doubled": whole * 2,
    }[damage]  # fmt: skip
    (tmp_path / f"b.{name}").write_bytes(data)
    try:
        out, kept, _ = through(tmp_path / f"*.{name}", tmp_path / "log")
    except EventideError as error:
        assert f"b.{name}" in str(error)
        return
    assert out.num_rows >= 600
    if out.num_rows < 900:
        assert any(f"b.{name}" in row["position"] for row in kept)


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_two_columns_of_one_name_are_an_error_that_says_so(tmp_path: Path, name: str) -> None:
    table = pa.Table.from_arrays([rows(3).column("t"), pa.array([1, 2, 3]), pa.array([4, 5, 6])], ["t", "n", "n"])
    write(tmp_path / f"a.{name}", table, name)
    with pytest.raises(EventideError, match=r"one name|two columns|twice|'n'"):
        through(tmp_path / f"a.{name}", tmp_path / "log")


@pytest.mark.parametrize("name", ["json", "csv", "arrow", "parquet"])
def test_empty_files(tmp_path: Path, name: str) -> None:
    (tmp_path / f"a.{name}").write_bytes(b"")
    options = {"header": False} if name == "csv" else {}
    try:
        out, kept, _ = through(tmp_path / f"a.{name}", tmp_path / "log", schema=SCHEMA, **options)
    except EventideError as error:
        assert f"a.{name}" in str(error)
    else:
        assert out.num_rows == 0
        assert all(f"a.{name}" in row["position"] for row in kept)


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_values_of_other_types_than_asked_for(tmp_path: Path, name: str) -> None:
    table = pa.table({"t": ["yesterday"] * 5, "n": ["x"] * 5, "x": [[1.0]] * 5, "s": [1] * 5})
    write(tmp_path / f"a.{name}", table, name)
    try:
        out, kept, _ = through(tmp_path / f"a.{name}", tmp_path / "log", schema=SCHEMA)
    except EventideError as error:
        assert f"a.{name}" in str(error) or "n" in str(error)
    else:
        assert out.num_rows + len(kept) == 5 or kept


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "lz4"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_damaged_compression(tmp_path: Path, suffix: str, damage: str) -> None:
    codec = {"gz": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4"}[suffix]
    text = b"".join(b'{"t":%b,"n":%d,"x":0.5,"s":"%d"}\n' % (GOOD_TIME.encode(), i, i * 7919) for i in range(20_000))
    path = tmp_path / f"a.json.{suffix}"
    with pa.output_stream(str(path), compression=codec) as out_stream:
        out_stream.write(text)
    whole = path.read_bytes()
    middle = len(whole) // 2
    data = {
        "cut": whole[:middle], "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "text": text[:1000], "empty": b"",
    }[damage]  # fmt: skip
    path.write_bytes(data)
    try:
        out, kept, _ = through(path, tmp_path / "log", schema=SCHEMA)
    except EventideError as error:
        assert "a.json" in str(error)
        return
    assert out.num_rows == 20_000 or kept or damage == "empty"
    if damage == "flipped" and suffix in ("zst", "lz4"):
        return  # these were written without a checksum: a digit may have become another one, and nobody can know
    numbers = out.column("n").to_pylist() if out.num_rows else []
    assert numbers == list(range(len(numbers))), "events before the damage, in their order, and none that is wrong"


# -- bombs: small files that unpack to much more than they are worth

_RUN = """
import sys
import eventide as ev
from eventide.errors import EventideError
try:
    stream = ev.read(f"file://{sys.argv[1]}", schema={"t": "event_time", "n": "int64"}).event_time("t")
    result = ev.run(stream.write("memory://none"), quarantine=sys.argv[2], lanes=1)
    print("ran", result.rows_out, result.quarantined)
except EventideError as error:
    print("said", str(error)[:200])
"""
_PEAK = "print([int(l.split()[1]) >> 10 for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"


def watched(path: Path, log: Path) -> tuple[list[str], int]:
    """Run a pipeline over a file in a process of its own; return what it said, and the most memory it used, MiB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says how much memory a process has used")
    command = [sys.executable, "-c", _RUN + _PEAK, str(path), str(log)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    said, peak = ended.stdout.strip().splitlines()
    return said.split(), int(peak)


@pytest.mark.slow
def test_a_line_that_unpacks_to_more_than_a_gigabyte(tmp_path: Path) -> None:
    """It goes to quarantine in pieces, and the memory it costs does not grow with it."""
    path = tmp_path / "a.json.gz"
    good = b'{"t":"2026-01-01T00:00:00Z","n":1}\n'
    with gzip.open(path, "wb", 6) as out:
        out.write(good)
        for _ in range(1600):
            out.write(b"x" * (1 << 20))
        out.write(b"\n" + good)
    assert path.stat().st_size < 2 << 20
    said, peak = watched(path, tmp_path / "log")
    assert said[:2] == ["ran", "2"]
    assert int(said[2]) >= 10
    assert peak < 1900


@pytest.mark.slow
def test_fifty_million_rows_in_a_few_kilobytes(tmp_path: Path) -> None:
    """Parquet keeps a run of equal values as one: the rows come in pieces, whatever a row group says."""
    path = tmp_path / "a.parquet"
    count = 50_000_000
    t = pa.chunked_array([pa.array(np.zeros(count // 10, np.int64)).cast(EVENT_TIME)] * 10)
    n = pa.chunked_array([pa.array(np.zeros(count // 10, np.int64))] * 10)
    pq.write_table(pa.table({"t": t, "n": n}), path, compression="zstd", row_group_size=count)
    assert path.stat().st_size < 1 << 20
    said, peak = watched(path, tmp_path / "log")
    assert said[:2] == ["ran", str(count)]
    assert peak < 2500  # the rows themselves, which memory:// keeps, are 800 MiB


# -- what the fuzzer found, made by hand


@pytest.mark.parametrize(
    "kind",
    [
        pa.sparse_union([]),
        pa.dictionary(pa.int32(), pa.sparse_union([])),
        pa.list_(pa.struct([("a", pa.dense_union([]))])),
    ],
)
def test_a_union_of_nothing_ends_no_process(kind: pa.DataType) -> None:
    """Arrow ends the process when it makes an array of such a type; the schema is refused before."""
    data = pa.schema([("a", kind)]).serialize().to_pybytes() + b"\xff\xff\xff\xff\0\0\0\0"
    with pytest.raises(DataError, match="no types"):
        registry.resolve("format", "arrow").decode(data)


def test_a_union_without_a_good_batch(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.sparse_union([pa.field("n", pa.int64())]))])
    found = registry.resolve("format", "arrow").decode(
        schema.serialize().to_pybytes() + b"\xff\xff\xff\xff\x10\0\0\0broken"
    )
    assert found.batch.num_rows == 0
    assert found.batch.schema == schema
    assert len(found.bad) == 1


def test_half_of_a_surrogate_pair_where_nothing_says_the_schema() -> None:
    decode = registry.resolve("format", "json").decode
    for bad in (b'{"a":"\\ud800","x":NaN}', b'{"a":"\xed\xa0\x80","x":NaN}', b'{"\\udc00":1}'):
        found = decode(b'{"a":"ok"}\n' + bad)
        assert found.batch.column("a").to_pylist() == ["ok"]
        assert [b.data for b in found.bad] == [bad]


@pytest.mark.parametrize("blank", [b"\t", b"  ", b" \n\t\n", b"\x0b\n \n"])
def test_blanks_are_rows(blank: bytes) -> None:
    found = registry.resolve("format", "csv").decode(blank, schema=SCHEMA, header=False)
    assert found.batch.num_rows == 0
    assert len(found.bad) == len(blank.strip(b"\n").split(b"\n"))

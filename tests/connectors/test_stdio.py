"""Standard input and output: records as they come, nothing of a line before it is whole."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from eventide.errors import DataError, UsageError
from eventide.registry import open_sink, open_source


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes | None], None]]:
    """Standard input is a pipe; what the fixture is called with comes out of it, None ends it."""
    out, into = os.pipe()
    stdin = os.fdopen(out, "r")
    monkeypatch.setattr(sys, "stdin", stdin)
    ended = False

    def send(data: bytes | None) -> None:
        nonlocal ended
        if data is None:
            os.close(into)
            ended = True
        else:
            os.write(into, data)

    yield send
    if not ended:
        os.close(into)
    stdin.close()


def _values(reader: Any, timeout: float = 0.0) -> list[Any]:
    return [x for c in reader.read(max_rows=100, timeout=timeout) for x in c.batch.column(0).to_pylist()]


def test_json_lines_come_as_they_are_complete(feed: Callable[[bytes | None], None]) -> None:
    reader = open_source("-", {"schema": {"a": "int64"}}).open({})
    assert _values(reader, 0.01) == []
    feed(b'{"a": 1}\n{"a": 2}\n{"a"')
    assert _values(reader) == [1, 2]
    assert not reader.finished
    feed(b": 3}\nnot json\n")
    (chunk,) = reader.read(max_rows=100, timeout=1)
    assert chunk.batch.to_pylist() == [{"a": 3}]
    assert [(b.data, b.position) for b in chunk.bad] == [(b"not json", "stdin: byte 27")]
    feed(b'{"a": 4}')
    feed(None)
    got = []
    while not reader.finished:
        got += _values(reader, 1)
    assert got == [4]
    assert reader.backlog() is None
    reader.close()


def test_csv_with_a_header_and_the_schema_from_the_first_rows(feed: Callable[[bytes | None], None]) -> None:
    feed(b"x,s\n1,a\n")
    source = open_source("-", {"format": "csv"})
    assert source.schema().types == [pa.int64(), pa.string()]
    reader = source.open({})
    assert _values(reader) == [1]
    feed(b"2,b\n3")
    feed(b",c\n")
    assert _values(reader, 1) + _values(reader, 0.01) == [2, 3]
    feed(None)
    assert _values(reader, 1) == []
    assert reader.finished


def test_an_input_without_records_says_so(feed: Callable[[bytes | None], None]) -> None:
    feed(None)
    with pytest.raises(DataError, match="no record"):
        open_source("-").schema()


def test_containers_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot carry 'parquet'"):
        open_source("-", {"format": "parquet"})
    with pytest.raises(UsageError, match="no option 'heder'"):
        open_sink("-", {"format": "csv", "heder": False})


def test_the_sink_writes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
    out = open_sink("-", {"format": "csv"})
    assert out.delivery == "at_least_once"
    out.open(pa.schema([("a", pa.int64()), ("_watermark", pa.int64())]), None)
    out.write(pa.record_batch({"a": [1], "_watermark": [0]}))
    assert raw.getvalue() == b"a\n1\n"
    out.write(pa.record_batch({"a": [2], "_watermark": [0]}))
    out.commit(1, out.prepare(1))
    out.close()
    again = open_sink("-", {"format": "csv"})
    again.open(pa.schema([("a", pa.int64())]), {})
    again.write(pa.record_batch({"a": [3]}))
    assert raw.getvalue() == b"a\n1\n2\n3\n"


def test_a_pipeline_between_two_pipes() -> None:
    code = "import eventide as ev; ev.run(ev.read('-', schema={'a': 'int64'}).write('-'))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=b'{"a":1}\n{"a":2}\n', capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b'{"a":1}\n{"a":2}\n'

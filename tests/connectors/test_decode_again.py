"""What could not be decoded is decoded again, after something was mended; what is still bad keeps its position."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide import registry
from eventide.errors import DataError
from eventide.model.protocols import BadInput


def bad_of(path: Path, **options: Any) -> list[BadInput]:
    reader = registry.open_source(str(path), options).open({})
    found: list[BadInput] = []
    while not reader.finished:
        for chunk in reader.read(max_rows=1000, timeout=0.0):
            found += chunk.bad
    reader.close()
    return found


def again(path: Path, bad: list[BadInput], **options: Any) -> tuple[list[dict[str, Any]], list[BadInput]]:
    decoded = registry.open_source(str(path), options).again(bad)
    return decoded.batch.to_pylist(), list(decoded.bad)


def test_csv_lines_without_their_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("b,a\n1,2\nx,3\n4\n5,6.5\n")
    bad = bad_of(path, schema={"a": "int64", "b": "int64"})
    assert [b.data for b in bad] == [b"x,3", b"4", b"5,6.5"]
    rows, still = again(path, bad, schema={"a": "float64", "b": "int64"})
    assert rows == [{"a": 6.5, "b": 5}]
    assert [(b.data, b.position) for b in still] == [(b.data, b.position) for b in bad[:2]]
    path.unlink()
    rows, still = again(path, bad, schema={"a": "float64", "b": "int64"})
    assert rows == [] and len(still) == 3
    rows, still = again(path, bad, schema={"a": "float64", "b": "int64"}, header=False, columns=["b", "a"])
    assert (rows, len(still)) == ([{"a": 6.5, "b": 5}], 2)


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"v": 1}\n{"v": "1.5"}\nnonsense\n{"v": 2.5}\n')
    bad = bad_of(path, schema={"v": "int64"})
    rows, still = again(path, bad, schema={"v": "float64"})
    assert rows == [{"v": 1.5}, {"v": 2.5}] or rows == [{"v": 2.5}]
    assert still[-1].data == b"nonsense" and still[-1].position == bad[-2].position


def test_a_file_that_broke_in_the_middle_is_read_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    lines = [f"{i},{i * i}" for i in range(200_000)]
    whole = gzip.compress(("n,q\n" + "\n".join(lines) + "\n").encode(), mtime=0)
    path.write_bytes(whole[: len(whole) // 2])
    source = registry.open_source(str(path), {"schema": {"n": "int64", "q": "int64"}})
    reader = source.open({})
    before, bad = 0, []
    while not reader.finished:
        for chunk in reader.read(max_rows=10_000, timeout=0.0):
            before += chunk.batch.num_rows
            bad += chunk.bad
    reader.close()
    assert len(bad) == 1 and ": from " in bad[0].position
    _, still = again(path, bad, schema={"n": "int64", "q": "int64"})
    assert [b.position for b in still] == [bad[0].position]
    path.write_bytes(whole)
    rows, still = again(path, bad, schema={"n": "int64", "q": "int64"})
    assert still == [] and len(rows) == 200_000 - before
    assert rows[0] == {"n": before, "q": before * before}


def test_standard_input_needs_its_columns() -> None:
    bad = [BadInput(b"1,2", "byte 4", "why")]
    schema = {"a": "int64", "b": "int64"}
    decoded = registry.open_source("stdio://", {"format": "csv", "schema": schema}).again(bad)
    assert "header line" in decoded.bad[0].reason
    options = {"format": "csv", "schema": schema, "header": False, "columns": ["a", "b"]}
    assert registry.open_source("stdio://", options).again(bad).batch.to_pylist() == [{"a": 1, "b": 2}]
    with pytest.raises(DataError, match="which columns"):
        registry.open_source("stdio://", {}).again(bad)


@given(st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b and b"\r" not in b), max_size=8))
def test_any_bytes_come_back_once(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("again") / "a.csv"
    path.write_bytes(b"a\n")
    bad = [BadInput(p, f"{path}: byte {i}", "why") for i, p in enumerate(pieces) if p.strip()]
    rows, still = again(path, bad, schema={"a": "int64"})
    assert len(rows) + len(still) == len(bad)
    assert {b.position for b in still} <= {b.position for b in bad}

"""The file connector: every event once through stops and restarts, files whole or not at all, growing files followed."""

from __future__ import annotations

import gzip
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.connectors._file_sink import FileSink
from eventide.errors import CheckpointError, DataError, SchemaError, UsageError
from eventide.formats import arrow, csv, json, parquet
from eventide.registry import open_sink, open_source

SCHEMA = pa.schema([("x", pa.int64()), ("s", pa.string())])
WRITERS: dict[str, Any] = {"csv": csv, "jsonl": json, "parquet": parquet, "arrow": arrow}


def _batch(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(values, pa.int64()), pa.array([f"v{v}" for v in values])], schema=SCHEMA
    )


def _drain(source: Any, positions: Any = None, *, max_rows: int = 1000, reads: int = 10**6) -> Any:
    reader = source.open(positions or {})
    got: list[int] = []
    bad: list[Any] = []
    where = dict(positions or {})
    while not reader.finished and reads > 0:
        for chunk in reader.read(max_rows=max_rows, timeout=0):
            got += chunk.batch.column(0).to_pylist()
            bad += chunk.bad
            where[chunk.partition] = dict(chunk.position)
        reads -= 1
    reader.close()
    return got, where, bad


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow", "csv.gz", "jsonl.zst"])
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    first=st.integers(1, 12),
    second=st.integers(1, 12),
    stop=st.integers(0, 8),
)
def test_stop_and_resume_gives_every_event_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, sizes: list[int], first: int, second: int, stop: int
) -> None:
    folder = tmp_path_factory.mktemp("f")
    total = 0
    for n, size in enumerate(sizes):
        data = WRITERS[suffix.split(".")[0]].encode(_batch(*range(total, total + size)))
        with pa.output_stream(str(folder / f"{n}.{suffix}"), compression="detect") as out:
            out.write(data)
        total += size
    options = {"schema": SCHEMA}
    one, where, _ = _drain(open_source(str(folder / f"*.{suffix}"), options), max_rows=first, reads=stop)
    two, _, bad = _drain(open_source(str(folder), options), where, max_rows=second)
    assert one + two == list(range(total))
    assert bad == []


@given(
    sizes=st.lists(st.integers(0, 5), max_size=5),
    kill=st.integers(0, 5),
    when=st.sampled_from(["write", "prepare", "commit", "close"]),
    suffix=st.sampled_from(["csv", "jsonl", "parquet", "arrow", "csv.gz"]),
    single=st.booleans(),
)
def test_a_sink_killed_anywhere_ends_with_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], kill: int, when: str, suffix: str, single: bool
) -> None:
    """Checkpoint n takes the n-th batch; the process dies at one of the steps of checkpoint `kill`."""
    folder = tmp_path_factory.mktemp("f")
    uri = str(folder / f"out.{suffix}") if single else f"{folder}/out"
    options = {} if single else {"format": suffix.split(".")[0].replace("jsonl", "json")}
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    batches = [_batch(*range(a, b)) for a, b in pairwise(ends)]
    state: Any = None
    number = 0

    def run(last: int) -> None:
        """Go on from the state that was saved, as the engine does; stop at a step of checkpoint `last`."""
        nonlocal state, number
        out = open_sink(uri, options)
        out.open(SCHEMA, state)
        if state is not None:
            out.commit(number, state)
        for n in range(number + 1, len(batches) + 2):
            if n <= len(batches):
                out.write(batches[n - 1])
            if n == last and when == "write":
                break
            prepared = dict(out.prepare(n))
            if n == last and when == "prepare":
                break
            state, number = prepared, n
            if n == last and when == "commit":
                break
            out.commit(n, prepared)
            if n == last:
                break
        else:
            out.close()
            return
        if when == "close":
            out.close()

    run(kill)
    run(10**6)
    run(10**6)  # a run that finds everything done changes nothing
    if any(sizes):
        got, _, bad = _drain(open_source(uri, {"schema": SCHEMA} | options))
        assert got == list(range(sum(sizes)))
        assert bad == []
    if single:
        assert [p.name for p in folder.iterdir()] == [f"out.{suffix}"]
    else:
        assert all(p.name.startswith("part-") for p in (folder / "out").iterdir())


def _write(sink: FileSink, *values: int, checkpoint: int) -> Any:
    sink.write(_batch(*values))
    state = sink.prepare(checkpoint)
    sink.commit(checkpoint, state)
    return dict(state)


def test_one_file_appears_whole_at_the_end_and_is_reopened_at_a_checkpoint(tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        path = tmp_path / f"out.{suffix}"
        out = open_sink(str(path))
        assert out.delivery == "exactly_once"
        out.open(SCHEMA, None)
        first = _write(out, 1, 2, checkpoint=1)
        assert not path.exists()
        _write(out, 3, checkpoint=2)
        out.close()
        out.close()
        assert _drain(open_source(str(path)))[0] == [1, 2, 3]
        again = open_sink(str(path))
        again.open(SCHEMA, first)  # from the first checkpoint, although the second was finished
        again.commit(1, first)
        _write(again, 4, checkpoint=2)
        again.close()
        assert _drain(open_source(str(path)))[0] == [1, 2, 4]
        path.unlink()
        lost = open_sink(str(path))
        with pytest.raises(CheckpointError, match="is not there"):
            lost.open(SCHEMA, first)


def test_a_run_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("x,s\n7,v7\n")
    out = open_sink(str(path))
    out.open(SCHEMA, None)
    out.write(_batch(1))
    out.close()
    assert path.read_text() == "x,s\n7,v7\n"


def test_an_empty_result_is_a_file_with_its_columns(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet", "arrow"):
        path = tmp_path / f"out.{suffix}"
        out = open_sink(str(path))
        out.open(SCHEMA, None)
        out.commit(1, out.prepare(1))
        out.close()
        assert path.exists()
        if suffix != "jsonl":
            assert open_source(str(path)).schema().names == SCHEMA.names


def test_what_a_fresh_run_does_with_an_earlier_one(tmp_path: Path) -> None:
    uri = f"{tmp_path}/out"

    def run(value: int, **options: Any) -> list[int]:
        out = open_sink(uri, {"format": "csv", **options})
        out.open(SCHEMA, None)
        _write(out, value, checkpoint=1)
        _write(out, value + 1, checkpoint=2)
        out.close()
        return list(_drain(open_source(uri))[0])

    assert run(10) == [10, 11]
    assert run(20, mode="append") == [10, 11, 20, 21]
    assert run(30) == [30, 31]
    with pytest.raises(UsageError, match="2 parts in"):
        run(40, mode="new")
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == ["part-00000001.csv", "part-00000002.csv"]


def test_own_columns_stay_out(tmp_path: Path) -> None:
    out = open_sink(str(tmp_path / "o.csv"))
    out.open(pa.schema([("x", pa.int64()), ("_watermark", pa.int64())]), None)
    out.write(pa.record_batch({"x": [1], "_watermark": [5]}))
    out.commit(1, out.prepare(1))
    out.close()
    assert (tmp_path / "o.csv").read_text() == "x\n1\n"


def test_bad_rows_carry_their_file_and_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,s\n1,a\noops,b\n")
    (tmp_path / "b.csv").write_text("x,s\n2,a\n3\n")
    got, _, bad = _drain(open_source(f"{tmp_path}/*.csv", {"schema": {"x": "int64", "s": "string"}}), max_rows=1)
    assert got == [1, 2]
    assert [(b.data, b.position) for b in bad] == [
        (b"oops,b", f"{tmp_path}/a.csv: byte 8"),
        (b"3", f"{tmp_path}/b.csv: byte 8"),
    ]


def test_a_file_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    for name, data in (("a", parquet.encode(_batch(1))), ("b", b"garbage"), ("c", parquet.encode(_batch(2)))):
        (tmp_path / f"{name}.parquet").write_bytes(data)
    got, _, bad = _drain(open_source(f"{tmp_path}/*.parquet"))
    assert got == [1, 2]
    assert [b.position for b in bad] == [f"{tmp_path}/b.parquet"]
    whole = gzip.compress(csv.encode(_batch(*range(50_000))))
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    got, _, bad = _drain(open_source(f"{tmp_path}/cut.csv.gz", {"schema": SCHEMA}))
    assert got == list(range(len(got)))
    assert bad


def test_a_line_break_that_is_missing_at_the_end_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,s\n1,a\n2,b")
    (tmp_path / "b.csv").write_text("x,s\n3,a")
    assert _drain(open_source(f"{tmp_path}/*.csv"))[0] == [1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=12), st.integers(0, 12), st.booleans())
def test_growing_files_are_followed_and_a_partial_line_waits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], stop: int, text: bool
) -> None:
    """Pieces of any size are appended to three files; the reader is stopped and resumed once on the way."""
    folder = tmp_path_factory.mktemp("f")
    module: Any = csv if text else json
    whole = [module.encode(_batch(*range(n * 100, n * 100 + 9))) for n in range(3)]
    suffix = "csv" if text else "jsonl"
    sent = [0, 0, 0]
    source = open_source(f"{folder}/*.{suffix}", {"schema": SCHEMA, "follow": True})
    reader = source.open({})
    got: list[int] = []
    position: Any = {}

    def read() -> None:
        nonlocal position
        while chunks := reader.read(max_rows=2, timeout=0):
            got.extend(x for c in chunks for x in c.batch.column(0).to_pylist())
            assert not chunks[-1].bad
            position = {chunks[-1].partition: chunks[-1].position}

    for n, (which, size) in enumerate([*steps, (0, 10**6), (1, 10**6), (2, 10**6)]):
        if n == stop:
            reader.close()
            reader = source.open(position)
        with (folder / f"{which}.{suffix}").open("ab") as out:
            out.write(whole[which][sent[which] : sent[which] + size])
        sent[which] += size
        read()
    assert not reader.finished
    reader.close()
    assert sorted(got) == [n * 100 + i for n in range(3) for i in range(9)]
    assert all([x for x in got if x // 100 == n] == list(range(n * 100, n * 100 + 9)) for n in range(3))


def test_new_containers_are_followed_and_unfinished_ones_wait(tmp_path: Path) -> None:
    source = open_source(f"{tmp_path}/*.parquet", {"schema": SCHEMA, "follow": True})
    reader = source.open({})
    assert reader.read(max_rows=10, timeout=0.01) == []
    (tmp_path / "b.parquet").write_bytes(parquet.encode(_batch(1)))
    data = parquet.encode(_batch(2))
    (tmp_path / "a.parquet").write_bytes(data[:20])
    assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=0)] == [[1]]
    (tmp_path / "a.parquet").write_bytes(data)
    (chunk,) = reader.read(max_rows=10, timeout=1)
    assert chunk.batch["x"].to_pylist() == [2]
    broken = tmp_path / "c.parquet"
    broken.write_bytes(b"garbage")
    assert reader.read(max_rows=10, timeout=0) == []
    os.utime(broken, (1, 1))  # nobody has touched it for long
    (chunk,) = reader.read(max_rows=10, timeout=1)
    assert [b.position for b in chunk.bad] == [str(broken)]
    reader.close()
    resumed = source.open({"files": chunk.position})
    assert sum(c.batch.num_rows for c in resumed.read(max_rows=10, timeout=0)) == 0
    resumed.close()


def test_a_file_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,s\n1,a\n2,b\n")
    reader = open_source(str(path), {"follow": True}).open({})
    assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=0)] == [[1, 2]]
    path.write_text("x,s\n3,c\n")
    assert [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=1)] == [[3]]
    reader.close()


def test_formats_by_suffix_and_option(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("x\ts\n1\ta,b\n")
    assert _drain(open_source(str(tmp_path / "a.tsv")))[0] == [1]
    (tmp_path / "a.dat").write_text("1;a\n2;b\n")
    options = {"format": "csv", "header": False, "columns": ["x", "s"], "delimiter": ";"}
    assert _drain(open_source(str(tmp_path / "a.dat"), options))[0] == [1, 2]
    assert open_source(f"file://{tmp_path}/a.dat?format=csv&header=false").schema().names == ["f0"]


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("x,s\n1,a\n")
    with pytest.raises(UsageError, match=r"there is no file .*\n.*did you mean 'events.csv'"):
        open_source(str(tmp_path / "event.csv")).schema()
    with pytest.raises(UsageError, match=r"suffix '\.xyz' is of no format"):
        open_source(str(tmp_path / "events.xyz"))
    with pytest.raises(UsageError, match="did you mean 'delimiter'"):
        open_source(str(tmp_path / "events.csv"), {"delimeter": ";"})
    with pytest.raises(UsageError, match="no option 'header'"):
        open_source(str(tmp_path / "events.jsonl"), {"header": True})
    with pytest.raises(UsageError, match="no type 'flaot64'"):
        open_source(str(tmp_path / "events.csv"), {"schema": {"x": "flaot64"}})
    with pytest.raises(UsageError, match="is not a schema"):
        open_source(str(tmp_path / "events.csv"), {"schema": "x"})
    with pytest.raises(UsageError, match="names no file"):
        open_source("file://")
    with pytest.raises(UsageError, match="mode='over'"):
        open_sink(str(tmp_path / "o.csv"), {"mode": "over"})
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="nothing says which columns"):
        open_source(str(tmp_path / "empty.jsonl")).schema()
    wrong = open_source(str(tmp_path / "events.csv"), {"schema": {"y": "int64"}}).open({})
    with pytest.raises(SchemaError, match="no column 'y'"):
        wrong.read(max_rows=10, timeout=0)

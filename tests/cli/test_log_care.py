"""`eventide log export, import, evolve, retain, holds`: what they print, do and refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import Done

from eventide.log import Log
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema([("t", EVENT_TIME), ("x", pa.int64())])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    with Log(folder, fsync="os") as made:
        made.create_topic("a", SCHEMA, event_time="t", partitions=2, segment_bytes=2048)
        for i in range(40):
            times = pa.array([(10 * i + j) * 10**9 for j in range(10)], EVENT_TIME)
            made.append("a", pa.record_batch([times, pa.array(range(10))], schema=SCHEMA), partition=i % 2)
    return folder


@pytest.mark.parametrize("name", ["out/a.arrow", "out/a.parquet", "folder"])
def test_export_and_import_are_exact(here: Callable[..., Done], log: Path, tmp_path: Path, name: str) -> None:
    target, more = str(tmp_path / name), ("--log", str(log), "--json")
    told = here("log", "export", "a", target, *more).json
    assert (told["topic"], told["events"], told["target"], told["frames"]) == ("a", 400, target, 40)
    assert len(told["files"]) == (2 if name == "folder" else 1) and told["undecided"] == 0
    other = ("--log", str(tmp_path / "other"))
    assert here("log", "import", "a", target, *other, "--json").json == {
        "topic": "a", "events": 400, "quarantined": 0, "frames": 40,
    }  # fmt: skip
    with Log(log) as one, Log(tmp_path / "other") as two:
        for p in (0, 1):
            assert two.reader("a", [p]).read() == one.reader("a", [p]).read()
    assert "400 events in 40 frames, as exported" in here("log", "import", "b", target, *other).err
    again = here("log", "import", "a", target, *other)  # it is there: new events
    assert again.code == 0 and "appended as new ones" in again.err
    with Log(tmp_path / "other") as two:
        assert sum(p.latest for p in two.describe("a")) == 800


@pytest.mark.parametrize("form", ["arrow", "parquet", "csv", "json"])
def test_parts_in_every_format(here: Callable[..., Done], log: Path, tmp_path: Path, form: str) -> None:
    target, more = str(tmp_path / f"part-{form}"), ("--log", str(log))
    span = ("--from", "1970-01-01T00:00:15Z", "--until", "1970-01-01T00:00:45Z")
    told = here("log", "export", "a", target, "--format", form, *span, *more, "--json").json
    assert told["events"] == 30
    made = here("log", "import", "back", target, *more, "--json")
    assert made.code == 0 and made.json["events"] == 30
    bad = here("log", "export", "a", target, "--format", "jsno", *more)
    assert bad.code == 2 and "json" in bad.err


def test_offsets_bound_an_export(here: Callable[..., Done], log: Path, tmp_path: Path) -> None:
    more = ("--log", str(log), "--json")
    assert (
        here("log", "export", "a", str(tmp_path / "a.arrow"), "--from", "15", "--until", "25", *more).json["events"]
        == 20
    )
    assert (
        here("log", "export", "a", str(tmp_path / "a.csv"), "--from", "15", "--until", "25", *more).json["events"] == 20
    )


def test_evolve(here: Callable[..., Done], log: Path) -> None:
    more = ("--log", str(log))
    told = here("log", "evolve", "a", "--add", "note:string", "--add", "l:list<float32>", *more, "--json").json
    assert told["version"] == 1 and told["columns"]["l"] == "list<item: float>"
    again = here("log", "evolve", "a", "--add", "note:string", *more)
    assert again.code == 0 and "version 1" in again.out
    assert here("log", "evolve", "a", "--add", "small:int32", *more).code == 0
    assert here("log", "evolve", "a", "--widen", "small:int64", *more, "--json").json["columns"]["small"] == "int64"
    for wrong, told in [
        ("--add=x:string", "has a column 'x', of type int64"),
        ("--widen=x:int32", "column 'x' is int64 and cannot become int32"),
        ("--widen=y:int32", "no column 'y'"),
        ("--add=x", "is no column"),
        ("--add=z:flaot64", "float64"),
    ]:
        done = here("log", "evolve", "a", wrong, *more)
        assert done.code == 2 and told in done.err


def test_retain_and_holds(here: Callable[..., Done], log: Path) -> None:
    more = ("--log", str(log))
    assert here("log", "holds", *more).out == "nobody holds anything\n"
    with Log(log) as opened:
        opened.hold("hot/readings", "a", {0: 100, 1: 60})
        opened.hold("hot/savepoint:x/readings", "a", {0: 50})
    shown = here("log", "holds", *more, "--json").json
    assert [(h["owner"], h["partition"], h["offset"]) for h in shown] == [
        ("hot/readings", 0, 100), ("hot/readings", 1, 60), ("hot/savepoint:x/readings", 0, 50),
    ]  # fmt: skip
    assert "hot/savepoint:x/readings" in here("log", "holds", "a", *more).out
    planned = here("log", "retain", "--max-bytes", "1", "--dry-run", *more, "--json").json
    assert planned["segments"] > 0 and not planned["deleted"]
    assert all(s["end_offset"] <= (50, 60)[s["partition"]] for s in planned["old"])
    refused = here("log", "retain", "--max-bytes", "1", *more)
    assert refused.code == 2 and "needs --yes" in refused.err
    done = here("log", "retain", "a", "--max-bytes", "1", "--yes", *more, "--json").json
    assert done == {**planned, "deleted": True}
    assert "deleted 0 segments" in here("log", "retain", "--max-bytes", "1", "--yes", *more).err
    wrong = here("log", "holds", "--release", "hotter", *more)
    assert wrong.code == 2 and "holds nothing" in wrong.err
    assert here("log", "holds", "--release", "hot/savepoint:x", *more, "--json").json["released"] == 1
    assert "released 2 partitions" in here("log", "holds", "--release", "hot", *more).err
    assert here("log", "retain", "--max-event-age", "100s", "--yes", *more, "--json").json["segments"] > 0
    with Log(log) as opened:
        assert opened.verify().ok


def test_verify_says_how_much_it_looked_at(here: Callable[..., Done], log: Path) -> None:
    told = here("log", "verify", "--log", str(log), "--json").json
    assert told["ok"] and (told["frames"], told["rows"], told["partitions"]) == (40, 400, 2)
    assert told["segments"] > 2 and told["bytes"] > 0


def test_what_a_dead_pipeline_left_undecided(here: Callable[..., Done], log: Path) -> None:
    more = ("--log", str(log))
    assert here("log", "undecided", *more).out == "every transaction is decided\n"
    with Log(log) as opened:
        before = sum(part.latest for part in opened.describe("a"))
        numbers = []
        for _ in range(2):
            transaction = opened.transaction(owner="hot")
            transaction.append("a", opened.reader("a").read(1)[0].batch)
            numbers.append(transaction.prepare())
    shown = here("log", "undecided", *more, "--json").json
    assert [(t["number"], t["owner"], t["topics"]) for t in shown] == [(n, "hot", ["a"]) for n in numbers]
    assert "hot" in here("log", "undecided", *more).out
    assert here("log", "undecided", "--abort", "7", *more).code == 2
    assert "aborted" in here("log", "undecided", "--abort", str(numbers[0]), *more).err
    assert here("log", "undecided", "--commit", str(numbers[1]), *more, "--json").json == [
        {"number": numbers[1], "decision": "committed"}
    ]
    assert here("log", "undecided", *more, "--json").json == []
    with Log(log) as opened:
        rows = sum(frame.batch.num_rows for frame in opened.reader("a").read(10**6))
    assert rows > before  # the committed one, and nobody waits any more

"""Looking at topics, replaying parts of them, caring for the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import Done
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.cli._rows import cell, plain_rows
from eventide.cli._span import Span, only_span
from eventide.log import Log, Retention
from eventide.model.time import EVENT_TIME, instant

BEGIN = instant("2026-01-01")
SECOND = 10**9


def rows(done: Done) -> list[dict[str, object]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


# -- tail


def test_tail_by_offset_time_and_condition(here: Callable[..., Done]) -> None:
    everything = rows(here("tail", "readings", "--from", "earliest", "--json"))
    assert len(everything) == 500
    late = rows(here("tail", "readings", "--from", "2026-01-01T00:00:40Z", "--json"))
    assert late == [r for r in everything if str(r["timestamp"]) >= "2026-01-01T00:00:40"] and len(late) == 100
    assert rows(here("tail", "readings", "--from", "150", "--json")) == [r for r in everything if r["offset"] >= 150]  # type: ignore[operator]
    some = rows(here("tail", "readings", "--where", "key = 1 AND value > 0", "-n", "3", "--json"))
    fits = [r for r in everything if r["key"] == 1 and r["value"] > 0]  # type: ignore[operator]
    assert some == [r for p in (0, 1) for r in [f for f in fits if f["partition"] == p][-3:]]
    assert rows(here("tail", "readings", "--from", "latest", "--json")) == []


def test_tail_as_a_table(here: Callable[..., Done]) -> None:
    lines = here("tail", "counts", "-n", "1").out.splitlines()
    assert lines[0].split("\t") == ["partition", "offset", "key", "window_start", "window_end", "n", "total"]
    assert len(lines) == 2
    wrong = here("tail", "counts", "--where", "cuont > 3")
    assert wrong.code == 2 and "the columns are partition, offset, key" in wrong.err
    assert here("tail", "counts", "--from", "yesterday").code == 2


def test_values_of_every_type_can_be_shown() -> None:
    times = pa.array([BEGIN + 1, None], EVENT_TIME)
    table = pa.table(
        {
            "t": times,
            "naive": times.cast(pa.timestamp("ns")),
            "us": pa.array([1_500_000, 0], pa.timestamp("us", "UTC")),
            "d": pa.array([5, None], pa.duration("ns")),
            "l": pa.array([[BEGIN + 2], None], pa.list_(EVENT_TIME)),
            "s": pa.array([{"a": BEGIN, "b": 1.5}, None], pa.struct([("a", EVENT_TIME), ("b", pa.float64())])),
            "b": pa.array([b"\xff\x00", None]),
        }
    )
    one, two = plain_rows(table)
    assert one == {
        "t": "2026-01-01T00:00:00.000000001Z", "naive": "2026-01-01T00:00:00.000000001", "us": "1970-01-01T00:00:01.5Z",
        "d": "5 ns", "l": ["2026-01-01T00:00:00.000000002Z"], "s": {"a": "2026-01-01T00:00:00Z", "b": 1.5}, "b": b"\xff\x00",
    }  # fmt: skip
    assert {k: v for k, v in two.items() if k != "us"} == dict.fromkeys(["t", "naive", "d", "l", "s", "b"])
    assert [cell(v) for v in one.values()][-3:] == [
        "[2026-01-01T00:00:00.000000002Z]", "{a: 2026-01-01T00:00:00Z, b: 1.5}", "\\xff\x00",
    ]  # fmt: skip
    assert plain_rows(table.slice(1)) == [two]


# -- parts of the log

moments = st.integers(-2, 12)


@st.composite
def ends(draw: st.DrawFn) -> tuple[str, int | None, int | None]:
    """An end of a span as text, and as an offset or a time."""
    kind, at = draw(st.sampled_from(["none", "offset", "time"])), draw(moments)
    if kind == "none":
        return "", None, None
    if kind == "offset":
        return str(max(at, 0)), max(at, 0), None
    time = BEGIN + at * SECOND
    return pa.scalar(time, EVENT_TIME).cast(pa.string()).as_py(), None, time


@given(st.lists(moments, max_size=12), st.integers(0, 6), ends(), ends())
def test_a_span_keeps_what_lies_in_it(
    seconds: list[int], base: int, low: tuple[str, int | None, int | None], high: tuple[str, int | None, int | None]
) -> None:
    times = [BEGIN + s * SECOND for s in seconds]
    batch = pa.record_batch(
        {"t": pa.array(times, EVENT_TIME), "i": pa.array(range(base, base + len(times)), pa.int64())}
    )
    kept = Span(low[0], high[0]).rows(batch, base, "t")
    expected = [
        i
        for i, t in enumerate(times, base)
        if (low[1] is None or i >= low[1])
        and (high[1] is None or i < high[1])
        and (low[2] is None or t >= low[2])
        and (high[2] is None or t < high[2])
    ]
    assert kept["i"].to_pylist() == expected


def replay(here: Callable[..., Done], folder: Path, *args: str) -> Done:
    (folder / "copy.py").write_text(
        f"import eventide as ev\npipeline = ev.read('log://readings').write('{folder}/copied.jsonl')\n"
    )
    return here("run", str(folder / "copy.py"), "--json", *args)


def test_replay_of_a_part(here: Callable[..., Done], tmp_path: Path) -> None:
    done = replay(here, tmp_path, "--from", "2026-01-01T00:00:10Z", "--until", "2026-01-01T00:00:20Z")
    assert done.json["rows_out"] == 100 and done.json["checkpoint"] == 0
    times = [json.loads(line)["timestamp"] for line in (tmp_path / "copied.jsonl").read_text().splitlines()]
    assert min(times).startswith("2026-01-01T00:00:10") and max(times) < "2026-01-01T00:00:20"
    assert replay(here, tmp_path, "--from", "10", "--until", "25").json["rows_out"] == 30  # of two partitions
    assert replay(here, tmp_path, "--until", "2026-01-01T00:00:20Z").json["rows_out"] == 200


def test_a_replay_with_a_name_has_checkpoints_of_its_own(here: Callable[..., Done], tmp_path: Path) -> None:
    options = ("--until", "5", "--name", "part", "--checkpoint", str(tmp_path / "checkpoints"))
    assert replay(here, tmp_path, *options).json["checkpoint"] == 1
    again = replay(here, tmp_path, *options).json
    assert again["already_ended"] and again["rows_in"] == 0
    other = replay(here, tmp_path, "--until", "6", *options[2:])
    assert other.code == 1 and "is of another graph" in other.err


def test_a_replay_keeps_shared_parts_of_a_graph_shared(here: Callable[..., Done]) -> None:
    events = ev.read("log://readings").event_time("timestamp").key_by("key")
    two = ev.pipeline(
        events.window(ev.tumbling("1s")).aggregate(n=ev.count()).write("log://a"),
        events.join(events, ev.interval("0s", "1s")).write("log://b"),
    )
    cut = only_span(two, Span("0", "10"))
    assert [n["kind"] for n in cut.describe()] == [n["kind"] for n in two.describe()]
    assert cut.fingerprint != two.fingerprint != only_span(two, Span("0", "11")).fingerprint
    assert only_span(two, Span("0", "10")).fingerprint == cut.fingerprint


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("run fails.py --from 3", "reads nothing from a log:// topic"),
        ("run count.py --until soon", "neither an offset nor a time"),
        ("run count.py --from 2026-13-01", "neither an offset nor a time"),
    ],
)
def test_spans_that_make_no_sense(here: Callable[..., Done], command: str, told: str) -> None:
    done = here(*command.split())
    assert done.code == 2 and told in done.err


# -- care


def test_retention(here: Callable[..., Done], tmp_path: Path) -> None:
    log = ("--log", str(tmp_path))
    batch = pa.record_batch({"x": pa.array(range(2000), pa.int64())})
    with Log(tmp_path) as made:
        made.create_topic("old", batch.schema, segment_bytes=4096, retention=Retention(max_age=10**18))
        for _ in range(5):
            made.append("old", batch)
    planned = here("log", "retention", "old", "--max-bytes", "20000", "--dry-run", "--json", *log).json
    assert planned["would_delete_segments"] > 0 == planned["deleted_segments"]
    assert "needs --yes" in here("log", "retention", "old", "--max-bytes", "20000", "--apply", *log).err
    with Log(tmp_path) as made:
        assert made.topic("old").retention == Retention(max_age=10**18)  # neither of these changed anything
        assert made.describe("old")[0].earliest == 0
    done = here("log", "retention", "old", "--max-bytes", "20000", "--apply", "--yes", "--json", *log).json
    assert done["deleted_segments"] == planned["would_delete_segments"]
    with Log(tmp_path) as made:
        assert made.topic("old").retention == Retention(max_bytes=20000, max_age=10**18)
        assert made.describe("old")[0].earliest > 0
    assert here("log", "retention", "old", "--max-bytes", "0", "--max-age", "0", *log).out == "old keeps everything\n"


def test_damage_is_found(here: Callable[..., Done], tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", pa.schema([("x", pa.int64())]))
        for _ in range(2):
            log.append("a", pa.record_batch({"x": pa.array(range(1000), pa.int64())}))
    (segment,) = (tmp_path / "a" / "0").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 3] ^= 1
    segment.write_bytes(data)
    done = here("log", "verify", "--json", "--log", str(tmp_path))
    assert done.code == 3 and not done.json["ok"] and done.json["problems"]

"""The parts of the crash suites: the input, the source that ends, the comparison, the keyed process, the points."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.testing.crash.bursts import BURSTS, Bursts
from eventide.testing.crash.chosen import _spread
from eventide.testing.crash.ending import EndingSource, write_ends
from eventide.testing.crash.events import PARTITIONS, SCHEMAS, make_batch, plain_readings
from eventide.testing.crash.outputs import compare, read_outputs, row_counts, topic_rows
from eventide.testing.crash.pipeline import pipeline
from eventide.testing.crash.points import _Watcher, phase_of
from eventide.testing.crash.produce import make_topics, produce
from eventide.testing.crash.strace import _group

SECOND = 10**9


@given(seed=st.integers(0, 1000), number=st.integers(0, 500))
def test_batches_follow_from_seed_and_number(seed: int, number: int) -> None:
    for topic, partitions in PARTITIONS.items():
        for p in range(partitions):
            batch = make_batch(topic, number, seed=seed, partition=p)
            assert batch.equals(make_batch(topic, number, seed=seed, partition=p))
            assert batch.schema.equals(SCHEMAS[topic])
    assert not make_batch("readings", number, seed=seed).equals(make_batch("readings", number, seed=seed + 1))


@given(seed=st.integers(0, 50))
def test_plain_events_are_never_late(seed: int) -> None:
    newest = 0
    for number in range(30):
        times = plain_readings(number, seed=seed)["timestamp"]
        for time in times.tolist():
            newest = max(newest, time)
            assert newest - time < 3 * SECOND
        for p in (0, 1):
            marks = make_batch("marks", number, seed=seed, partition=p)
            assert set(marks["sensor"].to_pylist()) <= {p, p + 2, p + 4}


def test_the_producer_goes_on_where_it_was(tmp_path: Path) -> None:
    make_topics(tmp_path)
    produce(tmp_path, seed=3, first=0, last=5, end=False)
    assert not (tmp_path / "input.end").exists()
    produce(tmp_path, seed=3, first=0, last=8, end=True)
    ends = json.loads((tmp_path / "input.end").read_text())
    rows = {topic: topic_rows(tmp_path, topic) for topic in SCHEMAS}
    assert {topic: sum(parts.values()) for topic, parts in ends.items()} == {t: r.total() for t, r in rows.items()}
    expected = row_counts(make_batch("readings", n, seed=3) for n in range(8))
    assert rows["readings"] == expected


def test_a_followed_topic_ends(tmp_path: Path) -> None:
    make_topics(tmp_path)
    produce(tmp_path, seed=1, first=0, last=3, end=False)
    reader = EndingSource(tmp_path, "marks", rows=5).open({})
    read = 0
    for _ in range(40):
        read += sum(c.batch.num_rows for c in reader.read(max_rows=1000, timeout=0.0))
    assert read == 3 * 2 * 6
    assert not reader.finished
    write_ends(tmp_path, {"marks": {"0": 18, "1": 18}})
    assert reader.finished
    assert reader.read(max_rows=10, timeout=0.0) == []
    reader.close()


def test_bursts_are_what_a_loop_over_events_says() -> None:
    times = [0, 1, 2, 10, 11, 30]
    rows = {"timestamp": pa.array(times).cast(pa.timestamp("ns", "UTC")), "sensor": [1, 2, 1, 1, 2, 1], "id": times}
    table = pa.table({**rows, "value": [float(t) for t in times]})
    stream = ev.from_table(table).event_time("timestamp").key_by("sensor").process(Bursts(5), schema=BURSTS)
    found = ev.fetch(stream).select(["sensor", "burst", "ids", "total"]).to_pylist()
    assert sorted(tuple(row.values()) for row in found) == [
        (1, 0, "0 2", 2.0),
        (1, 1, "10", 10.0),
        (1, 2, "30", 30.0),
        (2, 0, "1", 1.0),
        (2, 1, "11", 11.0),
    ]


def run(folder: Path, *, rows: int, interval: str) -> dict[str, Counter[str]]:
    make_topics(folder)
    produce(folder, seed=4, first=0, last=12, end=True)
    result = ev.run(
        pipeline(str(folder), rows=str(rows)),
        checkpoint=folder / "checkpoints",
        checkpoint_interval=interval,
        quarantine=folder / "log",
    )
    assert result.quarantined == 12
    return read_outputs(folder)


def test_outputs_depend_on_the_input_alone(tmp_path: Path) -> None:
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    one, two = run(places[0], rows=1000, interval="10s"), run(places[1], rows=20, interval="1ms")
    assert not any(compare(one, two))
    assert all(one.values()), "every output has rows"


def test_a_difference_says_what_is_wrong() -> None:
    (same, other) = compare({"a": Counter("xy"), "b": Counter("xxz")}, {"a": Counter("xy"), "b": Counter("xy")})
    assert not same
    assert (other.lost, other.doubled, other.wrong) == (1, 1, 1)
    assert other.examples == ("lost: y", "doubled: x", "wrong: z")


@given(count=st.integers(1, 300), hits=st.integers(1, 10))
def test_hits_are_spread(count: int, hits: int) -> None:
    chosen = _spread(count, hits)
    assert chosen[0] == 1
    assert len(chosen) == min(count, hits)
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == (count if hits > 1 else 1)


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("log/panes/0/00000000000000000000.seg", "log/panes/0"),
        ("log/meta.sqlite-wal", "log/meta"),
        ("checkpoints/torture/chk-00000003.tmp/manifest.json", "checkpoints/torture/chk-00000003"),
        ("tables.sqlite-journal", "tables"),
        ("pairs/.writing.tmp", "pairs"),
    ],
)
def test_calls_are_grouped_by_file(path: str, group: str) -> None:
    assert _group(path) == group


def test_a_failing_disk_keeps_the_watched_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = _Watcher(tmp_path, "", count=None, slow=0.0)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    assert watcher.around("sink.close", lambda: "closed")() == "closed"
    assert phase_of(tmp_path) == "closing"

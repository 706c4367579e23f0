"""Holds: whatever is appended, held, released and retained in whatever order, nothing held is ever gone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import LogError, UnknownNameError, UsageError
from eventide.log import Log, Retention
from eventide.model.time import EVENT_TIME
from eventide.registry import open_source

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SCHEMA = pa.schema([("x", pa.int64())])


def batch(first: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(first, first + rows), pa.int64())], schema=SCHEMA)


def segments(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.glob("a/*/*.seg")}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 1), st.integers(1, 60)),
        st.tuples(st.just("hold"), st.sampled_from(["p", "p/s", "q"]), st.tuples(st.floats(0, 1), st.floats(0, 1))),
        st.tuples(st.just("unhold"), st.sampled_from(["p", "p/", "q"]), st.none()),
        st.tuples(st.just("retain"), st.integers(0, 4000), st.booleans()),
    ),
    max_size=30,
)


@given(STEPS)
def test_nothing_held_is_ever_gone_and_a_dry_run_tells_the_truth(steps: list[tuple[str, object, object]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name, Log(name, fsync="os") as log, Log(name) as other:
        folder = Path(name)
        log.create_topic("a", SCHEMA, partitions=2, segment_bytes=1024)
        ends, held = [0, 0], {}
        for what, one, two in steps:
            if what == "append":
                log.append("a", batch(ends[one], two), partition=one)
                ends[one] += two
            elif what == "hold":
                first = [part.earliest for part in log.describe("a")]
                held[one] = {p: first[p] + int(f * (ends[p] - first[p])) for p, f in enumerate(two)}
                log.hold(one, "a", held[one])
            elif what == "unhold":
                gone = [o for o in held if o == one or (o.startswith("p/") and one in ("p", "p/"))]
                assert log.unhold(one) == 2 * len(gone)
                for owner in gone:
                    del held[owner]
            else:
                actor = other if two else log
                before = segments(folder)
                told = actor.apply_retention(retention=Retention(max_bytes=one), dry_run=True)
                assert segments(folder) == before
                assert actor.apply_retention(retention=Retention(max_bytes=one)) == told
                gone = {f"a/{s.partition}/{s.base_offset:020d}.seg" for s in told}
                assert before - segments(folder) == gone
                assert other.apply_retention(retention=Retention(max_bytes=one)) == []
            assert {h.owner: h.positions for h in log.holds("a")} == held
            for p in (0, 1):
                needed = [positions[p] for positions in held.values()]
                earliest = log.describe("a")[p].earliest
                assert all(earliest <= n for n in needed)
                if needed:
                    reader = log.reader("a", [p], start={p: min(needed)})
                    found = [v for f in reader.read() for v in f.batch["x"].to_pylist()]
                    assert found == list(range(min(needed), ends[p]))


def fill(log: Log, rows: int = 200) -> None:
    log.create_topic("a", SCHEMA, segment_bytes=1024)
    for i in range(0, rows, 10):
        log.append("a", batch(i, 10))


def test_a_hold_that_comes_too_late_is_refused_whole(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("a", SCHEMA, partitions=2, segment_bytes=1024)
        for i in range(0, 400, 10):
            log.append("a", batch(i, 10), partition=1)
        log.apply_retention(retention=Retention(max_bytes=0))
        with pytest.raises(LogError, match="offset 5 of partition 1 of topic 'a' was deleted by retention"):
            log.hold("p", "a", {0: 0, 1: 5})
        assert log.holds() == []


def test_mistakes(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        fill(log)
        for owner, topic, positions in [("", "a", {0: 1}), ("p", "a", {1: 1}), ("p", "a", {0: -1})]:
            with pytest.raises(UsageError):
                log.hold(owner, topic, positions)
        with pytest.raises(UnknownNameError):
            log.hold("p", "b", {0: 0})
        with pytest.raises(UsageError):
            log.unhold("")


def test_holds_outlive_the_process_and_go_with_the_topic(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        fill(log)
        log.hold("hot", "a", {0: 50})
        log.hold("hotter", "a", {0: 40})
    with Log(tmp_path) as log:
        assert log.unhold("hot") == 1
        assert [(h.owner, h.positions) for h in log.holds()] == [("hotter", {0: 40})]
        log.apply_retention(retention=Retention(max_bytes=0))
        assert 0 < log.describe("a")[0].earliest <= 40
        log.delete_topic("a")
        assert log.holds() == []


def test_every_limit_says_why_and_holds_stop_it(tmp_path: Path) -> None:
    schema = pa.schema([("t", EVENT_TIME)])
    with Log(tmp_path, fsync="os") as log:
        log.create_topic("a", schema, event_time="t", segment_bytes=1024)
        for i in range(30):
            log.append("a", pa.record_batch([pa.array([i * 10**9], EVENT_TIME)], schema=schema))
        for limits, why in [
            (Retention(max_bytes=3000), "max_bytes"),
            (Retention(max_age=1), "max_age"),
            (Retention(max_event_age=10**10), "max_event_age"),
        ]:
            told = log.apply_retention(retention=limits, dry_run=True)
            assert told
            assert {s.reason for s in told} == {why}
            assert all(s.bytes > 0 and s.end_offset > s.base_offset for s in told)
        log.hold("p", "a", {0: 9})
        assert log.apply_retention(retention=Retention(max_age=1))[-1].end_offset <= 9


def test_the_source_holds_what_a_pipeline_may_read_again(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        fill(log)
        reader = open_source("log://a", {"log": str(tmp_path), "follow": False}).open({})
        reader.release("pipe/r", {"0": {"offset": 70}})
        reader.release("pipe/r", {"0": {"offset": 70}})
        log.apply_retention(retention=Retention(max_bytes=0))
        assert 0 < log.describe("a")[0].earliest <= 70
        reader.release("pipe/r", {"0": {"offset": 200}})
        log.apply_retention(retention=Retention(max_bytes=0))
        assert log.describe("a")[0].earliest > 70
        reader.forget("pipe/r")
        assert log.holds() == []
        reader.close()


def test_a_log_of_the_release_before_gets_holds_when_it_is_opened(tmp_path: Path) -> None:
    with Log(tmp_path, fsync="os") as log:
        fill(log)
        with log._meta.commit() as db:  # as the first release made it
            db.execute("DROP TABLE holds")
            db.execute("ALTER TABLE topics DROP COLUMN evolution")
            db.execute("PRAGMA user_version=1")
    with Log(tmp_path) as log:
        log.hold("p", "a", {0: 3})
        assert log.topic("a").schema == SCHEMA
        assert log.append("a", batch(200, 1)) == {0: 200}

"""What a source must do: subclass `SourceSuite`, say how the source is made, and pytest proves it.

::

    class TestCountdown(SourceSuite):
        def make(self, folder):
            return Countdown(500)
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from eventide.model.protocols import Chunk, Position, Source, SourceReader
from eventide.testing._compare import rows_of
from eventide.testing._libraries import st
from eventide.testing._suite import Suite, each

__all__ = ["SourceSuite", "Told", "read_all"]

_PATIENCE = 30.0
"""Seconds after which a read that should have come back counts as hanging."""


class Told(NamedTuple):
    """What a reader brought: rows of each partition in order, reasons of bad input, the last positions."""

    rows: dict[str, list[str]]
    bad: Counter[str]
    positions: dict[str, Position]


def read_all(reader: SourceReader, *, max_rows: int | list[int] = 100, most: int | None = None) -> Told:
    """Read until the reader is finished, or for `most` chunks, and return what came.

    Parameters
    ----------
    reader
        An open reader; it stays open.
    max_rows
        Events asked for at a time; several numbers take turns.
    most
        Stop after so many chunks. The positions are then those of chunks that were taken.
    """
    sizes = [max_rows] if isinstance(max_rows, int) else max_rows
    rows: dict[str, list[str]] = {}
    bad: Counter[str] = Counter()
    positions: dict[str, Position] = {}
    turn = taken = 0
    while not reader.finished:
        chunks = reader.read(max_rows=sizes[turn % len(sizes)], timeout=0.2)
        turn += 1
        for chunk in chunks:
            if taken == most:
                return Told(rows, bad, positions)
            rows.setdefault(chunk.partition, []).extend(map(repr, rows_of(chunk.batch)))
            bad.update(f"{b.data!r} {b.reason}" for b in chunk.bad)
            positions[chunk.partition] = json.loads(json.dumps(dict(chunk.position)))
            taken += 1
    return Told(rows, bad, positions)


class SourceSuite(Suite):
    """The contract of `eventide.model.protocols.Source` and `SourceReader`.

    Attributes
    ----------
    overshoot
        Events by which one read may exceed `max_rows`, for a source that brings whole packets.
    all_there
        Whether all events wait from the start; a source that follows a clock has fewer.
    share
        Part of the Hypothesis profile's examples that is tried.
    """

    overshoot: ClassVar[int] = 0
    all_there: ClassVar[bool] = True
    share: ClassVar[float] = 0.1
    optional: ClassVar[Mapping[str, str]] = {
        "test_bad_input_is_reported": "input that is not events",
        "test_bad_input_is_reported_once_across_stops": "input that is not events",
        "test_unbounded_source_waits_for_more": "unbounded input",
        "test_unbounded_source_resumes": "unbounded input",
        "test_release_changes_nothing_that_is_read": "methods release and forget",
    }

    def make(self, folder: Path) -> Source:
        """Return a bounded source of 30 to a few thousand events, in several chunks if it can.

        Parameters
        ----------
        folder
            A folder of the source's own. It is empty the first time; a second call with the same folder must
            return a source of the same events, as after a restart.
        """
        raise NotImplementedError

    def expected(self) -> pa.Table | None:
        """Return the events that `make` leads to, in any order; None where only the source knows them."""
        return None

    def make_bad(self, folder: Path) -> tuple[Source, int, int]:
        """Return a bounded source some of whose input is not events, how many events it has and how much is bad."""
        raise NotImplementedError

    def make_unbounded(self, folder: Path) -> tuple[Source, Callable[[], int]]:
        """Return a source without end and a function that makes more events come and returns how many."""
        raise NotImplementedError

    def has(self, part: str) -> bool:
        """Return whether an optional part is there: whether its method was written."""
        if part == "input that is not events":
            return type(self).make_bad is not SourceSuite.make_bad
        if part == "unbounded input":
            return type(self).make_unbounded is not SourceSuite.make_unbounded
        return self.releases

    releases: ClassVar[bool] = False
    """Whether its readers have the optional methods ``release`` and ``forget``."""

    def _reference(self, folder: Path) -> Told:
        reader = self.make(folder).open({})
        told = read_all(reader, max_rows=1 << 20)
        reader.close()
        return told

    # -- what it says about itself

    def test_schema(self, tmp_path: Path) -> None:
        """It tells its schema before it is read, twice the same, and every batch has it."""
        source = self.make(tmp_path)
        schema = source.schema()
        assert isinstance(schema, pa.Schema)
        assert schema.names
        assert not any(name.startswith("_") for name in schema.names), "such names are eventide's own"
        assert source.schema().equals(schema)
        reader = source.open({})
        while not reader.finished:
            for chunk in reader.read(max_rows=100, timeout=0.2):
                assert chunk.batch.schema.equals(schema)
        reader.close()

    def test_partitions(self, tmp_path: Path) -> None:
        """It names its partitions, and no event comes from another one."""
        source = self.make(tmp_path)
        partitions = source.partitions()
        assert partitions
        assert all(isinstance(p, str) for p in partitions)
        assert len(set(partitions)) == len(partitions)
        assert source.partitions() == partitions
        reader = source.open({})
        assert set(read_all(reader).rows) <= set(partitions)
        reader.close()

    # -- reading

    def test_every_event_once(self, tmp_path: Path) -> None:
        """Every event comes, none twice, and then it is finished."""
        source = self.make(tmp_path)
        reader = source.open({})
        told = read_all(reader)
        assert reader.finished
        assert reader.read(max_rows=100, timeout=0) == []
        assert reader.finished
        reader.close()
        count = sum(map(len, told.rows.values()))
        assert count >= 30, "a suite with so few events proves little"
        expected = self.expected()
        if expected is not None:
            assert Counter(r for rows in told.rows.values() for r in rows) == Counter(map(repr, rows_of(expected)))

    def test_chunks(self, tmp_path: Path) -> None:
        """What it brings are chunks: a batch, a partition, a position that JSON can hold."""
        reader = self.make(tmp_path).open({})
        while not reader.finished:
            for chunk in reader.read(max_rows=50, timeout=0.2):
                assert isinstance(chunk, Chunk)
                assert isinstance(chunk.batch, pa.RecordBatch)
                assert isinstance(chunk.clock, int)
                assert isinstance(chunk.heartbeat, int)
                position = dict(chunk.position)
                assert json.loads(json.dumps(position)) == position
        reader.close()

    def test_max_rows(self, tmp_path: Path) -> None:
        """A read brings at most about `max_rows` events, and the events do not depend on it."""
        whole = self._reference(tmp_path)

        def holds(sizes: list[int]) -> None:
            reader = self.make(tmp_path).open({})
            limited = _Counted(reader)
            assert read_all(limited, max_rows=sizes).rows == whole.rows
            assert limited.excess <= self.overshoot
            reader.close()

        each(holds, st.lists(st.integers(1, 70), min_size=1, max_size=4), share=self.share)

    def test_finished_reader_returns_at_once(self, tmp_path: Path) -> None:
        """A finished reader does not wait for the timeout."""
        source = self.make(tmp_path)
        assert not getattr(source, "unbounded", False)
        reader = source.open({})
        read_all(reader)
        assert _in_time(lambda: reader.read(max_rows=10, timeout=3600)) == []
        reader.close()

    def test_two_readers(self, tmp_path: Path) -> None:
        """Readers of one source do not take each other's events, and one that is closed closes no other."""
        source = self.make(tmp_path)
        whole = read_all(first := source.open({}))
        one, two = source.open({}), source.open({})
        first.close()
        early = read_all(one, max_rows=7, most=2)
        assert read_all(two).rows == whole.rows
        two.close()
        late = read_all(one, max_rows=7)
        one.close()
        for partition in {*early.rows, *late.rows}:
            # Chunks that came with the second one and were not taken are missing here.
            rows = early.rows.get(partition, []) + late.rows.get(partition, [])
            assert _is_part(rows, whole.rows[partition])

    def test_close_twice(self, tmp_path: Path) -> None:
        """A reader can be closed before, while and after it is read, and twice."""
        source = self.make(tmp_path)
        unread = source.open({})
        unread.close()
        unread.close()
        begun = source.open({})
        begun.read(max_rows=5, timeout=0.2)
        begun.close()
        begun.close()
        done = source.open({})
        read_all(done)
        done.close()
        done.close()

    def test_backlog(self, tmp_path: Path) -> None:
        """The backlog is None, or at least the number of events that wait, and none at the end."""
        total = sum(map(len, self._reference(tmp_path).rows.values()))
        reader = self.make(tmp_path).open({})
        seen = 0
        while not reader.finished:
            backlog = reader.backlog()
            least = total - seen if self.all_there else 0
            assert backlog is None or (isinstance(backlog, int) and backlog >= least)
            seen += sum(c.batch.num_rows for c in reader.read(max_rows=20, timeout=0.2))
        assert reader.backlog() in (None, 0)
        reader.close()

    # -- positions

    def test_resume_after_any_chunk(self, tmp_path: Path) -> None:
        """After any chunk, a new source opened at its position brings exactly the events that were still to come."""
        whole = self._reference(tmp_path)

        def holds(size: int, chunks: int) -> None:
            first = self.make(tmp_path).open({})
            before = read_all(first, max_rows=size, most=chunks)
            first.close()
            second = self.make(tmp_path).open(before.positions)
            after = read_all(second, max_rows=size + 1)
            second.close()
            for partition, rows in whole.rows.items():
                got = before.rows.get(partition, []) + after.rows.get(partition, [])
                assert got == rows

        each(holds, st.integers(1, 60), st.integers(0, 25), share=self.share)

    def test_resume_at_the_end(self, tmp_path: Path) -> None:
        """Opened at the last positions, a source brings nothing and is finished."""
        whole = self._reference(tmp_path)
        reader = self.make(tmp_path).open(whole.positions)
        told = read_all(reader)
        reader.close()
        assert not any(told.rows.values())
        assert reader.finished

    def test_positions_of_one_partition_leave_the_others(self, tmp_path: Path) -> None:
        """A position says something about its own partition only."""
        whole = self._reference(tmp_path)
        for partition, position in whole.positions.items():
            reader = self.make(tmp_path).open({partition: position})
            told = read_all(reader)
            reader.close()
            assert not told.rows.get(partition)
            assert {p: r for p, r in told.rows.items() if r} == {p: r for p, r in whole.rows.items() if p != partition}

    def test_positions_are_not_changed_by_reading_on(self, tmp_path: Path) -> None:
        """A position that a chunk gave stays as it was while the reader goes on."""
        reader = self.make(tmp_path).open({})
        kept: list[tuple[Position, str]] = []
        while not reader.finished:
            kept += [(c.position, json.dumps(dict(c.position))) for c in reader.read(max_rows=9, timeout=0.2)]
        reader.close()
        assert all(json.dumps(dict(position)) == text for position, text in kept)

    # -- what is optional

    def test_bad_input_is_reported(self, tmp_path: Path) -> None:
        """Input that is not events is reported with its place and the reason, and costs no event."""
        source, good, bad = self.make_bad(tmp_path)
        reader = source.open({})
        events = reports = 0
        while not reader.finished:
            for chunk in reader.read(max_rows=10, timeout=0.2):
                events += chunk.batch.num_rows
                reports += len(chunk.bad)
                assert all(isinstance(b.data, bytes) and b.position and b.reason for b in chunk.bad)
        reader.close()
        assert (events, reports) == (good, bad)

    def test_bad_input_is_reported_once_across_stops(self, tmp_path: Path) -> None:
        """Bad input that was reported before a position is not reported after it."""
        reader = self.make_bad(tmp_path)[0].open({})
        whole = read_all(reader, max_rows=3)
        reader.close()
        for chunks in range(4):
            first = self.make_bad(tmp_path)[0].open({})
            before = read_all(first, max_rows=3, most=chunks)
            first.close()
            second = self.make_bad(tmp_path)[0].open(before.positions)
            after = read_all(second, max_rows=3)
            second.close()
            assert before.bad + after.bad == whole.bad

    def test_unbounded_source_waits_for_more(self, tmp_path: Path) -> None:
        """An unbounded source says so, is never finished, comes back when nothing is there, brings what comes later."""
        source, more = self.make_unbounded(tmp_path)
        assert getattr(source, "unbounded", False), "some engines refuse input without end before they run"
        reader = source.open({})
        for _ in range(2):
            wanted = more()
            seen = _read_rows(reader, wanted)
            assert seen == wanted
            assert not reader.finished
            assert _in_time(lambda: reader.read(max_rows=10, timeout=0.05)) == []
        reader.close()

    def test_unbounded_source_resumes(self, tmp_path: Path) -> None:
        """An unbounded source opened at a position brings what came since."""
        source, more = self.make_unbounded(tmp_path)
        reader = source.open({})
        wanted = more()
        positions: dict[str, Position] = {}
        seen = 0
        while seen < wanted:
            for chunk in reader.read(max_rows=10, timeout=0.2):
                seen += chunk.batch.num_rows
                positions[chunk.partition] = json.loads(json.dumps(dict(chunk.position)))
        reader.close()
        wanted = more()
        again = source.open(positions)
        assert _read_rows(again, wanted) == wanted
        assert again.read(max_rows=10, timeout=0.05) == []
        again.close()

    def test_release_changes_nothing_that_is_read(self, tmp_path: Path) -> None:
        """After `release` and `forget` the positions released can still be read from."""
        whole = self._reference(tmp_path)
        reader: Any = self.make(tmp_path).open({})
        before = read_all(reader, max_rows=7, most=3)
        for _ in range(2):
            reader.release("suite", before.positions)
        reader.release("another", {})
        reader.forget("another")
        reader.close()
        again = self.make(tmp_path).open(before.positions)
        after = read_all(again)
        again.close()
        for partition, rows in whole.rows.items():
            assert before.rows.get(partition, []) + after.rows.get(partition, []) == rows


class _Counted:
    """A reader that notes by how much a read exceeds what was asked for."""

    def __init__(self, reader: SourceReader) -> None:
        self._reader = reader
        self.excess = 0

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        chunks = self._reader.read(max_rows=max_rows, timeout=timeout)
        self.excess = max(self.excess, sum(c.batch.num_rows for c in chunks) - max_rows)
        return chunks

    def backlog(self) -> int | None:
        return self._reader.backlog()

    def close(self) -> None:
        self._reader.close()


def _read_rows(reader: SourceReader, wanted: int) -> int:
    """Read until so many rows have come, or none come for a while."""
    seen = idle = 0
    while seen < wanted and idle < 100:
        chunks = reader.read(max_rows=10, timeout=0.1)
        idle = 0 if chunks else idle + 1
        seen += sum(c.batch.num_rows for c in chunks)
    return seen


def _is_part(rows: list[str], whole: list[str]) -> bool:
    """Return whether rows that a stopped and continued read took are rows of the whole, in their order."""
    rest = iter(whole)
    return all(row in rest for row in rows)


def _in_time(call: Callable[[], Any]) -> Any:
    """Return what a call returns; one that does not come back fails instead of hanging the tests."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    assert not thread.is_alive(), f"the call did not return within {_PATIENCE} s"
    assert results, "the call failed"
    return results[0]

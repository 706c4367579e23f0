"""What an operator must do: subclass `OperatorSuite`, apply it, compute the same plainly, and pytest proves it.

An operator is a function of streams. Whatever the order of arrival within the lateness, the batches, the partitions,
the lanes, the stops and restarts: the result is that of a plain function of the whole tables.

::

    class TestExceeds(OperatorSuite):
        def apply(self, stream):
            return stream.pipe(exceeds, column="value", limit=10.0)

        def reference(self, events):
            return expected_table(events)
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from eventide import registry
from eventide.connectors.memory import MemoryReader, MemorySink, MemorySource
from eventide.engines.local.checkpoint import CheckpointStore
from eventide.model.pipeline import pipeline
from eventide.model.protocols import Chunk, Position
from eventide.model.stream import Stream, read
from eventide.model.time import EVENT_TIME
from eventide.testing._compare import rows_of, same_rows
from eventide.testing._libraries import DrawFn, SearchStrategy, st
from eventide.testing._suite import Suite, each
from eventide.testing.strategies import SECOND, Schedule, events, schedules

__all__ = ["LATENESS", "OperatorSuite"]

LATENESS = 20
"""Seconds of disorder that every schedule stays within."""

_HORIZON = 10**7
"""Seconds after all events at which an operator must have forgotten them."""


class OperatorSuite(Suite):
    """The contract of an operator.

    Attributes
    ----------
    inputs
        How many streams it takes.
    keys
        Key columns of the streams that it gets; none for streams without keys.
    relative
        Relative difference that two floats may have; left out, none: the same bits.
    share
        Part of the Hypothesis profile's examples that is tried.
    forgets
        Whether its state comes back to what it was when time has passed.
    """

    inputs: ClassVar[int] = 1
    keys: ClassVar[Sequence[str]] = ("key",)
    relative: ClassVar[float | None] = None
    share: ClassVar[float] = 0.04
    forgets: ClassVar[bool] = True
    optional: ClassVar[Mapping[str, str]] = {"test_state_comes_back": "state that is bounded"}

    def events(self) -> SearchStrategy[pa.Table]:
        """Return tables of events in event-time order, whose event time is ``time``, in seconds from 0 on."""
        return events(max_rows=30)

    def apply(self, *streams: Stream) -> Stream | Mapping[str, Stream]:
        """Return what the operator makes of streams: a stream, or several by name."""
        raise NotImplementedError

    def reference(self, *tables: pa.Table) -> pa.Table | Mapping[str, pa.Table]:
        """Return the result for whole tables, computed in another way: a table, or several by the names of `apply`.

        Rows come in event-time order; operators take rows of equal time in the order of their other columns.
        """
        raise NotImplementedError

    def has(self, part: str) -> bool:
        """Return whether an optional part is there."""
        return self.forgets

    # -- how it is run

    def _streams(self, inputs: Sequence[tuple[list[pa.RecordBatch], int]], *, lateness: int = LATENESS) -> list[Stream]:
        made = []
        for data, partitions in inputs:
            # Partitions are dealt out in turn, so each may be as far behind as the whole, twice over.
            stream = read(MemorySource(data, partitions=partitions)).event_time("time", lateness=f"{2 * lateness}s")
            made.append(stream.key_by(*self.keys) if self.keys else stream)
        return made

    def _apply(self, streams: Sequence[Stream]) -> dict[str, Stream]:
        applied = self.apply(*streams)
        return dict(applied) if isinstance(applied, Mapping) else {"result": applied}

    def _expected(self, tables: Sequence[pa.Table]) -> dict[str, pa.Table]:
        known = self.reference(*tables)
        return dict(known) if isinstance(known, Mapping) else {"result": known}

    def _run(self, tables: Sequence[pa.Table], plans: Sequence[Schedule]) -> dict[str, pa.Table]:
        """Return the results of a run that is stopped and goes on as the first schedule says."""
        leg = _Leg()
        inputs = [(plan.batches(table), plan.partitions) for table, plan in zip(tables, plans, strict=True)]
        streams = self._streams(inputs)
        watched = [s.map_batches(leg.watch) for s in streams[:1]] + streams[1:]
        sinks = {name: MemorySink() for name in self._apply(watched)}
        flow = pipeline(*(s.write(sinks[n], name=n) for n, s in self._apply(watched).items()), name="suite")
        engine = registry.resolve("engine", "local")
        rows = min(plans[0].cuts)
        with tempfile.TemporaryDirectory() as folder:
            for turn, goal in enumerate([*plans[0].stops, 0]):
                leg.begin(goal)
                lanes = plans[0].lanes[turn % len(plans[0].lanes)]
                how = {"checkpoint": folder, "checkpoint_interval": "1h", "lanes": lanes, "batch_rows": min(rows, 1000)}
                if not engine.run(flow, stop=leg.stop, **how).stopped:
                    break
        return {name: sink.table() for name, sink in sinks.items()}

    def _same(self, found: Mapping[str, pa.Table], expected: Mapping[str, pa.Table]) -> None:
        assert set(found) == set(expected)
        for name, table in expected.items():
            same_rows(found[name], table, relative=self.relative)

    def _holds(self, vary: Sequence[str], *, share: float = 1.0) -> None:
        """Try schedules that vary in some ways against the reference."""

        @st.composite
        def cases(draw: DrawFn) -> tuple[list[pa.Table], list[Schedule]]:
            tables = [draw(self.events()) for _ in range(self.inputs)]
            plans = [draw(schedules(_times(t), lateness=LATENESS * SECOND, vary=vary)) for t in tables]
            return tables, plans

        def holds(case: tuple[list[pa.Table], list[Schedule]]) -> None:
            tables, plans = case
            self._same(self._run(tables, plans), self._expected(tables))

        each(holds, cases(), share=self.share * share)

    # -- what must hold

    def test_equals_the_reference(self) -> None:
        """It gives what a plain function of the whole table gives."""
        self._holds(())

    def test_order_of_arrival_does_not_matter(self) -> None:
        """Events may arrive in any order within the lateness."""
        self._holds(("order",))

    def test_batches_do_not_matter(self) -> None:
        """Events may be cut into batches in any way."""
        self._holds(("cuts",))

    def test_partitions_do_not_matter(self) -> None:
        """Events may be dealt out to any number of partitions."""
        self._holds(("order", "partitions"), share=0.5)

    def test_lanes_do_not_matter(self) -> None:
        """Any number of lanes may share the keys."""
        self._holds(("cuts", "lanes"), share=0.5)

    def test_stop_and_resume_does_not_matter(self) -> None:
        """It may be stopped after any event and go on from its snapshot, with another number of lanes."""
        self._holds(("cuts", "lanes", "stops"))

    def test_all_of_it_at_once(self) -> None:
        """All of that may come together."""
        self._holds(("order", "cuts", "partitions", "lanes", "stops"))

    def test_end_flushes(self) -> None:
        """The end of the input brings what is still held back, though no watermark came near it."""

        def holds(tables: list[pa.Table]) -> None:
            streams = self._streams([(t.to_batches() or [_none(t)], 1) for t in tables], lateness=10**6)
            self._same(_collect(self._apply(streams)), self._expected(tables))

        each(holds, st.tuples(*[self.events()] * self.inputs).map(list), share=self.share * 0.5)

    def test_no_events(self) -> None:
        """Streams without events make results without events."""
        tables = [_example(self.events()).slice(0, 0) for _ in range(self.inputs)]
        self._same(_collect(self._apply(self._streams([([_none(t)], 1) for t in tables]))), self._expected(tables))

    def test_schema_is_known_before(self) -> None:
        """The schema that a check tells is that of the results."""
        tables = [_example(self.events()) for _ in range(self.inputs)]
        made = self._apply(self._streams([(t.to_batches() or [_none(t)], 1) for t in tables]))
        found = _collect(made)
        for name, stream in made.items():
            label = f"write-{name}"
            told = registry.resolve("engine", "local").check(stream.write(MemorySink(), name=label))
            assert told[label].names == found[name].schema.names
            assert told[label].types == found[name].schema.types

    def test_state_comes_back(self) -> None:
        """When the watermark is far past all events, as much is remembered as if they had never been."""

        def holds(tables: list[pa.Table]) -> None:
            assert self._remembered([_then_far_ahead(t) for t in tables]) <= self._remembered(
                [_then_far_ahead(t.slice(0, 0)) for t in tables]
            )

        each(holds, st.tuples(*[self.events()] * self.inputs).map(list), share=self.share * 0.5)

    def _remembered(self, tables: Sequence[pa.Table]) -> int:
        """Return how many rows of state there are after some events and before the end."""
        leg = _Leg()
        leg.begin(sum(t.num_rows for t in tables))
        # Inputs that go on, so that none of them ends before the others were read.
        timed = [read(_Endless(t)).map_batches(leg.watch).event_time("time", lateness="40s") for t in tables]
        watched = [s.key_by(*self.keys) for s in timed] if self.keys else timed
        flow = pipeline(*(s.write(MemorySink(), name=n) for n, s in self._apply(watched).items()), name="suite")
        with tempfile.TemporaryDirectory() as folder:
            registry.resolve("engine", "local").run(flow, stop=leg.stop, checkpoint=folder, lanes=1)
            found = CheckpointStore(folder, "suite").load()
        assert found is not None
        return sum(table.num_rows for tables in found.states.values() for table in tables.values())


class _Leg:
    """Stops a run after so many events."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._goal = self._seen = 0

    def begin(self, goal: int) -> None:
        self.stop.clear()
        self._goal, self._seen = goal, 0

    def watch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self._seen += batch.num_rows
        if self._goal and self._seen >= self._goal:
            self.stop.set()
        return batch


class _Endless(MemorySource):
    """A table as a source that never ends."""

    def open(self, positions: Mapping[str, Position]) -> MemoryReader:
        return _EndlessReader(self._parts, {"0": 0})


class _EndlessReader(MemoryReader):
    @property
    def finished(self) -> bool:
        return False

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        chunks = super().read(max_rows=max_rows, timeout=timeout)
        if not chunks:
            time.sleep(min(timeout, 0.01))
        return chunks


def _collect(streams: Mapping[str, Stream]) -> dict[str, pa.Table]:
    sinks = {name: MemorySink() for name in streams}
    flow = pipeline(*(s.write(sinks[n], name=n) for n, s in streams.items()), name="suite")
    registry.resolve("engine", "local").run(flow)
    return {name: sink.table() for name, sink in sinks.items()}


def _times(table: pa.Table) -> list[int]:
    times: list[int] = table["time"].cast(pa.int64()).to_pylist()
    return times


def _none(table: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=table.schema)


def _example(drawn: SearchStrategy[pa.Table]) -> pa.Table:
    """Return one table, always the same."""
    found: list[pa.Table] = []
    each(found.append, drawn, share=0)
    return max(found, key=lambda t: t.num_rows)


def _then_far_ahead(table: pa.Table) -> pa.Table:
    """Return events and a last one of a key of its own, long after them."""
    last: dict[str, Any] = {}
    for field in table.schema:
        last[field.name] = None
        if field.name == "time":
            last[field.name] = pa.scalar((max(_times(table), default=0) // SECOND + _HORIZON) * SECOND, EVENT_TIME)
        elif pa.types.is_string(field.type):
            last[field.name] = "far ahead"
    row = pa.table({f.name: pa.array([last[f.name]], f.type) for f in table.schema})
    assert rows_of(row)
    return pa.concat_tables([table, row]).combine_chunks()

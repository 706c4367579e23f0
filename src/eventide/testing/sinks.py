"""What a sink must do: subclass `SinkSuite`, say how the sink is made and how its output is read back.

The heart is a model: any sequence of writes, checkpoints, commits, crashes and restarts, of which the suite knows
what has to be visible. Delivery is not believed but observed.

::

    class TestMySink(SinkSuite):
        def make(self, folder):
            return MySink(folder / "out.db")

        def read(self, folder, schema):
            return read_back(folder / "out.db", schema)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from eventide.model.batch import WATERMARK_COLUMN
from eventide.model.protocols import Delivery, Sink
from eventide.model.time import EVENT_TIME
from eventide.testing._compare import same_rows
from eventide.testing._libraries import note, pytest, st
from eventide.testing._suite import Suite, each
from eventide.testing.strategies import NAMES, SCALARS, TYPES, batches

__all__ = ["ACTIONS", "SCHEMA", "SinkSuite"]

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string()), ("value", pa.float64()), ("time", EVENT_TIME)])
"""Columns of the events of the model; ``n`` counts them and can be the key of an idempotent sink."""

ACTIONS = ("write", "empty", "prepare", "save", "commit", "crash", "fail", "stop")
"""What happens to a sink: `fail` is a run that ends with an error and closes, `crash` one that does not close."""


def _events(start: int, stop: int) -> pa.RecordBatch:
    """Return events by their numbers, the same at every call, as a source that is read again brings them."""
    numbers = list(range(start, stop))
    columns = [
        pa.array(numbers, pa.int64()),
        pa.array([None if n % 5 == 0 else f"event {n}, 'ü' \"\n" for n in numbers], pa.string()),
        pa.array([float("nan") if n % 7 == 0 else n / 8 for n in numbers], pa.float64()),
        pa.array([n * 1_000_000_007 for n in numbers], EVENT_TIME),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class SinkSuite(Suite):
    """The contract of `eventide.model.protocols.Sink`.

    Attributes
    ----------
    delivery
        What the sink must declare, `eventide.model.protocols.Delivery`; left out, any.
    shows
        When committed events can be read: from the ``"commit"`` on, or after ``"close"`` only.
    types
        Names of the column types that it keeps, of `eventide.testing.strategies.TYPES`.
    names
        Column names that it must stand.
    share
        Part of the Hypothesis profile's examples that is tried.
    """

    delivery: ClassVar[Delivery | None] = None
    shows: ClassVar[Literal["commit", "close"]] = "commit"
    types: ClassVar[Iterable[str]] = tuple(SCALARS)
    names: ClassVar[Iterable[str]] = NAMES
    share: ClassVar[float] = 0.1
    optional: ClassVar[Mapping[str, str]] = {
        "test_nested_types": "nested columns",
        "test_publish_shows_what_was_written": "method publish",
    }

    def make(self, folder: Path) -> Sink:
        """Return a sink that keeps everything in a folder; made again for the same folder after a restart."""
        raise NotImplementedError

    def read(self, folder: Path, schema: pa.Schema) -> pa.Table:
        """Return what another program sees now, in columns of `schema`; no rows where there is nothing yet."""
        raise NotImplementedError

    def crash(self, sink: Sink) -> None:
        """Let go of what the operating system takes from a process that dies (locks), without closing properly."""

    def holdable(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a drawn batch with values replaced that the system is known, and documented, not to hold."""
        return batch

    def has(self, part: str) -> bool:
        """Return whether an optional part is there."""
        return self.publishes if part == "method publish" else any(t not in SCALARS for t in self.types)

    publishes: ClassVar[bool] = False
    """Whether it has the optional method ``publish``."""

    def _written(self, folder: Path, data: list[pa.RecordBatch]) -> pa.Table:
        """Return what is read back after some batches were written, committed, and the sink closed."""
        folder.mkdir(exist_ok=True)
        sink = self.make(folder)
        sink.open(data[0].schema, None)
        for batch in data:
            sink.write(batch)
        sink.commit(1, _through_json(sink.prepare(1)))
        sink.close()
        return self.read(folder, data[0].schema)

    # -- delivery

    def test_delivery_is_declared(self, tmp_path: Path) -> None:
        """It says what it guarantees: exactly_once, idempotent or at_least_once."""
        known = ("exactly_once", "idempotent", "at_least_once") if self.delivery is None else (self.delivery,)
        assert self.make(tmp_path).delivery in known

    def test_delivery_is_kept(self, tmp_path: Path) -> None:
        """Whatever happens in whatever order, what can be read is what its delivery promises."""
        count = 0

        def holds(actions: list[tuple[str, int]]) -> None:
            nonlocal count
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            model = _Model(self, folder)
            for action, size in actions:
                note(f"{action} {size}")
                getattr(model, action)(size)
            model.finish()

        sizes = st.integers(1, 8)
        weighted = st.sampled_from([*ACTIONS, "write", "write", "prepare", "save", "commit", "crash"])
        some = st.tuples(weighted, sizes)
        each(holds, st.lists(some, max_size=4) | st.lists(some, min_size=10, max_size=30), share=self.share * 2)

    @pytest.mark.parametrize("crash", ["crash", "fail"])
    @pytest.mark.parametrize(
        "before",
        [
            "",
            "write",
            "write prepare",
            "write prepare write",
            "write prepare save",
            "write prepare save write",
            "write prepare save commit",
            "write prepare save commit write",
            "write prepare save commit write prepare",
            "write prepare save commit write prepare write save",
            "write prepare write save write commit write",
        ],
    )
    def test_crash_at_every_point(self, tmp_path: Path, before: str, crash: str) -> None:
        """A crash at any point of a checkpoint, and another one after going on, cost and repeat nothing promised."""
        model = _Model(self, tmp_path)
        for action in [*before.split(), crash, *before.split(), crash]:
            getattr(model, action)(3)
        model.finish()

    def test_commit_again_does_nothing(self, tmp_path: Path) -> None:
        """A commit that comes again after a restart changes nothing."""
        model = _Model(self, tmp_path)
        for action in ["write", "prepare", "save", "commit", "write", "prepare", "save", "crash"]:
            getattr(model, action)(4)
        for _ in range(3):
            assert model.durable is not None
            model.sink.commit(model.durable.number, model.durable.state)
        model.finish()

    def test_publish_shows_what_was_written(self, tmp_path: Path) -> None:
        """In a run without checkpoints `publish` makes visible what was written, once."""
        sink: Any = self.make(tmp_path)
        sink.open(SCHEMA, None)
        sink.write(_events(0, 5))
        sink.publish()
        assert sorted(self.read(tmp_path, SCHEMA)["n"].to_pylist()) == list(range(5))
        sink.publish()
        sink.write(_events(5, 8))
        sink.commit(1, _through_json(sink.prepare(1)))
        sink.close()
        assert sorted(self.read(tmp_path, SCHEMA)["n"].to_pylist()) == list(range(8))

    # -- what is written

    def test_types(self, tmp_path: Path) -> None:
        """Values of every declared type come back as they were: nulls, NaN, the ends of every range, any text."""
        self._types(tmp_path, [t for t in self.types if t in SCALARS])

    def test_nested_types(self, tmp_path: Path) -> None:
        """Lists and structs come back as they were."""
        self._types(tmp_path, [t for t in self.types if t not in SCALARS])

    def _types(self, tmp_path: Path, names: list[str]) -> None:
        schema = pa.schema([("n", pa.int64()), *((f"c{i}", TYPES[t]) for i, t in enumerate(names))])
        count = 0

        def holds(batch: pa.RecordBatch) -> None:
            nonlocal count
            count += 1
            # A key of its own for each row, for sinks that keep one row a key.
            batch = self.holdable(batch.set_column(0, "n", pa.array(range(batch.num_rows), pa.int64())))
            same_rows(self._written(tmp_path / str(count), [batch]), batch)

        each(holds, batches(schema, max_rows=6), share=self.share / 2)

    def test_batches_of_any_size(self, tmp_path: Path) -> None:
        """Small, empty and large batches come together as one."""
        data = [_events(0, 1), _events(1, 1), _events(1, 20_000), _events(20_000, 20_003)]
        same_rows(self._written(tmp_path, data), _events(0, 20_003))

    def test_no_events(self, tmp_path: Path) -> None:
        """A run without events leaves something readable without events."""
        assert self._written(tmp_path, [_events(0, 0)]).num_rows == 0

    def test_checkpoints_without_events(self, tmp_path: Path) -> None:
        """Checkpoints between which nothing was written are like any other."""
        sink = self.make(tmp_path)
        sink.open(SCHEMA, None)
        for number in range(1, 6):
            if number == 3:
                sink.write(_events(0, 4))
            sink.commit(number, _through_json(sink.prepare(number)))
        sink.close()
        same_rows(self.read(tmp_path, SCHEMA), _events(0, 4))

    def test_slices(self, tmp_path: Path) -> None:
        """A batch that is a slice of a larger one is written without the rest."""
        whole = _events(0, 100)
        found = self._written(tmp_path, [whole.slice(10, 20), whole.slice(50, 1)])
        same_rows(found, pa.Table.from_batches([whole.slice(10, 20), whole.slice(50, 1)]))

    def test_column_names(self, tmp_path: Path) -> None:
        """Column names that contain quotes, spaces, keywords or any script are names and nothing else."""
        names = [n for n in self.names if n != "mixedcase"]
        columns = {"n": pa.array([0, 1], pa.int64()), **{name: pa.array([name, None]) for name in names}}
        batch = pa.record_batch(columns)
        same_rows(self._written(tmp_path, [batch]), batch)

    def test_column_names_that_differ_in_case(self, tmp_path: Path) -> None:
        """Two columns may differ in upper and lower case alone."""
        batch = pa.record_batch({"n": pa.array([0], pa.int64()), "MixedCase": ["a"], "mixedcase": ["b"]})
        same_rows(self._written(tmp_path, [batch]), batch)

    def test_own_columns_stay_out(self, tmp_path: Path) -> None:
        """Columns of eventide's own do not reach the output."""
        schema = SCHEMA.append(pa.field(WATERMARK_COLUMN, pa.int64()))
        batch = _events(0, 3)
        sink = self.make(tmp_path)
        sink.open(schema, None)
        sink.write(batch)  # engines take the column out of batches; the schema may still name it
        sink.commit(1, _through_json(sink.prepare(1)))
        sink.close()
        same_rows(self.read(tmp_path, SCHEMA), batch)

    # -- closing

    def test_close_twice(self, tmp_path: Path) -> None:
        """It can be closed without having been opened, after it was opened, and twice."""
        self.make(tmp_path).close()
        sink = self.make(tmp_path)
        sink.open(SCHEMA, None)
        sink.write(_events(0, 3))
        sink.close()
        sink.close()
        done = self.make(tmp_path)
        done.open(SCHEMA, None)
        done.write(_events(0, 3))
        done.commit(1, _through_json(done.prepare(1)))
        done.close()
        done.close()
        if done.delivery != "at_least_once":
            same_rows(self.read(tmp_path, SCHEMA), _events(0, 3))


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint: its number, what `prepare` returned, how many events were written before it."""

    number: int
    state: Mapping[str, Any]
    rows: int


class _Model:
    """An engine, its source and its crashes; knows which events must be visible, and which may be."""

    def __init__(self, suite: SinkSuite, folder: Path) -> None:
        self._suite, self._folder = suite, folder
        self._pending: _Checkpoint | None = None
        self._saved = False
        self.durable: _Checkpoint | None = None
        self._rows = self._most = self._committed = 0
        self._open()

    def _open(self) -> None:
        durable = self.durable
        self.sink = self._suite.make(self._folder)
        self.sink.open(SCHEMA, durable.state if durable else None)
        self._pending, self._saved = None, False
        self._rows = durable.rows if durable else 0
        if durable:  # nobody knows whether its commit came before the crash
            self.sink.commit(durable.number, durable.state)
            self._committed = durable.rows

    def write(self, size: int) -> None:
        self.sink.write(_events(self._rows, self._rows + size))
        self._rows += size
        self._most = max(self._most, self._rows)
        self._look()

    def empty(self, size: int) -> None:
        self.sink.write(_events(0, 0))

    def prepare(self, size: int) -> None:
        if self._pending is None:
            number = self.durable.number + 1 if self.durable else 1
            self._pending = _Checkpoint(number, _through_json(self.sink.prepare(number)), self._rows)
            self._look()

    def save(self, size: int) -> None:
        if self._pending is not None:
            self.durable, self._saved = self._pending, True

    def commit(self, size: int) -> None:
        if self._pending is not None and self._saved:
            self.sink.commit(self._pending.number, self._pending.state)
            self._committed = self._pending.rows
            self._pending, self._saved = None, False
            self._look()

    def crash(self, size: int) -> None:
        self._suite.crash(self.sink)
        self._open()
        self._look()

    def fail(self, size: int) -> None:
        self.sink.close()
        self._open()
        self._look()

    def stop(self, size: int) -> None:
        self._checkpoint()
        self.sink.close()
        self._look(closed=True)
        self._open()

    def finish(self) -> None:
        self.write(max(3, self._most - self._rows))  # the source brings again what was written before a crash
        self._checkpoint()
        self.sink.close()
        self._look(closed=True)

    def _checkpoint(self) -> None:
        for action in (self.save, self.commit, self.prepare, self.save, self.commit):
            action(0)

    def _look(self, *, closed: bool = False) -> None:
        """Compare what can be read with what the delivery promises."""
        if self._suite.shows == "close" and not closed:
            return
        found = self._suite.read(self._folder, SCHEMA)
        seen = Counter(found["n"].to_pylist())
        committed = range(self._committed)
        if self.sink.delivery == "exactly_once":
            assert seen == Counter(committed), "visible are exactly the committed events"
            if closed:
                same_rows(found, _events(0, self._committed))
            return
        assert set(seen) >= set(committed), "committed events are visible"
        assert set(seen) <= set(range(self._most)), "nothing is visible that was not written"
        if self.sink.delivery == "idempotent":
            assert not [n for n, times in seen.items() if times > 1], "no event is visible twice"
            if closed and self._committed == self._most:
                same_rows(found, _events(0, self._committed))


def _through_json(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state as a checkpoint gives it back."""
    back: Mapping[str, Any] = json.loads(json.dumps(dict(state)))
    assert back == dict(state), "the state is not plain data"
    return back

"""The ledger: every event that came in is accounted for, and what is not shows."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors._log_sink import LogSink
from eventide.engines.local import lanes
from eventide.engines.local.counts import Counts
from eventide.engines.local.ledger import Ledger
from eventide.engines.local.result import RunResult
from eventide.errors import DataError
from eventide.log import Log
from eventide.model.graph import ProcessContext
from eventide.model.machine import MAIN, Emit, Step
from eventide.model.pipeline import Pipeline
from eventide.model.state import State
from eventide.model.time import EVENT_TIME, MIN_TIME

T = "2026-01-01T00:00:"


def events(rows: int = 60) -> ev.Stream:
    times = pa.array([i * 10**9 for i in range(rows)], EVENT_TIME)
    return ev.from_table(
        {"t": times, "k": [i % 3 for i in range(rows)], "v": [float(i) for i in range(rows)]}
    ).event_time("t")


def run(pipeline: Pipeline, **options: Any) -> RunResult:
    return ev.run(pipeline, **options)


# -- what is counted


def test_each_kind_of_loss_has_its_column(tmp_path: Path) -> None:
    lines = [f'{{"t": "{T}{s:02}", "id": {i}}}' for s, i in ((0, 1), (1, 1), (20, 2), (3, 3), (30, 4), (40, 9))]
    lines[3:3] = ["not json", '{"t": null, "id": 5}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    read = ev.read(str(tmp_path / "a.jsonl"), schema={"t": "string", "id": "int64"}).event_time("t", lateness="5s")
    kept = read.filter(pl.col("id") < 9).pipe(ev.op.dedup, by="id", within="10s")
    result = run(kept.write("memory://ledger-kinds"), quarantine=tmp_path)
    of = {c.kind: c for c in result.ledger}
    assert (of["Read"].rows_in, of["Read"].quarantined, of["Read"].rows_out) == (8, 1, 7)
    assert (of["AssignTime"].quarantined, of["AssignTime"].rows_out) == (1, 6)
    assert (of["Filter"].filtered, of["Filter"].rows_out) == (1, 5)
    dedup = of["Process"]
    assert (dedup.rows_in, dedup.late, dedup.duplicates, dedup.taken, dedup.rows_out) == (5, 1, 1, 3, 3)
    assert result.ledger.check() == [] and result.ledger_balanced


def test_functions_make_and_drop_rows() -> None:
    def double(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.take(pa.array([*range(batch.num_rows)] * 2, pa.int64()))

    def half(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        return [batch.slice(0, batch.num_rows // 2)]

    result = run(events(8).map_batches(double).map_batches(half).map_batches(half).write("memory://ledger-made"))
    (chain,) = [c for c in result.ledger if c.changed]
    assert (chain.rows_in, chain.rows_out, chain.made, chain.dropped, chain.balance) == (8, 4, 8, 12, 0)
    assert result.ledger.check() == []


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "window",
    [
        lambda s: s.window(ev.tumbling("10s")).aggregate(n=ev.count()),
        lambda s: s.window(ev.tumbling("10s")).aggregate(n=ev.count(), m=ev.mean("v")),
        lambda s: s.window(ev.sliding("10s", "3s")).aggregate(n=ev.count(), top=ev.max("v")),
        lambda s: s.window(ev.session("2s")).aggregate(n=ev.count()),
        lambda s: s.window(ev.count_window(4)).aggregate(n=ev.count()),
        lambda s: s.window(ev.tumbling("10s"), allowed_lateness="5s").aggregate(n=ev.count()),
    ],
)
def test_windows_count_what_they_take(window: Any, threads: int) -> None:
    order = [0, 1, 30, 2, 31, 28, 60, 1, 59, 61, 90, 12]
    table = {
        "t": pa.array([s * 10**9 for s in order], EVENT_TIME),
        "k": [s % 5 for s in order],
        "v": [0.5] * len(order),
    }
    stream = ev.from_table(pa.table(table)).event_time("t", lateness="2s").key_by("k")
    result = run(window(stream).write("memory://ledger-windows"), lanes=threads, batch_rows=4)
    (stage,) = [c for c in result.ledger if c.kind == "Window"]
    assert stage.rows_in == len(order) == stage.taken + stage.late
    assert stage.late > 0
    assert result.ledger.check() == []


@pytest.mark.parametrize("how", ["asof", "interval", "window"])
@pytest.mark.parametrize("threads", [1, 2])
def test_joins_count_both_sides(how: str, threads: int) -> None:
    left, right = events(50).key_by("k"), events(40).key_by("k")
    joined = {
        "asof": lambda: left.pipe(ev.op.asof_join, right),
        "interval": lambda: left.pipe(ev.op.interval_join, right, lower="-1s", upper="1s"),
        "window": lambda: left.pipe(ev.op.window_join, right, window=ev.tumbling("10s")),
    }[how]()
    result = run(joined.write("memory://ledger-joins"), lanes=threads)
    (join,) = [c for c in result.ledger if c.kind == "Join"]
    assert join.rows_in == 90 == join.taken + join.late
    assert result.ledger.check() == []


def test_side_outputs_and_unions_add_up() -> None:
    stream = events().key_by("k")
    counts = stream.window(ev.tumbling("10s")).aggregate(n=ev.count())
    late = counts.side("late").filter(pl.col("v") > 10)
    both = ev.pipeline(
        late.write("memory://ledger-late"),
        counts.write("memory://ledger-counts"),
        events(10).union(events(20)).write("memory://ledger-union"),
    )
    assert run(both).ledger.check() == []


# -- what is lost shows


class Copy:
    """A machine that passes events on, says honestly how many, and loses every tenth."""

    def __init__(self) -> None:
        self.taken = 0
        self.watermark = MIN_TIME

    def push(self, step: Step) -> list[Emit]:
        self.watermark = max(self.watermark, step.watermark)
        if step.batch is None:
            return []
        rows = step.batch.take(pa.array([i for i in range(step.batch.num_rows) if i % 10]))
        self.taken += rows.num_rows
        return [Emit(MAIN, rows)]

    def snapshot(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        return None


def test_a_lossy_operator_is_caught() -> None:
    def factory(context: ProcessContext) -> Copy:
        return Copy()

    stream = events(60)
    schema = pa.schema([("t", EVENT_TIME), ("k", pa.int64()), ("v", pa.float64())])
    lossy = stream.process(factory, schema=schema, name="lossy")
    result = run(lossy.write("memory://ledger-lossy"))
    assert not result.ledger_balanced and result.to_dict()["ledger_balanced"] is False
    assert result.ledger.check() == ["lossy: 60 in, but 54 taken: 6 missing"]


def test_an_exchange_that_loses_rows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PARALLEL_ROWS", 1)
    own = lanes.own_rows
    monkeypatch.setattr(lanes, "own_rows", lambda batch, *rest: own(batch, *rest)[:-1])
    stream = events(60).key_by("k").window(ev.tumbling("10s")).aggregate(n=ev.count(), top=ev.max("v"))
    result = run(stream.write("memory://ledger-exchange"), lanes=2)
    assert any("missing" in line for line in result.ledger.check())


def test_a_lossy_edge_and_a_lossy_quarantine_are_caught() -> None:
    read = Counts("read-0", "Read", rows_in=10, rows_out=9, quarantined=1)
    window = Counts("w", "Window", rows_in=9, taken=7, late=2, ports={"late": 2}, feeds=(("read-0", MAIN),))
    late = Counts("late", "Write", rows_in=1, rows_out=1, feeds=(("w", "late"),))
    assert Ledger((read, window, late), kept=0).check() == [
        "late received 1 events of the 2 that w.late sent",
        "1 events were sent to quarantine, 0 have come there",
    ]
    assert Counts("f", "Filter", rows_in=1, rows_out=2).balance == -1
    assert "1 too many" in Ledger((Counts("f", "Filter", rows_in=1, rows_out=2),)).check()[0]


# -- stops, failures and resumes


@dataclass
class Case:
    """An input with everything in it, and what a pipeline makes of it."""

    folder: Path
    lines: list[str]

    def pipeline(self, name: str) -> Pipeline:
        events = ev.read(str(self.folder / "in.jsonl"), schema={"t": "string", "id": "int64", "v": "float64"})
        timed = events.event_time("t", lateness="10s")
        kept = timed.filter(pl.col("v") < 90).pipe(ev.op.dedup, by="id", within="20s")
        counts = kept.key_by("id").window(ev.tumbling("30s")).aggregate(n=ev.count(), total=ev.sum("v"))
        root = str(self.folder / "log")
        return ev.pipeline(
            counts.write(f"log://{name}-counts", log=root),
            counts.side("late").write(f"log://{name}-late", log=root),
            kept.side("duplicates").write(f"log://{name}-duplicates", log=root),
            name=name,
        )

    def run(self, name: str, **options: Any) -> RunResult:
        kept = {"checkpoint": self.folder / "checkpoints", "quarantine": self.folder / "log"}
        return ev.run(self.pipeline(name), batch_rows=7, checkpoint_interval="0", **kept, **options)

    def quarantined(self, name: str) -> list[str]:
        with Log(self.folder / "log") as log:
            if not any(t.name == "quarantine" for t in log.topics()):
                return []
        rows = ev.fetch(ev.read("log://quarantine", log=str(self.folder / "log"), follow=False))
        rows = rows.filter(pa.compute.equal(rows["pipeline"], name))
        return sorted(d.decode() for d in rows["data"].to_pylist())


times = st.integers(0, 59).map(lambda s: f"{T}{s:02}")
good = st.builds(
    lambda t, i, v: json.dumps({"t": t, "id": i, "v": float(v)}), times, st.integers(0, 3), st.integers(0, 99)
)
untimed = st.integers(0, 9).map(lambda i: f'{{"t":null,"id":{i},"v":1.0}}')
junk = st.sampled_from(["not json", '{"t": 5', "[]", '{"t": "2026-01-01T00:00:00", "id": "x", "v": 1}'])


@given(
    lines=st.lists(st.one_of(good, good, good, untimed, junk), min_size=1, max_size=60),
    stops=st.lists(st.integers(1, 8), max_size=3),
    fails=st.lists(st.integers(1, 12), max_size=2),
)
def test_any_input_with_stops_and_failures_balances_and_equals_the_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], stops: list[int], fails: list[int]
) -> None:
    case = Case(tmp_path_factory.mktemp("case"), lines)
    (case.folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    calm = case.run("calm")
    assert calm.ledger.check() == []
    for rounds in stops:
        assert case.run("torn", stop=After(rounds)).ledger.check() == []
    for at in fails:
        with monkeypatch_commit(at), contextlib.suppress(DataError):
            case.run("torn")
    torn = case.run("torn")
    assert torn.ledger.check() == []
    assert torn.ledger == calm.ledger
    assert case.quarantined("torn") == case.quarantined("calm")
    assert len(case.quarantined("calm")) == calm.ledger.kept == calm.quarantined


class After(threading.Event):
    """A stop that comes when the run has asked for it so many times: once a round of its loop."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds

    def is_set(self) -> bool:
        self.rounds -= 1
        return self.rounds < 0


@contextlib.contextmanager
def monkeypatch_commit(at: int) -> Iterator[None]:
    """Let the n-th commit to the log fail for good, as if the process had died there."""
    commit = LogSink.commit
    calls = itertools.count(1)

    def failing(sink: LogSink, checkpoint: int, state: Any) -> None:
        if next(calls) == at:
            msg = "the process dies here"
            raise DataError(msg)
        commit(sink, checkpoint, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogSink, "commit", failing)
        yield


def test_a_checkpoint_without_a_ledger_begins_a_new_one() -> None:
    assert len(Ledger.from_dict({})) == 0 and Ledger.from_dict({}).kept == 0


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_flat_map_judges_lateness_row_by_row_however_events_are_cut(rows: int) -> None:
    seconds = [0, 10, 1, 20, 11, 2, 30, 29]
    table = pa.table({"t": pa.array([s * 10**9 for s in seconds], EVENT_TIME), "v": seconds})
    twice = ev.from_table(table).event_time("t", lateness="2s").pipe(ev.op.flat_map, two_of_each, keep=["t", "v"])
    counts = twice.window(ev.tumbling("5s")).aggregate(n=ev.count())
    result = run(counts.write(f"memory://flat-{rows}"), batch_rows=rows)
    (window,) = [c for c in result.ledger if c.kind == "Window"]
    assert (window.rows_in, window.late) == (16, 6)  # 1, 11 and 2 came when their windows had closed


def two_of_each(batch: pa.RecordBatch) -> tuple[Any, pa.RecordBatch]:
    number = [i for row in range(batch.num_rows) for i in (row, row)]
    return number, pa.record_batch({"copy": pa.array([i % 2 for i in range(len(number))], pa.int64())})

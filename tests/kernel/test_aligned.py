"""The fast window machine against a naive model, against DuckDB, and against itself cut and stopped anywhere."""

from __future__ import annotations

import contextlib
import math
import statistics

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import UsageError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.window import results, saved
from eventide.kernel.window.aligned import AlignedWindowMachine
from eventide.kernel.window.build import window_machine
from eventide.kernel.window.order import hash_order
from eventide.model import aggregate as ag
from eventide.model.graph import Read, Ref, Window
from eventide.model.machine import LATE, MAIN, Step
from eventide.model.state import GROUP_COLUMN, merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME
from eventide.model.trigger import at_watermark
from eventide.model.window import Sliding, Tumbling, sliding, tumbling

KEYS = {
    "i": (pa.int64(), st.integers(0, 4)),
    "s": (pa.string(), st.sampled_from(["", "a", "b", "é"])),
    "b": (pa.bool_(), st.booleans()),
    "f": (pa.float64(), st.sampled_from([0.0, -0.0, 1.5, math.nan])),
    "w": (EVENT_TIME, st.integers(-2, 2)),
}
AGGREGATES = (
    ("n", ag.count()),
    ("total", ag.sum_("v")),
    ("all", ag.collect("v")),
    ("mean", ag.mean("x")),
    ("std", ag.std("x")),
    ("low", ag.min_("x")),
    ("fit", ag.linear_fit("t", "v")),
)
MODULES = (
    "aggregates.narrow",
    "keys", "hashing", "keys_pack", "aggregates.binned", "aggregates.counts", "aggregates.extremes",
    "aggregates.columns", "window.blocks", "window.order", "window.fused",
)  # fmt: skip


@contextlib.contextmanager
def kernels(compiled: bool):
    """Run with compiled kernels or without."""
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            for module in MODULES:
                patch.setattr(f"eventide.kernel.{module}.have_compiler", lambda: False)
        yield


grids = st.one_of(
    st.builds(Tumbling, st.integers(1, 12), st.integers(0, 11), st.sampled_from(["left", "right"])),
    st.integers(1, 8).flatmap(
        lambda slide: st.builds(
            Sliding,
            st.integers(slide, 20),
            st.just(slide),
            st.integers(0, slide - 1),
            st.sampled_from(["left", "right"]),
        )
    ),
)


@st.composite
def cases(draw):
    """A window, keys, events in order of arrival with the watermark each met, and how they are cut."""
    names = draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=2, unique=True))
    n = draw(st.integers(0, 40))
    spread = draw(st.sampled_from([10, 60, 100_000]))
    times = draw(st.lists(st.integers(-spread, spread), min_size=n, max_size=n))
    if draw(st.booleans()):
        times.sort()
    columns = {"t": pa.array(times, pa.int64()).cast(EVENT_TIME)}
    for name in names:
        kind, values = KEYS[name]
        drawn = draw(st.lists(st.none() | values, min_size=n, max_size=n))
        columns[name] = pa.array(drawn, pa.int64()).cast(kind) if name == "w" else pa.array(drawn, kind)
    columns["v"] = pa.array(draw(st.lists(st.none() | st.integers(-5, 5), min_size=n, max_size=n)), pa.int64())
    columns["x"] = pa.array(draw(st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n)), pa.float64())
    lateness = draw(st.sampled_from([0, 3, 20, 10**6]))
    marks, newest = [], None
    for t in times:
        marks.append(MIN_TIME if newest is None else newest - lateness)
        newest = t if newest is None else max(newest, t)
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return draw(grids), tuple(names), pa.record_batch(columns), marks, lateness, cuts


def steps_of(batch, marks, lateness, cuts):
    """The steps of an engine that follows the watermark row by row."""
    times = batch["t"].view(pa.int64()).to_pylist()
    out, at, newest = [], 0, None
    for cut in [*cuts, len(marks)]:
        part = batch.slice(at, cut - at)
        for t in times[at:cut]:
            newest = t if newest is None else max(newest, t)
        if any(t < m for t, m in zip(times[at:cut], marks[at:cut], strict=True)):
            part = part.append_column("_watermark", pa.array(marks[at:cut], pa.int64()))
        out.append(
            Step(len(out), 0, part if part.num_rows else None, MIN_TIME if newest is None else newest - lateness)
        )
        at = cut
    out.append(Step(len(out), 0, None, MAX_TIME, end=True))
    return out


def machine_of(window, names, schema, groups=range(256), aggregates=AGGREGATES):
    node = Window(Ref(Read("log://a")), window, aggregates)
    return AlignedWindowMachine(node, schema=schema, keys=names, event_time="t", groups=groups)


def run(machine, steps):
    """Push steps and return the batches of both ports."""
    main, late = [], []
    for step in steps:
        before = machine.watermark
        for emit in machine.push(step):
            (main if emit.port == MAIN else late).append(emit.batch)
            if emit.port == MAIN:
                assert emit.batch["window_start"].view(pa.int64()).to_numpy().min() >= before
        assert machine.watermark >= before
    assert machine.nbytes == 0
    return main, late


def canonical(value):
    if isinstance(value, float):
        return "nan" if math.isnan(value) else (value + 0.0).hex()
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items()}
    return [canonical(v) for v in value] if isinstance(value, list) else value


def plain(batch):
    """The rows with times as nanoseconds, which Python has no other type for."""
    columns = [c.view(pa.int64()) if c.type == EVENT_TIME else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()


def rows(batches):
    return [repr([canonical(v) for v in row.values()]) for b in batches for row in plain(b)]


def windows_of(window, t):
    """Start and first instant after the end of every window that an event belongs to."""
    right = int(window.closed == "right")
    slide = window.slide if isinstance(window, Sliding) else window.size
    start = (t - right - window.offset) // slide * slide + window.offset
    while start + window.size > t - right:
        yield start, start + window.size + right
        start -= slide


def naive(window, names, batch, marks):
    """Results and late rows, event by event."""
    groups, late = {}, []
    times = batch["t"].view(pa.int64()).to_pylist()
    keys = [tuple(canonical(row[n]) for n in names) for row in plain(batch)]
    values, xs = batch["v"].to_pylist(), batch["x"].to_pylist()
    for i, (t, mark) in enumerate(zip(times, marks, strict=True)):
        taken = False
        for start, after in windows_of(window, t):
            if after > mark:
                groups.setdefault((start, keys[i]), []).append((t, values[i], xs[i]))
                taken = True
        if not taken:
            late.append(i)
    return groups, late


def check_against_naive(main, window, names, batch, marks):
    groups, late = naive(window, names, batch, marks)
    found = {}
    for part in main:
        starts = part["window_start"].view(pa.int64()).to_pylist()
        ends = part["window_end"].view(pa.int64()).to_pylist()
        rest = plain(part.drop_columns(["window_start", "window_end"]))
        for start, end, row in zip(starts, ends, rest, strict=True):
            assert end == start + window.size
            key = (start, tuple(canonical(row[n]) for n in names))
            assert key not in found
            found[key] = row
    assert set(found) == set(groups)
    for key, events in groups.items():
        row = found[key]
        kept = sorted((t, v) for t, v, _ in events if v is not None)
        assert row["n"] == len(events)
        assert row["total"] == sum(v for _, v in kept)
        assert row["all"] == [v for _, v in kept]
        xs = [x for _, _, x in events]
        assert row["low"] == min(xs)
        assert row["mean"] == pytest.approx(statistics.fmean(xs), rel=1e-12, abs=1e-6)
        assert (row["std"] is None) == (len(xs) < 2)
        if len(xs) > 1:
            assert row["std"] == pytest.approx(statistics.stdev(xs), rel=1e-9, abs=1e-6)
    return late


@given(cases())
def test_results_and_late_rows_are_those_of_the_naive_model(case):
    window, names, batch, marks, lateness, cuts = case
    expected = None
    for compiled in {have_compiler(), False}:
        with kernels(compiled):
            for cut in (cuts, [], list(range(batch.num_rows))):
                machine = machine_of(window, names, batch.schema)
                main, late = run(machine, steps_of(batch, marks, lateness, cut))
                too_late = check_against_naive(main, window, names, batch, marks)
                assert rows(late) == rows([batch.take(pa.array(too_late, pa.int64()))])
                result = sorted(rows(main))
                expected = result if expected is None else expected
                assert result == expected


@given(cases(), st.integers(0, 256), st.integers(0, 256), st.integers(0, 5), st.randoms(use_true_random=False))
def test_any_workers_stopped_anywhere_give_the_same(case, first, second, stop, random):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved, "LARGE", random.choice([1, 3, 4096]))
        stopped_anywhere(case, first, second, stop, random)


def stopped_anywhere(case, first, second, stop, random):
    window, names, batch, marks, lateness, cuts = case
    steps = steps_of(batch, marks, lateness, cuts)
    main, late = run(machine_of(window, names, batch.schema), steps)

    def split(at):
        return [machine_of(window, names, batch.schema, g) for g in (range(at), range(at, 256))]

    two = split(first)
    emitted, dropped = [], []

    def go(machines, some):
        for step in some:
            for machine in machines:
                for emit in machine.push(step):
                    (emitted if emit.port == MAIN else dropped).append(emit.batch)

    go(two, steps[:stop])
    states = [m.snapshot() for m in two]
    go(two, steps[stop : stop + 1])  # what a worker does after its snapshot does not change it
    del emitted[:], dropped[:]
    go(split(first), steps[:stop])
    whole = merge_states(states if random.random() < 0.5 else states[::-1])
    others = split(second)
    for machine in others:
        machine.restore(whole)
        for name, table in machine.snapshot().items():
            if name.startswith("panes/"):
                again = table.column(GROUP_COLUMN).to_numpy()
                assert ((again >= machine._groups.start) & (again < machine._groups.stop)).all()
    go(others, steps[stop:])
    assert sorted(rows(emitted)) == sorted(rows(main))
    assert sorted(rows(dropped)) == sorted(rows(late))


@given(cases(), st.randoms(use_true_random=False))
def test_order_does_not_matter_within_the_lateness(case, random):
    window, names, batch, _, _, cuts = case
    results = []
    for _ in range(2):
        order = list(range(batch.num_rows))
        random.shuffle(order)
        shuffled = batch.take(pa.array(order, pa.int64()))
        never = [MIN_TIME] * batch.num_rows
        main, late = run(machine_of(window, names, batch.schema), steps_of(shuffled, never, 10**7, cuts))
        assert not late
        results.append([rows(main), rows([b.slice(0) for b in main])])
    assert results[0] == results[1]


FEW = (("n", ag.count()), ("sum", ag.sum_("y")), ("mean", ag.mean("y")), ("std", ag.std("y")))


@given(cases(), st.sampled_from(["i", "w"]), st.integers(0, 256), st.integers(0, 5), st.data())
def test_counts_and_moments_by_one_number_have_the_same_bits(case, name, split, stop, data):
    window, _, batch, marks, lateness, cuts = case
    n = batch.num_rows
    nulls = data.draw(st.booleans())
    kind, values = KEYS[name]
    drawn = data.draw(st.lists((st.none() | values) if nulls else values, min_size=n, max_size=n))
    numbers = st.floats() if data.draw(st.booleans()) else st.floats(-1e6, 1e6)
    columns = {
        "t": batch["t"],
        name: pa.array(drawn, pa.int64()).cast(kind),
        "y": pa.array(
            data.draw(st.lists((st.none() | numbers) if nulls else numbers, min_size=n, max_size=n)), pa.float64()
        ),
    }
    batch = pa.record_batch(columns)
    expected = None
    for compiled, cut, groups in [
        (False, cuts, [range(256)]),
        (have_compiler(), [], [range(256)]),
        (have_compiler(), cuts, [range(split), range(split, 256)]),
    ]:
        with kernels(compiled):
            main, late = [], []
            for owned in groups:
                machine = machine_of(window, (name,), batch.schema, owned, aggregates=FEW)
                steps = steps_of(batch, marks, lateness, cut)
                first = [machine.push(s) for s in steps[:stop]]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(saved, "LARGE", data.draw(st.sampled_from([1, 4096])))
                    state = machine.snapshot()
                machine = machine_of(window, (name,), batch.schema, owned, aggregates=FEW)
                machine.restore(state)
                for emit in [e for out in (*first, *(machine.push(s) for s in steps[stop:])) for e in out]:
                    (main if emit.port == MAIN else late).append(emit.batch)
            result = sorted(rows(main)), sorted(rows(late))
            expected = result if expected is None else expected
            assert result == expected
    groups, _ = naive(window, (name,), batch.append_column("v", batch["y"]).append_column("x", batch["y"]), marks)
    assert sum(b.num_rows for b in main) == len(groups)
    assert sum(sum(b["n"].to_pylist()) for b in main) == sum(map(len, groups.values()))


def events(n, seed=0, text=False):
    rng = np.random.default_rng(seed)
    times = np.arange(n) * 1_000_000 - rng.integers(0, 200_000_000, n) - 3_000_000_000
    keys = rng.integers(0, 50, n)
    return pa.record_batch(
        {
            "t": pa.array(times).cast(EVENT_TIME),
            "k": pa.array([f"key {k}" for k in keys]) if text else pa.array(keys),
            "v": pa.array(rng.normal(20, 5, n), mask=rng.random(n) < 0.1),
        }
    )


@pytest.mark.parametrize("window", [tumbling("1s"), tumbling("3ms"), sliding("1s", "300ms")])
@pytest.mark.parametrize("text", [False, True])
def test_duckdb_agrees(window, text):
    table = events(20_000, text=text)
    aggregates = (
        ("n", ag.count()), ("c", ag.count("v")), ("s", ag.sum_("v")), ("m", ag.mean("v")), ("d", ag.std("v")),
        ("lo", ag.min_("v")), ("hi", ag.max_("v")), ("q", ag.quantile("v", 0.25)), ("u", ag.n_unique("v")),
    )  # fmt: skip
    machine = machine_of(window, ("k",), table.schema, aggregates=aggregates)
    times = table["t"].view(pa.int64()).to_numpy()
    out = []
    for at in range(0, 20_000, 700):
        mark = int(times[: at + 700].max()) - 200_000_000
        out += machine.push(Step(0, 0, table.slice(at, 700), mark))
    out += machine.push(Step(0, 0, None, MAX_TIME, end=True))
    assert {e.port for e in out} == {MAIN}
    got = pa.Table.from_batches([e.batch for e in out])
    flat = pa.table({"t": pa.array(times), "k": table["k"], "v": table["v"]})
    slide = window.slide if isinstance(window, Sliding) else window.size
    count = -(-window.size // slide)
    query = f"""
        with w as (select k, v, (t - (t % {slide} + {slide}) % {slide}) - i * {slide} as start, t
                   from flat, (select unnest(range({count})) as i))
        select k, start, count(*) as n, count(v) as c, coalesce(sum(v), 0) as s, avg(v) as m, stddev_samp(v) as d,
               min(v) as lo, max(v) as hi, quantile_cont(v, 0.25) as q, count(distinct v) as u
        from w where start + {window.size} > t group by all order by start, k"""
    with duckdb.connect() as base:
        base.register("flat", flat)
        expected = base.sql(query).to_arrow_table()
    got = got.append_column("start", pa.array(got["window_start"].cast(pa.int64())))
    got = got.sort_by([("start", "ascending"), ("k", "ascending")])
    assert got.num_rows == expected.num_rows
    for name in ("k", "start", "n", "c", "lo", "hi", "u"):
        assert got[name].to_pylist() == expected[name].to_pylist()
    for name in ("s", "m", "d", "q"):
        ours, theirs = got[name].to_pylist(), expected[name].to_pylist()
        assert [v is None for v in ours] == [v is None for v in theirs]
        ours, theirs = ([v or 0.0 for v in values] for values in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_many_groups_leave_in_the_order_of_their_hashes(monkeypatch):
    table = events(5_000)
    orders = []
    for limit in (10, 10_000):
        monkeypatch.setattr(results, "_SORT_AFTER", limit)
        out = machine_of(tumbling("1s"), ("k",), table.schema, aggregates=(("n", ag.count()),)).push(
            Step(0, 0, table, MAX_TIME, end=True)
        )
        assert [e.port for e in out] == [MAIN]
        starts = out[0].batch["window_start"].view(pa.int64()).to_numpy()
        hashes = key_hashes(out[0].batch, ("k",))
        assert (np.lexsort((hashes, starts)) == np.arange(starts.size)).all()
        orders.append(out[0].batch)
    assert orders[0].equals(orders[1])


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=50))
def test_hash_order_is_a_stable_sort(values):
    hashes = np.array(values, np.uint64)
    assert hash_order(hashes).tolist() == np.argsort(hashes, kind="stable").tolist()


def test_an_event_late_for_some_of_its_windows_counts_in_the_others():
    schema = pa.schema([("t", EVENT_TIME)])
    node = Window(Ref(Read("log://a")), Sliding(10, 5), (("n", ag.count()),))
    machine = AlignedWindowMachine(node, schema=schema, keys=(), event_time="t")

    def push(times, watermark, end=False):
        batch = pa.record_batch({"t": pa.array(times, EVENT_TIME)}, schema=schema) if times else None
        return [
            (
                e.port,
                e.batch.column(0).view(pa.int64()).to_pylist(),
                e.batch["n"].to_pylist() if e.port == MAIN else None,
            )
            for e in machine.push(Step(0, 0, batch, watermark, end=end))
        ]

    assert push([7], 11) == [(MAIN, [0], [1])]
    assert push([8, 3], 11) == [(LATE, [3], None)]
    assert push([], MAX_TIME, end=True) == [(MAIN, [5], [2])]


def test_the_event_time_of_results_may_be_the_end():
    schema = pa.schema([("t", EVENT_TIME)])
    for closed, last in (("left", 9), ("right", 10)):
        node = Window(Ref(Read("log://a")), Tumbling(10, 0, closed), (("n", ag.count()),), timestamp="end")
        machine = AlignedWindowMachine(node, schema=schema, keys=(), event_time="t")
        batch = pa.record_batch({"t": pa.array([10 if closed == "right" else 9], EVENT_TIME)}, schema=schema)
        (emit,) = machine.push(Step(0, 0, batch, 11))
        assert emit.batch["event_time"].view(pa.int64()).to_pylist() == [last]
        assert machine.watermark == 11


def test_a_late_row_leaves_once_whoever_owns_its_key():
    schema = pa.schema([("t", EVENT_TIME), ("k", pa.int64())])
    late = pa.record_batch({"t": pa.array([1] * 20, EVENT_TIME), "k": list(range(20))}, schema=schema)
    out = []
    for groups in (range(100), range(100, 256)):
        machine = machine_of(Tumbling(10), ("k",), schema, groups, aggregates=(("n", ag.count()),))
        machine.push(Step(0, 0, None, 50))
        for emit in machine.push(Step(1, 0, late, 50)):
            assert emit.port == LATE
            owned = key_groups(key_hashes(emit.batch, ("k",)))
            assert ((owned >= groups.start) & (owned < groups.stop)).all()
            out += emit.batch["k"].to_pylist()
    assert sorted(out) == list(range(20))


def test_what_it_cannot_do_goes_to_the_general_machine():
    schema = pa.schema([("t", EVENT_TIME)])
    node = Window(Ref(Read("log://a")), Tumbling(10), (("n", ag.count()),), trigger=at_watermark(), allowed_lateness=5)
    with pytest.raises(UsageError, match="not a window of the aligned machine"):
        AlignedWindowMachine(node, schema=schema, keys=(), event_time="t")
    assert type(window_machine(node, schema, (), event_time="t")).__name__ == "GeneralWindowMachine"

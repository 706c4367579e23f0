"""Thousands of events: the general machine beside the fast one and beside DuckDB, in any order and any cut."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_windows_property import HOW, scripts
from window_scripts import SCHEMA, Happening, Setting, by_window, run_machine, run_oracle, splits

from eventide.kernel.window.build import window_machine
from eventide.kernel.window.general import GeneralWindowMachine
from eventide.model.aggregate import Aggregate, collect, count, first, last, max_, mean, quantile, std, sum_
from eventide.model.graph import Read, Ref, Window
from eventide.model.machine import LATE, MAIN, Machine, Step
from eventide.model.state import merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME
from eventide.model.trigger import AtWatermark
from eventide.model.window import CountWindow, Session, Sliding, Tumbling, WindowSpec

SECOND = 10**9
ROWS = pa.schema([("k", pa.int64()), ("t", EVENT_TIME), ("v", pa.float64())])
AGGREGATES: tuple[tuple[str, Aggregate], ...] = (
    ("n", count()),
    ("sum", sum_("v")),
    ("mean", mean("v")),
    ("std", std("v")),
    ("max", max_("v")),
    ("first", first("v")),
    ("last", last("v")),
    ("median", quantile("v", 0.5)),
)


def events(n: int, *, seed: int) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(0.02 * SECOND, n)).astype(np.int64)
    times += (rng.random(n) < 0.3) * rng.integers(0, 2 * SECOND, n)
    values = np.exp(rng.normal(0, 8, n)) * rng.choice([-1, 1], n)
    columns = [pa.array(rng.integers(0, 20, n)), pa.array(times).view(EVENT_TIME), pa.array(values)]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)


def node_of(window: WindowSpec, **options: object) -> Window:
    return Window(Ref(Read("memory://")), window, AGGREGATES, **options)  # type: ignore[arg-type]


def general(node: Window, groups: range) -> Machine:
    return GeneralWindowMachine(node, schema=ROWS, keys=("k",), event_time="t", groups=groups)


def fast(node: Window, groups: range) -> Machine:
    return window_machine(node, ROWS, ("k",), event_time="t", groups=groups)


def table_of(
    make: Callable[[Window, range], Machine], node: Window, rows: pa.RecordBatch, *, cut: int, moves: int = 0
) -> pa.Table:
    """Run machines over rows with watermarks 2 s behind, and return all results in the order of key and window."""
    times = rows.column("t").view(pa.int64()).to_numpy()
    newest = np.maximum.accumulate(times)
    machines = [make(node, g) for g in splits(1)]
    out: list[pa.RecordBatch] = []
    steps = [
        (rows.slice(at, cut), int(newest[min(at + cut, len(times)) - 1]) - 2 * SECOND)
        for at in range(0, len(times), cut)
    ]
    for seq, (batch, watermark) in enumerate([*steps, (None, MAX_TIME)]):
        if moves and seq % moves == 1:
            state = merge_states(m.snapshot() for m in machines)
            machines = [make(node, g) for g in splits(1 + seq % 3)]
            for machine in machines:
                machine.restore(state)
        for machine in machines:
            for port, emitted in machine.push(Step(seq, 0, batch, watermark, MIN_TIME, end=watermark == MAX_TIME)):
                assert port != LATE
                out += [emitted] if port == MAIN else []
    table = pa.Table.from_batches(out)
    return table.sort_by([(n, "ascending") for n in ("k", "window_start", "window_end")]).combine_chunks()


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("size", [3, 10])
def test_general_equals_fast(size: int, closed: str) -> None:
    rows = events(6000, seed=size)
    for window in (
        Tumbling(size * SECOND, SECOND // 3, closed),  # type: ignore[arg-type]
        Sliding(size * SECOND, 2 * SECOND, 7, closed),  # type: ignore[arg-type]
    ):
        expected = table_of(fast, node_of(window), rows, cut=500)
        for cut, moves in ((500, 0), (97, 11)):
            assert table_of(general, node_of(window), rows, cut=cut, moves=moves).equals(expected)
        # The same trigger spelled out, which the fast machine does not take.
        panes = table_of(general, node_of(window, trigger=AtWatermark(), allowed_lateness=SECOND), rows, cut=300)
        assert panes.drop_columns(["pane_index", "pane_timing"]).equals(expected)


@pytest.mark.parametrize("window", [Session(SECOND), Session(SECOND // 5), CountWindow(7, 3)], ids=str)
def test_order_and_cuts_do_not_matter(window: WindowSpec) -> None:
    rows = events(4000, seed=5)
    expected = table_of(general, node_of(window), rows, cut=4000)
    for cut, moves in ((1000, 0), (130, 7), (40, 5)):
        assert table_of(general, node_of(window), rows, cut=cut, moves=moves).equals(expected)
    # Any order within 100 events is within the 2 s that the watermark waits.
    rng = np.random.default_rng(3)
    order = np.argsort(np.arange(4000) + rng.uniform(0, 20, 4000))
    assert table_of(general, node_of(window), rows.take(pa.array(order)), cut=4000).equals(expected)


def test_sessions_equal_duckdb() -> None:
    rows = events(5000, seed=8)
    got = table_of(general, node_of(Session(SECOND)), rows, cut=250)
    data = pa.Table.from_batches([rows]).set_column(1, "t", rows.column("t").view(pa.int64()))
    connection = duckdb.connect()
    connection.register("data", data)
    expected = connection.execute(
        """
        with marked as (
            select *, case when t - lag(t) over (partition by k order by t) < 1000000000 then 0 else 1 end as opens
            from data
        ), numbered as (
            select *, sum(opens) over (partition by k order by t rows unbounded preceding) as session from marked
        )
        select k, min(t) as start, max(t) + 1000000000 as stop, count(*) as n, max(v) as top
        from numbered group by k, session order by k, start
        """
    ).fetchall()
    starts, ends = (got.column(c).combine_chunks().view(pa.int64()).to_pylist() for c in ("window_start", "window_end"))
    ours = zip(got["k"].to_pylist(), starts, ends, got["n"].to_pylist(), got["max"].to_pylist(), strict=True)
    assert list(ours) == expected


@given(
    st.one_of(
        st.builds(Tumbling, st.integers(3, 15), st.integers(0, 2), st.sampled_from(["left", "right"])),
        st.tuples(st.integers(2, 5), st.integers(0, 9), st.integers(0, 1), st.sampled_from(["left", "right"])).map(
            lambda p: Sliding(p[0] + p[1], p[0], p[2], p[3])
        ),
    ),
    scripts(),
    HOW,
)
def test_fast_machine_equals_the_oracle(window: WindowSpec, script: list[Happening], how: dict[str, object]) -> None:
    setting = Setting(window)
    expected = run_oracle(setting, script)

    def make(groups: range) -> Machine:
        return window_machine(setting.node(), SCHEMA, ("key",), event_time="t", groups=groups)

    got = run_machine(setting, script, make=make, **how)  # type: ignore[arg-type]
    assert by_window(got) == by_window(expected)
    assert sorted(got.late) == sorted(expected.late)


def test_expected_values_are_what_they_say() -> None:
    rows = pa.RecordBatch.from_arrays(
        [pa.array([1, 1, 1]), pa.array([0, SECOND // 2, 5 * SECOND]).view(EVENT_TIME), pa.array([1.0, 3.0, 7.0])],
        schema=ROWS,
    )
    node = Window(Ref(Read("memory://")), Session(SECOND), (*AGGREGATES, ("values", collect("v"))))
    table = table_of(general, node, rows, cut=3)
    assert table.select(["n", "sum", "mean", "max", "first", "last", "median", "values"]).to_pylist() == [
        {"n": 2, "sum": 4.0, "mean": 2.0, "max": 3.0, "first": 1.0, "last": 3.0, "median": 2.0, "values": [1.0, 3.0]},
        {"n": 1, "sum": 7.0, "mean": 7.0, "max": 7.0, "first": 7.0, "last": 7.0, "median": 7.0, "values": [7.0]},
    ]

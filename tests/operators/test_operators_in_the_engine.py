"""Every operator through the embedded engine, beside DuckDB where it can say the same."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.errors import EventideError, SchemaError, UsageError
from eventide.model.graph import Process
from eventide.model.time import EVENT_TIME
from eventide.operators.asof_join import asof_join
from eventide.operators.dedup import dedup
from eventide.operators.enrich import enrich
from eventide.operators.flat_map import flat_map
from eventide.operators.interval_join import interval_join
from eventide.operators.resample import resample
from eventide.operators.rolling import rolling
from eventide.operators.sessionize import sessionize
from eventide.operators.split import split
from eventide.operators.suppress import suppress
from eventide.operators.window_join import window_join

engine_knows_port_schemas = pytest.mark.skipif(
    "PortSchema" not in str(Process.__annotations__["schemas"]),
    reason="the graph does not yet take output schemas as functions of the input's",
)


def events(seed, count=400, keys=7, disorder=30):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 1000, count))
    times = times[np.argsort(times + rng.integers(0, disorder, count), kind="stable")]
    return pa.table(
        {
            "k": pa.array(rng.choice([f"k{i}" for i in range(keys)], count)),
            "t": pa.array(times, pa.int64()).cast(EVENT_TIME),
            "v": pa.array(rng.integers(-8, 9, count) / 8, mask=rng.random(count) < 0.1),
            "n": pa.array(rng.integers(0, 5, count)),
        }
    )


def stream(table, disorder=30):
    return ev.from_table(table).event_time("t", lateness=f"{disorder}ns").key_by("k")


def same(ours, theirs):
    """Both tables have the same rows, in whatever order."""
    ours = ours.cast(
        pa.schema([(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in ours.schema])
    )
    assert ours.column_names == theirs.column_names

    def rows(table):
        return sorted(repr(tuple(r.values())) for r in table.to_pylist())

    assert rows(ours) == rows(theirs)


def ask(query, **tables):
    db = duckdb.connect()
    for name, table in tables.items():
        kinds = [(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in table.schema]
        db.register(name, table.cast(pa.schema(kinds)))
    return db.sql(query).to_arrow_table()


options = st.fixed_dictionaries({"lanes": st.sampled_from([1, 2]), "batch_rows": st.sampled_from([1, 7, 64, 10_000])})


@engine_knows_port_schemas
@settings(max_examples=15)
@given(st.integers(0, 2**20), options)
def test_rolling_is_a_range_window(seed, how):
    table = events(seed)
    aggregates = {"c": ev.count("v"), "s": ev.sum("n"), "m": ev.mean("v"), "lo": ev.min("v"), "hi": ev.max("n")}
    found = ev.fetch(stream(table).pipe(rolling, over="50ns", **aggregates), **how)
    want = ask(
        """
        SELECT k, t, v, n, count(v) OVER w AS c, sum(n) OVER w::BIGINT AS s, avg(v) OVER w AS m,
               min(v) OVER w AS lo, max(n) OVER w AS hi
        FROM e WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN 49 PRECEDING AND CURRENT ROW)
        """.replace("sum(n) OVER w::BIGINT", "CAST(sum(n) OVER w AS BIGINT)"),
        e=table,
    )
    same(found, want)


@engine_knows_port_schemas
@settings(max_examples=15)
@given(st.integers(0, 2**20), options)
def test_sessionize_marks_what_session_windows_count(seed, how):
    table = events(seed)
    marked = ev.fetch(stream(table).pipe(sessionize, gap="20ns"), **how)
    windows = ev.fetch(stream(table).window(ev.session("20ns")).aggregate(n=ev.count()), **how)
    counted = marked.group_by(["k", "session_id", "session_start"]).aggregate([([], "count_all")])
    mine = sorted((r["k"], r["session_start"].value, r["count_all"]) for r in _values(counted))
    theirs = sorted((r["k"], r["window_start"].value, r["n"]) for r in _values(windows))
    assert mine == theirs


def _values(table):
    columns = {n: table.column(n) for n in table.column_names}
    for i in range(table.num_rows):
        yield {n: c[i] if pa.types.is_timestamp(c.type) else c[i].as_py() for n, c in columns.items()}


@engine_knows_port_schemas
@settings(max_examples=15)
@given(st.integers(0, 2**20), options)
def test_dedup_of_everything_keeps_the_first(seed, how):
    table = events(seed)
    kept = stream(table).pipe(dedup, by=["k", "n"], within="1h")
    found = ev.fetch(kept, **how).select(["k", "n", "t"])
    same(found, ask("SELECT k, n, min(t) AS t FROM e GROUP BY k, n", e=table))
    assert found.num_rows + ev.fetch(kept.side("duplicates"), **how).num_rows == table.num_rows


@engine_knows_port_schemas
@settings(max_examples=10)
@given(st.integers(0, 2**20), options)
def test_resampled_values_are_an_as_of_join(seed, how):
    table = events(seed).select(["k", "t", "n"])
    found = ev.fetch(stream(table).pipe(resample, every="10ns", max_gap="2us"), **how)
    last = ask("SELECT k, t, last(n ORDER BY n) AS n FROM e GROUP BY k, t", e=table)
    points = found.select(["k", "t"])
    want = ask(
        "SELECT p.k, p.t, CAST(l.n AS DOUBLE) AS n FROM p ASOF JOIN l ON p.k = l.k AND p.t >= l.t", p=points, l=last
    )
    assert found.num_rows > 0
    same(found, want)


@engine_knows_port_schemas
def test_operators_follow_each_other():
    table = events(3)
    alarms = (
        stream(table)
        .pipe(rolling, rows=5, level=ev.mean("v"))
        .pipe(suppress, hold="100ns", when=pl.col("level") > 0.25)
        .filter(pl.col("level") > 0.25)
    )
    grid = stream(table).pipe(resample, every="50ns", method="linear", max_gap="200ns").window(ev.tumbling("100ns"))
    results = [ev.fetch(alarms, batch_rows=b, lanes=n) for b, n in ((1, 1), (50, 2), (10_000, 1))]
    assert results[0].num_rows > 3
    assert all(r.sort_by([("k", "ascending"), ("t", "ascending")]).equals(_sorted(results[0])) for r in results)
    counts = [ev.fetch(grid.aggregate(n=ev.count("v")), batch_rows=b, lanes=n) for b, n in ((1, 1), (64, 2))]
    by = [("k", "ascending"), ("window_start", "ascending")]
    assert counts[0].sort_by(by).equals(counts[1].sort_by(by))


def _sorted(table):
    return table.sort_by([("k", "ascending"), ("t", "ascending")])


@engine_knows_port_schemas
def test_checked_before_anything_runs():
    s = stream(events(1))
    for built, text in (
        (s.pipe(rolling, over="1m", n=ev.count()), "adds a column 'n', and there is one already"),
        (s.pipe(rolling, over="1m", x=ev.mean("vv")), "no column 'vv' for rolling.*did you mean 'v'"),
        (s.pipe(rolling, over="1m", x=ev.mean("k")), "cannot compute with column 'k' of string"),
        (s.pipe(resample, every="1s", max_gap="1m", columns=["k"]), "cannot compute with column 'k'"),
        (s.pipe(resample, every="1s", max_gap="1m", columns=["w"]), "no column 'w' for resample"),
    ):
        with pytest.raises(SchemaError) as told:
            ev.check(built.write("memory://x"))
        assert re.search(text, str(told.value), re.DOTALL), str(told.value)


def test_split_sends_each_event_one_way():
    table = events(5)
    ways = split(stream(table), low=pl.col("v") < 0, odd=pl.col("n") % 2 == 1)
    found = {name: ev.fetch(way) for name, way in ways.items()}
    assert sum(f.num_rows for f in found.values()) == table.num_rows
    same(found["low"], ask("SELECT * FROM e WHERE v < 0", e=table))
    same(found["odd"], ask("SELECT * FROM e WHERE n % 2 = 1 AND (v IS NULL OR v >= 0)", e=table))
    same(found["rest"], ask("SELECT * FROM e WHERE n % 2 = 0 AND (v IS NULL OR v >= 0)", e=table))


@pytest.mark.parametrize("how", ["left", "inner"])
def test_enrich_is_a_join(how):
    table = events(6)
    nodes = pa.table(
        {"key": ["k1", "k2", None, "k9"], "n": pa.array([0, 1, 1, 3], pa.int16()), "v": [1.0, 2.0, 3.0, None]}
    )
    found = ev.fetch(stream(table).pipe(enrich, nodes, on={"k": "key", "n": "n"}, how=how), batch_rows=33)
    query = f"SELECT e.*, d.v AS v_right FROM e {how.upper()} JOIN d ON e.k = d.key AND e.n = d.n"
    same(found, ask(query, e=table, d=nodes))


def test_flat_map_keeps_time_and_keys():
    table = pa.table({"t": pa.array([1, 2, 3], EVENT_TIME), "k": ["a", "b", "c"], "hits": [[1, 2], [], [3]]})

    def hits(batch):
        lists = batch.column("hits")
        return pc.list_parent_indices(lists), pa.record_batch({"hit": pc.list_flatten(lists)})

    for schema in (None, pa.schema([("hit", pa.int64())])):
        found = ev.fetch(stream(table).pipe(flat_map, hits, schema=schema), batch_rows=2)
        assert found.select(["k", "hit"]).to_pydict() == {"k": ["a", "a", "c"], "hit": [1, 2, 3]}
        assert found.schema.names == ["t", "k", "hit"]


def test_joins_by_name_are_the_joins():
    a, b = events(7, 60), events(8, 60).rename_columns(["k", "u", "w", "m"])
    left = stream(a)
    right = ev.from_table(b).event_time("u", lateness="30ns").key_by("k")
    for one, two in (
        (left.pipe(interval_join, right, lower="-9ns", upper="0"), left.join(right, ev.interval("-9ns", "0"))),
        (left.pipe(asof_join, right, tolerance="50ns"), left.join(right, ev.asof("50ns"), how="left")),
        (left.pipe(window_join, right, window=ev.tumbling("20ns")), left.join(right, ev.tumbling("20ns"))),
    ):
        found, want = ev.fetch(one), ev.fetch(two)
        assert found.num_rows > 0
        assert found.schema.equals(want.schema)
        by = [(n, "ascending") for n in found.column_names]
        assert found.sort_by(by).equals(want.sort_by(by))


S = ev.read("log://a").event_time("t").key_by("k")
TABLE = pa.table({"k": [1, 1], "v": [1, 2]})


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (lambda: dedup(ev.read("log://a"), by="k", within="1s"), r"dedup\(\) needs event time.*\.event_time\("),
        (lambda: dedup(S, by="k", within=5), "within 5 has no unit"),
        (lambda: suppress(S, hold="1s", when="x"), "takes a Polars expression as when="),
        (lambda: suppress(S, hold="-1s"), "hold"),
        (lambda: sessionize(S, gap="0"), "session gap"),
        (lambda: rolling(S, n=ev.count()), "either over= or rows="),
        (lambda: rolling(S, over="1s", rows=3, n=ev.count()), "either over= or rows="),
        (lambda: rolling(S, rows=0, n=ev.count()), "whole number of at least 1"),
        (lambda: rolling(S, rows=3), "compute nothing"),
        (lambda: rolling(S, rows=3, q=ev.quantile("v", 0.5)), "cannot compute q=quantile.*ev.sliding"),
        (lambda: rolling(S, rows=3, q=3), "cannot compute q=3"),
        (lambda: resample(S, every="1s", method="cubic", max_gap="1m"), "method 'cubic'.*known"),
        (lambda: resample(S, every="1s"), "needs max_gap.*'10s'"),
        (lambda: resample(S, every="1s", max_gap="1ms"), "shorter than the grid"),
        (lambda: resample(S, every="1ns", max_gap="1h"), "one silence would make 3600000000000 rows"),
        (lambda: split(S), "needs conditions by name"),
        (lambda: split(S, rest=pl.col("v") > 0), "keeps the name 'rest'"),
        (lambda: split(S, a=3), "takes Polars expressions"),
        (lambda: flat_map(S, 3), "takes a function of a record batch"),
        (lambda: ev.fetch(flat_map(stream(events(1)), lambda b: b)), "not \\(parents, record batch\\)"),
        (lambda: ev.fetch(flat_map(stream(events(1)), lambda b: ([1], b))), "and 1 parents"),
        (lambda: enrich(S, TABLE, on="k"), "has {'k': 1} more than once"),
        (lambda: enrich(S, TABLE, on="kk"), "no column 'kk'"),
        (lambda: enrich(S, TABLE, on="k", how="outer"), "how='outer' is not known"),
        (lambda: enrich(S, [], on="k"), "takes an Arrow table, not list"),
        (lambda: ev.fetch(enrich(stream(events(1)), TABLE.slice(1), on={"k": "k"})), "cannot compare 'k' of string"),
        (lambda: interval_join(S, S, lower="1s", upper="0"), "is empty"),
        (lambda: asof_join(S, S, direction="back"), "did you mean 'backward'"),
        (lambda: window_join(S, S, window=ev.session("1s")), "cannot be joined per session"),
    ],
)
def test_mistakes_are_told(mistake, text):
    with pytest.raises(EventideError) as told:
        mistake()
    assert isinstance(told.value, UsageError)
    assert told.value.hint
    assert re.search(text, str(told.value), re.DOTALL), str(told.value)

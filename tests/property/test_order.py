"""Order does not matter: any permutation within the lateness, any cut, any partitioning, stopped and resumed anywhere.

Every window kind, every aggregate and every join gives what DuckDB gives for the whole input at once.
"""

from __future__ import annotations

import pyarrow as pa
import pytest
from cases import CASES, SECOND, Schedule, delivered, deliveries, events, rows, same, truth
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev

AGGREGATES = {
    "n": (ev.count(), "count(*)"),
    "n_count": (ev.count("count"), "count(count)"),
    "total": (ev.sum("value"), "sum(value)"),
    "total_count": (ev.sum("count"), "coalesce(sum(count), 0)::BIGINT"),
    "mean": (ev.mean("value"), "avg(value)"),
    "var": (ev.var("value"), "var_samp(value)"),
    "var0": (ev.var("value", ddof=0), "var_pop(value)"),
    "std": (ev.std("value"), "stddev_samp(value)"),
    "std0": (ev.std("value", ddof=0), "stddev_pop(value)"),
    "low": (ev.min("value"), "min(value)"),
    "high": (ev.max("count"), "max(count)"),
    "first": (ev.first("value"), "first(value ORDER BY t, value)"),
    "last": (ev.last("value"), "last(value ORDER BY t, value)"),
    "median": (ev.quantile("value", 0.5), "quantile_cont(value, 0.5)"),
    "p90": (ev.quantile("value", 0.9), "quantile_cont(value, 0.9)"),
    "distinct": (ev.n_unique("count"), "count(DISTINCT count)"),
    "all": (ev.collect("value"), "list(value ORDER BY t, value)"),
    "top": (ev.top_k("value", 3), "list(value ORDER BY value DESC)[1:3]"),
}
COLUMNS = ["key", "window_start", "window_end", *AGGREGATES]
SQL = ", ".join(f"{sql} AS {name}_" for name, (_, sql) in AGGREGATES.items())


def aggregated(stream: ev.Stream, window: object) -> ev.Stream:
    return stream.window(window).aggregate(**{n: a for n, (a, _) in AGGREGATES.items()})  # type: ignore[arg-type]


@st.composite
def delivered_events(draw: st.DrawFn) -> tuple[pa.Table, Schedule]:
    table = draw(events())
    return table, draw(deliveries(table))


@settings(max_examples=CASES)
@given(delivered_events(), st.sampled_from([1, 7, 10, 60]))
def test_tumbling(case: tuple[pa.Table, Schedule], size: int) -> None:
    table, delivery = case
    out = delivered([table], [delivery], lambda s: aggregated(s, ev.tumbling(f"{size}s")))
    ns = size * SECOND
    start = f"(t - (t % {ns} + {ns}) % {ns})"
    same(
        rows(out, COLUMNS),
        truth(f"SELECT key, {start} AS s, s + {ns}, {SQL} FROM e GROUP BY key, s", e=table),
    )


@settings(max_examples=CASES)
@given(delivered_events(), st.sampled_from([(10, 2), (10, 5), (9, 6), (10, 10)]))
def test_sliding(case: tuple[pa.Table, Schedule], shape: tuple[int, int]) -> None:
    table, delivery = case
    size, slide = shape
    out = delivered([table], [delivery], lambda s: aggregated(s, ev.sliding(f"{size}s", f"{slide}s")))
    length, step = size * SECOND, slide * SECOND
    last = f"(t - (t % {step} + {step}) % {step})"
    query = f"""
        WITH w AS (
            SELECT *, unnest(range({last}, t - {length}, -{step})) AS s FROM e
        ) SELECT key, s, s + {length}, {SQL} FROM w GROUP BY key, s"""
    same(rows(out, COLUMNS), truth(query, e=table))


@settings(max_examples=CASES)
@given(delivered_events(), st.sampled_from([1, 3, 8, 30]))
def test_session(case: tuple[pa.Table, Schedule], gap: int) -> None:
    table, delivery = case
    out = delivered([table], [delivery], lambda s: aggregated(s, ev.session(f"{gap}s")))
    ns = gap * SECOND
    query = f"""
        WITH a AS (SELECT *, t - lag(t) OVER k >= {ns} AS new FROM e WINDOW k AS (PARTITION BY key ORDER BY t)),
        b AS (SELECT *, sum(coalesce(new, true)::INT) OVER (PARTITION BY key ORDER BY t
              RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS number FROM a)
        SELECT key, min(t), max(t) + {ns}, {SQL} FROM b GROUP BY key, number"""
    same(rows(out, COLUMNS), truth(query, e=table))


@settings(max_examples=CASES)
@given(delivered_events())
def test_global(case: tuple[pa.Table, Schedule]) -> None:
    table, delivery = case
    out = delivered([table], [delivery], lambda s: aggregated(s, ev.global_window()))
    columns = ["key", *AGGREGATES]
    same(rows(out, columns), truth(f"SELECT key, {SQL} FROM e GROUP BY key", e=table))


@st.composite
def two(draw: st.DrawFn) -> tuple[list[pa.Table], list[Schedule]]:
    left, right = draw(events(rows=25)), draw(events(rows=25))
    return [left, right], [draw(deliveries(left)), draw(deliveries(right))]


JOINED = ["key", "time", "value", "count", "time_right", "value_right", "count_right"]


@settings(max_examples=CASES)
@given(two(), st.sampled_from([1, 10, 45]), st.sampled_from(["inner", "left"]))
def test_window_join(case: tuple[list[pa.Table], list[Schedule]], size: int, how: str) -> None:
    tables, plans = case
    out = delivered(tables, plans, lambda a, b: a.join(b, ev.tumbling(f"{size}s"), how=how))  # type: ignore[arg-type]
    ns = size * SECOND
    start = "({0}.t - ({0}.t % {1} + {1}) % {1})"
    query = f"""SELECT a.key, a.t, a.value, a.count, b.t, b.value, b.count FROM a {how} JOIN b
        ON a.key = b.key AND {start.format("a", ns)} = {start.format("b", ns)}"""
    same(rows(out, JOINED), truth(query, a=tables[0], b=tables[1]))


@settings(max_examples=CASES)
@given(two(), st.sampled_from([(-5, 5), (0, 10), (-20, -3), (2, 2)]), st.sampled_from(["inner", "left"]))
def test_interval_join(case: tuple[list[pa.Table], list[Schedule]], bounds: tuple[int, int], how: str) -> None:
    tables, plans = case
    low, high = bounds
    on = ev.interval(f"{low:+d}s", f"{high:+d}s")
    out = delivered(tables, plans, lambda a, b: a.join(b, on, how=how))  # type: ignore[arg-type]
    query = f"""SELECT a.key, a.t, a.value, a.count, b.t, b.value, b.count FROM a {how} JOIN b
        ON a.key = b.key AND b.t BETWEEN a.t + {low * SECOND} AND a.t + {high * SECOND}"""
    same(rows(out, JOINED), truth(query, a=tables[0], b=tables[1]))


@settings(max_examples=CASES)
@given(two(), st.sampled_from([0, 5, 30]), st.sampled_from(["inner", "left"]))
def test_asof_join(case: tuple[list[pa.Table], list[Schedule]], tolerance: int, how: str) -> None:
    tables, plans = case
    # One right event a key and second: DuckDB chooses freely among equals, we by value.
    seen: set[tuple[object, object]] = set()
    keep = []
    for row in tables[1].to_pylist():
        keep.append((row["time"], row["key"]) not in seen)
        seen.add((row["time"], row["key"]))
    right = tables[1].filter(pa.array(keep, pa.bool_()))
    plan = plans[1]
    kept = {old: new for new, old in enumerate(i for i, k in enumerate(keep) if k)}
    plan = Schedule(tuple(kept[i] for i in plan.order if i in kept), plan.cuts, plan.partitions, plan.lanes, plan.stops)
    out = delivered(
        [tables[0], right],
        [plans[0], plan],
        lambda a, b: a.join(b, ev.asof(f"{tolerance}s"), how=how),  # type: ignore[arg-type]
    )
    limit = f"AND a.t - b.t <= {tolerance * SECOND}" if tolerance else ""
    query = f"""
        WITH l AS (SELECT *, row_number() OVER () AS id FROM a), m AS (
            SELECT l.id, b.* FROM l JOIN b ON l.key = b.key AND b.t <= l.t {limit.replace("a.t", "l.t")}
            QUALIFY row_number() OVER (PARTITION BY l.id ORDER BY b.t DESC) = 1)
        SELECT l.key, l.t, l.value, l.count, m.t, m.value, m.count FROM l {how} JOIN m ON l.id = m.id"""
    same(rows(out, JOINED), truth(query, a=tables[0], b=right))


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_bits_do_not_depend_on_lanes(lanes: int) -> None:
    """Sums and moments are the same to the last bit whatever the order and the number of lanes."""
    import numpy as np

    rng = np.random.default_rng(3)
    size = 30_000  # large enough for the lanes to run side by side
    table = pa.table(
        {
            "time": pa.array(rng.integers(0, 100, size) * SECOND, pa.timestamp("ns", "UTC")),
            "key": rng.integers(0, 50, size),
            "value": rng.normal(1e6, 1.0, size) * 10.0 ** rng.integers(-12, 12, size),
        }
    )

    def result(order: object, rows_: int) -> pa.Table:
        batches = table.take(pa.array(order)).combine_chunks().to_batches(max_chunksize=rows_)
        stream = ev.from_table(batches).event_time("time", lateness="200s").key_by("key")
        out = ev.fetch(
            stream.window(ev.tumbling("30s")).aggregate(
                s=ev.sum("value"), m=ev.mean("value"), v=ev.var("value"), d=ev.std("value", ddof=0)
            ),
            lanes=lanes,
        )
        return out.sort_by([("key", "ascending"), ("window_start", "ascending")])

    expected = result(np.arange(size), size)
    for seed in range(3):
        assert result(np.random.default_rng(seed).permutation(size), 9_000 + seed).equals(expected)

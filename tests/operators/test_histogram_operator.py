"""`ev.op.histogram`: publications are those of a plain computation over the whole input, whatever the way there."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from histogram_truth import PRODUCTS, REGION, VALUE
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_driver import EVENT_TIME, drive, make, scenarios, steps

import eventide as ev
from eventide.connectors.memory import MemorySink
from eventide.errors import CheckpointError, DataError, EventideError, PipelineError, SchemaError, UsageError
from eventide.kernel.histogram.axes import edges, integers, pixels, uniform
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.products import checked, product
from eventide.kernel.histogram.publication import METADATA, read_metadata
from eventide.model.state import ALL_GROUPS

# -- the machine itself, with late events

SCHEMA = pa.schema([("key", pa.string()), ("t", EVENT_TIME), ("value", pa.float64()), ("n", pa.int64())])
ROW = st.tuples(
    st.sampled_from("ab"), st.integers(0, 50), st.none() | st.integers(-60, 60).map(float), st.integers(-5, 5)
)


@given(scenarios(ROW, late=True), st.sampled_from([(10, 0), (10, 20), (1, 1), (0, 0)]))
def test_late_events_leave_and_all_others_count(scenario, times):
    every, reset = times
    how = {"every": f"{every}ns"} if every else {}
    how |= {"reset": f"{reset}ns"} if reset else {}
    source = ev.read("log://a").event_time("t").key_by("key")
    stream = source.pipe(ev.op.histogram, products=PRODUCTS, track=["n"], **how)
    found = drive(lambda groups: make(stream, SCHEMA, groups), scenario, SCHEMA, out_time="until")
    _, late = steps(scenario, SCHEMA)
    assert sum(found.get("late", {}).values()) == len(late)
    total = {}
    for row, times_seen in found.get("main", {}).items():
        assert times_seen == 1
        values = eval(row)
        total[values[0], values[5], values[1]] = values
    for key in "ab":
        mine = [i for i in scenario.items if i[0] == key]
        for i in late:
            if i in mine:
                mine.remove(i)
        shown = [v for (k, p, _), v in sorted(total.items()) if k == key and p == "value"]
        if not mine:
            assert not shown
            continue
        last = shown[-1]
        if not reset:
            assert last[7] == len(mine)
            assert last[-3:-1] == (min(i[3] for i in mine), max(i[3] for i in mine))
        else:
            windows = {v[2]: v[7] for v in shown}  # what the last publication of each has
            assert sum(windows.values()) == len(mine)
        for values in shown:
            # events = binned + below + above + unknown + masked + nan + vetoed
            assert values[7] == sum(values[8:15])


@settings(max_examples=15)  # each asks another database some dozen questions
@given(st.lists(ROW, max_size=40))
def test_equals_duckdb(items):
    """Publications at 10, 20, ... of a stream, against a query per publication."""
    items = sorted(items, key=lambda i: i[1])
    table = pa.table([pa.array([i[k] for i in items], f.type) for k, f in enumerate(SCHEMA)], schema=SCHEMA)
    stream = (
        ev.from_table(table).event_time("t").pipe(ev.op.histogram, products={"both": PRODUCTS["both"]}, every="10ns")
    )
    found = ev.fetch(stream)
    found = found.set_column(0, "until", found["until"].cast(pa.int64())).select(["until", "counts"])
    events = table.set_column(1, "t", table["t"].cast(pa.int64()))
    with duckdb.connect() as base:
        base.register("events", events)
        for row in found.to_pylist():
            query = (
                "select cast(n + 3 as int), cast(floor((value + 50) / 25) as int), count(*) from events "
                f"where t < {row['until']} and n >= -3 and n < 3 and value >= -50 and value < 50 group by all"
            )
            counts = np.zeros((6, 4), int)
            for a, b, c in base.execute(query).fetchall():
                counts[a, b] = c
            assert row["counts"] == counts.reshape(-1).tolist()
    assert found.num_rows == len({i[1] // 10 for i in items})


# -- what rows can be


def test_pulses_with_lists_of_events():
    times = ["2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:00:02"]
    pulses = pa.table(
        {
            "t": times,
            "pixel": pa.array([[1, 2], None, [3, 9, 1]], pa.list_(pa.int32())),
            "tof": pa.array([[5, 15], [], [25, 5, None]], pa.list_(pa.int32())),
            "period": [0, 1, 1],
            "message": [10, 11, 12],
        }
    )
    image, period = pixels("pixel", 1, 4), integers("period", 0, 2)
    stream = (
        ev.from_table(pulses)
        .event_time("t")
        .pipe(
            ev.op.histogram,
            products={"image": image, "period": product(period, uniform("tof", 0, 30, 3))},
            track=["message"],
        )
    )
    found = {r["product"]: r for r in ev.fetch(stream).to_pylist()}
    assert found["image"]["counts"] == [2, 1, 1, 0]
    assert found["image"]["unknown"] == 1
    assert found["period"]["counts"] == [1, 1, 0, 1, 0, 1]
    assert found["period"]["nan"] == 1
    assert (found["image"]["message_first"], found["image"]["message_last"]) == (10, 12)


PULSE = st.tuples(
    st.integers(0, 30),
    st.lists(st.none() | st.integers(-5, 35), max_size=5),
    st.none() | st.booleans(),
    st.none() | st.integers(-3, 3),
)


@settings(max_examples=20)
@given(st.lists(PULSE, max_size=12), st.booleans())
def test_pulses_count_as_their_events_do(pulses, by_message):
    """What a row says of all its events is what each of them would say."""
    names = ("t", "tof", "veto", "message")
    kinds = (EVENT_TIME, pa.list_(pa.int32()), pa.bool_(), pa.int64())
    whole = pa.table([pa.array([p[k] for p in pulses], kind) for k, kind in enumerate(kinds)], names=names)
    events = [(t, f, v, m) for t, flights, v, m in pulses for f in flights]
    kinds = (EVENT_TIME, pa.int32(), pa.bool_(), pa.int64())
    alone = pa.table([pa.array([e[k] for e in events], kind) for k, kind in enumerate(kinds)], names=names)
    made = {"tof": uniform("tof", 0, 30, 3)}
    if by_message:
        made["by"] = product(integers("message", -2, 4), made["tof"])
    how = {"products": made, "vetoed": "veto", "track": ["message"], "every": "10ns"}
    late = {"lateness": "40ns"}
    one, other = (
        ev.fetch(ev.from_table(t).event_time("t", **late).pipe(ev.op.histogram, **how)) for t in (whole, alone)
    )
    # Pulses without events are seen too: they may open an interval of their own.
    times = ("first", "last", "since", "sequence")
    one, other = (t.set_column(0, "until", t["until"].cast(pa.int64())).drop_columns(times) for t in (one, other))
    found = {(r["until"], r["product"]): r for r in one.to_pylist()}
    for row in other.to_pylist():
        assert found[row["until"], row["product"]] == row


def test_lists_of_different_lengths_are_an_error():
    rows_ = pa.table({"t": ["2026-01-01"], "pixel": [[1, 2]], "tof": [[1]]})
    both = product(pixels("pixel", 0, 3), uniform("tof", 0, 3, 3))
    stream = ev.from_table(rows_).event_time("t").pipe(ev.op.histogram, products={"both": both})
    with pytest.raises(EventideError, match="2 and 1 entries") as caught:
        ev.fetch(stream)
    assert isinstance(caught.value, DataError) or isinstance(caught.value.__cause__, DataError)


def test_vetoed_and_weighted():
    events = pa.table(
        {
            "t": [f"2026-01-01T00:00:0{k}" for k in range(6)],
            "x": [0.5, 0.5, 1.5, 9.0, 1.5, None],
            "w": [1.0, 2.0, 4.0, 8.0, None, 1.0],
            "bad": [False, True, False, None, False, False],
        }
    )
    made = ev.from_table(events).event_time("t").with_columns(bad=pl.col("bad").fill_null(value=False))
    stream = made.pipe(ev.op.histogram, products={"x": product(uniform("x", 0, 2, 2), weights="w")}, vetoed="bad")
    (row,) = ev.fetch(stream).to_pylist()
    assert row["counts"] == [1, 1]
    assert row["sums"] == [1.0, 4.0]
    assert row["squares"] == [1.0, 16.0]
    assert (row["events"], row["vetoed"], row["above"], row["nan"]) == (6, 1, 1, 2)


def test_metadata_reaches_the_sink(tmp_path):
    axis = edges("x", [0, 1, 10], unit="ms")
    events = ev.from_table({"t": ["2026-01-01"], "x": [0.5]}).event_time("t")
    stream = events.pipe(ev.op.histogram, products={"x": axis})
    sink = MemorySink()
    ev.run(stream.write(sink))
    described = read_metadata(sink.table().schema)
    assert described["x"]["axes"][0] == {"name": "x", "unit": "ms", "bins": 2, "kind": "edges", "edges": [0, 1, 10]}
    with pytest.raises(SchemaError):
        read_metadata(pa.schema([]))
    assert json.loads(sink.table().schema.metadata[METADATA]) == described

    ev.run(stream.write("log://published", log=str(tmp_path)))
    kept = ev.fetch(ev.read("log://published", log=str(tmp_path), follow=False))
    assert read_metadata(kept.schema) == described
    assert kept["counts"].to_pylist() == sink.table()["counts"].to_pylist() == [[1, 0]]


def test_a_million_bins():
    image = pixels("pixel", 0, 1_000_000)
    events = ev.from_table({"t": ["2026-01-01", "2026-01-02"], "pixel": [3, 999_999]}).event_time("t")
    (row,) = ev.fetch(events.pipe(ev.op.histogram, products={"image": image})).to_pylist()
    assert (len(row["counts"]), row["counts"][3], row["counts"][-1], row["binned"]) == (1_000_000, 1, 1, 2)


def test_unchanged_blocks_are_the_same_tables():
    stream = (
        ev.read("log://a")
        .event_time("t")
        .pipe(ev.op.histogram, products={"image": pixels("n", 0, 2_000_000)}, every="10ns")
    )
    machine = make(stream, SCHEMA, ALL_GROUPS)
    batch = pa.record_batch(
        [
            pa.array(["a"] * 4),
            pa.array([1, 2, 3, 4], EVENT_TIME),
            pa.nulls(4, pa.float64()),
            [0, 1, 999_999, 1_999_999],
        ],
        schema=SCHEMA,
    )
    from eventide.model.machine import Step

    machine.push(Step(0, 0, batch, 12))
    before = machine.snapshot()
    later = batch.slice(3, 1).set_column(1, "t", pa.array([15], EVENT_TIME))
    machine.push(Step(1, 0, later, 15))
    after = machine.snapshot()
    counted = [name for name in after if name.startswith("counts/")]
    assert len(counted) == 3
    assert [after[n] is before[n] for n in sorted(counted, key=lambda n: int(n.rpartition("/")[2]))] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"products": {"p": uniform("value", -50, 51, 4)}},
        {"products": {"p": VALUE, "q": REGION}},
        {"products": {"p": VALUE}, "every": "20ns"},
        {"products": {"p": product(VALUE, weights="n")}},
    ],
)
def test_state_of_other_axes_is_refused(other):
    def machine(how):
        return make(ev.read("log://a").event_time("t").pipe(ev.op.histogram, **how), SCHEMA, ALL_GROUPS)

    state = machine({"products": {"p": VALUE}, "every": "10ns"}).snapshot()
    machine({"products": {"p": uniform("value", -50, 50, 4)}, "every": "10ns"}).restore(state)
    with pytest.raises(CheckpointError, match="cannot be added to"):
        machine({"every": "10ns"} | other).restore(state)


def test_state_of_a_large_sparse_histogram_is_small():
    made = Histograms(Filler(checked({"p": pixels("n", 0, 100_000_000)})))
    made.add({"n": np.arange(0, 100_000_000, 1_000_000)})
    state = dict(made.snapshot(0))
    assert sum(t.nbytes for t in state.values()) < 10_000


# -- what cannot be asked


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"products": {}}, "no histogram"),
        ({"products": {"a": VALUE}, "every": "2s", "reset": "3s"}, "begin anew"),
        ({"products": {"a": VALUE}, "reset": "3s"}, "begin anew"),
        ({"products": {"a": uniform("valu", 0, 1, 1)}}, "no column 'valu'"),
        ({"products": {"a": pixels("value", 0, 1)}}, "'value' holds double"),
        ({"products": {"a": VALUE}, "track": ["value"]}, "track="),
        ({"products": {"a": VALUE}, "vetoed": "n"}, "vetoed="),
        ({"products": {"a": product(VALUE, weights="key")}}, "weights"),
        ({"products": {"a": uniform("key", 0, 1, 1)}}, "'key' holds string"),
    ],
)
def test_errors_before_the_run(how, what):
    table = pa.table({"t": ["2026-01-01"], "key": ["a"], "value": [1.0], "n": [1]})
    with pytest.raises(UsageError, match=what) as caught:
        ev.fetch(ev.from_table(table).event_time("t").pipe(ev.op.histogram, **how))
    assert caught.value.hint


def test_names_that_meet():
    table = pa.table({"t": ["2026-01-01"], "until": ["a"], "value": [1.0]})
    stream = ev.from_table(table).event_time("t").key_by("until")
    with pytest.raises(SchemaError, match="one already"):
        ev.fetch(stream.pipe(ev.op.histogram, products={"a": VALUE}))


def test_event_time_is_needed():
    with pytest.raises(PipelineError):
        ev.from_table({"value": [1.0]}).pipe(ev.op.histogram, products={"a": VALUE})

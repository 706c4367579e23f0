"""Array events against a plain loop: any order within the lateness, any cut, partition, lane, stop and restart."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.gamma.building.coincidence import coincide, time_order
from eventide.apps.gamma.building.machine import ADDED, ARRAY
from eventide.apps.gamma.building.operator import array_events
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.kernel.build import build_machine
from eventide.kernel.compiled import have_compiler
from eventide.model.machine import Step
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME
from eventide.testing.operators import OperatorSuite
from eventide.testing.strategies import SECOND

PORTS = ("main", "array", "orphans", "duplicates", "late")
SCHEMA = pa.schema([("time", EVENT_TIME), ("tel_id", pa.int16()), ("image", pa.list_(pa.float32(), 2))])
WINDOW, AHEAD = 3 * SECOND, {2: SECOND, 3: -2 * SECOND}


def table(rows):
    rows = sorted(rows, key=lambda r: (r[0], r[1] is not None, r[1] or 0, r[2]))
    columns = [
        pa.array([r[0] for r in rows], pa.int64()).cast(EVENT_TIME),
        pa.array([r[1] for r in rows], pa.int16()),
        pa.FixedSizeListArray.from_arrays(pa.array([v for r in rows for v in (r[2], 0.5)], pa.float32()), 2),
    ]
    return pa.table(columns, schema=SCHEMA)


@st.composite
def triggers(draw):
    count = draw(st.integers(0, 25))
    steps = draw(st.lists(st.sampled_from([0, 1, 1, 2, 4, 9]), min_size=count, max_size=count))
    tels = draw(st.lists(st.sampled_from([1, 2, 2, 3, 4, None]), min_size=count, max_size=count))
    values = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    rows = list(zip((np.cumsum(steps) * SECOND).tolist() if count else [], tels, values, strict=True))
    return table(rows + draw(st.lists(st.sampled_from(rows), max_size=4)) if rows else rows)


def naive(events, *, window=WINDOW, ahead=AHEAD, min_tels=2):
    """Return the rows of each port, from the definition: rows are (time, tel, value)."""
    out = {p: [] for p in PORTS}
    rows = [
        (t, tel, image[0])
        for t, tel, image in zip(
            events["time"].cast(pa.int64()).to_pylist(),
            events["tel_id"].to_pylist(),
            events["image"].to_pylist(),
            strict=True,
        )
    ]
    out["orphans"] = [r for r in rows if r[1] is None]
    rows = sorted((r[0] - ahead.get(r[1], 0), *r) for r in rows if r[1] is not None)
    while rows:
        first = rows[0][0]
        mine, rows = [r for r in rows if r[0] <= first + window], [r for r in rows if r[0] > first + window]
        by_tel = {}
        for row in mine:
            out["duplicates"] += [row[1:]] if row[2] in by_tel else []
            by_tel.setdefault(row[2], row)
        kept = [by_tel[t] for t in sorted(by_tel)]
        if len(kept) < min_tels:
            out["orphans"] += [r[1:] for r in kept]
            continue
        out["main"] += [(*r[1:], first, first, len(kept)) for r in kept]
        out["array"].append((first, first, len(kept), sorted(by_tel), max(r[0] for r in kept) - first))
    return out


def as_table(port, rows):
    if port == "array":
        return pa.Table.from_pylist([dict(zip(ARRAY.names, r, strict=True)) for r in rows], schema=ARRAY)
    schema = pa.schema([*SCHEMA, *ADDED]) if port == "main" else SCHEMA
    made = [dict(zip(schema.names, (r[0], r[1], [r[2], 0.5], *r[3:]), strict=True)) for r in rows]
    return pa.Table.from_pylist(made, schema=schema)


class TestArrayEvents(OperatorSuite):
    keys = ()

    def events(self):
        return triggers()

    def apply(self, stream):
        built = array_events(stream, window="3s", offsets={2: "1s", 3: "-2s"})
        return {"main": built, **{p: built.side(p) for p in PORTS[1:4]}}

    def reference(self, events):
        return {p: as_table(p, rows) for p, rows in naive(events).items() if p != "late"}


def engine(events, *, lateness, **options):
    stream = ev.read(MemorySource(events)).event_time("time", lateness=lateness)
    built = array_events(stream, **options)
    sinks = {p: MemorySink() for p in PORTS}
    result = ev.run(*((built if p == "main" else built.side(p)).write(s) for p, s in sinks.items()))
    assert result.ledger_balanced
    return {p: s.table() for p, s in sinks.items()}


def night(*, showers=20_000, tels=40, seed=1):
    """Return triggers of showers: jitter, repeats, lost ones, one telescope that is late; and how many of each."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 20 * SECOND, showers))
    n = random.integers(1, 8, showers)
    shower = np.repeat(np.arange(showers), n)
    tel = np.concatenate([random.choice(tels, k, replace=False) for k in n])
    time = times[shower] + random.integers(0, 100, shower.size)
    again = random.choice(shower.size, 500, replace=False)
    time, tel = np.append(time, time[again]), np.append(tel, tel[again])
    arrival = time + random.integers(0, 2_000_000, time.size) + np.where(tel == 3, 2 * SECOND, 0)
    order = np.argsort(arrival, kind="stable")
    columns = [pa.array(time[order]).cast(EVENT_TIME), pa.array(tel[order].astype(np.int16))]
    return pa.table(columns, names=["time", "tel_id"])


@pytest.mark.parametrize("lateness", ["3s", "50ms"])
def test_every_trigger_leaves_by_one_port(lateness):
    events = night()
    found = engine(events, lateness=lateness, window="200ns")
    counts = {p: found[p].num_rows for p in PORTS}
    assert sum(counts[p] for p in PORTS if p != "array") == events.num_rows
    assert (counts["late"] == 0) == (lateness == "3s")
    assert counts["duplicates"] >= 500 or counts["late"]
    assert counts["array"] == len(set(found["main"]["event_id"].to_pylist()))
    assert sum(found["array"]["n_tels"].to_pylist()) == counts["main"]
    if counts["late"]:
        assert set(found["late"]["tel_id"].to_pylist()) == {3}
    ids = found["main"]["event_id"].to_numpy()
    assert (np.diff(ids) >= 0).all()


def test_showers_are_found_again():
    events = night(showers=5000)
    found = engine(events, lateness="3s", window="200ns", min_tels=1)
    # 5000 showers in 20 s: about one in 20,000 begins within 200 ns of another.
    assert 4990 <= found["array"].num_rows <= 5000
    assert found["orphans"].num_rows == 0


def test_clocks_that_are_off_are_put_right():
    events = night(showers=3000)
    tel = events["tel_id"].to_numpy()
    shifted = events["time"].cast(pa.int64()).to_numpy() + np.where(tel == 5, 7_000, 0) - np.where(tel == 6, 9_000, 0)
    wrong = pa.table([pa.array(shifted).cast(EVENT_TIME), events["tel_id"]], names=events.column_names)
    plain = engine(events, lateness="3s", window="200ns")["array"]
    right = engine(wrong, lateness="3s", window="200ns", offsets={5: "7us", 6: "-9us"})["array"]
    assert right.equals(plain)
    assert engine(wrong, lateness="3s", window="200ns")["array"].num_rows < plain.num_rows


def steps_of(events, cuts, lateness):
    bounds = [0, *sorted(cuts), events.num_rows]
    newest = MIN_TIME
    for seq, (a, b) in enumerate(itertools.pairwise(bounds)):
        batches = events.slice(a, b - a).combine_chunks().to_batches()
        for batch in batches:
            newest = max(newest, int(batch.column("time").cast(pa.int64()).to_numpy().max()) - lateness)
        yield Step(seq, 0, batches[0] if batches else None, newest)
    yield Step(len(bounds), 0, None, MAX_TIME, end=True)


@given(triggers(), st.data())
@settings(max_examples=40)
def test_goes_on_from_a_snapshot_at_any_step(events, data):
    cuts = data.draw(st.lists(st.integers(0, events.num_rows), max_size=6))
    stream = ev.from_table(events).event_time("time", lateness="4s")
    node = array_events(stream, window="3s", offsets={2: "1s", 3: "-2s"}).ref.node
    plain, often = build_machine(node, (SCHEMA,)), build_machine(node, (SCHEMA,))
    for step in steps_of(events, cuts, 4 * SECOND):
        again = build_machine(node, (SCHEMA,))
        again.restore(often.snapshot())
        often = again
        one, two = plain.push(step), often.push(step)
        assert [e.port for e in one] == [e.port for e in two]
        assert all(a.batch.equals(b.batch) for a, b in zip(one, two, strict=True))
        assert plain.watermark == often.watermark


@given(triggers(), st.data())
@settings(max_examples=40)
def test_the_watermark_of_the_output_is_kept(events, data):
    cuts = data.draw(st.lists(st.integers(0, events.num_rows), max_size=6))
    node = array_events(ev.from_table(events).event_time("time"), window="3s", offsets={2: "1s", 3: "-2s"}).ref.node
    machine = build_machine(node, (SCHEMA,))
    before = MIN_TIME
    for step in steps_of(events, cuts, 4 * SECOND):
        for emit in machine.push(step):
            if emit.port == "main":
                assert min(emit.batch.column("event_id").to_pylist()) >= before
        assert machine.watermark >= before
        before = machine.watermark


TIMES = st.one_of(st.integers(0, 50), st.integers(MIN_TIME, MAX_TIME), st.sampled_from([MIN_TIME, MAX_TIME, 0]))


@given(st.lists(st.tuples(TIMES, st.integers(-3, 3)), max_size=40), st.sampled_from([0, 1, 7, 2**62]))
@settings(max_examples=200)
def test_compiled_and_numpy_agree_with_the_definition(rows, window):
    times, tels = np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.int64)
    one, two = (coincide(times, tels, window=window, compiled=c) for c in (False, have_compiler()))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)
    left, events = sorted((t, k, i) for i, (t, k) in enumerate(rows)), []
    while left:
        mine = [r for r in left if r[0] - left[0][0] <= window]
        events.append([r[2] for r in sorted(mine, key=lambda r: (r[1], r[0], r[2]))])
        left = [r for r in left if r[0] - left[0][0] > window]
    assert [e.tolist() for e in np.split(one.order, one.starts[1:])] == (events or [[]])


def test_long_events_are_put_in_order_too():
    random = np.random.default_rng(2)
    times, tels = random.integers(0, 50, 3000), random.integers(0, 9, 3000)
    one, two = (coincide(times, tels, window=20, compiled=c) for c in (False, have_compiler()))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@given(st.lists(TIMES, max_size=60))
def test_time_order_is_stable(times):
    array = np.array(times, np.int64)
    assert np.array_equal(time_order(array), np.argsort(array, kind="stable"))


def test_what_cannot_be_built_is_refused():
    stream = ev.from_table(table([(1, 1, 1.0)]))
    with pytest.raises(PipelineError, match="event time"):
        array_events(stream)
    timed = stream.event_time("time")
    with pytest.raises(PipelineError, match="keys"):
        array_events(timed.key_by("tel_id"))
    for options in ({"min_tels": 0}, {"min_tels": True}, {"offsets": {1: "2h"}}, {"window": "-1s"}, {"window": 5}):
        with pytest.raises(UsageError):
            array_events(timed, **options)
    with pytest.raises(SchemaError, match="tel"):
        ev.fetch(array_events(timed, telescope="tel"))
    with pytest.raises(SchemaError, match="image"):
        ev.fetch(array_events(timed, telescope="image"))
    with pytest.raises(SchemaError, match="event_time"):
        ev.fetch(array_events(array_events(timed)))

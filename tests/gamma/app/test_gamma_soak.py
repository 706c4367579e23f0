"""Images in real time: events and alerts soon, none lost; and events that leave as soon as they are whole."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.building.triggered import triggered_events
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.pipeline import Analysis, analyse
from eventide.apps.gamma.science.hurry import hurry
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate.rush import pattern
from eventide.apps.gamma.simulate.soak import Delays
from eventide.apps.gamma.site import made
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.kernel.build import build_machine
from eventide.model.machine import Step
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME
from eventide.testing.operators import OperatorSuite

SITE = made(6)
CRAB = OnOff(83.63308, 22.0145, radius=0.17)


def table(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    return pa.table(
        {
            "time": pa.array(columns[0], pa.int64()).cast(EVENT_TIME),
            "tel_id": pa.array(columns[1], pa.int16()),
            "trigger_id": pa.array(columns[2], pa.int64()),
            "n_triggered": pa.array(columns[3], pa.int32()),
        }
    )


@st.composite
def triggers(draw):
    """Return rows of triggers: some whole, some not, some without a number, some repeated."""
    rows = []
    for number in range(draw(st.integers(0, 12))):
        asked = draw(st.integers(1, 4))
        first = 10**9 + number * draw(st.sampled_from([500, 2_000, 5_000]))
        for tel in range(draw(st.integers(1, asked))):
            row = (first + draw(st.integers(0, 900)), tel + 1, draw(st.sampled_from([number] * 9 + [None])), asked)
            rows += [row] * draw(st.sampled_from([1, 1, 1, 1, 2]))
    return table(rows), draw(st.permutations(range(len(rows))))


def naive(events, min_tels=2):
    """Return the rows that leave by each port, those of events with their first time and number of telescopes."""
    rows = events.select(["tel_id", "trigger_id", "n_triggered"]).to_pylist()
    times = events["time"].cast(pa.int64()).to_pylist()
    groups = {}
    out = {"main": [], "orphans": [], "duplicates": []}
    for time, row in zip(times, rows, strict=True):
        key = (time, *row.values())
        if row["trigger_id"] is None:
            out["orphans"].append(key)
        elif row["tel_id"] in (group := groups.setdefault(row["trigger_id"], {})):
            out["duplicates"].append(key)
        else:
            group[row["tel_id"]] = key
    for group in groups.values():
        first = min(k[0] for k in group.values())
        built = len(group) >= min_tels
        out["main" if built else "orphans"] += [(*k, first, len(group)) if built else k for k in group.values()]
    return {port: sorted(rows, key=str) for port, rows in out.items()}


def found_in(tables):
    out = {}
    for port, t in tables.items():
        times = t["time"].cast(pa.int64()).to_pylist()
        columns = [times, *(t[n].to_pylist() for n in ("tel_id", "trigger_id", "n_triggered"))]
        if port == "main":
            columns += [t["event_time"].cast(pa.int64()).to_pylist(), t["n_tels"].to_pylist()]
            assert t["event_id"].equals(t["trigger_id"])
        out[port] = sorted(zip(*columns, strict=True), key=str)
    return out


@given(triggers(), st.integers(1, 9))
@settings(max_examples=60)
def test_events_are_those_of_their_triggers_in_any_order_and_cut(given_, rows):
    events, order = given_
    shuffled = events.take(pa.array(list(order), pa.int64()))
    built = triggered_events(ev.read(MemorySource(shuffled)).event_time("time", lateness="1s"))
    sinks = {p: MemorySink() for p in ("main", "orphans", "duplicates", "late")}
    writes = [(built if p == "main" else built.side(p)).write(s) for p, s in sinks.items()]
    ev.run(*writes, batch_rows=rows)
    assert sinks["late"].table().num_rows == 0
    assert found_in({p: s.table() for p, s in sinks.items() if p != "late"}) == naive(events)


def machine_of(events):
    stream = triggered_events(ev.from_table(events).event_time("time", lateness="1s"))
    return build_machine(stream.ref.node, (events.schema,))


def test_a_whole_event_leaves_at_once_and_another_one_at_the_watermark():
    events = table([(1_000, 1, 7, 2), (1_200, 2, 7, 2), (1_100, 3, 7, 2), (1_500, 1, 8, 3), (1_600, 2, 8, 3)])
    machine = machine_of(events)
    rows = events.combine_chunks().to_batches()[0]
    first = machine.push(Step(0, 0, rows.slice(0, 1), MIN_TIME))
    second = machine.push(Step(1, 0, rows.slice(1, 1), MIN_TIME))
    assert first == []
    assert [(e.port, e.batch.num_rows) for e in second] == [("main", 2)]
    again = build_machine(triggered_events(ev.from_table(events).event_time("time")).ref.node, (events.schema,))
    again.restore(machine.snapshot())
    for one in (machine, again):
        assert [e.port for e in one.push(Step(2, 0, rows.slice(2, 1), MIN_TIME))] == ["duplicates"]
        assert one.push(Step(3, 0, rows.slice(3, 2), 1_700)) == []
        late = one.push(Step(4, 0, rows.slice(3, 1), 2_600))
        assert [(e.port, e.batch.num_rows) for e in late] == [("late", 1), ("main", 2)]
        assert one.watermark == 1_600
        assert one.push(Step(5, 0, None, MAX_TIME, end=True)) == []


BUILT = pa.schema([*table([]).schema, pa.field("event_time", EVENT_TIME), pa.field("n_tels", pa.int32())])


def test_an_image_that_is_not_used_is_not_waited_for():
    rows = table([(1_000, 1, 7, 3), (1_100, 2, 7, 3), (1_200, 3, 7, 3), (1_250, 4, 9, 1)])
    rows = rows.append_column("usable", pa.array([True, False, True, False]))
    stream = triggered_events(ev.from_table(rows).event_time("time", lateness="1s"), usable="usable")
    machine = build_machine(stream.ref.node, (rows.schema,))
    found = machine.push(Step(0, 0, rows.combine_chunks().to_batches()[0], MIN_TIME))
    assert [(e.port, e.batch.column("tel_id").to_pylist()) for e in found] == [("main", [1, 3])]
    assert found[0].batch.column("n_tels").to_pylist() == [2, 2]
    assert machine.push(Step(1, 0, None, MAX_TIME, end=True)) == []
    with pytest.raises(SchemaError, match="true or false"):
        ev.fetch(triggered_events(ev.from_table(rows).event_time("time"), usable="tel_id"))


class TestTriggeredEvents(OperatorSuite):
    keys = ()

    def events(self):
        return triggers().map(lambda t: t[0])

    def apply(self, stream):
        built = triggered_events(stream)
        return {
            "built": built.select(*BUILT.names),
            "orphans": built.side("orphans"),
            "again": built.side("duplicates"),
        }

    def reference(self, events):
        found = naive(events)
        columns = [pa.array([r[i] for r in found["main"]], pa.int64()).cast(f.type) for i, f in enumerate(BUILT)]
        ends = {name: table(found[port]) for name, port in (("orphans", "orphans"), ("again", "duplicates"))}
        return {"built": pa.table(columns, schema=BUILT), **ends}


def test_what_cannot_be_built_is_refused():
    stream = ev.from_table(table([(1, 1, 1, 1)]))
    with pytest.raises(PipelineError):
        triggered_events(stream)
    timed = stream.event_time("time")
    with pytest.raises(UsageError, match="min_tels"):
        triggered_events(timed, min_tels=0)
    with pytest.raises(SchemaError, match="n_asked"):
        ev.fetch(triggered_events(timed, expected="n_asked"))
    with pytest.raises(PipelineError):
        hurry(timed.key_by("tel_id"), "1s")


def test_the_pipeline_gives_the_same_events_as_from_coincidences():
    given_ = pattern(SITE, rate=500.0, jitter=0.05, late={6: 0.5}, hadrons=60.0, gammas=30.0)
    rows = given_.rows
    sinks = {}
    for triggered in (False, True):
        how = Analysis(SITE, CRAB, lateness="10s", triggered=triggered, alert_lateness="200ms" if triggered else "")
        found = analyse(ev.read(MemorySource(pa.table(rows))), how)
        sinks[triggered] = {n: MemorySink() for n in ("events", "gammas", "orphans", "parameters", "unwatched")}
        ev.run(*(getattr(found, n).write(s) for n, s in sinks[triggered].items()), batch_rows=40)
    one, two = ({n: s.table() for n, s in sinks[t].items()} for t in (False, True))
    assert one["events"].num_rows > 20
    for name in ("events", "gammas", "orphans"):
        a, b = (t[name].drop(["event_id"] * (name == "events") + ["EVENT_ID"] * ("EVENT_ID" in t[name].column_names)) for t in (one, two))  # fmt: skip
        key = "event_time" if name == "events" else a.column_names[0]
        if name == "events":
            assert a.sort_by(key).equals(b.sort_by(key)), name
        assert a.num_rows == b.num_rows, name
    assert one["parameters"].num_rows == two["parameters"].num_rows


@pytest.mark.parametrize("lateness", ["10s", "60ms"])
def test_nothing_is_lost_of_triggers_with_excluded_telescopes(lateness):
    given_ = pattern(SITE, rate=500.0, jitter=0.05, late={6: 0.5}, hadrons=80.0)
    states = pa.table(
        {
            "time": pa.array([0] * 6, pa.int64()).cast(EVENT_TIME),
            "tel_id": pa.array(range(1, 7), pa.int16()),
            "state": ["tracking", "slewing", *["tracking"] * 4],
            "subarray": pa.nulls(6, pa.string()),
        }
    )
    how = Analysis(SITE, CRAB, lateness=lateness, triggered=True)
    found = analyse(ev.read(MemorySource(pa.table(given_.rows))), how, states=ev.read(MemorySource(states)))
    sinks = {n: MemorySink() for n in ("parameters", "orphans", "duplicates", "late", "excluded", "events")}
    ev.run(*(getattr(found, n).write(s) for n, s in sinks.items()), batch_rows=25)
    rows = {n: s.table() for n, s in sinks.items()}
    assert sum(t.num_rows for n, t in rows.items() if n != "events") == given_.rows.num_rows
    assert set(rows["excluded"]["tel_id"].to_pylist()) == {2}
    assert not [t for t in rows["events"]["telescopes"].to_pylist() if 2 in t]
    assert (rows["late"].num_rows > 0) == (lateness == "60ms")


def test_delays_are_counted_in_little_room():
    random = np.random.default_rng(1)
    seconds = random.exponential(0.1, 5000)
    delays = Delays()
    for part in np.array_split(seconds, 7):
        delays.add(part)
    assert delays.quantile(0.99) == pytest.approx(1000 * np.quantile(seconds, 0.99), abs=2)
    assert np.isnan(Delays().quantile(0.5))


def test_a_short_soak_loses_nothing(tmp_path):
    """Delays and memory are of the machine and its load: they are looked at, but not judged here."""
    report = tmp_path / "soak.json"
    words = [
        "soak",
        "--rate",
        "300",
        "--tels",
        "6",
        "--minutes",
        "0.12",
        "--late",
        "0.5",
        "--report",
        str(report),
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    figures = json.loads(done.output)
    assert json.loads(report.read_text()) == figures
    assert figures["lost"] == figures["late"] == figures["duplicates"] == figures["excluded"] == 0
    assert figures["images"] > 1500 and figures["events"] > 200
    assert figures["partly"] == 0 < figures["whole"]
    assert 0 < figures["event_p50_ms"] <= figures["event_p99_ms"] <= figures["event_max_ms"]
    assert figures["alerts"] >= 1 and np.isfinite(figures["alert_max_ms"])
    assert done.exit_code == (0 if figures["ok"] else 1)

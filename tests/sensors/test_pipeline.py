"""The pipeline in the engine: the same findings as the detector alone, however the readings come."""

from __future__ import annotations

import itertools
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.sensors.commands import app
from eventide.apps.sensors.decode import decode_table, good
from eventide.apps.sensors.demo import run_demo, run_real_day
from eventide.apps.sensors.detector import make_detector
from eventide.apps.sensors.pipeline import analyse, decode, pipeline
from eventide.apps.sensors.schema import ANOMALIES, INCIDENTS, READINGS, SCORED
from eventide.apps.sensors.simulate import Simulation, simulate, wire_a, wire_b
from eventide.apps.sensors.slots import KeySlots
from eventide.connectors.memory import MemorySource
from eventide.errors import ConfigError
from eventide.model.time import EVENT_TIME, duration

GAP = duration("12m")


@pytest.fixture(scope="module")
def day() -> Simulation:
    return simulate(12, incidents=8)


@pytest.fixture(scope="module")
def expected(day) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What comes of the day without any engine: anomalies and incidents."""
    frame = pl.DataFrame(good(decode_table(day.readings))).sort("timestamp", "stream")
    keys = KeySlots()
    slots = keys.slots(frame["stream"].to_arrow().cast("string"))
    times = frame["timestamp"].to_physical().to_numpy()
    verdict = make_detector("band").update(slots, times, frame["value"].to_numpy())
    at = verdict.flag
    judged = {"score": verdict.score, "low": verdict.low, "high": verdict.high, "prediction": verdict.prediction}
    anomalies = frame.with_columns(**judged, detector=pl.lit("band")).filter(pl.Series(at))
    return anomalies.select(ANOMALIES.names), grouped(anomalies)


def grouped(anomalies: pl.DataFrame) -> pl.DataFrame:
    """Group anomalies less than the gap apart, one after the other."""
    runs: list[dict[str, object]] = []
    for (stream,), mine in anomalies.sort("timestamp").group_by("stream"):
        times, scores = mine["timestamp"].to_physical().to_list(), mine["score"].to_list()
        cuts = [0, *(i for i in range(1, len(times)) if times[i] - times[i - 1] >= GAP), len(times)]
        runs += [
            {"stream": stream, "start": times[a], "end": times[b - 1], "n": b - a, "peak": max(scores[a:b])}
            for a, b in itertools.pairwise(cuts)
        ]
    return pl.DataFrame(runs)


def source(day: Simulation, form: str, rows: int, partitions: int = 1) -> ev.Stream:
    made = {"columns": lambda b: b, "a": lambda b: wire(wire_a(b)), "b": lambda b: wire(wire_b(b))}[form]
    return ev.read(MemorySource([made(b) for b in day.batches(rows)], partitions=partitions))


def wire(payloads: pa.Array) -> pa.RecordBatch:
    return pa.record_batch({"payload": payloads})


@pytest.mark.parametrize(
    ("form", "rows", "partitions", "lanes"),
    [("columns", 172_800, 1, 1), ("a", 10_000, 1, 2), ("b", 997, 3, 1)],
)
def test_anomalies_are_those_of_the_detector_alone(day, expected, form, rows, partitions, lanes):
    found = analyse(decode(source(day, form, rows, partitions), form=form))
    table = ev.fetch(found.anomalies, lanes=lanes)
    assert table.schema.equals(ANOMALIES)
    frame = pl.DataFrame(table).sort("timestamp", "stream").drop("node_id")
    wanted = expected[0].sort("timestamp", "stream")
    if form == "b":
        assert table.column("node_id").null_count == table.num_rows
    assert frame.equals(wanted.drop("node_id"))


@pytest.mark.parametrize(("form", "rows", "lanes"), [("columns", 172_800, 1), ("a", 5_000, 2)])
def test_incidents_are_those_of_the_grouping_alone(day, expected, form, rows, lanes):
    found = analyse(decode(source(day, form, rows), form=form))
    table = ev.fetch(found.incidents, lanes=lanes)
    assert table.schema.equals(INCIDENTS)
    got = sorted(zip(*table.cast(_plain(INCIDENTS)).to_pydict().values(), strict=True))
    assert got == sorted(expected[1].select("stream", "start", "end", "n", "peak").iter_rows())


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in schema])


def test_alarms_are_the_first_anomaly_and_those_after_a_silence(day, expected):
    found = analyse(decode(source(day, "columns", 50_000)), hold="30m")
    passed = pl.DataFrame(ev.fetch(found.alarms)).sort("stream", "timestamp")
    hold, wanted = duration("30m"), []
    for (stream,), mine in expected[0].sort("timestamp").group_by("stream"):
        last, held = None, 0
        for time in mine["timestamp"].to_physical().to_list():
            if last is None or time - last >= hold:
                wanted.append((stream, time, held))
                last, held = time, 0
            else:
                held += 1
    got = passed.select("stream", pl.col("timestamp").to_physical(), "suppressed")
    assert sorted(got.iter_rows()) == sorted(wanted)
    assert len(wanted) < expected[0].height


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=40),
    hold=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_holding_back_is_that_of_a_naive_model(rows, hold, cuts):
    times = np.cumsum([step for _, step in rows]).astype(np.int64)
    names = {"stream": pa.array([name for name, _ in rows], pa.string()), "timestamp": pa.array(times).cast(EVENT_TIME)}
    nulls = [names.get(field.name, pa.nulls(len(rows), field.type)) for field in ANOMALIES]
    table = pa.RecordBatch.from_arrays(nulls, schema=ANOMALIES)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    batches = [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    stream = ev.read(MemorySource(batches)).event_time("timestamp").key_by("stream")
    got = ev.fetch(stream.pipe(ev.op.suppress, hold=f"{hold}ns"), lanes=1)
    last, held, wanted = {}, {"a": 0, "b": 0}, []
    for name, time in sorted(zip([name for name, _ in rows], times.tolist(), strict=True), key=lambda row: row[1]):
        if name not in last or time - last[name] >= hold:
            wanted.append((name, time, held[name]))
            last[name], held[name] = time, 0
        else:
            held[name] += 1
    columns = [got.column("stream"), got.column("timestamp").cast(pa.int64()), got.column("suppressed")]
    assert sorted(zip(*(c.to_pylist() for c in columns), strict=True)) == sorted(wanted)


def test_dirty_readings_leave_by_their_own_door(day):
    found = analyse(decode(source(day, "a", 20_000), form="a"))
    table = ev.fetch(found.dirty)
    assert table.schema.equals(READINGS)
    assert sorted(table.column("reason").to_pylist()) == sorted(day.dirty.column("reason").to_pylist())
    scored = ev.fetch(found.scored)
    assert scored.schema.equals(SCORED)
    assert scored.num_rows == day.readings.num_rows - day.dirty.num_rows


@pytest.mark.parametrize(
    "detector", ["gaussian_tail", "difference_z", "robust_z", "short_long", "cusum", "holt_winters"]
)
def test_every_detector_runs_in_the_engine(day, detector):
    readings = decode(ev.from_table(day.readings.slice(0, 60_000)))
    options: dict[str, object] = {"period": "3h"} if detector == "holt_winters" else {}
    one, two = (ev.fetch(analyse(readings, detector, options=options).scored, lanes=lanes) for lanes in (1, 2))
    order = [("stream", "ascending"), ("timestamp", "ascending")]
    assert one.sort_by(order).equals(two.sort_by(order))
    assert np.isfinite(one.column("score").to_numpy()).mean() > 0.99


def test_through_the_log(day, tmp_path):
    log = str(tmp_path / "log")
    batches = [wire(wire_a(b)) for b in day.batches(10_000)]
    ev.run(ev.read(MemorySource(batches)).write("log://readings", log=log))
    result = ev.run(pipeline(form="a", log=log, scored="scored"), quarantine=log)
    assert (result.late, result.quarantined) == (0, 0)
    counts = {
        t: ev.fetch(ev.read(f"log://{t}", log=log, follow=False)).num_rows for t in ("dirty", "scored", "incidents")
    }
    assert counts["dirty"] == day.dirty.num_rows
    assert counts["scored"] == day.readings.num_rows - day.dirty.num_rows
    assert counts["incidents"] >= 8


def test_a_form_that_does_not_exist():
    with pytest.raises(ConfigError, match="no wire form 'c'"):
        decode(ev.from_table({"payload": [b""]}), form="c")


def test_demo(tmp_path):
    pytest.importorskip("matplotlib")
    said: list[str] = []
    summary = run_demo(tmp_path, streams=10, seed=3, seconds=0.5, say=said.append)
    assert summary["ok"], summary
    assert summary["events"] == 172_800
    assert (tmp_path / "day.png").is_file()
    assert (tmp_path / "day.html").is_file()
    assert any("peak score" in line for line in said)


def test_demo_of_the_real_day(tmp_path, data_dir):
    pytest.importorskip("matplotlib")
    said: list[str] = []
    assert run_real_day(data_dir, tmp_path, say=said.append) == {
        "ok": True,
        "incidents": 4,
        "plots": [str(tmp_path / "real-day.png"), str(tmp_path / "real-day.html")],
    }


def test_commands(tmp_path, data_dir, monkeypatch):
    from typer.testing import CliRunner

    runner = CliRunner()
    done = runner.invoke(app, ["verify", "--data", str(data_dir)])
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["ok"] is True
    done = runner.invoke(app, ["simulate", str(tmp_path / "day.jsonl"), "--streams", "3", "--form", "b"])
    assert done.exit_code == 0
    assert (tmp_path / "day.jsonl").read_bytes().count(b"\n") == 172_800
    monkeypatch.delenv("EVENTIDE_DATA", raising=False)
    done = runner.invoke(app, ["verify"])
    assert isinstance(done.exception, ConfigError)

"""Slow control: a scripted night excludes exactly what its script says, and rows get what was in force at their time."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.operators import EXCLUDED
from eventide.apps.gamma.pipeline import Analysis, analyse, pipeline
from eventide.apps.gamma.schema import CALIBRATION, DL1_IMAGE, MONITOR, POINTINGS, WEATHER
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate import Clouds, DeadPixels, Night, check
from eventide.apps.gamma.simulate.script import DEFAULT, Script, State, predicted, read_script, scripted
from eventide.apps.gamma.site import SubArray, made
from eventide.apps.gamma.slow_control.gate import Limits, gate
from eventide.apps.gamma.slow_control.monitors import monitor
from eventide.apps.gamma.slow_control.pixels import mended
from eventide.apps.gamma.slow_control.streams import SlowControl
from eventide.apps.gamma.stereo.operator import POINTING
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import ConfigError, UsageError

SECOND = 10**9
CRAB = OnOff(83.63308, 22.0145, radius=0.17)


@pytest.fixture(scope="module")
def night():
    """Return the script's streams and what must be excluded."""
    given = scripted(DEFAULT)
    return given, predicted(DEFAULT, given)


def test_a_scripted_night_excludes_exactly_what_it_says():
    done = CliRunner().invoke(app, ["night", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["ok"] and found["wrong"] == found["lost"] == found["late"] == 0
    assert set(found["excluded"]) == {
        "clouds", "humidity", "is parked", "is slewing", "not in the sub-array", "too many dead pixels", "wind",
    }  # fmt: skip
    assert found["events"] > 100 and found["alerts"] > 0


def test_another_exclusion_than_the_script_says_is_found(monkeypatch, tmp_path):
    script = Script(array="made-4", seconds=3, states=(State(1, 2, "slewing"),))
    monkeypatch.setattr(check, "predicted", lambda s, g: dict(list(predicted(s, g).items())[1:]))
    assert check.check_night(script)["wrong"] == 1
    path = tmp_path / "night.json"
    path.write_bytes(msgspec.json.encode(script))
    done = CliRunner().invoke(app, ["night", "--script", str(path)])
    assert done.exit_code == 1, done.output
    assert "otherwise than the script says" in done.output


def slow_of(given, shuffled=None):
    names = ("pointings", "states", "weather", "calibration")
    tables = {n: getattr(given, n) for n in names}
    if shuffled is not None:
        tables = {n: t.take(pa.array(shuffled.permutation(t.num_rows))) for n, t in tables.items()}
    return {n: ev.read(MemorySource(t), name=n) for n, t in tables.items()}


@pytest.mark.parametrize("options", [{"batch_rows": 9}, {"lanes": 3, "batch_rows": 100}])
def test_exclusions_do_not_depend_on_order_and_batches(night, options):
    given, expected = night
    random = np.random.default_rng(3)
    images = given.images.take(pa.array(random.permutation(given.images.num_rows)))
    how = Analysis(given.site, CRAB, lateness="2m", limits=DEFAULT.conditions)
    found = analyse(ev.read(MemorySource(images)), how, **slow_of(given, random))
    sinks = {n: MemorySink() for n in ("excluded", "late")}
    ev.run(*(getattr(found, n).write(s) for n, s in sinks.items()), **options)
    rows = sinks["excluded"].table()
    assert rows.schema == EXCLUDED
    assert sinks["late"].table().num_rows == 0
    keys = zip(rows["tel_id"].to_pylist(), rows["tel_event_id"].to_pylist(), strict=True)
    assert dict(zip(keys, rows["reason"].to_pylist(), strict=True)) == expected
    assert rows.num_rows == len(expected)


def judged(rows, slow, limits=None, **given):
    stream = ev.from_table(rows).event_time("time", lateness="1h")
    streams = {n: ev.from_table(t).event_time("time", lateness="1h") for n, t in slow.items()}
    found = gate(stream, SlowControl(**streams), limits or Limits(**given), columns=list(rows))
    sinks = [MemorySink(), MemorySink()]
    ev.run(found.good.write(sinks[0]), found.excluded.write(sinks[1]))
    return [s.table() for s in sinks]


def times(*seconds):
    return pa.array([round(s * SECOND) for s in seconds]).cast(pa.timestamp("ns", "UTC"))


def aims(*pairs):
    return {name: [p[i] for p in pairs] for i, name in enumerate(POINTING)}


def test_pointings_are_interpolated_by_the_shorter_turn():
    rows = {"time": times(10.25, 11.5, 40), "tel_id": pa.array([1, 1, 1], pa.int16()), **aims((None, None))}
    rows |= {name: pa.nulls(3, pa.float64()) for name in POINTING}
    slow = pa.table(
        [times(10, 11, 12), pa.array([1, 1, 1]), [70.0, 71.0, 72.0], [359.0, 1.0, 3.0], [True, True, False]],
        schema=POINTINGS,
    )
    good, bad = judged(rows, {"pointings": slow})
    assert good[POINTING[0]].to_pylist() == pytest.approx([70.25, 71.0])  # what is not tracked is not aimed at
    assert good[POINTING[1]].to_pylist() == pytest.approx([359.5, 1.0])
    assert bad["reason"].to_pylist() == ["does not track"]


def test_weather_that_nobody_knows_is_not_clear():
    rows = {"time": times(0, 10, 20, 30, 40, 1000), "tel_id": pa.array([1] * 6, pa.int16()), **aims(*[(70.0, 0.0)] * 6)}
    weather = pa.table(
        [times(5, 15, 25, 35), [1.0, float("nan"), None, 1.0], [None, 1.0, 99.0, 1.0], [0.0, 0.0, 0.0, float("nan")]],
        schema=WEATHER,
    )
    good, bad = judged(rows, {"weather": weather})
    assert good["time"].to_pylist() == [rows["time"][1].as_py()]
    assert bad.sort_by("time")["reason"].to_pylist() == [
        "weather not known", "clouds", "wind", "humidity", "weather not known",
    ]  # fmt: skip


def test_a_sub_array_is_that_of_the_array_or_of_the_states():
    rows = {"time": times(10, 10, 10, 10), "tel_id": pa.array([1, 2, 3, None], pa.int16()), **aims(*[(70.0, 0.0)] * 4)}
    good, bad = judged(rows, {}, subarray="south", members=(1, 2))
    assert good["tel_id"].to_pylist() == [1, 2]
    assert sorted(bad["reason"].to_pylist()) == ["no such telescope", "not in the sub-array"]
    states = {"time": times(0, 0), "tel_id": pa.array([2, 3], pa.int16()), "state": ["tracking"] * 2}
    good, bad = judged(rows, {"states": {**states, "subarray": ["north", "south"]}}, subarray="south", members=(1, 2))
    assert good["tel_id"].to_pylist() == [3]
    assert sorted(bad["reason"].to_pylist()) == ["no such telescope", "not in the sub-array", "state not known"]


def test_the_pipeline_takes_the_sub_arrays_of_a_file(tmp_path):
    path = tmp_path / "array.json"
    site = msgspec.structs.replace(made(4), subarrays=(SubArray("south", (1, 2)),))
    path.write_bytes(msgspec.json.encode(site))
    names = [w.uri for w in pipeline(array=str(path), subarray="south", states="log://states").writes]
    assert "log://monitors" in names and "log://excluded" in names
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(site, subarrays=(SubArray("south", (1, 9)),))))
    with pytest.raises(ConfigError, match="describes no array"):
        pipeline(array=str(path))


def test_dead_pixels_take_the_mean_of_their_neighbours():
    site = made(1)
    camera = site.cameras()[1]
    images = pa.table([times(1, 3), [1, 1], [1, 1], [1, 2], [32, 32], [[4.0] * camera.pixels] * 2, [None] * 2, [None] * 2, [None] * 2], schema=DL1_IMAGE)  # fmt: skip
    rows = [{"time": 0, "tel_id": 1, "dead": []}, {"time": 2 * SECOND, "tel_id": 1, "dead": [7, 99999, None, -1]}]
    flat = images["image"].combine_chunks().flatten().to_numpy().copy()
    flat[camera.pixels + 7] = 1000.0
    images = images.set_column(5, DL1_IMAGE.field(5), pa.ListArray.from_arrays([0, camera.pixels, 2 * camera.pixels], pa.array(flat)))  # fmt: skip
    stream = ev.from_table(images).event_time("time", lateness="1h")
    table = pa.Table.from_pylist(rows, schema=CALIBRATION)
    found = mended(stream, ev.from_table(table).event_time("time"), site)
    whole = ev.fetch(found.good)["image"].combine_chunks().flatten().to_numpy()
    assert whole.tolist() == [4.0] * (2 * camera.pixels)
    much = table.set_column(2, CALIBRATION.field(2), pa.array([[], list(range(1000))], pa.list_(pa.int32())))
    found = mended(stream, ev.from_table(much).event_time("time"), site)
    assert ev.fetch(found.excluded)["reason"].to_pylist() == ["too many dead pixels"]
    assert ev.fetch(found.good).num_rows == 1


def test_monitors_see_rate_night_sky_and_dead_pixels():
    site = made(4)
    night = Night(site, seed=4, hadrons=40.0, dead=[DeadPixels(0, 2, tuple(range(30)))])
    images = night.table(20)
    found = ev.fetch(monitor(ev.from_table(images).event_time("time", lateness="1s"), site, every="10s", sample=1))
    assert found.schema == MONITOR
    assert sum(found["images"].to_pylist()) == images.num_rows
    assert np.asarray(found["rate"]) * 10 == pytest.approx(np.asarray(found["images"]))
    assert np.abs(np.asarray(found["night_sky"]) - 1.6).max() < 0.1
    dead = dict(zip(found["tel_id"].to_pylist(), found["dead_pixels"].to_pylist(), strict=True))
    assert dead[2] == 30 and max(v for t, v in dead.items() if t != 2) == 0


def test_clouds_dim_the_light_and_telescopes_go_away():
    site = made(4)
    bright, dim = (Night(site, seed=4, hadrons=200.0, clouds=c).second(0) for c in ([], [Clouds(0, 1, 0.3)]))
    assert dim.num_rows < 0.7 * bright.num_rows
    away = Night(site, seed=4, away={2: [(1.0, 2.0)]})
    assert [away.pointings(n).column("is_tracking").to_pylist()[1] for n in (0, 1, 2)] == [True, False, True]
    assert away.states().filter(pa.compute.field("tel_id") == 2)["state"].to_pylist() == [
        "tracking",
        "slewing",
        "tracking",
    ]
    for wrong in ({"clouds": [Clouds(2, 1, 0.5)]}, {"dead": [DeadPixels(0, 1, (10**6,))]}, {"away": {99: []}}):
        with pytest.raises(UsageError, match="cannot be simulated"):
            Night(site, **wrong)


def test_scripts_that_are_none(tmp_path):
    path = tmp_path / "night.json"
    path.write_text(CliRunner().invoke(app, ["night", "--show"]).output)
    assert read_script(path) == DEFAULT
    for text in ("{", "[]", '{"states": [{"at": 1}]}', '{"limits": {"min_light": 1}}', '{"more": 1}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="no script"):
            read_script(path)
    with pytest.raises(ConfigError, match="no script"):
        read_script(tmp_path / "none.json")

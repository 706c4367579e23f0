"""Waveforms through the pipeline: their images are those that were simulated, and the events too."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.simtel import read_simtel
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.pipeline import Analysis, analyse, pipeline
from eventide.apps.gamma.schema import CALIBRATION, DL1_IMAGE, R1
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.simulate.simtel import simtel_streams
from eventide.apps.gamma.simulate.waveforms import Waveforms
from eventide.apps.gamma.site import Kind, Site, Telescope, made
from eventide.apps.gamma.slow_control.pixels import calibrated
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import ConfigError

SITE = made(4)
CRAB = OnOff(83.63308, 22.0145, radius=0.17)


@pytest.fixture(scope="module")
def night():
    return Night(SITE, seed=5, hadrons=0.0, singles=0.0, gammas=60.0)


@pytest.fixture(scope="module")
def camera(night):
    return Waveforms(night)


def images_of(rows, calibration, site=SITE, **options):
    found = calibrated(
        ev.read(MemorySource(rows)).event_time("time", lateness="1h"),
        ev.from_table(calibration).event_time("time", lateness="1h"),
        site,
        schema=DL1_IMAGE,
    )
    sinks = [MemorySink(), MemorySink()]
    ev.run(found.good.write(sinks[0]), found.excluded.write(sinks[1]), **options)
    return [s.table() for s in sinks]


def test_images_come_back_from_their_waveforms(night, camera):
    good, bad = images_of(pa.table(camera.second(0)), pa.table(camera.calibration()))
    assert bad.num_rows == 0
    assert set(DL1_IMAGE.names) < set(good.schema.names)
    given = night.second(0)
    assert good.num_rows == given.num_rows > 20
    keys = [list(zip(t.column("tel_id").to_pylist(), t.column("tel_event_id").to_pylist(), strict=True)) for t in (good, given)]  # fmt: skip
    order = [keys[0].index(k) for k in keys[1]]
    for name, within in (("image", 0.1), ("peak_time", 0.05)):
        made_, true = (np.stack([v.values.to_numpy() for v in c]) for c in (good[name].take(order), given.column(name)))
        bright = np.stack([v.values.to_numpy() for v in given.column("image")]) > 25
        assert bright.sum() > 100
        # Neighbours' light says when a pixel has its window: a window of 7 ns loses little of a pulse of 1.5 ns.
        assert np.median(np.abs(made_[bright] - true[bright])) / np.median(true[bright]) < within


def test_events_are_those_of_the_images(night, camera):
    how = Analysis(SITE, CRAB)
    rows = pa.Table.from_batches([camera.second(n) for n in range(2)])
    sinks = {level: MemorySink() for level in ("dl1", "r1")}
    found = analyse(ev.read(MemorySource(night.table(2))), how)
    ev.run(found.events.write(sinks["dl1"]))
    calibration = ev.read(MemorySource(pa.table(camera.calibration())))
    found = analyse(ev.read(MemorySource(rows)), how._replace(level="r1"), calibration=calibration)
    more = {n: MemorySink() for n in ("excluded", "monitors")}
    ev.run(found.events.write(sinks["r1"]), *(getattr(found, n).write(s) for n, s in more.items()))
    one, two = (s.table().filter(pa.compute.field("is_valid")).sort_by("event_id") for s in sinks.values())
    one, two = (t.select(["event_id", "alt"]) for t in (one, two))
    both = one.join(two, "event_id", right_suffix="_r1", join_type="inner")
    assert both.num_rows >= 0.9 * one.num_rows > 20
    assert np.median(np.abs(both["alt"].to_numpy() - both["alt_r1"].to_numpy())) < 0.02
    assert more["excluded"].table().num_rows == 0
    assert max(more["monitors"].table()["dead_pixels"].to_pylist()) < 100


def test_what_cannot_be_calibrated_is_told(camera):
    rows = camera.second(0).slice(0, 5)
    waves = [rows.column("waveform")[n].values.to_numpy() for n in range(5)]
    waves[1], waves[2] = waves[1][:-1], np.empty(0, np.uint16)
    tels = pa.array([1, 1, 1, 99, 3], pa.int16())
    broken = rows.set_column(
        R1.get_field_index("waveform"), R1.field("waveform"), pa.array(waves, pa.list_(pa.uint16()))
    )
    broken = broken.set_column(R1.get_field_index("tel_id"), R1.field("tel_id"), tels)
    calibration = pa.table(camera.calibration()).to_pylist()[:3]
    calibration[2]["factor"] = calibration[2]["factor"][:100]
    _, bad = images_of(pa.table(broken), pa.Table.from_pylist(calibration, schema=CALIBRATION))
    reasons = dict(zip(bad["tel_event_id"].to_pylist(), bad["reason"].to_pylist(), strict=True))
    numbers = rows.column("tel_event_id").to_pylist()
    assert [reasons.get(n) for n in numbers] == [
        None, "waveform of another camera", "waveform of another camera", "no such telescope",
        "calibration of another camera",
    ]  # fmt: skip
    _, bad = images_of(pa.table(rows), CALIBRATION.empty_table(), batch_rows=2)
    assert set(bad["reason"].to_pylist()) == {"no calibration"}


def test_levels_that_are_none():
    with pytest.raises(ConfigError, match="no level"):
        pipeline(level="r2")
    with pytest.raises(ConfigError, match="need a calibration"):
        pipeline(level="r1")


def test_waveforms_from_the_command_line(tmp_path):
    log = str(tmp_path / "log")
    done = CliRunner().invoke(
        app, ["simulate", "log://waves", "--level", "r1", "--array", "made-3", "--seconds", "2", "--log", log]
    )
    assert done.exit_code == 0, done.output
    job = pipeline("log://waves", array="made-3", level="r1", calibration="log://calibration", log=log)
    assert ev.run(job).quarantined == 0
    counts = {n: ev.fetch(ev.read(f"log://{n}", log=log, follow=False)).num_rows for n in ("waves", "parameters", "orphans")}  # fmt: skip
    assert counts["parameters"] + counts["orphans"] == counts["waves"] > 0
    assert isinstance(CliRunner().invoke(app, ["simulate", "x.parquet", "--level", "dl2"]).exception, ConfigError)


@pytest.mark.filterwarnings("ignore:File seems to be truncated")
def test_files_of_sim_telarray_feed_it(data_dir, tmp_path):
    pytest.importorskip("eventio")
    path = data_dir / "gamma" / "simtel" / "test_lasercal_v3.simtel.gz"
    given = simtel_streams(path, pointing=(70.0, 180.0))
    definitions = tmp_path / "cameras.json"
    definitions.write_text(given.definitions)
    kind = Kind("lst", f"{definitions}#1", 28.0, 370.0, 8.0, 4.0)
    site = Site("four", 28.76, -17.89, 1800.0, (kind,), tuple(Telescope(n, "lst", (n * 50.0, 0.0, 0.0)) for n in range(1, 5)))  # fmt: skip
    assert given.waveforms.num_rows == given.calibration.num_rows == 10
    good, bad = images_of(given.waveforms, given.calibration, site)
    assert (good.num_rows, bad.num_rows) == (10, 0)
    found = {(r["tel_event_id"], r["tel_id"]): r["image"] for r in good.select(["tel_event_id", "tel_id", "image"]).to_pylist()}  # fmt: skip
    for event in read_simtel(path):
        alone = calibrate(event.readout, event.raw[None]).image[0]
        assert np.asarray(found[event.event_id, event.tel_id], np.float32) == pytest.approx(alone, rel=1e-5, abs=1e-4)

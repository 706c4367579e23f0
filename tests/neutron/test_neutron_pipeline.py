"""The pipeline: whatever the form in which pulses come, histograms are what numpy counts from all of them at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.neutron.commands import app
from eventide.apps.neutron.demo import topic
from eventide.apps.neutron.instruments import AMOR
from eventide.apps.neutron.messages import encode, events_of
from eventide.apps.neutron.pipeline import longest, pipeline, products, read_in, reduce
from eventide.apps.neutron.plot import draw
from eventide.apps.neutron.simulate import simulate
from eventide.errors import ConfigError, DataError, UsageError
from eventide.log import Log

BROKEN = [b"", b"no message"]


@pytest.fixture(scope="module")
def pulses() -> pa.Table:
    return simulate("amor", seconds=3, rate=20_000, seed=3)


def came(pulses: pa.Table, form: str) -> pa.Table:
    """Return pulses in a form, messages with broken ones among them."""
    batches = pulses.to_batches()
    if form == "events":
        return pa.Table.from_batches([events_of(b) for b in batches])
    if form == "pulses":
        return pulses
    values = [v for b in batches for v in encode(b, form, together=1)["value"].to_pylist()]
    values[5:5] = BROKEN
    return pa.table({"value": pa.array(values, pa.large_binary())})


def newest(table: pa.Table, product: str) -> dict:
    rows = table.drop_columns(["until", "since", "first", "last"]).to_pylist()
    return [r for r in rows if r["product"] == product][-1]


@pytest.mark.parametrize("form", ["pulses", "events", "ev42", "ev44"])
def test_counts(pulses, form):
    read = read_in(ev.from_table(came(pulses, form)), form=form)
    live = reduce(read.pulses, AMOR, one_by_one=form == "events", bins=50, time_bins=10)
    found = ev.fetch(live.histograms)
    banks = pulses.filter(pulses["pixel_id"].is_valid())
    tof, pixel = (banks[n].combine_chunks().flatten().to_numpy() for n in ("time_of_flight", "pixel_id"))
    edges = np.linspace(0, longest(AMOR), 51)
    image = newest(found, "image")
    assert image["counts"] == np.bincount(pixel, minlength=AMOR.pixels).tolist()
    assert image["events"] == image["binned"] == tof.size
    assert newest(found, "time_of_flight")["counts"] == np.histogram(tof, edges)[0].tolist()
    assert (image["message_id_first"], image["message_id_last"]) == (0, 41)
    wavelength = AMOR.geometry().wavelength()[pixel] * tof
    made = products(AMOR, bins=50)["wavelength"]
    bins = np.searchsorted(made.edges, wavelength, side="right") - 1
    assert newest(found, "wavelength")["counts"] == np.bincount(bins, minlength=50).tolist()
    volume = newest(ev.fetch(live.volumes), "pixel_time")
    flat = pixel.astype(np.int64) * 10 + np.searchsorted(np.linspace(0, longest(AMOR), 11), tof, side="right") - 1
    assert volume["bins"] == np.unique(flat).tolist()
    assert volume["counts"] == np.unique(flat, return_counts=True)[1].tolist()
    monitors = ev.fetch(live.monitors)
    assert newest(monitors, "time_of_flight")["source"] == "amor_monitor"
    mine = pulses.filter(pulses["pixel_id"].is_null())["time_of_flight"].combine_chunks().flatten().to_numpy()
    assert newest(monitors, "time_of_flight")["counts"] == np.histogram(mine, edges)[0].tolist()
    if read.broken is not None:
        broken = ev.fetch(read.broken)
        assert broken["value"].to_pylist() == BROKEN
        assert all(broken["reason"].to_pylist())


def test_setup_is_vetoed(pulses):
    running = pa.array([i % 3 != 0 for i in range(pulses.num_rows)])
    marked = pulses.set_column(pulses.schema.get_field_index("running"), pulses.schema.field("running"), running)
    found = newest(ev.fetch(reduce(ev.from_table(marked), AMOR).histograms), "image")
    assert found["events"] == found["binned"] + found["vetoed"]
    assert found["vetoed"] > found["events"] / 4


def test_from_messages_in_the_log_to_a_page(tmp_path, pulses):
    pytest.importorskip("matplotlib")
    folder = str(tmp_path / "log")
    ev.run(ev.from_table(came(pulses, "ev44")).write("log://messages", log=folder))
    result = ev.run(pipeline("log://messages", form="ev44", instrument="amor", bins="200", log=folder))
    assert result.late == result.quarantined == 0
    assert topic("broken", folder).num_rows == len(BROKEN)
    tables = {name: topic(name, folder) for name in ("histograms", "monitors")}
    page = draw(tables, AMOR, tmp_path / "amor.html", title="A <beam>").read_text()
    assert "A &lt;beam&gt;" in page
    assert "<svg" in page
    assert "<script" not in page
    assert "amor_monitor" in page
    assert draw(tables, AMOR, tmp_path / "amor.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(DataError, match="nothing to draw"):
        draw({n: t.slice(0, 0) for n, t in tables.items()}, AMOR, tmp_path / "none.png")


@pytest.mark.parametrize(("by", "label"), [("amor_monitor", "counts per count of amor_monitor"), ("charge", "Ah")])
def test_normalised_is_drawn(tmp_path, pulses, by, label):
    """Beside the counts, with errors; where nothing was sent there is nothing to draw."""
    folder = str(tmp_path / "log")
    at = pulses.schema.get_field_index("proton_charge")
    charge = pa.array(np.full(pulses.num_rows, 2e-4), pulses.schema.field(at).type)
    ev.run(ev.from_table(pulses.set_column(at, pulses.schema.field(at), charge)).write("log://pulses", log=folder))
    ev.run(pipeline(instrument="amor", bins="50", normalise=by, log=folder))
    page = Path(call("plot", str(tmp_path / "amor.html"), "--instrument", "amor", "--log", folder).strip()).read_text()
    for title in ("Time of flight", "Momentum transfer", "Wavelength"):
        assert f"{title}, normalised" in page and title in page
    assert label in page and "d-spacing, normalised" not in page
    tables = {name: topic(name, folder) for name in ("histograms", "monitors", "normalised")}
    assert draw(tables, AMOR, tmp_path / "amor.png").read_bytes()[:4] == b"\x89PNG"
    found = tables["normalised"]
    for name in ("divisor", "values", "errors"):
        place = found.schema.get_field_index(name)
        field = found.schema.field(place)
        found = found.set_column(place, field, pa.nulls(found.num_rows, field.type))
    page = draw(tables | {"normalised": found}, AMOR, tmp_path / "none.html").read_text()
    assert "normalised" not in page and "Momentum transfer" in page


def test_parameters():
    for wrong, error in (
        ({"form": "ev45"}, ConfigError),
        ({"bins": "many"}, ConfigError),
        ({"instrument": "x"}, UsageError),
    ):
        with pytest.raises(error):
            pipeline(**wrong)
    with pytest.raises(UsageError):
        pipeline(bins="0")


def call(*args: str) -> str:
    done = CliRunner().invoke(app, list(args))
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


def test_volumes_can_be_left_out(tmp_path, pulses):
    log = str(tmp_path / "log")
    ev.run(ev.from_table(pulses).write("log://pulses", log=log))
    ev.run(pipeline(instrument="amor", volume_every="0", log=log), quarantine=log)
    with Log(log) as opened:
        assert {t.name for t in opened.topics()} >= {"histograms", "monitors"}
        assert "volumes" not in {t.name for t in opened.topics()}


def test_commands(tmp_path, pulses):
    pytest.importorskip("h5py", reason="pip install 'eventide[neutron]'")
    log, options = str(tmp_path / "log"), ["--instrument", "amor", "--seconds", "2", "--rate", "500"]
    file, recording = str(tmp_path / "run.nxs"), str(tmp_path / "run.parquet")
    assert "events of amor" in call("simulate", file, *options)
    assert "amor_detector" in call(
        "stream", file, "log://messages", "--form", "ev44", "--speed", "0", "--repeat", "2", "--log", log
    )
    call("record", "log://messages", recording, "--log", log)
    call("replay", recording, "log://pulses", "--form", "ev44", "--speed", "0", "--log", log)
    found, expected = topic("pulses", log), simulate("amor", seconds=2, rate=500)
    assert found.num_rows == 2 * expected.num_rows
    events = found["time_of_flight"].combine_chunks().flatten().to_numpy()
    assert sorted(events) == sorted(np.tile(expected["time_of_flight"].combine_chunks().flatten().to_numpy(), 2))
    call("simulate", str(tmp_path / "two.parquet"), *options)
    call("replay", str(tmp_path / "two.parquet"), "log://again", "--speed", "0", "--log", log)
    assert topic("again", log).num_rows == expected.num_rows
    assert CliRunner().invoke(app, ["simulate", "kafka://127.0.0.1:1/x"]).exit_code


def test_demo(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.delenv("EVENTIDE_DATA", raising=False)
    output = call("demo", "--out", str(tmp_path), "--instrument", "muons", "--seconds", "4", "--rate", "1000")
    summary = json.loads(output.splitlines()[-1])
    assert summary["ok"]
    assert summary["events"] > 3000
    assert (tmp_path / "muons.html").is_file()

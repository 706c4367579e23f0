"""Choppers of an instrument, in its file, as what the pipeline takes times of arrival for."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.neutron.chopped import by_choppers, passed_of
from eventide.apps.neutron.instruments import AMOR, MUONS, instrument
from eventide.apps.neutron.pipeline import pipeline, reduce
from eventide.apps.neutron.reduction.constants import WAVELENGTH
from eventide.apps.neutron.schema import PULSES
from eventide.errors import ConfigError

PERIOD = 71_428_571
FILE = """\
method = "sans"
period = 71_428_571
pulse_length = {length}
path = 24.0
wavelengths = [0.5, 20.0]
[[banks]]
name = "rear"
first = 1
rows = 16
columns = 32
centre = [0.0, 0.0, 4.0]
size = [0.03, 0.03]
[[monitors]]
name = "early"
distance = 7.0
[[monitors]]
name = "late"
distance = 23.0
[[choppers]]
name = "band"
distance = 6.5
frequency = 14.0
openings = [[0.0, 80.0]]
phase = 20.0
[[choppers]]
name = "overlap"
distance = 11.0
frequency = 14.0
times = [[10_000_000, 32_000_000]]
"""


def made(folder, length=1000.0, text=FILE):
    (folder / "mine.toml").write_text(text.format(length=length))
    return instrument(str(folder / "mine.toml"))


def through(one, sent, lam, up_to):
    """By the angle, or the time in its turn, of each disc."""
    out = np.ones(sent.size, np.bool_)
    for c in one.choppers:
        if c.distance < up_to:
            when = sent + c.distance * lam / WAVELENGTH
            if c.openings:
                (a, b), at = c.openings[0], 360 * c.frequency * when / 1e6 - c.phase
                out &= np.mod(at - a, 360) <= b - a
            else:
                a, b = (t / 1000 for t in c.times[0])
                out &= np.mod(when - a, 1e6 / c.frequency) <= b - a
    return out


def pulse(source, number, arrival, pixel=None):
    ns = np.rint(np.mod(arrival * 1000, PERIOD)).astype(np.int64)
    row = {
        "event_time": pa.array([(1_767_225_600 + number) * 10**9]).cast(PULSES.field("event_time").type),
        "source": [source], "message_id": [number], "pulse": [0], "time_of_flight": [ns.tolist()],
        "pixel_id": [None if pixel is None else pixel.tolist()],
    }  # fmt: skip
    return pa.table([pa.array(row.get(n, [None]), PULSES.field(n).type) for n in PULSES.names], schema=PULSES)


def last(table, name, **where):
    rows = table.filter(pa.compute.equal(table["product"], name))
    for key, value in where.items():
        rows = rows.filter(pa.compute.equal(rows[key], value))
    return {n: rows[n][-1].as_py() for n in ("events", "counts", "binned", "nan")}


def test_wavelengths_are_those_that_flew(tmp_path):
    one = made(tmp_path)
    rng = np.random.default_rng(1)
    lam, sent = rng.uniform(0.5, 20.0, 60_000), rng.uniform(0, 1.0, 60_000)
    pixel, path = rng.integers(1, 513, lam.size), one.geometry().path
    good = through(one, sent, lam, one.path)
    lam, sent, pixel = lam[good], sent[good], pixel[good]
    assert lam.size > 2000 and np.ptp(lam) > 2 and (lam * path.max() / WAVELENGTH > PERIOD / 1000).any()
    arrival = sent + lam * path[pixel - 1] / WAVELENGTH
    noise = rng.uniform(0, PERIOD / 1000, 4000)
    gone = np.isnan(by_choppers(one).detectors.times(np.full(4000, path[0]), noise))
    assert 100 < gone.sum() < 4000
    noise = noise[gone]
    monitor = rng.uniform(0.5, 20.0, 30_000)
    told = {
        name: monitor[through(one, np.zeros(monitor.size), monitor, at)] * at / WAVELENGTH
        for name, at in (("early", 7.0), ("late", 23.0))
    }
    assert told["late"].size < told["early"].size
    pulses = pa.concat_tables(
        [
            pulse("rear", 1, np.append(arrival, noise), np.append(pixel, np.full(noise.size, 1))),
            *(pulse(name, 1, each) for name, each in told.items()),
        ]
    )
    live = reduce(ev.from_table(pulses), one, chosen="wavelength=0-20,image", bins=100, frames="choppers")
    table, monitors = ev.fetch(live.histograms), ev.fetch(live.monitors)
    row = last(table, "wavelength")
    assert row["events"] == lam.size + noise.size
    # What the border of a cell decides otherwise is lost, or found, as some event in a hundred.
    assert noise.size <= row["nan"] <= noise.size + 0.01 * lam.size
    expected = np.histogram(lam, np.linspace(0, 20, 101))[0]
    assert np.abs(np.array(row["counts"]) - expected).sum() <= row["nan"] - noise.size + 0.05 * lam.size
    for name, each in told.items():
        mine = last(monitors, "time_of_flight", source=name)
        assert mine["events"] == each.size and mine["nan"] < 0.02 * each.size
        flights = np.histogram(each * 1000, np.linspace(0, longest_of(monitors), 101))[0]
        assert np.abs(np.array(mine["counts"]) - flights).sum() < 0.1 * each.size


def longest_of(table):
    from eventide.kernel.histogram.publication import read_metadata

    return read_metadata(table.schema)["time_of_flight"]["axes"][0]["high"]


def test_by_the_setting_of_the_pipeline(tmp_path):
    made(tmp_path, length=2_860_000.0)
    log = str(tmp_path / "log")
    rng = np.random.default_rng(1)
    every = [pulse("rear", k, rng.uniform(0, PERIOD / 1000, 500), rng.integers(1, 513, 500)) for k in range(4)]
    ev.run(ev.from_table(pa.concat_tables(every)).write("log://pulses", log=log))
    ev.run(pipeline(instrument=str(tmp_path / "mine.toml"), frames="choppers", products="wavelength", log=log))
    row = last(ev.fetch(ev.read("log://histograms", log=log, follow=False)), "wavelength")
    gone = 1 - by_choppers(instrument(str(tmp_path / "mine.toml"))).detectors.shares()[0]
    assert row["events"] == 2000 and row["nan"] == pytest.approx(2000 * gone, abs=120)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("frequency = 14.0\nop", "frequency = 0.0\nop", "choppers 1.*turns 0.0 times"),
        ("[[0.0, 80.0]]", "[[80.0, 0.0]]", "choppers 1.*not in order"),
        ("[[0.0, 80.0]]", "[]", "choppers 1.*neither openings nor times"),
        ("phase = 20.0", "phases = 20.0", "choppers 1: there is no 'phases'"),
        ("[[10_000_000, 32_000_000]]", '"open"', "choppers 2"),
        ("pulse_length = 1000.0", "pulse_length = 72_000_000", "shorter than the period"),
        ("pulse_length = 1000.0", "pulse_length = -1.0", "shorter than the period"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(tmp_path, old, new, reason):
    text = FILE.format(length=1000.0)
    assert old in text
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, text=text.replace(old, new, 1))
    assert re.search(reason, str(caught.value)) and "mine.toml" in str(caught.value)


def test_what_there_is_not(tmp_path):
    for one in (AMOR, MUONS):
        with pytest.raises(ConfigError, match="has no choppers"):
            by_choppers(one)
    with pytest.raises(ConfigError, match="has no choppers"):
        pipeline(instrument="amor", frames="choppers")
    closed = FILE.replace("[[10_000_000, 32_000_000]]", "[[70_000_000, 70_000_001]]").replace("20.0]\n[[b", "4.0]\n[[b")
    with pytest.raises(ConfigError, match="let nothing through"):
        by_choppers(made(tmp_path, text=closed))
    odd = FILE.replace("frequency = 14.0\nt", "frequency = 13.0\nt")
    with pytest.raises(ConfigError, match="'overlap' is not in step"):
        by_choppers(made(tmp_path, text=odd))
    one = made(tmp_path)
    assert len(passed_of(one, up_to=7.0)) >= 1 and passed_of(one, up_to=1.0)[0].wavelengths == pytest.approx((0.5, 20))

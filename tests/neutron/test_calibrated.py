"""Calibrations as a setting: from a file to d-spacings, momentum transfers, masks and the ledger of the pipeline."""

from __future__ import annotations

import dataclasses
import itertools
import threading

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.neutron import hindsight
from eventide.apps.neutron.calibrated import calibration_of, without_calibration
from eventide.apps.neutron.instruments import DREAM, MUONS, Bank, Instrument, instrument
from eventide.apps.neutron.pipeline import pipeline, reduce
from eventide.apps.neutron.plot import axis_edges
from eventide.apps.neutron.reduction.calibration import Calibration
from eventide.apps.neutron.reduction.calibration_file import read_calibration
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import simulate
from eventide.errors import ConfigError, DataError, EventideError, MissingDependencyError
from eventide.kernel.histogram.publication import read_metadata

SMALL = Instrument(
    "small",
    "powder",
    71_428_571,
    20.0,
    (Bank("bank", 11, 8, 16, (1.0, 0.0, 0.2), (0.02, 0.03), dead=(7,)),),
    (),
    (0.5, 4),
)
DIAMOND = 3.56712
LEDGER = ("binned", "below", "above", "unknown", "masked", "nan", "vetoed")


def columns(one=SMALL, seed=1):
    """A calibration of most pixels of an instrument, in some order, with some that are none of it."""
    rng = np.random.default_rng(seed)
    geometric = 1 / (one.geometry().d_spacing() * 1000)
    number = rng.permutation(np.arange(one.first - 4, one.first + one.pixels - 9))
    at = np.clip(number - one.first, 0, one.pixels - 1)
    difc = np.where(np.isnan(geometric[at]), 5000.0, geometric[at]) * rng.normal(1, 0.01, number.size)
    return {
        "detid": number.astype(np.int32),
        "difc": difc,
        "difa": rng.normal(0, 3, number.size) * (rng.random(number.size) < 0.7),
        "tzero": rng.uniform(0, 20, number.size),
        "use": (rng.random(number.size) < 0.8).astype(np.int32),
    }


def file_of(place, made):
    """Write columns as the suffix says."""
    if place.suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(place, "w") as file:
            for name, values in made.items():
                file[f"calibration/{name}"] = values
    else:
        write = pyarrow.csv.write_csv if place.suffix == ".csv" else pyarrow.parquet.write_table
        write(pa.table(made), place)
    return place


def pulses_of(one, pixel, time, number=0):
    """One pulse of events, times in us; pulses by number are a second apart."""
    ns = np.rint(time * 1000).astype(np.int32)
    row = {
        "event_time": pa.array([(1_767_225_600 + number) * 10**9]).cast(PULSES.field("event_time").type),
        "source": [one.banks[0].name], "message_id": [number], "pulse": [0],
        "time_of_flight": [ns.tolist()], "pixel_id": [pixel.tolist()],
    }  # fmt: skip
    return pa.table([pa.array(row.get(n, [None]), PULSES.field(n).type) for n in PULSES.names], schema=PULSES)


def last(table, name):
    rows = table.filter(pa.compute.equal(table["product"], name))
    return {n: rows[n][-1].as_py() for n in ("events", "counts", *LEDGER)}


def edges_of(table, name):
    return axis_edges(read_metadata(table.schema)[name]["axes"][0])


def adds_up(table):
    return np.array_equal(sum(np.array(table[n]) for n in LEDGER), np.array(table["events"]))


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".parquet"])
def test_every_event_is_where_the_formula_says(tmp_path, suffix):
    """Of each event, by the columns of the file: masked, or in the bin of the root that plain Python finds."""
    made = columns()
    place = file_of(tmp_path / f"one{suffix}", made)
    rng = np.random.default_rng(3)
    pixel = rng.integers(SMALL.first - 3, SMALL.first + SMALL.pixels + 3, 4000)
    time = np.rint(rng.uniform(500, 30_000, 4000) * 1000) / 1000
    job = reduce(
        ev.from_table(pulses_of(SMALL, pixel, time)), SMALL, chosen="d_spacing=0.4-3,q=1-12,image,wavelength", bins=40,
        calibration=calibration_of(place, SMALL),
    )  # fmt: skip
    table, volumes = ev.fetch(job.histograms), ev.fetch(job.volumes)
    rows = {int(n): k for k, n in enumerate(made["detid"])}
    alive = SMALL.geometry().alive
    found, masked, unknown = [], 0, 0
    for n, t in zip(pixel.tolist(), time.tolist(), strict=True):
        k = rows.get(n)
        if not SMALL.first <= n < SMALL.first + SMALL.pixels:
            unknown += 1
        elif k is None or not made["use"][k] or not alive[n - SMALL.first]:
            masked += 1
        else:
            roots = np.roots([made["difa"][k], made["difc"][k], made["tzero"][k] - t])
            near = (t - made["tzero"][k]) / made["difc"][k]
            found.append(min(roots, key=lambda d: abs(d - near)).real)
    assert masked > 500 and unknown > 50
    values = {"d_spacing": np.array(found), "q": 2 * np.pi / np.array(found)}
    for name, each in values.items():
        expected = np.histogram(each, edges_of(table, name))[0]
        assert np.abs(np.array(last(table, name)["counts"]) - expected).sum() <= 2, name  # on an edge, rounding decides
    for name in ("d_spacing", "q", "image", "wavelength"):
        one = last(table, name)
        assert (one["masked"], one["unknown"], one["events"]) == (masked, unknown, 4000), name
    assert adds_up(table) and adds_up(volumes) and volumes["masked"].to_pylist() == [masked]


def test_dream_with_offsets(tmp_path):
    """Offsets alone: each d-spacing is by that part of itself more than by the geometry; peaks move by it."""
    pulses = simulate("dream", seconds=2, rate=200_000, seed=5)
    numbers = np.arange(DREAM.first, DREAM.first + DREAM.pixels)
    place = tmp_path / "offsets.parquet"
    pyarrow.parquet.write_table(pa.table({"detid": numbers, "offset": np.full(numbers.size, 0.02)}), place)
    plain, moved = (
        ev.fetch(
            reduce(ev.from_table(pulses), DREAM, chosen="d_spacing=0.5-2.5", bins=1000, calibration=each).histograms
        )
        for each in (None, calibration_of(place, DREAM))
    )
    centres = (edges_of(plain, "d_spacing")[:-1] + edges_of(plain, "d_spacing")[1:]) / 2
    highest = [centres[np.argmax(last(table, "d_spacing")["counts"])] for table in (plain, moved)]
    assert highest[1] / highest[0] == pytest.approx(1.02, abs=0.002)
    assert min(abs(highest[0] - DIAMOND / np.sqrt([3, 8, 11, 16, 19]))) < 0.01
    assert adds_up(moved) and last(moved, "d_spacing")["events"] == last(plain, "d_spacing")["events"]


def test_diamond_through_the_calibration_of_nomad(tmp_path, data_dir):
    """An instrument of NOMAD's pixels, of which the file masks two thirds; its reflections come back through the log."""
    pytest.importorskip("h5py")
    place = next((data_dir / "neutron" / "nomad").glob("*.h5"))
    nomad = read_calibration(place)
    (tmp_path / "nomad.toml").write_text(
        f'method = "powder"\nperiod = 16666667\npath = 19.5\nwavelengths = [0.1, 3.0]\ncalibration = "{place}"\n'
        '[[banks]]\nname = "all"\nfirst = 0\nrows = 792\ncolumns = 128\ncentre = [1.0, 0.0, 0.5]\nsize = [0.005, 0.005]\n'
    )
    one = instrument(str(tmp_path / "nomad.toml"))
    assert one.pixels == nomad.difc.size == 101_376
    rng = np.random.default_rng(2)
    sums = [
        h * h + k * k + m * m
        for h, k, m in itertools.product(range(9), repeat=3)
        if len({h % 2, k % 2, m % 2}) == 1 and (h % 2 or (h + k + m) % 4 == 0) and h + k + m
    ]
    peaks = 2 * np.pi * np.sqrt(np.array(sorted(set(sums))[:21])) / DIAMOND
    pixel = rng.integers(0, one.pixels, 60_000)
    d = 2 * np.pi / rng.choice(peaks, pixel.size)
    difc, difa, tzero = (np.nan_to_num(each[pixel]) for each in (nomad.difc, nomad.difa, nomad.tzero))
    time = difa * d * d + difc * d + tzero
    log = str(tmp_path / "log")
    ev.run(ev.from_table(pulses_of(one, pixel, time)).write("log://pulses", log=log))
    ev.run(pipeline(instrument=str(tmp_path / "nomad.toml"), products="q=1-25,d_spacing", bins="200000", log=log))
    table = ev.fetch(ev.read("log://histograms", log=log, follow=False))
    made = last(table, "q")
    used = nomad.usable[pixel]
    assert (made["events"], made["masked"], made["binned"]) == (60_000, int((~used).sum()), int(used.sum()))
    bounds = edges_of(table, "q")
    centres = np.sqrt(bounds[1:] * bounds[:-1])
    off = np.repeat(centres, made["counts"])
    nearest = np.abs(off[:, None] - peaks).min(axis=1)
    assert nearest.mean() < 0.001 and nearest.max() < 0.003
    assert adds_up(table)


def test_by_the_settings_and_in_hindsight(tmp_path):
    log, place = str(tmp_path / "log"), file_of(tmp_path / "one.csv", columns())
    rng = np.random.default_rng(3)
    pixel, time = rng.integers(SMALL.first, SMALL.first + SMALL.pixels, (8, 300)), rng.uniform(2000, 9000, (8, 300))
    pulses = pa.concat_tables([pulses_of(SMALL, pixel[k], time[k], number=k) for k in range(8)])
    (tmp_path / "small.toml").write_text(
        'method = "powder"\nperiod = 71428571\npath = 20.0\nwavelengths = [0.5, 4.0]\n'
        '[[banks]]\nname = "bank"\nfirst = 11\nrows = 8\ncolumns = 16\ncentre = [1.0, 0.0, 0.2]\nsize = [0.02, 0.03]\n'
        "dead = [7]\n"
    )
    ev.run(ev.from_table(pulses).write("log://pulses", log=log))
    given = {"instrument": str(tmp_path / "small.toml"), "products": "d_spacing", "log": log}
    ev.run(pipeline(**given))
    plain = last(ev.fetch(ev.read("log://histograms", log=log, follow=False)), "d_spacing")
    assert plain["masked"] < 400
    ev.run(pipeline(calibration=str(place), sink="log://known-", **given))
    known = last(ev.fetch(ev.read("log://known-histograms", log=log, follow=False)), "d_spacing")
    assert known["masked"] > 500 and known["counts"] != plain["counts"]
    # The file of the instrument says the same, from its own folder; and so do counts made anew.
    with (tmp_path / "small.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write('calibration = "one.csv"\n' + text)
    ev.run(pipeline(sink="log://said-", **given))
    assert last(ev.fetch(ev.read("log://said-histograms", log=log, follow=False)), "d_spacing") == known
    # A log on which nothing counts yet: the version holds as soon as it has published.
    fresh, stop = str(tmp_path / "fresh"), threading.Event()
    ev.run(ev.from_table(pulses).write("log://pulses", log=fresh))
    hindsight.rebin(
        "anew", checkpoint=str(tmp_path / "state"), stop=stop, on_switch=lambda *_: stop.set(),
        calibration=str(place), **(given | {"log": fresh}),
    )  # fmt: skip
    whole, anew = (
        ev.fetch(ev.read(f"log://{name}", log=where, follow=False)).select(["until", "counts", *LEDGER]).to_pylist()
        for name, where in (("known-histograms", log), ("anew-histograms", fresh))
    )
    assert 0 < len(anew) <= len(whole) and anew == whole[: len(anew)]


@given(
    first=st.integers(-5, 20),
    count=st.integers(1, 30),
    theirs=st.integers(-5, 20),
    use=st.lists(st.booleans(), min_size=1, max_size=20),
)
def test_pixels_of_an_instrument_within_a_calibration(first, count, theirs, use):
    difc = 100.0 + np.arange(len(use))
    one = Calibration(difc, difc / 9, difc / 7, np.array(use), theirs)
    found = one.within(first, count)
    expected = [use[n - theirs] if 0 <= n - theirs < len(use) else False for n in range(first, first + count)]
    assert found.usable.tolist() == expected and found.first == first
    numbers = np.arange(first, first + count)
    for name in ("d", "time"):
        np.testing.assert_array_equal(
            getattr(found, name)(numbers, 5.0), np.where(expected, getattr(one, name)(numbers, 5.0), np.nan)
        )


def test_offsets_and_both(tmp_path):
    geometric = np.array([1000.0, 2000.0, np.nan])
    text = "detid,offset,use\n5,0.25,1\n7,0.5,1\n6,0.0,1\n8,0.1,true\n"
    (tmp_path / "o.csv").write_text(text.replace("true", "1"))
    made = read_calibration(tmp_path / "o.csv", difc=geometric, first=5)
    assert made.difc.tolist()[:2] == [800.0, 2000.0] and np.isnan(made.difc[2:]).all()
    with pytest.raises(DataError, match="offsets need a geometry"):
        read_calibration(tmp_path / "o.csv")
    (tmp_path / "b.csv").write_text("detid,offset,difc\n5,0.25,70.0\n6,0.5,\n")
    made = read_calibration(tmp_path / "b.csv", difc=geometric, first=5)
    assert made.difc[0] == 70.0 and made.usable.tolist() == [True, False]


def test_whole_and_linear_momentum_transfer():
    none = np.zeros(1)
    plain = Calibration(np.array([1000.0]), none, none, np.array([True]))
    assert type(plain.momentum_transfer_whole()) is type(plain.momentum_transfer_linear())
    assert dataclasses.replace(plain, tzero=np.ones(1)).momentum_transfer_whole().inverse


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("none.csv", None, "is no calibration"),
        ("none.h5", None, "is no calibration"),
        ("a.csv", "", "is no calibration"),
        ("a.csv", "detid,use\n11,1\n", "no detid or no difc"),
        ("a.csv", "detid,difc\n11,x\n", "not numbers"),
        ("a.csv", "detid,difc\n11.5,1.0\n", "not numbers"),
        ("a.csv", "detid,difc\n11,1.0\n11,2.0\n", "not one row each"),
        ("a.csv", "detid,difc\n11,1.0\n9999999999,2.0\n", "span too many"),
        ("a.csv", "detid,difc,use\n11,1.0,\n12,1.0,1\n", "use has 1 empty"),
        ("a.csv", "detid,difc\n11,1.0,5\n", "is no calibration"),
        ("a.parquet", "no such thing", "is no calibration"),
        ("a.h5", "no such thing", "is no calibration"),
        ("a.csv", "detid,difc,use\n11,1.0,0\n", "no pixel of small in use"),
        ("a.csv", "detid,difc\n9011,1.0\n", "its pixels are 9011 to 9011"),
        ("a.csv", "detid,difc\n11,-3.0\n12,inf\n", "no pixel of small in use"),
    ],
)
def test_broken_files(tmp_path, name, text, reason):
    place = tmp_path / name
    if text is not None:
        place.write_text(text)
    with pytest.raises(EventideError, match=reason) as caught:
        calibration_of(place, SMALL)
    assert isinstance(caught.value, DataError | ConfigError | MissingDependencyError) and caught.value.hint
    assert name in str(caught.value)


def test_muons_have_none(tmp_path):
    with pytest.raises(ConfigError, match="no d-spacing to calibrate"):
        calibration_of(tmp_path / "x.csv", MUONS)
    assert without_calibration(None, None) is None
    mask = np.zeros(SMALL.pixels, np.bool_)
    mask[3] = True
    made = without_calibration(mask, Calibration(*(np.ones(SMALL.pixels),) * 3, np.ones(SMALL.pixels, np.bool_), 11))
    assert made.sum() == 1 and made[3]

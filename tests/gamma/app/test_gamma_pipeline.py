"""The whole pipeline on simulated nights: no image is lost, late telescopes are left out, a flare is found."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.images import parametrise
from eventide.apps.gamma.models.files import save
from eventide.apps.gamma.models.forest import Tree, forest_of
from eventide.apps.gamma.operators import Cleaning, parameters, unfit
from eventide.apps.gamma.pipeline import Analysis, analyse, pipeline
from eventide.apps.gamma.schema import CALIBRATION, DL1_IMAGE, DL2_EVENT, DL2_TEL, DL3_EVENT, POINTINGS, TIMED
from eventide.apps.gamma.science.regions import OnOff, separation
from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.simulate.night import CRAB
from eventide.apps.gamma.simulate.source import Seconds
from eventide.apps.gamma.site import camera_of, made
from eventide.apps.gamma.timed import timed
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import ConfigError, SchemaError

SITE = made(8)
POSITION = OnOff(*CRAB, radius=0.17, name="Crab")
HOW = Analysis(SITE, POSITION)


def ran(images, how=HOW, pointings=None, **options):
    found = analyse(ev.read(MemorySource(images)), how, pointings=pointings)._asdict()
    sinks = {name: MemorySink() for name in found}
    ev.run(*(stream.write(sinks[name]) for name, stream in found.items()), **options)
    return {name: sink.table() for name, sink in sinks.items()}


def seconds(made_by, count):
    return pa.Table.from_batches([made_by(n) for n in range(count)])


@pytest.fixture(scope="module")
def night():
    """Return a night of a minute with a flare, of which telescope 2 misses the first twenty seconds."""
    return Night(SITE, seed=2, hadrons=15.0, flares=[Flare(20.0, 50.0, 150.0)], joins={2: 20.0})


@pytest.fixture(scope="module")
def results(night):
    return ran(night.table(60))


def test_every_image_is_accounted_for(night, results):
    ends = ("parameters", "orphans", "duplicates", "late", "excluded")
    assert sum(results[name].num_rows for name in ends) == night.table(60).num_rows
    assert results["late"].num_rows == results["duplicates"].num_rows == 0
    assert results["parameters"].schema == DL2_TEL
    assert results["events"].schema == DL2_EVENT
    assert results["gammas"].schema == DL3_EVENT


def test_a_telescope_that_joins_late_is_left_out_until_then(night, results):
    excluded = results["excluded"]
    assert set(excluded["tel_id"].to_pylist()) == {2}
    assert set(excluded["reason"].to_pylist()) == {"does not track"}
    since = results["parameters"]["time"].cast(pa.int64()).to_numpy() - night.start
    assert since[results["parameters"]["tel_id"].to_numpy() == 2].min() >= 20e9


def test_events_are_where_they_come_from(results):
    gammas = results["gammas"]
    ra, dec = (gammas[n].to_numpy() for n in ("ra", "dec"))
    away = separation(ra, dec, ra0=CRAB[0], dec0=CRAB[1])
    assert (away < 0.17).sum() > 20
    assert np.median(away[away < 0.17]) < 0.1
    assert gammas["ra_pnt"].to_numpy() == pytest.approx(CRAB[0], abs=1e-6)
    assert gammas["dec_pnt"].to_numpy() == pytest.approx(CRAB[1] + 0.5, abs=1e-6)
    assert set(gammas["obs_id"].to_pylist()) == {1}


def test_cores_are_found_wherever_the_array_points():
    """A night that begins 75 degrees above the horizon ends lower; without a pointing of the array it does not matter."""
    for start in ("2026-01-01T00:30", "2026-01-01T03:00"):
        bright = Night(SITE, seed=9, start=start, hadrons=0.0, singles=0.0, gammas=60.0)
        drawn, showers = bright._showers, []
        bright._showers = lambda *given, drawn=drawn, showers=showers: showers.append(drawn(*given)) or showers[-1]
        events = ran(bright.table(2))["events"]
        events = events.filter(events["is_valid"])
        times = np.concatenate([s.times for s in showers])
        cores = np.concatenate([s.core for s in showers])
        at = np.abs(events["event_time"].cast(pa.int64()).to_numpy()[:, None] - times[None]).argmin(axis=1)
        miss = np.hypot(events["core_x"].to_numpy() - cores[at, 0], events["core_y"].to_numpy() - cores[at, 1])
        assert miss.size > 10
        assert np.median(miss) < 15.0, start


def test_a_flare_makes_alerts_soon(night, results):
    alerts = results["alerts"]["time"].cast(pa.int64()).to_numpy()
    assert alerts.size > 0
    assert 20e9 <= alerts.min() - night.start <= 50e9
    curve = results["light_curve"]
    assert sum(curve["n_on"].to_pylist()) == results["significance"]["n_on"].to_pylist()[-1]


def test_a_quiet_night_makes_none():
    quiet = Night(SITE, seed=3, hadrons=15.0)
    assert ran(quiet.table(40))["alerts"].num_rows == 0


def test_pointings_of_their_own_stream_give_the_same(night, results):
    bare = Night(SITE, seed=2, hadrons=15.0, flares=[Flare(20.0, 50.0, 150.0)], joins={2: 20.0}, pointed=False)
    images = bare.table(60)
    assert images["telescope_pointing_altitude"].null_count == images.num_rows
    pointings = seconds(bare.pointings, 60)
    assert pointings.schema == POINTINGS
    found = ran(images, pointings=ev.read(MemorySource(pointings)))
    assert found["events"].num_rows == results["events"].num_rows
    assert found["excluded"].num_rows == results["excluded"].num_rows
    assert (
        sum(found[n].num_rows for n in ("parameters", "orphans", "duplicates", "late", "excluded")) == images.num_rows
    )
    # A pointing is a second old at most: the sky turns by 15 arcseconds.
    both = [
        t.sort_by("event_id").filter(t.sort_by("event_id")["is_valid"])["alt"].to_numpy()
        for t in (results["events"], found["events"])
    ]
    assert np.abs(both[0] - both[1]).max() < 0.01


def test_late_images_leave_by_their_port(night):
    images = night.table(10)
    held = images.slice(0, 5)
    rows = pa.concat_tables([images.slice(5), held])
    found = ran(rows, batch_rows=20)
    slewing = held["telescope_pointing_altitude"].null_count
    assert found["late"].num_rows == 5 - slewing > 0
    assert sum(found[n].num_rows for n in ("parameters", "orphans", "duplicates", "late", "excluded")) == rows.num_rows


@pytest.mark.parametrize("rows", [7, 100_000])
def test_which_images_are_late_does_not_depend_on_batches(night, rows):
    images = night.table(10)
    held = pa.concat_tables([images.slice(5), images.slice(0, 5)])
    # Telescope 1 is not of this array: rows that are left out do not shift the marks of others.
    site = msgspec.structs.replace(SITE, telescopes=SITE.telescopes[1:])
    found = ran(held, HOW._replace(site=site), batch_rows=rows)
    late = [t for t in images.slice(0, 5)["tel_id"].to_pylist() if t not in {1, 2}]  # 2 slews
    assert sorted(found["late"]["tel_id"].to_pylist()) == sorted(late)
    assert late


def test_images_that_do_not_fit_are_told_apart():
    images = Night(SITE, seed=1, hadrons=100.0).second(0)
    lists = [[1.0, 2.0], None, images.column("image")[2].as_py(), [None] * len(images.column("image")[3])]
    columns = {n: images.column(n).slice(0, 4) for n in DL1_IMAGE.names}
    columns["image"] = pa.array(lists, pa.list_(pa.float32()))
    tels = columns["tel_id"].to_pylist()
    columns["tel_id"] = pa.array([*tels[:3], tels[3]], pa.int16())
    rows = pa.table(columns, schema=DL1_IMAGE)
    strange = rows.set_column(2, DL1_IMAGE.field(2), pa.array([tels[0], tels[1], 999, tels[3]], pa.int16()))
    assert sorted(ev.fetch(unfit(ev.from_table(strange), SITE))["reason"].to_pylist()) == [
        "image of another camera", "image of another camera", "no image", "no such telescope",
    ]  # fmt: skip
    assert ev.fetch(parameters(ev.from_table(strange), SITE)).num_rows == 0
    assert ev.fetch(parameters(ev.from_table(rows), SITE)).num_rows == 1
    with pytest.raises(SchemaError, match="no column 'image'"):
        ev.fetch(unfit(ev.from_table(rows.drop(["image"])), SITE))


def leaf(value):
    return Tree(np.array([-1]), np.array([0.0]), np.array([0]), np.array([0]), np.array([value]))


def test_models_decide_where_there_are_some(night, tmp_path):
    for name, value in (("gammaness", 0.9), ("energy", 2.0)):
        save(forest_of([leaf(value)], ["hillas_width"], name=name), tmp_path / f"{name}.npz")
    images = night.table(10)
    ev.run(ev.read(MemorySource(images)).write("log://images", log=str(tmp_path / "log")))
    models = {name: str(tmp_path / f"{name}.npz") for name in ("gammaness", "energy")}
    job = pipeline(array="made-8", log=str(tmp_path / "log"), **models)
    ev.run(job)
    gammas = ev.fetch(ev.read("log://gammas", log=str(tmp_path / "log"), follow=False))
    events = ev.fetch(ev.read("log://events", log=str(tmp_path / "log"), follow=False).filter(pl.col("is_valid")))
    assert gammas.num_rows == events.num_rows > 0
    assert set(np.round(gammas["energy"].to_pylist(), 9)) == {2.0}
    assert set(np.round(gammas["gammaness"].to_pylist(), 9)) == {0.9}
    with pytest.raises(ConfigError, match="says 'energy'"):
        pipeline(gammaness=models["energy"])


@pytest.mark.parametrize("options", [{"batch_rows": 7}, {"lanes": 3, "batch_rows": 50}])
def test_results_are_the_same_however_it_runs(night, results, options):
    found = ran(night.table(60), **options)
    for name in ("events", "gammas", "alerts", "light_curve"):
        keys = [(found[name].column_names[0], "ascending")]
        keys += [("id", "ascending")] if name == "alerts" else []
        assert found[name].sort_by(keys).equals(results[name].sort_by(keys)), name


def test_a_source_goes_on_where_it_was():
    source = Seconds(Night(SITE, seed=1).pointings, 3, POINTINGS)
    reader = source.open({})
    first = reader.read(max_rows=5, timeout=0)[0]
    rest = source.open({"0": first.position})
    rows = [first.batch]
    while not rest.finished:
        rows += [c.batch for c in rest.read(max_rows=1000, timeout=0)]
    assert pa.Table.from_batches(rows).equals(seconds(Night(SITE, seed=1).pointings, 3))


def test_settings_that_are_none():
    for wrong in ({"target": "crab"}, {"threshold": "high"}, {"array": "made-0"}):
        with pytest.raises(ConfigError):
            pipeline(**wrong)


def test_the_sky_of_astropy_is_nearly_the_same(night, results):
    pytest.importorskip("astropy")
    found = ran(night.table(10), HOW._replace(astrometry="astropy"))["events"].filter
    found = found(pa.compute.field("is_valid"))
    known = results["events"].filter(pa.compute.field("is_valid")).slice(0, found.num_rows)
    assert known["event_id"].equals(found["event_id"])
    away = separation(
        *(found[n].to_numpy() for n in ("ra", "dec")), ra0=known["ra"].to_numpy(), dec0=known["dec"].to_numpy()
    )
    assert 0 < away.max() < 0.01
    with pytest.raises(ConfigError, match="no astrometry"):
        pipeline(astrometry="astro")


@pytest.mark.parametrize(
    ("cleaning", "options"),
    [
        ("nsb", "{}"),
        ("nsb", '{"time_limit": 20.0, "pedestal_factor": 3}'),
        ("fact", '{"time_limit": 5.0}'),
        ("time_constrained", "{}"),
        ("compat", '{"levels": [9, 7, 5]}'),
        ("tailcuts", '{"min_number_picture_neighbors": 1}'),
    ],
)
def test_cleanings_are_chosen_by_name(cleaning, options):
    given = Night(SITE, seed=2, hadrons=60.0)
    images = given.table(2)
    how = HOW._replace(cleaning=Cleaning(cleaning, json.loads(options)))
    calibration = pa.Table.from_pylist(
        [{"time": given.start - 10**9, "tel_id": t, "noise": [5.0 + t] * c.pixels} for t, c in SITE.cameras().items()],
        schema=CALIBRATION,
    )
    slow = {"calibration": ev.read(MemorySource(calibration))} if cleaning == "nsb" else {}
    sinks = {n: MemorySink() for n in ("parameters", "orphans", "excluded")}
    found = analyse(ev.read(MemorySource(images)), how, **slow)
    ev.run(*(getattr(found, n).write(s) for n, s in sinks.items()), batch_rows=17)
    rows = sinks["parameters"].table()
    assert rows.num_rows + sinks["orphans"].table().num_rows == images.num_rows
    keys = {(t, n): i for i, (t, n) in enumerate(zip(*(images[c].to_pylist() for c in ("tel_id", "tel_event_id")), strict=True))}  # fmt: skip
    kinds = {t.tel_id: SITE.kind(t.kind) for t in SITE.telescopes}
    some = rows.select(["tel_id", "tel_event_id", "morphology_n_pixels", "hillas_intensity"]).slice(0, 12)
    for row in some.to_pylist():
        at, tel = keys[row["tel_id"], row["tel_event_id"]], row["tel_id"]
        levels = {} if cleaning == "compat" else {"picture": kinds[tel].picture, "boundary": kinds[tel].boundary}
        noise = {"pedestal_std": np.full(SITE.cameras()[tel].pixels, 5.0 + tel)} if cleaning == "nsb" else {}
        alone = parametrise(
            SITE.cameras()[tel],
            [images["image"][at].as_py()],
            [images["peak_time"][at].as_py()],
            cleaning=cleaning,
            options={**levels, **noise, **json.loads(options)},
        )
        assert row["morphology_n_pixels"] == alone["morphology_n_pixels"][0]
        assert row["hillas_intensity"] == pytest.approx(alone["hillas_intensity"][0], rel=1e-9, nan_ok=True)


@pytest.mark.parametrize(("cleaning", "options"), [("tailcuts", "{}"), ("nsb", "{}"), ("fact", '{"time_limit": 5.0}')])
def test_peak_times_are_measured_where_that_is_wanted(cleaning, options):
    images = Night(SITE, seed=2, hadrons=60.0).table(2)
    at = DL1_IMAGE.get_field_index("peak_time")
    bare = pa.array([None if n % 7 == 0 else t for n, t in enumerate(images["peak_time"].to_pylist())])
    images = images.set_column(at, DL1_IMAGE.field(at), bare.cast(DL1_IMAGE.field(at).type))
    rng = np.random.default_rng(1)
    noise = [None if n % 5 == 0 else rng.uniform(0.5, 2, len(image)) for n, image in enumerate(images["image"])]
    images = images.append_column("noise", pa.array(noise, pa.list_(pa.float64())))
    chosen = Cleaning(cleaning, json.loads(options))
    found = ev.fetch(timed(ev.from_table(images), SITE, cleaning=chosen))
    assert found.column_names == [*images.column_names, *TIMED.names]
    kinds = {t.tel_id: SITE.kind(t.kind) for t in SITE.telescopes}
    fitted = 0
    for row in found.drop(["time"]).slice(0, 40).to_pylist():
        kind, values = kinds[row["tel_id"]], [row[n] for n in TIMED.names]
        if row["peak_time"] is None:
            assert np.isnan(values).all()
            continue
        more = {"pedestal_std": [row["noise"] or [0.0] * len(row["image"])]} if cleaning == "nsb" else {}
        alone = parametrise(
            camera_of(kind),
            [row["image"]],
            [row["peak_time"]],
            cleaning=cleaning,
            options={**chosen.of(kind), **more},
            groups=["timing", "peak_time"],
        )
        assert np.array_equal(values, [alone[n][0] for n in TIMED.names], equal_nan=True)
        fitted += np.isfinite(values[0])
    assert fitted > 5
    if cleaning == "tailcuts":
        for triggered in (False, True):
            numbers = pa.array(np.arange(images.num_rows) // 2), pa.array(np.full(images.num_rows, 2), pa.int32())
            marked = images.append_column("trigger_id", numbers[0]).append_column("n_triggered", numbers[1])
            rows = ran(marked.drop(["noise"]), HOW._replace(timing=True, triggered=triggered))["parameters"]
            assert rows.schema == pa.schema([*DL2_TEL, *TIMED])
            assert np.isfinite(rows["timing_slope"].to_numpy()).sum() > 20
    with pytest.raises(SchemaError, match="no column 'peak_time'"):
        ev.fetch(timed(ev.from_table(images.drop(["peak_time"])), SITE))


def test_a_cleaning_by_time_needs_times():
    images = Night(SITE, seed=2, hadrons=60.0).table(1)
    at = DL1_IMAGE.get_field_index("peak_time")
    bare = images.set_column(at, DL1_IMAGE.field(at), pa.nulls(images.num_rows, DL1_IMAGE.field(at).type))
    found = analyse(ev.read(MemorySource(bare)), HOW._replace(cleaning=Cleaning("fact")))
    assert set(ev.fetch(found.excluded)["reason"].to_pylist()) == {"no peak times"}
    for wrong in ({"cleaning": "tailcut"}, {"cleaning_options": "{"}, {"cleaning_options": '{"pictures": 1}'}, {"cleaning_options": "[1]"}):  # fmt: skip
        with pytest.raises(ConfigError):
            pipeline(**wrong)

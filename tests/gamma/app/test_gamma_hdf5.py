"""Files of ctapipe: what is written comes back, ctapipe itself loads the same tables, and damaged files are told."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.dl1.instrument import read_site
from eventide.apps.gamma.dl1.tables import Column, opened, write_table
from eventide.apps.gamma.dl1.write import write_ctapipe
from eventide.apps.gamma.pipeline import Analysis, analyse
from eventide.apps.gamma.schema import DL1_IMAGE, MEASURED, TIMED
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.simulate.night import CRAB
from eventide.apps.gamma.site import camera_of, made
from eventide.apps.gamma.sources.ctapipe_hdf5 import read_dl1
from eventide.apps.gamma.sources.replay import Replay
from eventide.apps.gamma.timed import timed
from eventide.connectors.memory import MemorySink
from eventide.errors import DataError, SchemaError

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
pytest.importorskip("astropy", reason="astropy, which has the leap seconds, is not installed")

SITE = made(6)
HOW = Analysis(SITE, OnOff(*CRAB, radius=0.17))


def analysed(images, how=HOW):
    found = analyse(images, how)
    sinks = MemorySink(), MemorySink()
    ev.run(found.parameters.write(sinks[0]), found.events.write(sinks[1]))
    return tuple(sink.table() for sink in sinks)


@pytest.fixture(scope="module")
def night():
    images = Night(SITE, seed=3, hadrons=20.0, gammas=10.0).table(4)
    return images, *analysed(ev.from_table(images))


@pytest.fixture(scope="module")
def file(night, tmp_path_factory):
    images, parameters, events = night
    path = tmp_path_factory.mktemp("hdf5") / "night.dl2.h5"
    assert write_ctapipe(path, SITE, parameters=parameters, events=events, images=images) == events.num_rows > 20
    return path


def by_event(table, *keys):
    return table.sort_by([(k, "ascending") for k in keys])


def test_images_come_back(night, file):
    images, parameters, _ = night
    found = pa.Table.from_batches(read_dl1(file, rows=7))
    assert found.schema == DL1_IMAGE
    assert found.num_rows == parameters.num_rows
    ours = by_event(parameters, "event_id", "tel_id")
    assert found["tel_event_id"].equals(ours["event_id"])
    assert found["time"].equals(ours["time"])
    place = {k: n for n, k in enumerate(zip(*(images[c].to_pylist() for c in ("tel_id", "tel_event_id")), strict=True))}
    rows = [place[k] for k in zip(*(ours[c].to_pylist() for c in ("tel_id", "tel_event_id")), strict=True)]
    assert found["image"].to_pylist() == images["image"].take(rows).to_pylist()
    for name in ("telescope_pointing_altitude", "telescope_pointing_azimuth"):
        assert found[name].to_numpy() == pytest.approx(ours[name].to_numpy(), abs=1e-9)


def test_the_array_comes_back(file):
    found = read_site(file)
    assert (found.latitude, found.longitude, found.height) == pytest.approx(
        (SITE.latitude, SITE.longitude, SITE.height), abs=1e-6
    )
    assert [(t.tel_id, t.position) for t in found.telescopes] == [(t.tel_id, t.position) for t in SITE.telescopes]
    for one, other in zip(found.telescopes, SITE.telescopes, strict=True):
        ours, theirs = (camera_of(s.kind(t.kind)) for s, t in ((SITE, other), (found, one)))
        assert theirs.x == pytest.approx(ours.x, rel=1e-14, abs=1e-14)
        assert theirs.width == pytest.approx(ours.width, rel=1e-14)
        assert np.array_equal(theirs.neighbours, ours.neighbours)


def test_a_file_is_analysed_like_the_stream(night, file):
    """From the file, with the array of the file, come the same events."""
    _, parameters, events = night
    site = read_site(file, picture=4.5, boundary=2.3)
    cuts = {k.camera: (k.picture, k.boundary) for k in SITE.kinds}
    kinds = [(k, SITE.kinds[n]) for n, k in enumerate(site.kinds)]
    assert len(cuts) >= len(kinds)
    own = {t.tel_id: SITE.kind(t.kind) for t in SITE.telescopes}
    changed = []
    for kind in site.kinds:
        tel = next(t.tel_id for t in site.telescopes if t.kind == kind.name)
        changed.append(
            type(kind)(kind.name, kind.camera, kind.focal_length, kind.mirror_area, own[tel].picture, own[tel].boundary)
        )
    site = type(site)(site.name, SITE.latitude, SITE.longitude, SITE.height, tuple(changed), site.telescopes)
    stream = ev.read(Replay(lambda: read_dl1(file), DL1_IMAGE))
    again, found = analysed(stream, HOW._replace(site=site))
    assert found.num_rows == events.num_rows
    one, other = (by_event(t, "event_id") for t in (found, events))
    assert one["alt"].to_numpy() == pytest.approx(other["alt"].to_numpy(), abs=1e-9, nan_ok=True)
    one, other = (by_event(t, "event_id", "tel_id") for t in (again, parameters))
    for name in ("hillas_intensity", "hillas_length", "hillas_psi"):
        assert one[name].to_numpy() == pytest.approx(other[name].to_numpy(), rel=1e-9, nan_ok=True)


def test_what_cannot_be_written(night, tmp_path):
    images, parameters, events = night
    path = tmp_path / "a.h5"
    with pytest.raises(SchemaError, match="hillas_width"):
        write_ctapipe(path, SITE, parameters=parameters.drop(["hillas_width"]), events=events)
    with pytest.raises(DataError, match="does not have"):
        write_ctapipe(path, made(3), parameters=parameters, events=events)
    with pytest.raises(DataError, match="two images"):
        write_ctapipe(path, SITE, parameters=pa.concat_tables([parameters, parameters.slice(0, 1)]), events=events)
    with pytest.raises(DataError, match="missing"):
        write_ctapipe(path, SITE, parameters=parameters, events=events, images=images.slice(40))
    with pytest.raises(DataError, match="cleaned"):
        kinds = tuple(type(k)(k.name, k.camera, k.focal_length, k.mirror_area, 3.0, 1.0) for k in SITE.kinds)
        other = type(SITE)(SITE.name, 0.0, 0.0, 0.0, kinds, SITE.telescopes)
        write_ctapipe(path, other, parameters=parameters, events=events, images=images)
    assert not list(tmp_path.iterdir())
    assert write_ctapipe(path, SITE, parameters=parameters.slice(0, 0), events=events) == 0  # nothing is a file, too
    assert write_ctapipe(path, SITE, parameters=parameters, events=events) == events.num_rows
    with pytest.raises(DataError, match="no table"):
        list(read_dl1(path))


def test_damaged_files_are_told(file, tmp_path):
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged.h5"
    read = 0
    for turn in range(60):
        changed = bytearray(data if turn % 4 else data[: rng.integers(1, len(data))])
        # The first few kB are where the structure is; anywhere else are compressed numbers.
        for at in rng.integers(0, min(len(changed), 40_000 if turn % 2 else len(changed)), 1 + turn % 5):
            changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            read += sum(b.num_rows > 0 for b in read_dl1(path))
            read_site(path)
        except DataError:
            pass
    assert read


def test_tables_that_are_no_images(tmp_path):
    path = tmp_path / "odd.h5"

    def write(**changed):
        good = {
            "obs_id": np.array([1, 1]), "event_id": np.array([1, 2]), "tel_id": np.array([1, 1], np.int16),
            "time": np.array([[1_700_000_000, 0], [1_700_000_001, 0]], np.uint32), "event_type": np.array([32, 32]),
        }  # fmt: skip
        images = {n: good[n] for n in ("obs_id", "event_id")} | {"image": np.ones((2, 7), np.float32)}
        images |= {n: v for n, v in changed.items() if n in images}
        trigger = good | {n.removeprefix("t_"): v for n, v in changed.items() if n.startswith("t_")}
        kinds = {"time": "time"}
        with h5py.File(path, "w") as out:
            named = {n: Column(v, kind=kinds.get(n, "")) for n, v in trigger.items()}
            write_table(out, "/dl1/event/telescope/trigger", named)
            write_table(out, "/dl1/event/telescope/images/tel_001", {n: Column(v) for n, v in images.items()})
        return pa.Table.from_batches(read_dl1(path))

    assert write()["image"].to_pylist() == [[1.0] * 7] * 2
    for wrong in (
        {"event_id": np.array([1, 3])},
        {"image": np.ones((2, 2, 7), np.float32)},
        {"image": np.ones(2, np.float32)},
        {"t_time": np.array([1.0, 2.0])},
        {"t_time": np.array([[1, 4_000_000_000], [2, 0]], np.uint32)},
    ):
        with pytest.raises(DataError):
            write(**wrong)
    with h5py.File(path, "w") as out:
        out.create_dataset("/dl1/event/telescope/trigger", (10,), "i4", external=[("/etc/hostname", 0, 40)])
    with pytest.raises(DataError, match="another file"):
        list(read_dl1(path))
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="no HDF5"):
        list(read_dl1(path))
    with pytest.raises(DataError, match="no table"), opened(_text(tmp_path)) as tables:
        tables.table("a")


def _text(folder):
    with h5py.File(folder / "text.h5", "w") as out:
        out["a"] = "text"
    return folder / "text.h5"


def measured_again(table):
    """Compare statistics of peak times and of light with those that ctapipe makes of the images in the file."""
    image = pytest.importorskip("ctapipe.image")
    assert np.isfinite(table["timing_slope"]).sum() > 0.5 * np.isfinite(table["hillas_length"]).sum() > 0
    for row in table:
        if np.isnan(row["hillas_intensity"]):
            continue
        mask = row["image_mask"]
        for name, values in (("peak_time", row["peak_time"][mask]), ("intensity", row["image"][mask])):
            wanted = image.descriptive_statistics(values.astype(np.float64))
            for what in ("max", "min", "mean", "std", "skewness", "kurtosis"):
                assert row[f"{name}_{what}"] == pytest.approx(wanted[what], rel=1e-6, abs=1e-9, nan_ok=True), what


def test_times_are_measured_of_the_images(night, file, tmp_path):
    """Of images that are written, of `parameters` that have them, or not at all."""
    images, parameters, events = night
    with opened(file) as tables:
        table = tables.table("/dl1/event/telescope/parameters/tel_001")
        slopes, means = table.read("timing_slope", "peak_time_mean")
        widths = table.read("hillas_width")[0]
    assert np.isfinite(slopes).sum() > 3
    assert np.array_equal(np.isfinite(means), np.isfinite(widths))
    both = timed(ev.from_table(images), SITE)
    found = ev.fetch(both).select(["tel_id", "time", "tel_event_id", *TIMED.names])
    keys = ["tel_id", "time", "tel_event_id"]
    more = parameters.select(keys).join(found, keys).sort_by([(k, "ascending") for k in keys])
    base = parameters.sort_by([(k, "ascending") for k in keys])
    for name in TIMED.names:
        base = base.append_column(name, more[name])
    for path, given in ((tmp_path / "bare.h5", parameters), (tmp_path / "timed.h5", base)):
        write_ctapipe(path, SITE, parameters=given, events=events)
        with opened(path) as tables:
            (again,) = tables.table("/dl1/event/telescope/parameters/tel_001").read("timing_slope")
        if given is parameters:
            assert np.isnan(again).all()
        else:
            assert np.array_equal(again, slopes, equal_nan=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ctapipe_loads_the_same(night, file):
    io = pytest.importorskip("ctapipe.io", reason="ctapipe is not installed: it has an environment of its own")
    _, parameters, events = night
    ours, showers = by_event(parameters, "event_id", "tel_id"), by_event(events, "event_id")
    with io.TableLoader(file) as loader:
        assert {t: tuple(p.to_value("m")) for t, p in loader.subarray.positions.items()} == {
            t.tel_id: t.position for t in SITE.telescopes
        }
        stereo = loader.read_subarray_events(observation_info=True)
        tels = loader.read_telescope_events_by_id(dl1_images=True)
        assert len(loader) == len(stereo) == events.num_rows
    for name in ("alt", "az", "core_x", "core_y", "core_tilted_x", "h_max", "average_intensity", "alt_uncert"):
        theirs = np.asarray(stereo[f"HillasReconstructor_{name}"])
        assert np.array_equal(theirs, showers[name].cast(pa.float64()).fill_null(np.nan).to_numpy(), equal_nan=True), (
            name
        )
    assert stereo["HillasReconstructor_is_valid"].tolist() == showers["is_valid"].to_pylist()
    assert stereo["event_id"].tolist() == showers["event_id"].to_pylist()
    known = np.array([t.tel_id for t in SITE.telescopes])
    assert [known[m].tolist() for m in stereo["tels_with_trigger"]] == showers["telescopes"].to_pylist()
    since = showers["event_id"].to_numpy() - showers["event_id"][0].as_py()
    assert (stereo["time"] - stereo["time"][0]).to_value("s") * 1e9 == pytest.approx(since, abs=1)
    count = 0
    for tel, table in tels.items():
        mine = ours.filter(pa.compute.equal(ours["tel_id"], tel))
        assert len(table) == mine.num_rows
        count += len(table)
        for name in MEASURED.names:
            assert np.array_equal(np.asarray(table[name], float), mine[name].to_numpy(), equal_nan=True), name
        assert np.degrees(np.asarray(table["telescope_pointing_altitude"])) == pytest.approx(
            mine["telescope_pointing_altitude"].to_numpy(), abs=1e-9
        )
        assert table["image_mask"].sum(axis=1).tolist() == mine["morphology_n_pixels"].to_pylist()
        measured_again(table)
        assert table["hillas_width"].unit == "deg"
        assert not np.ma.is_masked(table["HillasReconstructor_is_valid"])  # every image has its event
    assert count == parameters.num_rows
    # And event by event, as its tools read it.
    with io.EventSource(file) as source:
        seen = list(source)
        assert [len(e.dl1.tel) for e in seen] == [len(t) for t in showers["telescopes"].to_pylist()]
        assert {d.name for d in source.datalevels} == {"DL1_IMAGES", "DL1_PARAMETERS", "DL2"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_files_of_ctapipe_are_read(data_dir, tmp_path):
    io = pytest.importorskip("ctapipe.io", reason="ctapipe is not installed: it has an environment of its own")
    pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed")
    process = pytest.importorskip("ctapipe.tools.process")
    core = pytest.importorskip("ctapipe.core")
    source = data_dir / "gamma" / "simtel" / "test_lasercal_v3.simtel.gz"
    path = tmp_path / "made.dl1.h5"
    arguments = [f"--input={source}", f"--output={path}", "--write-images", "--DataWriter.write_dl1_parameters=False"]
    core.run_tool(
        process.ProcessorTool(), [*arguments, "--SimTelEventSource.focal_length_choice=EQUIVALENT"], raises=True
    )
    found = pa.Table.from_batches(read_dl1(path, rows=3))
    assert found.num_rows == 10
    with io.TableLoader(path, focal_length_choice="EQUIVALENT") as loader:
        tels = loader.read_telescope_events_by_id(dl1_images=True)
        geometry = loader.subarray.tel[1].camera.geometry
        kept = {int(t): p.to_value("m").tolist() for t, p in loader.subarray.positions.items()}
    for tel, table in tels.items():
        mine = found.filter(pa.compute.equal(found["tel_id"], tel))
        assert np.array_equal(np.stack(mine["image"].to_numpy()), table["image"])
        assert np.array_equal(np.stack(mine["peak_time"].to_numpy()), table["peak_time"])
        assert mine["tel_event_id"].to_pylist() == table["event_id"].tolist()
        assert mine["time"].cast(pa.int64()).to_numpy() / 1e9 == pytest.approx(table["time"].unix, abs=1e-6)
        assert mine["telescope_pointing_altitude"].to_numpy() == pytest.approx(
            np.degrees(np.asarray(table["telescope_pointing_altitude"]))
        )
    site = read_site(path)
    assert {t.tel_id: list(t.position) for t in site.telescopes} == kept
    camera = camera_of(site.kinds[0])
    assert camera.pixels == 1855
    assert camera.y * np.pi / 180 * site.kinds[0].focal_length == pytest.approx(geometry.pix_x.to_value("m"), abs=1e-12)

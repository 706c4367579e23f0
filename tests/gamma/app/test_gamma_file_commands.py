"""Files in and out by command: images into topics, topics into files of ctapipe and gammapy."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.dl3.gadf import read_run
from eventide.apps.gamma.pipeline import pipeline
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import made, site
from eventide.apps.gamma.sources.ctapipe_hdf5 import read_dl1
from eventide.apps.gamma.sources.forms import source_of
from eventide.apps.gamma.sources.photon_stream import read_photon_stream
from eventide.apps.gamma.sources.replay import Replay
from eventide.errors import ConfigError, DataError, EventideError, UnknownNameError

pytest.importorskip("h5py", reason="h5py is not installed")
pytest.importorskip("astropy", reason="astropy is not installed")


def called(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Return the log of an analysed night."""
    folder = str(tmp_path_factory.mktemp("night") / "log")
    images = Night(made(5), seed=4, hadrons=10.0, gammas=10.0).table(6)
    ev.run(ev.from_table(images).write("log://images", log=folder))
    ev.run(pipeline(array="made-5", log=folder))
    return folder


def topic(name, log):
    return ev.fetch(ev.read(f"log://{name}", log=log, follow=False))


def test_export_and_load_again(log, tmp_path):
    done = called("export", tmp_path / "night.h5", "--array", "made-5", "--log", log)
    assert done.exit_code == 0, done.output
    events = topic("events", log).num_rows
    assert f"{events} array events" in done.output
    other = str(tmp_path / "log")
    done = called("load", tmp_path / "night.h5", "log://images", "--log", other, "--array-out", tmp_path / "array.json")
    assert done.exit_code == 0, done.output
    assert topic("images", other).num_rows == topic("parameters", log).num_rows
    assert len(site(str(tmp_path / "array.json")).telescopes) == 5
    assert msgspec.json.decode((tmp_path / "array.json").read_bytes())["name"] == "made-5"


def test_export_without_images(log, tmp_path):
    done = called("export", tmp_path / "night.h5", "--array", "made-5", "--no-images", "--log", log)
    assert done.exit_code == 0, done.output
    with pytest.raises(DataError, match="no table"):
        list(read_dl1(tmp_path / "night.h5"))


def test_export_of_gamma_rays(log, tmp_path):
    done = called("export", tmp_path / "dl3", "--array", "made-5", "--name", "Crab", "--log", log)
    assert done.exit_code == 0, done.output
    run = read_run(tmp_path / "dl3" / "run_1.fits")
    assert run.events.num_rows == topic("gammas", log).num_rows > 10
    assert (run.header["OBJECT"], run.header["GEOLAT"]) == ("Crab", 28.76)


def test_what_cannot_be_exported(log, tmp_path):
    assert isinstance(called("export", tmp_path / "a.h5", "--array", "made-4", "--log", log).exception, DataError)
    empty = str(tmp_path / "log")
    ev.run(ev.from_table(topic("gammas", log).slice(0, 0)).write("log://gammas", log=empty))
    assert isinstance(called("export", tmp_path / "b", "--log", empty).exception, ConfigError)


def test_forms_by_name(data_dir, tmp_path):
    folder = data_dir / "gamma"
    for path, count in (
        (folder / "prod3" / "images.json.gz", 217),
        (folder / "fact_photonstream" / "20170119_229_pass4_100events.phs.jsonl.gz", 100),
    ):
        done = called("load", path, tmp_path / f"{count}.parquet")
        assert done.exit_code == 0, done.output
        assert f"{count} images" in done.output
    with pytest.raises(UnknownNameError, match="no form"):
        source_of("a", form="prod4")
    with pytest.raises(ConfigError, match="where pixels are"):
        ev.fetch(ev.read(source_of("a.fits.fz")))


def test_a_file_goes_on_where_it_was(data_dir):
    path = data_dir / "gamma" / "fact_photonstream" / "20170119_229_pass4_100events.phs.jsonl.gz"
    source = source_of(str(path))
    reader = source.open({})
    first = reader.read(max_rows=13, timeout=0)[0]
    reader.close()
    rest = source.open({"0": first.position})
    rows = [first.batch]
    while not rest.finished:
        rows += [c.batch for c in rest.read(max_rows=1000, timeout=0)]
    found, whole = (pa.Table.from_batches(b).drop(["peak_time"]) for b in (rows, read_photon_stream(path)))
    assert found.equals(whole)  # peak times are NaN where there is no photon


def test_a_file_that_shrank_is_told():
    rows = pa.record_batch({"a": [1, 2, 3]})
    reader = Replay(lambda: iter([rows]), rows.schema).open({"0": {"rows": 5}})
    with pytest.raises(EventideError, match="fewer now"):
        reader.read(max_rows=10, timeout=0)

"""Files of images into topics by command: every form, with counts that are known, errors that are told, clean stops."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.site import camera_of, site
from eventide.apps.gamma.sources.forms import FORMS, form_of
from eventide.apps.gamma.stereo.frames import theta2
from eventide.errors import ConfigError, DataError, MissingDependencyError, UnknownNameError
from eventide.model.time import instant

SIMTEL = {
    "history_meta_75.simtel.zst": 15, "camsettings_v6.simtel.zst": 9, "test_lasercal_v3.simtel.gz": 10,
    "prod4_pixelsettings_v3.gz": 10, "lst_muons_with_true_photons.simtel.zst": 3, "extracted_pedestals.simtel.zst": 5,
    "calib_events.simtel.gz": 7,
}  # fmt: skip

needs_eventio = pytest.mark.skipif(
    importlib.util.find_spec("eventio") is None, reason="eventio is not installed: eventide[gamma-simtel]"
)


def called(*words):
    return CliRunner().invoke(app, ["load", *(str(w) for w in words)])


def topic(log, name="images"):
    return ev.fetch(ev.read(f"log://{name}", log=str(log), follow=False))


def test_forms_are_told_by_names():
    names = {
        "a.simtel": "simtel", "a.simtel.gz": "simtel", "a.simtel.zst": "simtel", "a.phs.jsonl": "photon-stream",
        "a.phs.jsonl.gz": "photon-stream", "images.json.gz": "prod3", "a.dl1.h5": "ctapipe", "a.fits.fz": "protozfits",
        "a.fits": "event-source", "tcp://a:1": "zmq",
    }  # fmt: skip
    assert {n: form_of(n) for n in names} == names
    assert set(names.values()) == {*FORMS, "zmq"}
    with pytest.raises(UnknownNameError, match="no form"):
        form_of("a", "simtell")


@needs_eventio
@pytest.mark.filterwarnings("ignore:File seems to be truncated")
@pytest.mark.parametrize("name", SIMTEL)
def test_files_of_sim_telarray(data_dir, tmp_path, name):
    folder = data_dir / "gamma"
    done = called(folder / "simtel" / name, "log://images", "--form", "simtel", "--log", tmp_path / "log", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["images"], said["form"], said["ok"]) == (SIMTEL[name], "simtel", True)
    rows = topic(tmp_path / "log")
    assert rows.schema == DL1_IMAGE and rows.num_rows == SIMTEL[name]
    showers = rows["event_type"].to_numpy() == 32
    # Against ctapipe's images, its times and its numbers of events.
    with np.load(folder / "golden" / "simtel_dl1_ctapipe-0.28.0.npz", allow_pickle=False) as golden:
        known = {tuple(r[1:4]): (n, r[5]) for n, r in enumerate(golden["index"].tolist()) if r[0] == name}
        columns = ["obs_id", "tel_event_id", "tel_id", "image", "peak_time"]
        for row, shower in zip(rows.select(columns).to_pylist(), showers, strict=True):
            if name == "extracted_pedestals.simtel.zst":  # of which there are no golden images
                break
            number, _ = known.pop(tuple(str(row[n]) for n in columns[:3]))
            image = golden[f"image_{number:03d}"]
            if image.ndim == 1:  # of calibration events it keeps both gains
                assert np.float32(row["image"]) == pytest.approx(image, rel=1e-5, abs=1e-5)
                assert np.float32(row["peak_time"]) == pytest.approx(golden[f"peak_time_{number:03d}"], abs=1e-4)
            else:
                assert not shower
        assert not known
        times = {(r[1], r[2]): instant(r[5]) for r in golden["index"].tolist() if r[0] == name}
    ours = rows["time"].cast(pa.int64()).to_numpy()
    for at in np.flatnonzero(showers).tolist():
        key = str(rows["obs_id"][at].as_py()), str(rows["tel_event_id"][at].as_py())
        assert abs(ours[at] - times[key]) < 1_000_000  # golden times have ms
    assert np.isfinite(rows["telescope_pointing_altitude"].to_numpy()).all()
    assert len({(t, e) for t, e in zip(rows["tel_id"].to_pylist(), ours.tolist(), strict=True)}) == rows.num_rows


@needs_eventio
def test_the_array_of_a_file_of_sim_telarray(data_dir, tmp_path):
    """Images that were loaded are analysed with the array that was written beside them."""
    from eventide.apps.gamma.pipeline import pipeline

    path = data_dir / "gamma" / "simtel" / "history_meta_75.simtel.zst"
    done = called(path, "--log", tmp_path / "log", "--array-out", tmp_path / "array.json")
    assert done.exit_code == 0, done.output
    assert "15 images in log://images" in done.output
    found = site(str(tmp_path / "array.json"))
    assert (found.name, found.height, len(found.telescopes)) == ("LaPalma-baseline-prod5", 2158.0, 19)
    assert [(k.name, k.focal_length) for k in found.kinds] == [
        ("LST", pytest.approx(29.30565)),
        ("NectarCam", pytest.approx(16.44505)),
    ]
    assert {camera_of(k).pixels for k in found.kinds} == {1855}
    assert found.telescopes[0].position == pytest.approx((-70.93, -52.07, 43.0), abs=0.01)
    ev.run(pipeline(array=str(tmp_path / "array.json"), log=str(tmp_path / "log")))
    events = topic(tmp_path / "log", "events")
    with (data_dir / "gamma" / "golden" / "simtel_stereo_ctapipe-0.28.0.json").open(encoding="utf-8") as file:
        golden = next(e for e in json.load(file) if e["file"] == path.name)
    assert events.num_rows == 1 and events["n_tels"][0].as_py() <= 15
    alt, az = (events[name].to_numpy() for name in ("alt", "az"))
    # The cameras are cleaned with other thresholds than there.
    assert np.sqrt(theta2(alt, az, alt0=golden["alt_deg"], az0=golden["az_deg"])) < 0.05


def test_other_forms(data_dir, tmp_path):
    folder = data_dir / "gamma"
    for path, count in (
        (folder / "prod3" / "images.json.gz", 217),
        (folder / "fact_photonstream" / "20170119_229_pass4_100events.phs.jsonl.gz", 100),
    ):
        done = called(path, tmp_path / f"{count}.parquet", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["images"] == count
        assert isinstance(called(path, "--array-out", tmp_path / "a.json").exception, ConfigError)


def test_what_cannot_be_loaded(tmp_path):
    assert isinstance(called(tmp_path / "absent.simtel.gz").exception, DataError)
    assert isinstance(called(tmp_path / "absent.h5", "--array-out", tmp_path / "a.json").exception, DataError)
    for name, library in {
        "a.simtel.gz": "eventio", "a.fits.fz": "protozfits", "a.dl1.h5": "h5py", "a.dat": "ctapipe",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(b"nothing of the kind")
        definitions = tmp_path / "cameras.json"
        row = {"pixel_x_positions": [0, 1], "pixel_y_positions": [0, 0], "pixel_area": [1, 1]}
        definitions.write_text(json.dumps({"row": {**row, "pixel_type": "rectangular", "camera_rotation": 0}}))
        found = called(tmp_path / name, "--camera", f"{definitions}#row", "--log", tmp_path / "log").exception
        if importlib.util.find_spec(library) is None:
            assert isinstance(found, MissingDependencyError), (name, found)
            assert "pip install 'eventide[gamma-" in (found.hint or "")
        else:
            assert isinstance(found, DataError), (name, found)


def test_a_checkpoint_of_one_file_says_nothing_of_another(data_dir, tmp_path):
    folder = data_dir / "gamma"
    for path, count in (
        (folder / "fact_photonstream" / "20170119_229_pass4_100events.phs.jsonl.gz", 100),
        (folder / "prod3" / "images.json.gz", 217),
        (folder / "prod3" / "images.json.gz", 0),
    ):
        done = called(path, "--log", tmp_path / "log", "--checkpoint", tmp_path / "state", "--json")
        assert json.loads(done.stdout)["images"] == count
    assert topic(tmp_path / "log").num_rows == 317


def test_loading_is_stopped_and_goes_on(tmp_path):
    """A signal ends it cleanly; with a checkpoint the same command goes on, and no image is there twice."""
    event = {
        "Night": 20170119, "Run": 229, "UnixTime_s_us": [1484895178, 0], "Trigger": 4, "Az_deg": 0.0, "Zd_deg": 33.0,
        "PhotonArrivals_500ps": 1440 * [[40, 41, 42]],
    }  # fmt: skip
    count = 8000
    path = tmp_path / "a.phs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            event["Event"], event["UnixTime_s_us"][1] = number, number
            file.write(json.dumps(event) + "\n")
    program = "from eventide.cli import main; main()"
    command = [sys.executable, "-c", program, "gamma", "load", str(path), "log://images", "--json"]
    command += ["--log", str(tmp_path / "log"), "--checkpoint", str(tmp_path / "state")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "log").glob("**/images*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.5)  # some images are read; where that was all of them, nothing was stopped
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    first = json.loads(text)
    if first["stopped"]:
        assert process.returncode == 128 + signal.SIGTERM
        assert not first["ok"] and 0 < first["images"] < count
        again = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ, check=True, timeout=120)
        assert json.loads(again.stdout)["images"] + first["images"] == count
    assert topic(tmp_path / "log")["tel_event_id"].to_pylist() == list(range(count))

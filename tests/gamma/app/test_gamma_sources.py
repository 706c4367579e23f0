"""Files of others: the counts that are known of them, the directions of the paper's gamma rays, and damaged files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.images import parametrise
from eventide.apps.gamma.pipeline import Analysis, analyse
from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.sources.photon_stream import read_camera, read_photon_stream
from eventide.apps.gamma.sources.prod3 import read_prod3, read_site
from eventide.apps.gamma.stereo.frames import theta2
from eventide.errors import DataError

EVENT = {
    "Night": 20170119, "Run": 229, "Event": 1, "UnixTime_s_us": [1484895178, 532244], "Trigger": 4, "Az_deg": -63.25,
    "Zd_deg": 33.0, "PhotonArrivals_500ps": 1440 * [[]],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "gamma"


def test_the_papers_images(folder):
    images, truth = read_prod3(folder / "prod3" / "images.json.gz")
    assert (images.num_rows, truth.num_rows) == (217, 50)
    assert images.schema == DL1_IMAGE
    assert sum(truth["images"].to_pylist()) == 217
    lengths, counts = np.unique(np.asarray(images["image"].combine_chunks().value_lengths()), return_counts=True)
    assert dict(zip(lengths.tolist(), counts.tolist(), strict=True)) == {1855: 166, 2048: 51}


def test_the_papers_gammas_come_from_where_they_were(folder):
    """The whole pipeline on the paper's 50 gamma rays, with thresholds for each camera."""
    images, truth = read_prod3(folder / "prod3" / "images.json.gz")
    site = read_site(folder / "prod3" / "array_101_telescopes.csv", folder / "prod3" / "cta_camera_definitions.json.gz")
    assert len(site.telescopes) == 101
    found = analyse(ev.from_table(images), Analysis(site, OnOff(0.0, 0.0, radius=0.1)))
    events = ev.fetch(found.events)
    assert events.num_rows + ev.fetch(found.orphans).num_rows >= 50
    both = (
        events.select(["event_time", "is_valid", "alt", "az"])
        .join(truth, "event_time")
        .filter(pa.compute.field("is_valid"))
    )
    columns = {n: both[n].to_numpy() for n in ("alt", "az", "true_alt", "true_az")}
    away = np.sqrt(theta2(columns["alt"], columns["az"], alt0=columns["true_alt"], az0=columns["true_az"]))
    assert away.size >= 30
    assert np.quantile(away, 0.68) <= 0.3


def test_facts_photons(folder):
    file = folder / "fact_photonstream" / "20170119_229_pass4_100events.phs.jsonl.gz"
    batches = list(read_photon_stream(file, rows=30))
    assert [b.num_rows for b in batches] == [30, 30, 30, 10]
    rows = pa.Table.from_batches(batches)
    kinds, counts = np.unique(rows["event_type"].to_numpy(), return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == {2: 10, 32: 86, 254: 4}
    photons = np.array([np.sum(image.values.to_numpy()) for image in rows["image"].combine_chunks()])
    assert (photons.min(), photons.max(), np.median(photons)) == (4571, 14453, 4974)
    times = rows["time"].cast(pa.int64()).to_numpy()
    assert (times[-1] - times[0]) / 1e9 == pytest.approx(5.05, abs=0.01)


def test_facts_camera(folder):
    camera = read_camera(folder / "fact_raw" / "pixel-map.csv.gz")
    assert (camera.pixels, camera.unit, int(np.diff(camera.starts).max())) == (1440, "deg", 6)
    assert np.hypot(camera.x, camera.y).max() == pytest.approx(2.25, abs=0.1)
    file = folder / "fact_photonstream" / "20170119_229_pass4_100events.phs.jsonl.gz"
    (batch,) = read_photon_stream(file)
    images = np.stack([i.values.to_numpy() for i in batch.column("image")])
    found = parametrise(camera, images, options={"picture": 12.0, "boundary": 8.0})
    shower = np.asarray(batch.column("event_type")) == 32
    assert np.nanmax(found["hillas_intensity"][shower]) > 1000
    # A shower is one island of neighbours: with a wrong order of pixels its light would lie all over the camera.
    bright = shower & (found["hillas_intensity"] > 300)
    assert np.nanmedian(found["hillas_length"][bright]) < 0.4


@pytest.mark.parametrize(
    "damage",
    [
        {"PhotonArrivals_500ps": [[1]]},
        {"PhotonArrivals_500ps": 1440 * [[-1]]},
        {"PhotonArrivals_500ps": 1440 * ["x"]},
        {"UnixTime_s_us": [10**30, 0]},
        {"UnixTime_s_us": 1},
        {"Trigger": [4]},
        {"Event": "one"},
    ],
)
def test_damaged_photons_are_told(tmp_path, damage):
    path = tmp_path / "x.phs.jsonl"
    path.write_text(json.dumps(EVENT) + "\n" + json.dumps({**EVENT, **damage}) + "\n")
    with pytest.raises(DataError, match="line 2"):
        list(read_photon_stream(path))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "x.json.gz"
    for data in (b"", b"\x1f\x8b\x08", gzip.compress(b"{}"), gzip.compress(b'[{"images": {"x": []}, "mc": {}}]')):
        path.write_bytes(data)
        for read in (read_prod3, lambda p: list(read_photon_stream(p)), read_camera, lambda p: read_site(p, p)):
            if read is read_prod3 or data:
                with pytest.raises(DataError):
                    read(path)
    event = {"mc": {"alt": 1, "az": 0, "energy": 1, "core_x": 0, "core_y": 0}, "images": {"99999": [1]}}
    path.write_bytes(gzip.compress(json.dumps([event]).encode()))
    with pytest.raises(DataError, match="32767"):
        read_prod3(path)

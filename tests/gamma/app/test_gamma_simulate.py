"""The simulator: the same night however it is cut, and showers that can be reconstructed to where they came from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from eventide.apps.gamma.images import add_parameters
from eventide.apps.gamma.schema import DL1_IMAGE, POINTINGS
from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.site import made
from eventide.errors import UsageError

SITE = made(8)


def times_of(batch):
    return batch.column("time").cast(pa.int64()).to_numpy()


def test_a_second_is_the_same_whatever_was_asked_before():
    night = Night(SITE, seed=3, hadrons=60.0)
    later = night.second(7)
    assert later.equals(Night(SITE, seed=3, hadrons=60.0).second(7))
    assert not later.equals(Night(SITE, seed=4, hadrons=60.0).second(7))
    assert [b.equals(night.second(n)) for n, b in enumerate(night.batches(2, first=7), 7)] == [True, True]


def test_rows_are_images_of_their_cameras_a_little_out_of_order():
    night = Night(SITE, seed=1, hadrons=300.0)
    batch = night.second(0)
    assert batch.schema == DL1_IMAGE
    assert batch.num_rows > 50
    cameras = SITE.cameras()
    lengths = batch.column("image").value_lengths().to_pylist()
    assert lengths == [cameras[t].pixels for t in batch.column("tel_id").to_pylist()]
    times = times_of(batch)
    assert night.start - 1000 <= times.min() and times.max() < night.start + 10**9 + 1000
    back = np.maximum.accumulate(times) - times
    assert 0 < back.max() < 200e6
    for tel in set(batch.column("tel_id").to_pylist()):
        mine = np.asarray(batch.column("tel_id")) == tel
        assert (np.diff(np.sort(times[mine])) > 5_000).all()  # dead time


def test_a_flare_is_brighter_for_its_time():
    night = Night(SITE, seed=2, hadrons=0.0, singles=0.0, gammas=5.0, flares=[Flare(1.0, 2.0, 20.0)])
    before, within, after = (night.second(n).num_rows for n in range(3))
    assert within > 5 * (before + after + 1)


def test_telescopes_join_late():
    night = Night(SITE, seed=1, hadrons=200.0, joins={1: 1.5})
    rows = pa.Table.from_batches([night.second(0), night.second(1), night.second(2)])
    aim = rows.column("telescope_pointing_altitude")
    first = (np.asarray(rows.column("tel_id")) == 1) & (times_of(rows) < night.start + 1_500_000_000)
    assert first.any()
    assert (np.asarray(aim.is_null()) == first).all()
    assert night.pointings(1).schema == POINTINGS
    assert [night.pointings(n).column("is_tracking").to_pylist()[0] for n in (1, 2)] == [False, True]
    assert night.states().num_rows == 9


def test_images_lie_where_their_showers_are():
    """The ellipses that the kernels measure point to the source: 0.5 degrees from the middle."""
    night = Night(SITE, seed=5, hadrons=0.0, singles=0.0, gammas=100.0)
    images = night.second(0)
    found = add_parameters(images, SITE.cameras(), options={"picture": 8.0, "boundary": 4.0})
    columns = {n: np.asarray(found.column(f"hillas_{n}")) for n in ("fov_lon", "fov_lat", "psi", "intensity")}
    lon, lat, psi = columns["fov_lon"], columns["fov_lat"], np.radians(columns["psi"])
    at, times = SITE.place, times_of(images)
    alt, az = (np.asarray(found.column(f"telescope_pointing_{n}")) for n in ("altitude", "azimuth"))
    alt0, az0 = at.to_horizon(times, 83.63308, 22.0145)
    source = np.stack([(az0 - az) * np.cos(np.radians(alt0)), alt0 - alt])
    assert np.hypot(*source) == pytest.approx(0.5, abs=0.01)
    miss = np.abs((source[0] - lon) * np.sin(psi) - (source[1] - lat) * np.cos(psi))
    good = columns["intensity"] > 200
    assert good.sum() > 20
    assert np.median(miss[good]) < 0.06


def test_what_cannot_be_simulated_is_refused():
    for wrong in ({"hadrons": -1.0}, {"joins": {99: 1.0}}, {"flares": [Flare(2.0, 1.0, 3.0)]}, {"delay": float("nan")}):
        with pytest.raises(UsageError, match="cannot be simulated"):
            Night(SITE, **wrong)

"""Stamps of CTAO, the sky above a place, and arrays as data."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.gamma import schema, sky
from eventide.apps.gamma.parameters.columns import column_names
from eventide.apps.gamma.parameters.measure import STANDARD
from eventide.apps.gamma.site import KINDS, Kind, camera_of, made, site
from eventide.errors import ConfigError, DataError, UsageError

leap_seconds = pytest.mark.skipif(importlib.util.find_spec("astropy") is None, reason="astropy is not installed")


@leap_seconds
@given(st.integers(63_072_000_000_000_000, 4_200_000_000_000_000_000))
def test_stamps_come_back(time):
    seconds, quarters = schema.stamps([time])
    assert schema.from_stamps(seconds, quarters).tolist() == [time]


@leap_seconds
def test_stamps_know_leap_seconds():
    at = [
        int(datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
        int(datetime(2017, 1, 1, tzinfo=UTC).timestamp()),
    ]
    seconds, _ = schema.stamps(np.array(at) * 10**9)
    assert (seconds.astype(int) - at).tolist() == [36, 37]
    assert schema.from_stamps([0], [3_999_999_999]).tolist()[0] < 0  # TAI is ahead of UTC


@leap_seconds
def test_what_is_no_stamp_is_refused():
    with pytest.raises(DataError, match="2106"):
        schema.stamps([5 * 10**18])
    with pytest.raises(DataError, match="quarters"):
        schema.from_stamps([1], [4_000_000_000])
    with pytest.raises(DataError, match="no stamps"):
        schema.from_stamps([1, 2], [0])


def test_measured_columns_are_those_of_the_kernels():
    camera = camera_of(KINDS[0])
    assert [n for g in STANDARD for n in column_names(camera, g)] == schema.MEASURED.names


def test_sidereal_time_and_precession_are_those_of_meeus():
    """Astronomical Algorithms, examples 12.b and 21.b."""
    greenwich = sky.Place(0.0, 0.0)
    time = np.array([int(datetime(1987, 4, 10, 19, 21, tzinfo=UTC).timestamp()) * 10**9])
    assert np.degrees(greenwich._sidereal(time))[0] == pytest.approx(128.7378734, abs=1e-6)
    # Theta Persei has moved 41.054063 + 49.227750 to 41.547214 + 49.348483 by 2028 November 13.19; at the pole of the
    # Earth, altitude is declination, and azimuth the sidereal time without right ascension.
    time = np.array([int(datetime(2028, 11, 13, 4, 33, 36, tzinfo=UTC).timestamp()) * 10**9])
    alt, az = sky.Place(90.0, 0.0).to_horizon(time, [41.054063], [49.227750])
    assert alt[0] == pytest.approx(49.348483, abs=1e-5)
    turn = np.degrees(greenwich._sidereal(time))[0]
    assert (turn - az[0] + 180.0) % 360.0 == pytest.approx(41.547214, abs=1e-5)


@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(0, 359), st.floats(-89, 89), st.integers(0, 4 * 10**18))
def test_sky_and_horizon_are_inverse(latitude, longitude, ra, dec, time):
    place, at = sky.Place(latitude, longitude), np.array([time])
    back = place.to_sky(at, *place.to_horizon(at, [ra], [dec]))
    turn = np.sin(np.radians(back[0][0] - ra)) * np.cos(np.radians(dec))
    apart = np.array([turn, np.sin(np.radians(back[1][0] - dec))])
    assert np.abs(apart).max() < 1e-8


def test_places_and_arrays_that_are_none(tmp_path):
    with pytest.raises(UsageError):
        sky.Place(91.0, 0.0)
    for name in ("made-0", "made-101", "nowhere", str(tmp_path / "none.json")):
        with pytest.raises(ConfigError):
            site(name)
    path = tmp_path / "array.json"
    good = msgspec.to_builtins(made(4))
    for bad in ({**good, "telescopes": []}, {**good, "kinds": []}, {**good, "height": "high"}, [], {**good, "more": 1}):
        path.write_bytes(msgspec.json.encode(bad))
        with pytest.raises(ConfigError, match="describes no array"):
            site(str(path))
    with pytest.raises(ConfigError, match="no camera"):
        camera_of(Kind("x", "lst-lik", 28.0, 1.0, 1.0, 1.0))


def test_a_made_array_is_whole():
    whole = made(100)
    assert len({t.position for t in whole.telescopes}) == 100
    assert len({id(c) for c in whole.cameras().values()}) == 3
    assert whole.subarray().radii[1] == pytest.approx(2.3, abs=0.2)

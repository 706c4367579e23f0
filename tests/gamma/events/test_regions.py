"""Regions against a plain computation with vectors."""

from __future__ import annotations

import numpy as np
import pytest

from eventide.apps.gamma.science.regions import NOWHERE, ON, OnOff, separation
from eventide.errors import UsageError


def vector(ra, dec):
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)


def turned(v, axis, angle):
    """Rodrigues' rotation; position angles grow from north through east, which is against the right hand outwards."""
    return v * np.cos(angle) + np.cross(axis, v) * np.sin(angle) + axis * (axis @ v) * (1 - np.cos(angle))


@pytest.mark.parametrize(("ra", "dec"), [(83.6, 22.0), (0.1, -60.0), (200.0, 89.5)])
def test_off_regions_are_the_position_turned_about_the_pointing(ra, dec):
    random = np.random.default_rng(4)
    position = OnOff(ra, dec, radius=0.15, n_off=5)
    ra_pnt, dec_pnt = ra + 0.3 / np.cos(np.radians(dec)), dec - 0.4
    lon = ra_pnt + random.uniform(-1, 1, 4000) / np.cos(np.radians(dec_pnt))
    lat = dec_pnt + random.uniform(-0.9, 0.9, 4000)
    found = position.regions(lon, lat, ra_pnt=ra_pnt, dec_pnt=dec_pnt)
    wanted = np.full(4000, NOWHERE)
    source, axis = vector(ra, dec), vector(ra_pnt, dec_pnt)
    for number in range(6):
        middle = turned(source, axis, -2 * np.pi * number / 6)
        near = np.arccos(np.clip(vector(lon, lat) @ middle, -1, 1)) < np.radians(0.15)
        wanted[near] = number
    assert set(wanted.tolist()) == {-1, 0, 1, 2, 3, 4, 5}
    assert np.array_equal(found, wanted)


def test_pointings_at_the_position_have_no_regions():
    position = OnOff(83.6, 22.0, radius=0.17)
    assert position.regions([83.6], [22.0], ra_pnt=83.6, dec_pnt=22.05).tolist() == [NOWHERE]
    assert position.fits([83.6, 83.6], [22.05, 22.6]).tolist() == [False, True]
    with np.errstate(invalid="ignore"):
        assert position.regions([np.nan], [22.0], ra_pnt=83.6, dec_pnt=21.5).tolist() == [NOWHERE]
    assert position.regions([83.6 - 360], [22.0], ra_pnt=83.6, dec_pnt=21.5).tolist() == [ON]


def test_separation_near_and_far():
    assert float(separation(0.0, 0.0, ra0=180.0, dec0=0.0)) == pytest.approx(180.0)
    assert float(separation(1e-9, 0.0, ra0=0.0, dec0=0.0)) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize("bad", [{"radius": 0.0}, {"dec": 91.0}, {"ra": np.nan}, {"n_off": 0}])
def test_refuses_what_is_no_position(bad):
    with pytest.raises(UsageError):
        OnOff(**({"ra": 1.0, "dec": 2.0, "radius": 0.1} | bad))

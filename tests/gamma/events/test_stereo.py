"""Stereo geometry against ctapipe's golden answers, against simulated showers, and the two kinds of loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventide.apps.gamma.stereo.frames import Pointing, theta2
from eventide.apps.gamma.stereo.planes import Geometry, Images, reconstruct
from eventide.errors import UsageError
from eventide.kernel.compiled import have_compiler
from gamma.events.sites import SITES

COLUMNS = ("fov_lon", "fov_lat", "psi", "length", "width", "intensity")
TWINS = [False, pytest.param(True, marks=pytest.mark.skipif(not have_compiler(), reason="numba is not installed"))]


def degrees32(value):
    """The simulation has pointings as float32 radians."""
    return float(np.degrees(np.float64(np.float32(np.radians(value)))))


@pytest.fixture(scope="module")
def golden(data_dir):
    path = data_dir / "gamma" / "golden" / "simtel_stereo_ctapipe-0.28.0.json"
    return [e for e in json.loads(path.read_text()) if e["is_valid"]]


def golden_images(events):
    rows = [(e, t) for e in events for t in e["telescopes"]]
    columns = [np.array([e["hillas"][str(t)][name] for e, t in rows]) for name in COLUMNS]
    where = np.array([SITES[e["file"]]["telescopes"][t] for e, t in rows])
    alt, az = (np.array([degrees32(e[n]) for e, _ in rows]) for n in ("array_alt_deg", "array_az_deg"))
    offsets = np.concatenate(([0], np.cumsum([len(e["telescopes"]) for e in events])))
    return Images(offsets, *columns, where[:, :3], alt, az, where[:, 3])


@pytest.mark.parametrize("compiled", TWINS)
def test_equals_ctapipe(golden, compiled):
    assert [len(e["telescopes"]) for e in golden] == [14, 7, 4, 4, 2]
    for e in golden:
        aim = {n: degrees32(e[n + "_deg"]) for n in ("array_alt", "array_az")}
        found = reconstruct(golden_images([e]), **aim, height=SITES[e["file"]]["height"], compiled=compiled)
        assert found.is_valid.all()
        assert abs(found.alt[0] - e["alt_deg"]) <= 1e-9
        assert abs(found.az[0] - e["az_deg"]) <= 1e-9
        assert np.hypot(found.core_x[0] - e["core_x_m"], found.core_y[0] - e["core_y_m"]) <= 1e-6
        assert abs(found.h_max[0] - e["h_max_m"]) <= 1e-3
        assert found.n_tels[0] == len(e["telescopes"])
        assert 0 <= found.uncert[0] < 2


def showers(count, *, seed=1, tels=12, spread=0.0):
    """Return perfect images of showers, and where they came from, fell and were brightest.

    The images are points of the sphere: the axis goes through the direction of the maximum and a point above it.
    """
    random = np.random.default_rng(seed)
    field = np.stack([random.uniform(-300, 300, tels), random.uniform(-300, 300, tels), random.uniform(-5, 5, tels)], 1)
    n = random.integers(2, 8, count)
    offsets = np.concatenate(([0], np.cumsum(n)))
    owner = np.repeat(np.arange(count), n)
    array_alt, array_az = random.uniform(50, 85, count), random.uniform(0, 360, count)
    array = Pointing(np.radians(array_alt), np.radians(array_az))
    direction = array.vectors(*np.radians(random.uniform(-1, 1, (2, count))))
    core = np.column_stack([random.uniform(-200, 200, (count, 2)), np.zeros(count)])
    top = random.uniform(5_000, 12_000, count)
    maximum = core + direction * (top / direction[:, 2])[:, None]
    position = np.concatenate([field[random.choice(tels, k, replace=False)] for k in n])
    alt = array_alt[owner] + spread * random.uniform(-1, 1, owner.size)
    az = array_az[owner] + spread * random.uniform(-1, 1, owner.size)
    telescope = Pointing(np.radians(alt), np.radians(az))

    def seen(point):
        sight = point[owner] - position
        return np.degrees(np.stack(telescope.field(sight / np.linalg.norm(sight, axis=1)[:, None])))

    centre = seen(maximum)
    # A point so near that the great circle and the straight line in the field of view are one.
    second = seen(maximum + direction)
    psi = np.degrees(np.arctan2(second[1] - centre[1], second[0] - centre[0]))
    size = random.uniform(60, 2000, owner.size)
    length = random.uniform(0.1, 0.3, owner.size)
    width = length * random.uniform(0.2, 0.8, owner.size)
    images = Images(offsets, *centre, psi, length, width, size, position, alt, az, np.full(owner.size, 1e-4))
    lon = np.degrees(-np.arctan2(direction[:, 1], direction[:, 0])) % 360
    truth = {"alt": np.degrees(np.arcsin(direction[:, 2])), "az": lon, "core": core, "top": top}
    return images, (array_alt, array_az), truth


@pytest.mark.parametrize("compiled", TWINS)
@pytest.mark.parametrize("spread", [0.0, 0.7])
def test_perfect_images_give_the_shower_back(compiled, spread):
    images, (alt, az), truth = showers(300, spread=spread)
    found = reconstruct(images, array_alt=alt, array_az=az, height=100.0, compiled=compiled)
    assert found.is_valid.all()
    assert np.sqrt(theta2(found.alt, found.az, alt0=truth["alt"], az0=truth["az"])).max() < 0.01
    assert np.abs(found.h_max - 100.0 - truth["top"]).max() < 1.0
    # The core is found with psi of a flat field of view: that costs metres at a degree from its middle.
    assert np.median(np.hypot(found.core_x - truth["core"][:, 0], found.core_y - truth["core"][:, 1])) < 5.0


@pytest.mark.skipif(not have_compiler(), reason="numba is not installed")
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_compiled_and_numpy_give_the_same_bits(spread):
    images, (alt, az), _ = showers(3000, seed=5, spread=spread)
    one, two = (reconstruct(images, array_alt=alt, array_az=az, height=0.0, compiled=c) for c in (True, False))
    same(one, two)


def same(one: Geometry, two: Geometry):
    for name in Geometry.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True), name


def test_an_event_has_the_same_bits_whatever_comes_with_it():
    images, (alt, az), _ = showers(64, seed=7, spread=0.3)
    whole = reconstruct(images, array_alt=alt, array_az=az, height=0.0)
    for event in range(64):
        alone = reconstruct(images.of(event, event + 1), array_alt=alt[event], array_az=az[event], height=0.0)
        for name in Geometry.__dataclass_fields__:
            assert getattr(alone, name)[0] == getattr(whole, name)[event], name


VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 45.0, 90.0, -90.0, 1e308, 5e-324])
)


@given(st.lists(st.integers(0, 4), max_size=4), st.data())
@settings(max_examples=60)
def test_nothing_that_is_not_valid_has_numbers(counts, data):
    n = sum(counts)

    def draw():
        return np.array(data.draw(st.lists(VALUES, min_size=n, max_size=n)), np.float64)

    columns = [draw() for _ in range(6)]
    images = Images(
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        *columns,
        np.stack([draw() for _ in range(3)], 1).reshape(n, 3),
        draw(),
        draw(),
        draw(),
    )
    with np.errstate(all="ignore"):
        results = [
            reconstruct(images, array_alt=70.0, array_az=0.0, height=0.0, compiled=c) for c in (False, have_compiler())
        ]
    same(*results)
    for name in ("alt", "az", "uncert", "core_x", "core_y", "h_max"):
        assert np.array_equal(np.isfinite(getattr(results[0], name)), results[0].is_valid)


def test_parallel_images_and_single_ones_are_marked():
    images, _, _ = showers(1, seed=3)
    two = images.of(0, 1)
    copies = [np.concatenate([getattr(two, n)[:1]] * 2) for n in Images.__dataclass_fields__ if n != "offsets"]
    for offsets in (np.array([0, 2]), np.array([0, 1, 2]), np.array([0, 0, 2, 2])):
        found = reconstruct(Images(offsets, *copies), array_alt=70.0, array_az=0.0, height=0.0)
        assert not found.is_valid.any()
        assert np.isnan(found.alt).all()


def test_columns_that_do_not_fit_are_refused():
    images, _, _ = showers(3)
    columns = {n: getattr(images, n) for n in Images.__dataclass_fields__}
    for name, value in [
        ("offsets", images.offsets[:-1]),
        ("offsets", images.offsets[::-1]),
        ("psi", images.psi[1:]),
        ("position", images.position[:, :2]),
    ]:
        with pytest.raises(UsageError):
            Images(**(columns | {name: value}))

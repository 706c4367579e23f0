"""Lines by least trimmed squares: the objective against an exhaustive search, and no chance in them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gamma_images import HEXAGONS, needs_compiler, showers, without_compiler
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.gamma.parameters.measure import tailcut
from eventide.apps.gamma.parameters.timing import fit_lines

NUMBERS = st.integers(-8, 8).map(lambda k: k / 4)


def objective(x, y, slope, intercept):
    return np.sort((y - slope * x - intercept) ** 2)[: int(0.85 * len(x))].sum()


def exhaustive(x, y):
    """The least sum over all choices of points, each with its own line."""
    least = np.inf
    for some in itertools.combinations(range(len(x)), int(0.85 * len(x))):
        a, b = x[list(some)], y[list(some)]
        if np.ptp(a) > 0:
            line = np.polyfit(a, b, 1)
            least = min(least, float(np.sum((b - np.polyval(line, a)) ** 2)))
    return least


def test_lines_of_few_points_are_the_best_there_are():
    random = np.random.default_rng(11)
    for _ in range(60):
        x = random.normal(size=12)
        y = 3 * x + random.normal(0, 0.2, 12) + (random.random(12) < 0.15) * random.uniform(-20, 20, 12)
        slope, intercept, deviation, error = fit_lines(x, y, np.array([0, 12]))[:, 0]
        assert error == pytest.approx(objective(x, y, slope, intercept), rel=1e-9, abs=1e-12)
        assert deviation == pytest.approx(np.sqrt(np.mean((y - slope * x - intercept) ** 2)))
        assert error <= exhaustive(x, y) * (1 + 1e-9)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=4, max_size=9))
def test_lines_of_any_few_points_are_the_best_there_are(points):
    """Points on a lattice: many lie in a row, above each other, or on each other."""
    x, y = (np.array([p[k] for p in points]) for k in (0, 1))
    error = fit_lines(x, y, np.array([0, len(points)]))[3, 0]
    if np.isfinite(error):
        assert error <= exhaustive(x, y) * (1 + 1e-9) + 1e-12


def test_lines_of_many_points_are_nearly_the_best(monkeypatch):
    """The way from fixed starts, against the exact one."""
    random = np.random.default_rng(12)
    runs = [random.integers(20, 120) for _ in range(60)]
    x = random.normal(size=sum(runs))
    y = 3 * x + random.normal(0, 0.2, len(x)) + (random.random(len(x)) < 0.1) * random.uniform(-20, 20, len(x))
    starts = np.r_[0, np.cumsum(runs)]
    monkeypatch.setattr("eventide.apps.gamma.parameters.timing.EXACT", 1000)
    exact = fit_lines(x, y, starts)[3]
    monkeypatch.setattr("eventide.apps.gamma.parameters.timing.EXACT", 0)
    near = fit_lines(x, y, starts)[3]
    assert (exact <= near * (1 + 1e-9)).all()
    assert np.mean(near <= exact * 1.01) > 0.95


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=9), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=9))
def test_runs_of_any_points(one, two):
    """Points that lie on each other, above each other, or are too few; each run by itself; numpy the same."""
    x, y = (np.array([p[k] for p in one + two]) for k in (0, 1))
    starts = np.array([0, len(one), len(one) + len(two)])
    found = fit_lines(x, y, starts)
    with without_compiler():
        assert np.array_equal(fit_lines(x, y, starts), found, equal_nan=True)
    for i, points in enumerate((one, two)):
        a, b = x[starts[i] : starts[i + 1]], y[starts[i] : starts[i + 1]]
        alone = fit_lines(a, b, np.array([0, len(points)]))[:, 0]
        assert np.array_equal(alone, found[:, i], equal_nan=True)
        if len(points) < 3 or np.ptp(a) == 0:
            assert np.isnan(alone).all()
        elif not np.isnan(alone).any():
            assert alone[3] == pytest.approx(objective(a, b, alone[0], alone[1]), rel=1e-9, abs=1e-12)


@needs_compiler
def test_many_points():
    random = np.random.default_rng(2)
    x, y = random.normal(size=3000), random.normal(size=3000)
    starts = np.array([0, 2000, 2003, 2500, 3000])
    compiled = fit_lines(x, y, starts)
    with without_compiler():
        assert np.array_equal(fit_lines(x, y, starts), compiled)


@needs_compiler
@given(st.integers(17, 90), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_more_points_that_lie_on_each_other(n, wide, seed):
    """From fixed starts, with many equal residuals: numpy the same, and the sum is that of the line."""
    random = np.random.default_rng(seed)
    x, y = random.integers(0, wide, 2 * n) / 4, random.integers(0, 6, 2 * n) / 4
    starts = np.array([0, n, 2 * n])
    found = fit_lines(x, y, starts)
    with without_compiler():
        assert np.array_equal(fit_lines(x, y, starts), found, equal_nan=True)
    for i in range(2):
        a, b = x[i * n : i * n + n], y[i * n : i * n + n]
        if np.isfinite(found[0, i]):
            assert found[3, i] == pytest.approx(objective(a, b, found[0, i], found[1, i]), rel=1e-9, abs=1e-12)


def test_an_image_has_one_line():
    images, times = showers(HEXAGONS, 200, 9)
    options = {"picture": 6, "boundary": 3, "groups": ["timing"]}
    first = tailcut(HEXAGONS, images, peak_times=times, **options)
    order = np.random.default_rng(0).permutation(len(images))
    again = tailcut(HEXAGONS, images[order], peak_times=times[order], **options)
    for name, column in first.items():
        assert np.array_equal(column[order], again[name], equal_nan=True)
    assert np.isfinite(first["camera_frame_timing_slope"]).sum() > 100


def test_pixels_without_a_time_are_left_out():
    images, times = showers(HEXAGONS, 50, 1)
    mask = images > 5
    times[:, ::7] = np.nan
    found = tailcut(HEXAGONS, images, picture=5.0000001, boundary=5.0000001, peak_times=times, groups=["timing"])
    slopes = found["camera_frame_timing_slope"]
    assert np.isfinite(slopes[(mask & np.isfinite(times)).sum(axis=1) > 10]).any()

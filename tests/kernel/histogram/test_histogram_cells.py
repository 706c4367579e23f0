"""Cells: how many edges a number has reached, or that it is not certain, and families of scaled times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram.axes import uniform
from eventide.kernel.histogram.cells import BAD, WINDOW, even_times, scaled_cells, time_cells
from eventide.kernel.histogram.families import families_of
from eventide.kernel.histogram.place import loops_of
from eventide.kernel.histogram.products import checked
from eventide.kernel.histogram.values import calibrated, ratio, scaled

pytestmark = pytest.mark.skipif(not have_compiler(), reason="numba is not installed")

LOW, HIGH = -(2**31), 2**31 - 1
whole = st.integers(LOW - 5, HIGH + 5)
near = st.integers(-300, 300)


def reached(cells, numbers, window):
    out = np.empty(numbers.size, np.int32)
    loops_of("cells_loops").reach(numbers, cells.words, cells.shift, window, out)
    return out


@given(
    bounds=st.lists(st.one_of(whole, near, near.map(lambda x: x / 8)), min_size=2, max_size=60, unique=True),
    values=st.lists(st.one_of(st.integers(LOW, HIGH), near), min_size=1, max_size=50),
)
def test_times_reach_the_edges_that_numpy_says(bounds, values):
    bounds = np.sort(np.array(bounds, float))
    beside = np.clip(np.add.outer(np.ceil(bounds), [-1, 0, 1]).ravel(), LOW, HIGH)
    time = np.concatenate([values, beside, [LOW, HIGH]]).astype(np.int32)
    cells, numbers, loops = time_cells(bounds), np.empty(time.size, np.uint32), loops_of("cells_loops")
    loops.number_times(time, numbers, cells.start, cells.most)
    assert int(numbers.max()) >> cells.shift < cells.words.size
    found, want = reached(cells, numbers, 0), np.searchsorted(bounds, time, side="right")
    assert np.array_equal(found[found >= 0], want[found >= 0])
    counts = np.zeros((4, bounds.size + 1), np.uint32)
    loops.count_times(found, time, cells.reached, counts.reshape(-1))
    assert np.array_equal(counts.sum(axis=0), np.bincount(want, minlength=bounds.size + 1))


@given(seed=st.integers(0, 2**31), size=st.integers(1, 300), low=st.floats(1e-6, 1e6), decades=st.floats(1e-3, 4))
def test_scaled_times_are_certain_only_where_they_must_be(seed, size, low, decades):
    """Edges and constants of any scale; every time next to an edge comes into its window or is on the right side."""
    random = np.random.default_rng(seed)
    bounds = np.unique(low * 10 ** (decades * random.random(size)))
    constants = (0.5 + random.random(50)) * 10 ** random.uniform(-8, 2)
    cells, loops = scaled_cells(bounds), loops_of("cells_loops")
    at = random.integers(0, 51, 4000).astype(np.int32)
    known = np.append(constants, np.nan)
    with np.errstate(invalid="ignore"):
        beside = np.clip(random.choice(bounds, 2000) / known[at[:2000]] + random.integers(-2, 3, 2000), -5, HIGH)
    time = np.concatenate([np.nan_to_num(beside), random.integers(-5, HIGH, 2000)]).astype(np.int32)
    u, numbers = np.empty(time.size, np.float32), np.empty(time.size, np.uint32)
    loops.gather_constants(at, known.astype(np.float32), u)
    loops.scale_times(u, time, numbers, cells.scale)
    bad = (at == 50) | (time < 0)
    assert np.array_equal(numbers == BAD, bad)
    found = reached(cells, numbers, WINDOW)
    assert (found[bad] == -1).all()
    sure = found >= 0
    want = np.searchsorted(bounds, known[at[sure]] * time[sure], side="right")
    assert np.array_equal(found[sure], want)


def test_nearly_all_of_many_scaled_times_are_certain():
    cells = scaled_cells(np.linspace(0.05, 25, 500))
    numbers = np.random.default_rng(1).integers(0, BAD, 100_000).astype(np.uint32)
    assert np.count_nonzero(reached(cells, numbers, WINDOW) < 0) < 2_000


def test_constants_that_differ_by_a_factor_make_a_family():
    difc = 1.0 + np.random.default_rng(2).random(100)
    other = difc * np.linspace(1, 1.001, 100)
    products = checked(
        {
            "d": uniform(calibrated("p", "t", difc=difc), 0, 10, 10),
            "q": uniform(ratio("p", "t", 2 * np.pi * difc), 0, 10, 10),
            "wavelength": uniform(scaled("p", "t", 1 / other), 0, 10, 10),
            "curved": uniform(calibrated("p", "t", difc=difc, difa=other), 0, 10, 10),
        }
    )
    assert [list(family.shares) for family in families_of(products)] == [["d", "q"], ["wavelength"]]


@pytest.mark.parametrize("count", [3, 1000, 2000, 4000, 4096])
def test_many_edges_over_all_times(count):
    bounds = np.linspace(LOW, HIGH, count)
    cells = time_cells(bounds)
    assert (cells is None) == (count == 4096)
    if cells is not None:
        time = np.random.default_rng(count).integers(LOW, HIGH, 10_000).astype(np.int32)
        numbers = np.empty(time.size, np.uint32)
        loops_of("cells_loops").number_times(time, numbers, cells.start, cells.most)
        found, want = reached(cells, numbers, 0), np.searchsorted(bounds, time, side="right")
        assert np.array_equal(found[found >= 0], want[found >= 0])
        assert np.count_nonzero(found < 0) < 1000


def test_there_are_no_cells_for_very_many_edges():
    many = np.arange(1.0, 6000.0)
    assert time_cells(many) is None
    assert scaled_cells(many) is None


@given(
    low=st.one_of(st.integers(-(2**31) + 2, 2**31 - 3).map(float), st.floats(-1e9, 1e9)),
    step=st.one_of(st.integers(1, 10**6).map(float), st.floats(1, 1e7), st.sampled_from([1.0, 1.0 + 2**-40, 1e7 / 3])),
    bins=st.integers(1, 4000),
    seed=st.integers(0, 2**30),
)
def test_evenly_spaced_edges_are_reached_as_numpy_says(low, step, bins, seed):
    """Edges as `uniform` makes them; every time next to an edge, and any others."""
    bounds = np.linspace(low, low + step * bins, bins + 1)
    even = even_times(bounds)
    if even is None:
        whole = low.is_integer() and step.is_integer()  # other edges may lie too near to whole numbers
        assert bounds[0] <= LOW or bounds[-1] > HIGH or not whole
        return
    beside = np.add.outer(np.ceil(bounds), [-2, -1, 0, 1]).ravel()
    others = np.random.default_rng(seed).integers(LOW, HIGH, 1000)
    time = np.clip(np.concatenate([beside, others, [LOW, HIGH]]), LOW, HIGH).astype(np.int32)
    found = np.empty(time.size, np.int32)
    numbers = even.start, even.most, even.factor, even.offset, even.shift
    loops_of("cells_loops").reach_evenly(time, *numbers, found)
    assert np.array_equal(found, np.searchsorted(bounds, time, side="right"))


@pytest.mark.parametrize(
    "bounds", [[0.0, 1.0, 5.0], [0.0, 10.0, 20.0, 35.0], [1.0, 1.2, 1.4], [0.0], [-3e9, 0.0], [0.0, 3e9]]
)
def test_other_edges_are_not_evenly_spaced(bounds):
    assert even_times(np.array(bounds)) is None

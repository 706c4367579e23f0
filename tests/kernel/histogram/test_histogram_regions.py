"""Regions: which pixels they have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import UsageError
from eventide.kernel.histogram.regions import polygon, rectangle, regions

GRID = [a.reshape(-1) for a in np.meshgrid(np.arange(-1, 9), np.arange(-1, 9))]


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 5), st.integers(1, 5))
def test_a_rectangle_is_a_polygon(x, y, w, h):
    corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    found = polygon(*GRID, corners=corners)
    assert np.array_equal(found, rectangle(*GRID, x_range=(x, x + w), y_range=(y, y + h)))
    assert np.array_equal(found, polygon(*GRID, corners=corners[::-1]))
    assert found.sum() == np.sum((GRID[0] >= x) & (GRID[0] < x + w) & (GRID[1] >= y) & (GRID[1] < y + h))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=4, max_size=4, unique=True))
def test_polygons_that_share_a_side_share_no_pixel(corners):
    """Two triangles over one side: each pixel of the plane is in the right number of them."""
    a, b, c, d = corners
    side = (b[0] - a[0]), (b[1] - a[1])
    left = [side[0] * (p[1] - a[1]) - side[1] * (p[0] - a[0]) for p in (c, d)]
    if left[0] * left[1] >= 0:
        return  # both on one side, or on it
    one, two = polygon(*GRID, corners=[a, b, c]), polygon(*GRID, corners=[a, b, d])
    assert not (one & two).any()


def test_rows_of_regions():
    x, y = GRID
    masks = [rectangle(x, y, x_range=(0, 2), y_range=(0, 2)), rectangle(x, y, x_range=(2, 4), y_range=(0, 2))]
    table = regions(masks)
    assert [(table == k).sum() for k in (0, 1)] == [4, 4]


@pytest.mark.parametrize(
    "make",
    [
        lambda: regions([]),
        lambda: regions([[True], [True, False]]),
        lambda: regions([[True], [True]]),
        lambda: polygon([0], [0], corners=[(0, 0), (1, 1)]),
        lambda: polygon([0], [0], corners=[(0, 0), (1, 1), (np.nan, 0)]),
        lambda: rectangle([0, 1], [0], x_range=(0, 1), y_range=(0, 1)),
    ],
)
def test_what_cannot_be_a_region(make):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.hint

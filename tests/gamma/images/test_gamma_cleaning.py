"""Cleanings against their rules said pixel by pixel; compiled against numpy; batches against single images."""

from __future__ import annotations

import numpy as np
import pytest
from gamma_images import DOT, HEXAGONS, batches, beside, needs_compiler, showers, without_compiler
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.gamma.cleaning.compat import compat
from eventide.apps.gamma.cleaning.fact import fact
from eventide.apps.gamma.cleaning.nsb import nsb
from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.apps.gamma.cleaning.time_constrained import time_constrained
from eventide.errors import ConfigError, DataError

CUTS = st.sampled_from([1.0, 2.0, 4.0, 4.5, 5.0, 8.0, 10.0])
LEAST = st.integers(0, 3)


def naive_tailcuts(made, image, picture, boundary, least, isolated):
    pixels = range(made.pixels)
    top = [image[p] >= picture[p] for p in pixels]
    if not isolated and least:
        top = [top[p] and sum(image[q] >= picture[q] for q in beside(made, p)) >= least for p in pixels]
    low = [image[p] >= boundary[p] for p in pixels]
    return [
        (low[p] and any(top[q] for q in beside(made, p)))
        or (top[p] and (isolated or any(low[q] for q in beside(made, p))))
        for p in pixels
    ]


def naive_near(made, mask, among, time, limit, least):
    return [
        mask[p] and sum(among[q] and abs(time[p] - time[q]) < limit for q in beside(made, p)) >= least
        for p in range(made.pixels)
    ]


def naive_islands(made, mask):
    found, left = [], [p for p in range(made.pixels) if mask[p]]
    while left:
        island, edge = [], [left[0]]
        while edge:
            p = edge.pop()
            if p in left:
                left.remove(p)
                island.append(p)
                edge += beside(made, p)
        found.append(sorted(island))
    return found


def naive_fact(made, image, time, picture, boundary, least, limit):
    pixels = range(made.pixels)
    mask = [image[p] >= picture for p in pixels]
    mask = [mask[p] and sum(mask[q] for q in beside(made, p)) >= least for p in pixels]
    mask = [(mask[p] or any(mask[q] for q in beside(made, p))) and image[p] >= boundary for p in pixels]
    if least == 0:
        return mask
    mask = naive_near(made, mask, mask, time, limit, least)
    mask = [mask[p] and sum(mask[q] for q in beside(made, p)) >= least for p in pixels]
    return naive_near(made, mask, mask, time, limit, least)


def naive_constrained(made, image, time, picture, boundary, core_limit, limit, least):
    pixels = range(made.pixels)
    core_limit = float(np.float32(core_limit))  # as peak times are
    top = [image[p] >= picture for p in pixels]
    top = [top[p] and sum(image[q] >= picture for q in beside(made, p)) >= least for p in pixels]
    islands = naive_islands(made, top)
    core = [False] * made.pixels
    if islands:
        main = max(islands, key=lambda island: sum(float(image[p]) for p in island))
        weights = [float(image[p]) ** 2 for p in main]
        mean = sum(w * float(time[p]) for w, p in zip(weights, main, strict=True)) / sum(weights)
        core = [
            top[p] and abs(float(time[p]) - mean) < core_limit * (1 if image[p] < 2 * picture else 2) for p in pixels
        ]
    edge = [not core[p] and image[p] >= boundary and any(core[q] for q in beside(made, p)) for p in pixels]
    edge = naive_near(made, edge, core, time, limit, least)
    return [core[p] or edge[p] for p in pixels]


@given(batches(), CUTS, CUTS, LEAST, st.booleans())
def test_tailcuts_is_its_rule(batch, picture, boundary, least, isolated):
    made, images, _ = batch
    found = tailcuts(
        made, images, picture=picture, boundary=boundary,
        min_number_picture_neighbors=least, keep_isolated_pixels=isolated,
    )  # fmt: skip
    high, low = [picture] * made.pixels, [boundary] * made.pixels
    for image, mask in zip(images, found, strict=True):
        assert mask.tolist() == naive_tailcuts(made, image, high, low, least, isolated)


@given(batches(), st.data(), LEAST)
def test_tailcuts_with_thresholds_of_pixels_and_of_images(batch, data, least):
    made, images, _ = batch
    cuts = st.sampled_from([1.0, 4.1, 5.0, 8.0, np.inf])
    high, low = (np.array(data.draw(st.lists(cuts, min_size=made.pixels, max_size=made.pixels))) for _ in range(2))
    rows = np.stack([high + i for i in range(len(images))]) if len(images) else high
    found = tailcuts(made, images, picture=rows, boundary=low, min_number_picture_neighbors=least)
    for i, (image, mask) in enumerate(zip(images, found, strict=True)):
        assert mask.tolist() == naive_tailcuts(made, image, high + i, low, least, False)


@given(batches(), CUTS, CUTS, LEAST, st.sampled_from([0.0, 1.5, 5.0]))
def test_fact_is_its_rule(batch, picture, boundary, least, limit):
    made, images, times = batch
    found = fact(made, images, times, picture=picture, boundary=boundary, min_number_neighbors=least, time_limit=limit)
    for image, time, mask in zip(images, times, found, strict=True):
        assert mask.tolist() == naive_fact(made, image, time, picture, boundary, least, limit)


@given(
    batches(light=st.sampled_from([0.0, 2.0, 5.0, 8.0, 10.0, 40.0]), time=st.sampled_from([0.0, 2.0, 4.0, 9.0, 20.0])),
    CUTS, CUTS, LEAST,
)  # fmt: skip
def test_time_constrained_is_its_rule(batch, picture, boundary, least):
    made, images, times = batch
    found = time_constrained(
        made, images, times, picture=picture, boundary=boundary, time_limit_core=4.3, time_limit_boundary=1.7,
        min_number_picture_neighbors=least,
    )  # fmt: skip
    for image, time, mask in zip(images, times, found, strict=True):
        assert mask.tolist() == naive_constrained(made, image, time, picture, boundary, 4.3, 1.7, least)


@given(batches(), st.booleans(), st.booleans(), st.booleans())
def test_nsb_is_its_steps(batch, timed, bright, largest):
    made, images, times = batch
    deviations = np.linspace(0.5, 4, made.pixels).astype(np.float32)
    found = nsb(
        made, images, times, picture=4, boundary=2, min_number_picture_neighbors=1, pedestal_std=deviations,
        pedestal_factor=2.5, time_limit=2.0 if timed else None, bright_threshold=6.0 if bright else None,
        bright_fraction=0.5, largest_island_only=largest,
    )  # fmt: skip
    high = np.maximum(deviations * 2.5, 4)
    for image, time, mask in zip(images, times, found, strict=True):
        wanted = naive_tailcuts(made, image, high, [2] * made.pixels, 1, False)
        if timed:
            wanted = naive_near(made, wanted, wanted, time, 2.0, 1)
        if bright:
            few = sorted((float(v) for v in image if v == v), reverse=True)
            few = [np.nan] * (made.pixels - len(few)) + few  # as numpy sorts them
            mean = sum(few[:3]) / min(3, made.pixels)
            wanted = [w and (mean < 6.0 or float(v) >= 0.5 * mean) for w, v in zip(wanted, image, strict=True)]
        if largest and any(wanted):
            most = max(naive_islands(made, wanted), key=len)
            wanted = [p in most for p in range(made.pixels)]
        assert mask.tolist() == wanted


@given(batches(), st.lists(CUTS, min_size=1, max_size=3))
def test_compat_is_its_rule(batch, levels):
    made, images, _ = batch
    found = compat(made, images, levels=levels)
    for image, mask in zip(images, found, strict=True):
        wanted = {p for p in range(made.pixels) if image[p] > levels[0]}
        for level in levels[1:]:
            wanted |= {q for p in wanted for q in beside(made, p) if image[q] > level}
        assert set(np.flatnonzero(mask).tolist()) == wanted


CALLS = {
    "tailcuts": lambda made, images, times: tailcuts(made, images, picture=5, boundary=2),
    "isolated": lambda made, images, times: tailcuts(made, images, picture=5, boundary=4.5, keep_isolated_pixels=True),
    "fact": lambda made, images, times: fact(made, images, times, min_number_neighbors=1),
    "time_constrained": lambda made, images, times: time_constrained(made, images, times, picture=4, boundary=2),
    "nsb": lambda made, images, times: nsb(
        made, images, times, picture=3, boundary=2, time_limit=3, bright_threshold=5, largest_island_only=True
    ),
    "compat": lambda made, images, times: compat(made, images),
}


@needs_compiler
@pytest.mark.parametrize("name", CALLS)
@given(batches())
def test_numpy_gives_the_same_masks(name, batch):
    compiled = CALLS[name](*batch)
    with without_compiler():
        assert np.array_equal(CALLS[name](*batch), compiled)


@pytest.mark.parametrize("name", CALLS)
@given(batches())
def test_an_image_is_judged_by_itself(name, batch):
    made, images, times = batch
    whole = CALLS[name](made, images, times)
    for i in range(len(images)):
        assert np.array_equal(CALLS[name](made, images[i : i + 1], times[i : i + 1])[0], whole[i])


@needs_compiler
def test_more_images_than_are_worked_on_at_once():
    images, times = showers(HEXAGONS, 700, 5)
    for call in CALLS.values():
        compiled = call(HEXAGONS, images, times)
        with without_compiler():
            assert np.array_equal(call(HEXAGONS, images, times), compiled)


@pytest.mark.parametrize(
    "options",
    [
        {"picture": 0},
        {"picture": -1},
        {"picture": np.nan},
        {"picture": "high"},
        {"boundary": [1.0, 2.0]},
        {"boundary": None},
        {"min_number_picture_neighbors": -1},
        {"min_number_picture_neighbors": 1.5},
        {"min_number_picture_neighbors": True},
    ],
)
def test_options_that_are_none(options):
    with pytest.raises(ConfigError):
        tailcuts(HEXAGONS, np.zeros((1, 61)), **options)


@pytest.mark.parametrize(
    "options", [{"levels": ()}, {"levels": (0,)}, {"levels": None}, {"levels": ("a",)}, {"levels": (np.nan,)}]
)
def test_levels_that_are_none(options):
    with pytest.raises(ConfigError):
        compat(HEXAGONS, np.zeros((1, 61)), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"pedestal_std": [1.0, 2.0]},
        {"pedestal_std": np.full(61, np.nan)},
        {"pedestal_std": np.full(61, "a")},
        {"time_limit": -1},
        {"time_limit": np.nan},
        {"bright_threshold": np.nan},
        {"bright_threshold": 1, "bright_pixels": 0},
        {"bright_threshold": 1, "bright_fraction": -1},
    ],
)
def test_options_of_nsb_that_are_none(options):
    with pytest.raises(ConfigError):
        nsb(HEXAGONS, np.zeros((1, 61)), np.zeros((1, 61)), **options)


@pytest.mark.parametrize("images", [np.zeros(61), np.zeros((1, 60)), [["a"] * 61], [[1], [1, 2]], np.zeros((1, 1, 61))])
def test_images_that_are_none(images):
    for call in (tailcuts, compat):
        with pytest.raises(DataError, match="images of the camera"):
            call(HEXAGONS, images)


def test_peak_times_that_are_none():
    images = np.zeros((2, 61))
    with pytest.raises(DataError, match="there are none"):
        fact(HEXAGONS, images)
    with pytest.raises(DataError, match="peak times of 1"):
        time_constrained(HEXAGONS, images, images[:1])


def test_nothing_and_one_pixel():
    assert tailcuts(HEXAGONS, np.zeros((0, 61))).shape == (0, 61)
    assert tailcuts(DOT, [[50.0]], min_number_picture_neighbors=0, keep_isolated_pixels=True).tolist() == [[True]]
    assert tailcuts(DOT, [[50.0]], min_number_picture_neighbors=0).tolist() == [[False]]

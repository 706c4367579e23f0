"""Cameras, images and a naive neighbourhood for the tests of images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eventide.apps.gamma.cameras.camera import Camera, camera
from eventide.apps.gamma.cameras.made import hexagonal
from eventide.kernel.compiled import have_compiler

needs_compiler = pytest.mark.skipif(not have_compiler(), reason="numba is not installed, or switched off")

GRID = camera("grid", *np.mgrid[0:5, 0:6].reshape(2, -1), area=1.0, shape="square")
HEXAGONS = hexagonal(61, pitch=0.05)
PAIR = camera("pair", [0, 1], [0, 0], area=1.0, shape="square")
DOT = camera("dot", [0], [0], area=1.0)
CAMERAS = (HEXAGONS, GRID, PAIR, DOT)

# Few values, so that thresholds are met exactly and islands touch; and the odd ones.
LIGHT = st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.0, 4.5, 5.0, 7.0, 8.0, 10.0, 12.25, 40.0, -3.0, np.nan, np.inf])
TIME = st.sampled_from([0.0, 1.0, 1.5, 2.0, 4.5, 9.0, 20.0, 24.5, np.nan])


@st.composite
def batches(draw, light=LIGHT, time=TIME, most=4):
    """A camera, and images and peak times of it."""
    made = draw(st.sampled_from(CAMERAS))
    shape = (draw(st.integers(0, most)), made.pixels)
    return (
        made,
        draw(arrays.arrays(np.float32, shape, elements=light)),
        draw(arrays.arrays(np.float32, shape, elements=time)),
    )


@contextmanager
def without_compiler() -> Iterator[None]:
    before = os.environ.get("EVENTIDE_COMPILED")
    os.environ["EVENTIDE_COMPILED"] = "0"
    have_compiler.cache_clear()
    try:
        yield
    finally:
        os.environ.pop("EVENTIDE_COMPILED")
        if before is not None:
            os.environ["EVENTIDE_COMPILED"] = before
        have_compiler.cache_clear()


def beside(given: Camera, pixel: int) -> list[int]:
    return given.neighbours[given.starts[pixel] : given.starts[pixel + 1]].tolist()


def showers(made: Camera, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of elongated showers over night sky, and peak times that run along them."""
    random = np.random.default_rng(seed)
    images = random.normal(0, 1.5, (count, made.pixels))
    times = random.uniform(0, 40, images.shape)
    reach = max(float(np.abs(made.x).max()), 0.01)
    for image, time in zip(images, times, strict=True):
        length = random.uniform(0.1, 0.3) * reach
        width, angle = length * random.uniform(0.2, 0.7), random.uniform(0, np.pi)
        dx, dy = made.x - random.normal(0, 0.4) * reach, made.y - random.normal(0, 0.4) * reach
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        profile = np.exp(-0.5 * (along / length) ** 2 - 0.5 * (across / width) ** 2)
        light = random.poisson(np.exp(random.uniform(4.5, 8)) * profile / profile.sum())
        image += light
        lit = light > 2
        time[lit] = (20 + 8 * along / reach + random.normal(0, 1, made.pixels) / np.sqrt(np.maximum(light, 1)))[lit]
    return images.astype(np.float32), times.astype(np.float32)

"""Ellipses to pixels: light with its fluctuations, noise of the night sky, and arrival times."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.simulate.showers import Images

__all__ = ["drawn"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

_AT_ONCE: Final = 16  # images whose pixels stay in the cache
_DARK: Final = np.float32(-60.0)  # beyond it, numbers would be denormal, with which processors are slow
_GRADIENT: Final = 8.0  # ns per degree along the image
_MIDDLE, _WINDOW = 15.0, 30.0  # ns


def drawn(
    random: np.random.Generator,
    camera: Camera,
    given: Images,
    *,
    noise: float,
    out: tuple[Float32Array, Float32Array],
    starts: Int64Array,
) -> None:
    """Draw images and peak times into two rows of numbers, each image at its place.

    Parameters
    ----------
    random
        Where chance comes from.
    camera
        In the telescope frame, degrees.
    given
        The ellipses.
    noise
        Standard deviation of a pixel without light, photo-electrons.
    out
        Where photo-electrons and peak times (ns) go.
    starts
        Where each image begins in these.

    Notes
    -----
    The light of a pixel is that of the ellipse's normal distribution in its middle, with the variance of a Poisson
    distribution. Peak times run along the image; where there is hardly any light they are anywhere in the window.

    Examples
    --------
    >>> from eventide.apps.gamma.site import KINDS, camera_of
    >>> row = np.array([0.3])
    >>> one = Images(np.array([0]), np.array([0]), row, row, row * 0, row, row / 3, row * 1000)
    >>> room = np.zeros(1855, np.float32), np.zeros(1855, np.float32)
    >>> drawn(np.random.default_rng(1), camera_of(KINDS[0]), one, noise=0.0, out=room, starts=np.array([0]))
    >>> bool(270 < room[0].sum() < 330)
    True
    """
    count, pixels = given.size.size, camera.pixels
    x, y, area = (v.astype(np.float32) for v in (camera.x, camera.y, camera.area))
    psi = np.radians(given.psi)
    shape = [np.cos(psi), np.sin(psi), given.lon, given.lat, given.length, given.width]
    shape.append(given.size / (2 * np.pi * given.length * given.width))
    columns = [v.astype(np.float32)[:, None] for v in shape]
    sky = np.float32(noise * noise)
    for begin in range(0, count, _AT_ONCE):
        cos, sin, lon, lat, length, width, density = (c[begin : begin + _AT_ONCE] for c in columns)
        dx, dy = x - lon, y - lat
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        light = np.float32(-0.5) * ((along / length) ** 2 + (across / width) ** 2)
        np.maximum(light, _DARK, out=light)
        np.exp(light, out=light)
        light *= density * area
        bright = light + sky
        image = _normal(random, light.shape)
        image *= np.sqrt(bright)
        image += light
        light /= bright + np.float32(0.25)
        times = random.random(light.shape, np.float32)
        times *= np.float32(_WINDOW)
        along *= np.float32(_GRADIENT)
        along += np.float32(_MIDDLE)
        np.clip(along, np.float32(0.0), np.float32(_WINDOW), out=along)
        along -= times
        along *= light
        times += along
        for row, start in enumerate(starts[begin : begin + _AT_ONCE].tolist()):
            out[0][start : start + pixels] = image[row]
            out[1][start : start + pixels] = times[row]


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Float32Array:
    """Return normal numbers after Box and Muller, which numpy computes several times faster than its own."""
    rows, pixels = shape
    half = (pixels + 1) // 2
    both = random.random((2, rows, half), np.float32)
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - both[0]))
    angle = both[1] * np.float32(2 * np.pi)
    out = np.empty((rows, 2 * half), np.float32)
    np.multiply(radius, np.cos(angle), out=out[:, :half])
    np.multiply(radius, np.sin(angle), out=out[:, half:])
    return out[:, :pixels]

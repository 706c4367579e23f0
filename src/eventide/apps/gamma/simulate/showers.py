"""Simulated showers, and the ellipse that each of them is on each camera.

A toy with the geometry right and the rest only plausible: the image lies where its telescope sees the shower's maximum,
its long axis points to where the shower comes from, its light falls off beyond the light pool of about 120 m. Hadrons
are broader, darker and less regular. It does for pipelines; it is no replacement for CORSIKA.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.site import Site
from eventide.apps.gamma.stereo.frames import Pointing

__all__ = ["Images", "Showers", "images_of", "thrown"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_RADIUS: Final = 450.0  # of the disc of cores, m
_FIELD: Final = 3.0  # of directions of hadrons, degrees
_POOL, _FALL = 120.0, 90.0  # m
_LIGHT: Final = (10.0, 3.5)  # photo-electrons per m2 and TeV in the light pool, of gamma rays and hadrons
_LEAST: Final = {"large": 80.0, "medium": 70.0, "small": 45.0}
_MOST_TEV: Final = 100.0


class Showers(NamedTuple):
    """Showers: one value of each for every shower; directions and pointings in degrees, cores in m."""

    times: Int64Array
    gamma: BoolArray
    energy: FloatArray
    direction: FloatArray
    core: FloatArray
    top: FloatArray
    alt: FloatArray
    az: FloatArray


@dataclass(frozen=True, slots=True)
class Images:
    """Ellipses on cameras: angles in degrees in the field of view, sizes in photo-electrons."""

    shower: Int64Array
    telescope: Int64Array
    lon: FloatArray
    lat: FloatArray
    psi: FloatArray
    length: FloatArray
    width: FloatArray
    size: FloatArray

    def take(self, rows: npt.NDArray[np.generic]) -> Images:
        """Return some of them."""
        return Images(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def thrown(
    random: np.random.Generator,
    times: Int64Array,
    gamma: BoolArray,
    *,
    pointing: tuple[FloatArray, FloatArray],
    source: tuple[FloatArray, FloatArray],
) -> Showers:
    """Draw showers.

    Parameters
    ----------
    random
        Where chance comes from.
    times
        ns, of each.
    gamma
        Which are gamma rays of the source; the others are hadrons from all of the field.
    pointing, source
        Altitude and azimuth at each time, degrees.

    Examples
    --------
    >>> aim = np.array([70.0, 70.0]), np.array([180.0, 180.0])
    >>> both = thrown(np.random.default_rng(1), np.array([0, 1]), np.array([True, False]), pointing=aim, source=aim)
    >>> both.energy.shape, both.core.shape, bool(np.hypot(*both.core.T).max() <= 450)
    ((2,), (2, 2), True)
    """
    count = times.size
    share = random.random((3, count))
    normal = random.standard_normal(count)
    index = np.where(gamma, 1.6, 1.7)
    energy = np.minimum(np.where(gamma, 0.04, 0.15) * (1.0 - share[0]) ** (-1.0 / index), _MOST_TEV)
    far, turn = _RADIUS * np.sqrt(share[1]), 2 * np.pi * share[2]
    core = np.stack([far * np.cos(turn), far * np.sin(turn)], axis=1)
    # Heights above the ground: the more energy, the deeper.
    top = np.clip(6500.0 - 500.0 * np.log(energy) + np.where(gamma, 500.0, 1100.0) * normal, 2500.0, 12_000.0)
    offset, round_ = np.radians(_FIELD) * np.sqrt(random.random(count)), 2 * np.pi * random.random(count)
    away = Pointing(*(np.radians(v) for v in pointing)).vectors(offset * np.cos(round_), offset * np.sin(round_))
    straight = Pointing(*(np.radians(v) for v in source)).vectors(np.zeros(count), np.zeros(count))
    direction = np.where(gamma[:, None], straight, away)
    return Showers(times, gamma, energy, direction, core, top, *pointing)


def images_of(
    random: np.random.Generator, showers: Showers, site: Site, *, shift: FloatArray, clear: FloatArray
) -> Images:
    """Return the images that trigger a telescope, shower by shower.

    Parameters
    ----------
    random
        Where chance comes from.
    showers
        The showers.
    site
        The array; `telescope` of an image is the place in its list of telescopes.
    shift
        By shower and telescope: how far a telescope that does not track points beside the others, degrees.
    clear
        By shower: which share of the light comes through the atmosphere.
    """
    count, tels = len(showers.times), len(site.telescopes)
    position, area, least, edge = _facts(site)
    ground = np.concatenate([showers.core, np.zeros((count, 1))], axis=1)
    summit = ground + showers.direction * (showers.top / showers.direction[:, 2])[:, None]
    sight = summit[:, None, :] - position[None, :, :]
    sight /= np.sqrt((sight**2).sum(axis=2, keepdims=True))
    aims = Pointing(*(np.radians(np.repeat(v, tels)) for v in (showers.alt, showers.az)))
    lon, lat = (np.degrees(v).reshape(count, tels) for v in aims.field(sight.reshape(-1, 3)))
    to_lon, to_lat = aims.field(np.repeat(showers.direction, tels, axis=0))
    along = lat - np.degrees(to_lat).reshape(count, tels), lon - np.degrees(to_lon).reshape(count, tels)
    apart = position[None] - ground[:, None]
    down = (apart * showers.direction[:, None]).sum(axis=2)
    impact = np.sqrt(np.maximum((apart**2).sum(axis=2) - down**2, 0.0))
    light = np.where(showers.gamma, *_LIGHT) * showers.energy * clear
    normal = random.standard_normal((5, count, tels))
    rough = np.where(showers.gamma, 0.0, 1.0)[:, None]
    size = light[:, None] * area * np.exp(-np.maximum(impact - _POOL, 0.0) / _FALL + (0.1 + 0.3 * rough) * normal[0])
    disp = np.hypot(*along)
    length = np.clip(0.06 + 0.17 * disp, 0.08, 0.45) * np.exp((0.06 + 0.2 * rough) * normal[1] + 0.25 * rough)
    width = np.clip(0.05 + 0.02 * disp, 0.05, 0.12) * np.exp((0.05 + 0.25 * rough) * normal[2] + 0.5 * rough)
    psi = np.arctan2(*along) + 0.15 * rough * normal[3]
    lon = lon - shift
    seen = (size + np.sqrt(np.maximum(size, 0.0)) * normal[4] > least) & (np.hypot(lon, lat) < 0.95 * edge)
    seen &= ((seen.sum(axis=1) >= 2) | ~showers.gamma)[:, None]
    shower, telescope = np.nonzero(seen)
    values = (v[seen] for v in (lon, lat, np.degrees(psi), length, np.minimum(width, length), size))
    return Images(shower, telescope, *values)


@functools.lru_cache(maxsize=16)
def _facts(site: Site) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return position, mirror area, least light and radius of the camera of each telescope."""
    radius = site.subarray().radii
    return (
        np.array([t.position for t in site.telescopes], np.float64),
        np.array([site.kind(t.kind).mirror_area for t in site.telescopes]),
        np.array([_LEAST.get(t.kind, 60.0) for t in site.telescopes]),
        np.array([radius[t.tel_id] for t in site.telescopes]),
    )

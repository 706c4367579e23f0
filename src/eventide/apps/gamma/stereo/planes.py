"""Geometry of showers from the planes through telescopes and image axes, for many events at once.

The method is that of ctapipe's HillasReconstructor (0.28): every image's axis and telescope span a plane; the lines in
which pairs of planes meet, weighted, give the direction; the lines of the axes on the plane across the pointing meet in
the core; the lines of sight to the centres of the images meet in the shower maximum (least squares: points nearest to
lines). The re-computation of psi in the array's field of view is that of M. Gasparetto's thesis (section 7.1.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.stereo.frames import Pointing
from eventide.apps.gamma.stereo.lines import Lines, lines_of
from eventide.errors import UsageError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keyed.segments import ranges

__all__ = ["Geometry", "Images", "reconstruct"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_SINGULAR = 1e-14
"""Lines whose matrix has a determinant smaller than this, relative to its trace, are taken to be parallel."""

_TOGETHER = 2048
"""So many events at once: their columns stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Images:
    """Images of many events: those of event ``i`` are ``offsets[i]`` to ``offsets[i + 1]``.

    Parameters
    ----------
    offsets
        int64, one more than there are events.
    fov_lon, fov_lat
        Centres in the telescopes' field of view, degrees.
    psi
        Angle of the axis, degrees, from fov_lon towards fov_lat.
    length, width
        In one unit; only their ratio counts.
    intensity
        Photo-electrons.
    position
        float64 (n, 3): the telescope in the ground frame (north, west, up), m.
    alt, az
        Where the telescope pointed, degrees.
    radius
        Radius of its camera, degrees: a second point of the axis is taken a tenth of it from the centre.

    Examples
    --------
    >>> one = np.ones(1)
    >>> images = Images(np.array([0, 1]), *[one] * 6, np.zeros((1, 3)), one, one, one)
    >>> images.usable(50.0).tolist()
    [False]
    """

    offsets: Int64Array
    fov_lon: FloatArray
    fov_lat: FloatArray
    psi: FloatArray
    length: FloatArray
    width: FloatArray
    intensity: FloatArray
    position: FloatArray
    alt: FloatArray
    az: FloatArray
    radius: FloatArray

    def __post_init__(self) -> None:
        count = self.fov_lon.shape[0]
        offsets = self.offsets
        bad = offsets.ndim != 1 or not offsets.size or offsets[0] != 0 or offsets[-1] != count
        if bad or (np.diff(offsets) < 0).any():
            msg = f"offsets of events do not run from 0 to {count}, the number of images, without going back"
            raise UsageError(msg, hint="offsets are the running number of images: np.concatenate(([0], np.cumsum(n)))")
        for name in self.__dataclass_fields__:
            shape = getattr(self, name).shape
            if name != "offsets" and shape != ((count, 3) if name == "position" else (count,)):
                msg = f"the column {name!r} of {count} images has the shape {shape}"
                raise UsageError(msg, hint="columns are of one length; position has three numbers an image")

    def of(self, begin: int, end: int) -> Images:
        """Return the images of the events from `begin` to `end`."""
        first, last = (int(self.offsets[i]) for i in (begin, end))
        names = [n for n in self.__dataclass_fields__ if n != "offsets"]
        return Images(self.offsets[begin : end + 1] - first, *(getattr(self, n)[first:last] for n in names))

    def usable(self, min_intensity: float) -> BoolArray:
        """Return which images have a shape, a place and enough light."""
        out = (self.width > 0) & (self.intensity > min_intensity) & np.isfinite(self.position).all(axis=1)
        for name in ("fov_lon", "fov_lat", "psi", "length", "width", "intensity", "alt", "az", "radius"):
            out &= np.isfinite(getattr(self, name))
        return out & (self.length > 0) & (self.radius > 0)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Geometry of every event; all numbers of an event that is not valid are NaN.

    Parameters
    ----------
    is_valid
        Whether there is a direction, a core and a height.
    n_tels
        How many images were used.
    alt, az
        Direction, degrees; az from 0 to 360.
    uncert
        Mean angle between the direction and the lines of pairs of planes, degrees (alt_uncert and az_uncert).
    core_x, core_y
        Where the axis meets the ground (z = 0), m to the north and to the west.
    core_tilted_x, core_tilted_y
        The core on the plane across the pointing, m.
    h_max
        Height of the shower maximum above sea level, m.
    average_intensity
        Mean intensity of the images used, photo-electrons.

    Examples
    --------
    >>> one = np.ones(1)
    >>> images = Images(np.array([0, 1]), *[one] * 6, np.zeros((1, 3)), one, one, one)
    >>> found = reconstruct(images, array_alt=70.0, array_az=0.0, height=0.0)
    >>> found.is_valid.tolist(), found.alt.tolist()
    ([False], [nan])
    """

    is_valid: BoolArray
    n_tels: Int64Array
    alt: FloatArray
    az: FloatArray
    uncert: FloatArray
    core_x: FloatArray
    core_y: FloatArray
    core_tilted_x: FloatArray
    core_tilted_y: FloatArray
    h_max: FloatArray
    average_intensity: FloatArray


def reconstruct(
    images: Images,
    *,
    array_alt: npt.ArrayLike,
    array_az: npt.ArrayLike,
    height: float,
    min_intensity: float = 50.0,
    compiled: bool | None = None,
) -> Geometry:
    """Return the geometry of showers.

    Parameters
    ----------
    images
        Of every event; those without a width, without a place or with too little light are passed over.
    array_alt, array_az
        Pointing of the array, degrees, one for all or one for every event.
    height
        Of the ground frame's origin above sea level, m.
    min_intensity
        An image must have more light than this, photo-electrons.
    compiled
        Whether the compiled loops are used; left out, where there is a compiler. The results have the same bits.

    Returns
    -------
    Geometry
        Events with fewer than two images that can be used, or whose planes or lines are parallel, are not valid.

    Examples
    --------
    >>> columns = {"fov_lon": [0.5, 0.0], "fov_lat": [0.0, 0.5], "psi": [0.0, 90.0], "length": [0.2, 0.2]}
    >>> columns |= {"width": [0.1, 0.1], "intensity": [100.0, 100.0], "alt": [90.0] * 2, "az": [0.0] * 2}
    >>> columns |= {"radius": [2.0] * 2, "position": [[0.0, 100.0, 0.0], [100.0, 0.0, 0.0]]}
    >>> images = Images(np.array([0, 2]), **{n: np.array(c) for n, c in columns.items()})
    >>> found = reconstruct(images, array_alt=90.0, array_az=0.0, height=2000.0)
    >>> found.is_valid.tolist(), found.alt.round(6).tolist(), found.n_tels.tolist()
    ([True], [90.0], [2])
    """
    events = images.offsets.size - 1
    pointing = [np.broadcast_to(np.radians(np.asarray(v, np.float64)), (events,)) for v in (array_alt, array_az)]
    fast = have_compiler() if compiled is None else compiled
    parts: list[Geometry] = []
    for begin in range(0, max(events, 1), _TOGETHER):
        end = min(begin + _TOGETHER, events)
        part = images.of(begin, end)
        aim = pointing[0][begin:end], pointing[1][begin:end]
        parts.append(_reconstruct(part, aim, part.usable(min_intensity), height=height, fast=fast))
    names = Geometry.__dataclass_fields__
    return parts[0] if len(parts) == 1 else Geometry(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def _reconstruct(
    images: Images, pointing: tuple[FloatArray, FloatArray], keep: BoolArray, *, height: float, fast: bool
) -> Geometry:
    events = images.offsets.size - 1
    owner = np.repeat(np.arange(events), np.diff(images.offsets))[keep]
    n_tels = np.bincount(owner, minlength=events)
    offsets = np.concatenate(([0], np.cumsum(n_tels)))
    array = Pointing(*pointing)
    lines = _lines(images, keep, owner, array=array, fast=fast)
    with np.errstate(all="ignore"):
        direction, uncert = _directions(lines.normals, lines.weights, offsets, fast=fast)
        sums = _sums(lines.terms, offsets, fast=fast)
        tilted_x, tilted_y = _meet_in_plane(sums[:5])
        core_x, core_y = array.ground(tilted_x, tilted_y)
        h_max = _meet_in_space(sums[5:]) + height
        intensity = np.bincount(owner, images.intensity[keep], events) / n_tels
        alt = np.degrees(np.arctan2(direction[:, 2], np.hypot(direction[:, 0], direction[:, 1])))
        az = np.degrees(-np.arctan2(direction[:, 1], direction[:, 0])) % 360.0
    columns = [alt, az, uncert, core_x, core_y, tilted_x, tilted_y, h_max, intensity]
    valid = (n_tels >= 2) & (direction != 0).any(axis=1) & np.isfinite(columns).all(axis=0)
    return Geometry(valid, n_tels, *(np.where(valid, c, np.nan) for c in columns))


def _lines(images: Images, keep: BoolArray, owner: Int64Array, *, array: Pointing, fast: bool) -> Lines:
    rows = slice(None) if keep.all() else keep
    lon, lat, psi, alt, az, radius = (
        np.radians(v[rows]) for v in (images.fov_lon, images.fov_lat, images.psi, images.alt, images.az, images.radius)
    )
    step = 0.1 * radius
    lon2, lat2 = lon + step * np.cos(psi), lat + step * np.sin(psi)
    aim = array.take(owner)
    # Mostly telescopes and array point alike, and the two fields of view are one.
    other = (alt != aim.alt) | (az != aim.az)
    telescope = Pointing(alt, az) if other.any() else aim
    sight, second = telescope.vectors(lon, lat), telescope.vectors(lon2, lat2)
    along, across = lat2 - lat, lon2 - lon
    if other.any():
        from_, to = (aim.take(other).field(v[other]) for v in (sight, second))
        across[other], along[other] = to[0] - from_[0], to[1] - from_[1]
    intensity = images.intensity[rows]
    with np.errstate(all="ignore"):
        weights = intensity * images.length[rows] / images.width[rows]
        return lines_of(
            sight, second, axis=(along, across), position=images.position[rows], aim=aim, weights=weights, fast=fast
        )


def _meet_in_plane(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    uu, uv, vv, p, q = sums
    det = uu * vv - uv * uv
    det = np.where(np.abs(det) > _SINGULAR * (uu + vv) ** 2, det, np.nan)
    return (vv * p - uv * q) / det, (uu * q - uv * p) / det


def _meet_in_space(sums: FloatArray) -> FloatArray:
    """Return the height of the points nearest to lines (Cramer's rule)."""
    xx, yy, zz, xy, xz, yz, p, q, r = sums
    first, second, third = xy * yz - yy * xz, xy * xz - xx * yz, xx * yy - xy * xy
    det = xz * first + yz * second + zz * third
    det = np.where(np.abs(det) > _SINGULAR * np.abs(xx + yy + zz) ** 3, det, np.nan)
    out: FloatArray = (first * p + second * q + third * r) / det
    return out


def _sums(terms: FloatArray, offsets: Int64Array, *, fast: bool) -> FloatArray:
    events = offsets.size - 1
    if fast:
        from eventide.apps.gamma.stereo.planes_loops import sums_loop

        out = np.empty((terms.shape[0], events))
        sums_loop(offsets, terms, out)
        return out
    owner = np.repeat(np.arange(events), np.diff(offsets))
    return np.array([np.bincount(owner, kind, events) for kind in terms])


def _directions(
    normals: FloatArray, weights: FloatArray, offsets: Int64Array, *, fast: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the direction of every event, a unit vector or zero, and its uncertainty in degrees."""
    events = offsets.size - 1
    sizes = np.diff(offsets)
    pairs = sizes * (sizes - 1) // 2
    owner = np.repeat(np.arange(events), pairs)
    if fast:
        from eventide.apps.gamma.stereo.planes_loops import pairs_loop

        direction = np.zeros((events, 3))
        sine, cosine = np.empty(owner.size), np.empty(owner.size)
        pairs_loop(offsets, normals, weights, direction, sine, cosine)
    else:
        direction, sine, cosine = _pairs(normals, weights, offsets, owner=owner)
    angles = np.arctan2(sine, cosine)
    return direction, np.degrees(np.bincount(owner, angles, events) / pairs)


def _pairs(
    normals: FloatArray, weights: FloatArray, offsets: Int64Array, *, owner: Int64Array
) -> tuple[FloatArray, FloatArray, FloatArray]:
    events = offsets.size - 1
    image = np.arange(normals.shape[0])
    stops = np.repeat(offsets[1:], np.diff(offsets))
    first, second = np.repeat(image, stops - image - 1), ranges(image + 1, stops)
    (ax, ay, az), (bx, by, bz) = normals[first].T, normals[second].T
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    down = cz < 0.0
    cx, cy, cz = (np.where(down, -c, c) for c in (cx, cy, cz))
    weight = weights[first] * weights[second]
    x, y, z = (np.bincount(owner, weight * c, events) for c in (cx, cy, cz))
    size = np.sqrt(x * x + y * y + z * z)
    divide = size > 0.0
    x, y, z = (np.where(divide, c / np.where(divide, size, 1.0), c) for c in (x, y, z))
    dx, dy, dz = x[owner], y[owner], z[owner]
    ox, oy, oz = dy * cz - dz * cy, dz * cx - dx * cz, dx * cy - dy * cx
    sine = np.sqrt(ox * ox + oy * oy + oz * oz)
    return np.stack([x, y, z], axis=1), sine, dx * cx + dy * cy + dz * cz

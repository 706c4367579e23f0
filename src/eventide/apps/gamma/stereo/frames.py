"""Frames of coordinates: telescope field of view, horizon, ground and the plane across the pointing.

Conventions are those of ctapipe: azimuth from north through east; ground x to the north, y to the west, z up; the field
of view has its pole towards the zenith, ``fov_lon`` along the horizon and ``fov_lat`` upwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Pointing", "theta2"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


class Pointing:
    """Directions, and the frames that go with them.

    Parameters
    ----------
    alt, az
        Radians, arrays of one shape.

    Examples
    --------
    >>> to = Pointing(np.radians([70.0]), np.radians([10.0]))
    >>> lon, lat = to.field(to.vectors(np.array([0.02]), np.array([-0.01])))
    >>> lon.round(12).tolist(), lat.round(12).tolist()
    ([0.02], [-0.01])
    >>> x, y = to.ground(*to.plane(np.array([[3.0, 4.0, 0.0]])))
    >>> x.round(9).tolist(), y.round(9).tolist()
    ([3.0], [4.0])
    """

    def __init__(self, alt: FloatArray, az: FloatArray) -> None:
        self.alt, self.az = alt, az
        self._up, self._level = np.sin(alt), np.cos(alt)
        self._east, self._north = np.sin(az), np.cos(az)

    def take(self, rows: npt.NDArray[np.generic]) -> Pointing:
        """Return some of them (numbers, or a mask)."""
        out = Pointing.__new__(Pointing)
        for name in ("alt", "az", "_up", "_level", "_east", "_north"):
            setattr(out, name, getattr(self, name)[rows])
        return out

    @property
    def parts(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the sines and cosines: of the altitude, then of the azimuth."""
        return self._up, self._level, self._east, self._north

    def vectors(self, fov_lon: FloatArray, fov_lat: FloatArray) -> FloatArray:
        """Return unit vectors (n, 3) in the ground frame of positions in the fields of view, radians."""
        cos = np.cos(fov_lat)
        x, y, z = cos * np.cos(fov_lon), cos * np.sin(fov_lon), np.sin(fov_lat)
        level = x * self._level - z * self._up
        out = np.empty((z.size, 3))
        out[:, 0] = level * self._north - y * self._east
        # Azimuth runs clockwise seen from above, so the y axis of a right-handed frame points west.
        out[:, 1] = -(level * self._east + y * self._north)
        out[:, 2] = x * self._up + z * self._level
        return out

    def field(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return positions in the fields of view, radians, of unit vectors in the ground frame."""
        north, west, up = vectors.T
        level = north * self._north - west * self._east
        y = -north * self._east - west * self._north
        x, z = level * self._level + up * self._up, up * self._level - level * self._up
        return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))

    def plane(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return coordinates of ground positions (n, 3) on the planes across the pointings, through the origin."""
        x, y, z = positions.T
        level = self._north * x - self._east * y
        return self._up * level - self._level * z, self._east * x + self._north * y

    def ground(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return where lines along the pointings through points of the planes meet the ground, z = 0."""
        north = self._up * self._north * x + self._east * y
        west = -self._up * self._east * x + self._north * y
        drop = -self._level * x / self._up
        return north - self._level * self._north * drop, west + self._level * self._east * drop


def theta2(alt: npt.ArrayLike, az: npt.ArrayLike, *, alt0: npt.ArrayLike, az0: npt.ArrayLike) -> FloatArray:
    """Return the squared angle between directions and a position, square degrees; all arguments in degrees.

    Examples
    --------
    >>> theta2([70.1, 70.0], [0.0, 0.0], alt0=70.0, az0=0.0).round(9).tolist()
    [0.01, 0.0]
    """
    lat, lon, lat0, lon0 = (np.radians(np.asarray(v, np.float64)) for v in (alt, az, alt0, az0))
    half = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
    out: FloatArray = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))) ** 2
    return out

"""Where telescopes stand, and how large their cameras are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["Subarray"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Subarray:
    """Telescopes of an array.

    Parameters
    ----------
    positions
        By telescope: north, west and up in m, in the ground frame.
    radii
        By telescope: radius of the camera, degrees.
    height
        Of the ground frame's origin above sea level, m.

    Raises
    ------
    UsageError
        A telescope has only one of the two, or one that is no place or no radius.

    Examples
    --------
    >>> two = Subarray({1: (0.0, 0.0, 0.0), 4: (100.0, 0.0, 5.0)}, {1: 2.3, 4: 2.3}, height=2200.0)
    >>> position, radius = two.of(np.array([4, 9]))
    >>> position[:, 0].tolist(), radius.tolist()
    ([100.0, nan], [2.3, nan])
    """

    positions: Mapping[int, tuple[float, float, float]]
    radii: Mapping[int, float]
    height: float = 0.0

    def __post_init__(self) -> None:
        if set(self.positions) != set(self.radii) or not self.positions:
            msg = f"{len(self.positions)} positions and {len(self.radii)} radii are not of the same telescopes"
            raise UsageError(msg, hint="give every telescope both: positions={1: (x, y, z)}, radii={1: 2.3}")
        for tel, place in self.positions.items():
            if len(place) != 3 or not np.isfinite(place).all() or not 0 < self.radii[tel] < 90:
                msg = f"telescope {tel} stands at {place} and has a camera of {self.radii[tel]} degrees"
                raise UsageError(msg, hint="three numbers in m, and a radius in degrees")

    def of(self, tels: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Return positions (n, 3) and radii of telescopes; NaN for those that are not of the array."""
        known = np.array(sorted(self.positions), np.int64)
        place = np.minimum(np.searchsorted(known, tels), known.size - 1)
        there = known[place] == tels
        positions = np.array([self.positions[t] for t in known.tolist()], np.float64)[place]
        radii = np.array([self.radii[t] for t in known.tolist()], np.float64)[place]
        return np.where(there[:, None], positions, np.nan), np.where(there, radii, np.nan)

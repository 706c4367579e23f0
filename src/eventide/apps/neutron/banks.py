"""What counts, as data: banks of pixels, and monitors. Distances are m; the sample is at the origin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Bank", "Monitor", "around"]

Vector: TypeAlias = tuple[float, float, float]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bank:
    """A plane of pixels, numbered row by row.

    Parameters
    ----------
    name
        What its messages have as source.
    first
        Number of its first pixel.
    rows, columns
        How many pixels it has upwards and across.
    centre
        Where its middle is.
    across
        The direction of its columns, a unit vector; its rows go along y.
    size
        Width and height of a pixel.
    module, gap
        After so many columns there is a gap of that width; 0: none.
    dead
        Rows that count nothing.
    """

    name: str
    first: int
    rows: int
    columns: int
    centre: Vector
    size: tuple[float, float]
    across: Vector = (1.0, 0.0, 0.0)
    module: int = 0
    gap: float = 0.0
    dead: tuple[int, ...] = ()

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.rows * self.columns

    def positions(self) -> Float64Array:
        """Return where its pixels are, one row of x, y, z each.

        Examples
        --------
        >>> Bank("b", 1, 1, 2, (0.0, 0.0, 5.0), (0.1, 0.1)).positions().tolist()
        [[-0.05, 0.0, 5.0], [0.05, 0.0, 5.0]]
        """
        column = np.arange(self.columns)
        right = (column - (self.columns - 1) / 2) * self.size[0]
        if self.module:
            right += (column // self.module - (self.columns - 1) // self.module / 2) * self.gap
        high = (np.arange(self.rows) - (self.rows - 1) / 2) * self.size[1]
        out = np.broadcast_to(np.array(self.centre), (self.rows, self.columns, 3)).copy()
        out += right[None, :, None] * np.array(self.across)
        out[:, :, 1] += high[:, None]
        return out.reshape(-1, 3)

    def alive(self) -> npt.NDArray[np.bool_]:
        """Return which pixels count."""
        out = np.ones((self.rows, self.columns), np.bool_)
        out[list(self.dead)] = False
        return out.ravel()


@dataclass(frozen=True, slots=True)
class Monitor:
    """A counter without pixels in the beam: how far from the moderator, and its share of all events."""

    name: str
    distance: float
    share: float = 0.01


def around(name: str, first: int, shape: tuple[int, int], *, angles: tuple[float, ...], **more: float) -> list[Bank]:
    """Return banks around the sample that face it, one for each scattering angle (degrees; below 0: to the left)."""
    made = []
    for number, degrees in enumerate(angles):
        turn = math.radians(degrees)
        centre = (more["distance"] * math.sin(turn), 0.0, more["distance"] * math.cos(turn))
        across = (math.cos(turn), 0.0, -math.sin(turn))
        start = first + number * shape[0] * shape[1]
        size = (more["width"] / shape[1], more["height"] / shape[0])
        made.append(Bank(f"{name}{number}", start, *shape, centre, size, across))
    return made

"""What every image brings to the sums over an event: the normal of its plane, and matrices of its lines.

The point nearest to lines (in least squares) with directions ``n`` through points ``p`` solves ``S x = C`` with
``S = sum(n n^T - 1)`` and ``C = sum((n n^T - 1) p)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.stereo.frames import Pointing

__all__ = ["KINDS", "Lines", "lines_of"]

FloatArray = npt.NDArray[np.float64]

KINDS = 14
"""Terms of an image: three and two of its axis on the plane across the pointing, six and three of its line of sight."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Of every image.

    Parameters
    ----------
    normals
        (n, 3): normal of the plane through the telescope and the axis.
    terms
        (`KINDS`, n): entries of S (uu, uv, vv) and C (u, v) in the plane, of S (xx, yy, zz, xy, xz, yz) and C (x, y, z)
        in space.
    weights
        Of the image among the others.

    Examples
    --------
    >>> Lines(np.zeros((1, 3)), np.zeros((KINDS, 1)), np.ones(1)).terms.shape
    (14, 1)
    """

    normals: FloatArray
    terms: FloatArray
    weights: FloatArray


def lines_of(
    sight: FloatArray,
    second: FloatArray,
    *,
    axis: tuple[FloatArray, FloatArray],
    position: FloatArray,
    aim: Pointing,
    weights: FloatArray,
    fast: bool,
) -> Lines:
    """Return what images bring.

    Parameters
    ----------
    sight, second
        (n, 3): unit vectors to the centre of the image and to a second point of its axis, ground frame.
    axis
        Direction of the axis in the array's field of view: up and along the horizon, of any length.
    position
        (n, 3): where the telescope stands, m.
    aim
        Pointing of the array, for every image.
    weights
        As in `Lines`.
    fast
        Whether the compiled loop is used; the results have the same bits.

    Examples
    --------
    >>> up, south = np.array([[0.0, 0.0, 1.0]]), np.array([[-0.6, 0.0, 0.8]])
    >>> aim = Pointing(np.array([np.pi / 2]), np.zeros(1))
    >>> axis = np.array([-1.0]), np.zeros(1)
    >>> found = lines_of(up, south, axis=axis, position=np.zeros((1, 3)), aim=aim, weights=np.ones(1), fast=False)
    >>> found.normals.tolist(), found.terms[:3, 0].tolist()
    ([[0.0, -0.6, 0.0]], [0.0, -0.0, -1.0])
    """
    if fast:
        from eventide.apps.gamma.stereo.lines_loops import lines_loop

        normals, terms = np.empty_like(sight), np.empty((KINDS, weights.size))
        lines_loop(sight, second, *axis, position, *aim.parts, normals, terms)
        return Lines(normals, terms, weights)
    along, across = axis
    size = np.sqrt(along * along + across * across)
    u, v = along / size, across / size
    px, py = aim.plane(position)
    uu, uv, vv = u * u - 1.0, u * v, v * v - 1.0
    x, y, z = sight.T
    a, b, c = position.T
    xx, yy, zz, xy, xz, yz = x * x - 1.0, y * y - 1.0, z * z - 1.0, x * y, x * z, y * z
    plane = [uu, uv, vv, uu * px + uv * py, uv * px + vv * py]
    space = [xx, yy, zz, xy, xz, yz, xx * a + xy * b + xz * c, xy * a + yy * b + yz * c, xz * a + yz * b + zz * c]
    return Lines(np.cross(sight, second), np.array([*plane, *space]), weights)

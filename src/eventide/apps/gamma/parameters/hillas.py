"""Hillas parameters: moments of an image along the axes of its ellipse.

Formulas are those of ``ctapipe.image.hillas_parameters`` 0.28: centroid and covariance weighted with the light; width
and length are the roots of the eigenvalues of the covariance (below 2.2e-16 they count as 0), psi the direction of the
greater one in (-90, 90] degrees; uncertainties of length and width after MAGIC, of psi and of the transverse centroid
by a line fitted to transverse against longitudinal places. An image of length 0 has no psi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.parameters.chosen import Chosen, each

__all__ = ["DEGREES", "NEAR_ZERO", "Ellipse", "hillas"]

Float64Array = npt.NDArray[np.float64]

DEGREES = 180.0 / math.pi
"""One radian."""

NEAR_ZERO = 2.220446049250313e-16
"""Eigenvalues up to here count as 0."""


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Centre, half axes, and cosine and sine of psi, of each image."""

    x: Float64Array
    y: Float64Array
    length: Float64Array
    width: Float64Array
    cos: Float64Array
    sin: Float64Array


def hillas(camera: Camera, pixels: Chosen) -> tuple[list[Float64Array], Ellipse]:
    """Return the fourteen columns, NaN where an image has no parameters, and the ellipses.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> flower = hexagonal(7, pitch=1.0)
    >>> columns, ellipse = hillas(flower, chosen(flower, np.ones((1, 7), np.float32), np.arange(7)))
    >>> float(columns[0][0]), columns[7].round(6).tolist(), columns[9].round(6).tolist()
    (7.0, [0.654654], [0.654654])
    """
    with np.errstate(all="ignore"):
        return _hillas(camera, pixels)


def _hillas(camera: Camera, pixels: Chosen) -> tuple[list[Float64Array], Ellipse]:
    row, w, size = pixels.row, pixels.light, pixels.size
    x, y = camera.x[pixels.pixel], camera.y[pixels.pixel]
    cog_x, cog_y = pixels.sums(w * x) / size, pixels.sums(w * y) / size
    dx, dy = x - cog_x[row], y - cog_y[row]
    wx, wy = w * dx, w * dy
    xx, xy, yy = pixels.sums(wx * dx) / size, pixels.sums(wx * dy) / size, pixels.sums(wy * dy) / size
    length, width, slope, cos, sin = _axes(xx, xy, yy)
    c, s = cos[row], sin[row]
    along, across = dx * c + dy * s, dy * c - dx * s
    square = along * along
    skewness = pixels.sums(w * (square * along)) / size / (length * length * length)
    kurtosis = pixels.sums(w * (square * square)) / size / ((length * length) * (length * length))
    psi_uncertainty, cog_uncertainty = _line(camera, pixels, along, across=across, ratio=width / length)
    a, b, c2 = cos * cos, sin * sin, 2.0 * (sin * cos)
    terms = [dx * dx - xx[row], dy * dy - yy[row], dx * dy - xy[row]]
    lengths = _spread(pixels, terms, (a, b, c2)) / size / (2.0 * length)
    widths = _spread(pixels, terms, (b, a, -c2)) / size / (2.0 * width)
    pointed = length != 0.0
    columns = [
        size,
        skewness,
        kurtosis,
        cog_x,
        cog_y,
        np.sqrt(cog_x * cog_x + cog_y * cog_y),
        each(math.atan2, cog_y, cog_x) * DEGREES,
        length,
        np.where(pointed, lengths, np.nan),
        width,
        np.where(pointed & (width != 0.0), widths, np.nan),
        each(math.atan, slope) * DEGREES,
        psi_uncertainty * DEGREES,
        cog_uncertainty,
    ]
    good = pixels.measurable()
    blank = (1, 2, 11, 12, 13)
    columns = [np.where(good & pointed if i in blank else good, each_, np.nan) for i, each_ in enumerate(columns)]
    return columns, Ellipse(cog_x, cog_y, length, width, cos, sin)


def _axes(xx: Float64Array, xy: Float64Array, yy: Float64Array) -> tuple[Float64Array, ...]:
    """Return roots of the eigenvalues, and tangent, cosine and sine of the direction of the greater one.

    The smaller eigenvalue is the determinant over the greater one, in the order of LAPACK's dlaev2: no cancellation.
    """
    df, tb = xx - yy, xy + xy
    rt = np.sqrt(df * df + tb * tb)
    greater = 0.5 * ((xx + yy) + rt)
    smaller = (np.maximum(xx, yy) / greater) * np.minimum(xx, yy) - (xy / greater) * xy
    flat = df >= 0.0
    vx = np.where(flat, df + rt, np.abs(tb))
    vy = np.where(flat, tb, np.where(tb < 0.0, df - rt, rt - df))
    upright = vx == 0.0
    norm = np.sqrt(vx * vx + vy * vy)
    slope = np.where(upright, np.inf, vy / vx)
    cos, sin = np.where(upright, 0.0, vx / norm), np.where(upright, 1.0, vy / norm)
    roots = [np.sqrt(np.where(np.abs(value) <= NEAR_ZERO, 0.0, value)) for value in (greater, smaller)]
    return roots[0], np.where(roots[0] == 0.0, 0.0, roots[1]), slope, cos, sin


def _line(
    camera: Camera, pixels: Chosen, along: Float64Array, *, across: Float64Array, ratio: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the uncertainties of psi (rad) and of the transverse centroid by a weighted line through the pixels."""
    v = pixels.light / camera.area[pixels.pixel]
    va = v * along
    n, sx, sxx = pixels.sums(v), pixels.sums(va), pixels.sums(va * along)
    sy, sxy = pixels.sums(v * across), pixels.sums(va * across)
    det = sxx * n - sx * sx
    tilt = (n * sxy - sx * sy) / det
    tan = each(math.tan, np.where(np.isfinite(ratio), ratio, np.nan) * math.pi / 2.0)
    sin = each(math.sin, np.where(np.isfinite(tilt), tilt, np.nan))
    fine = (det != 0.0) & (pixels.counts > 1)
    psi = np.sqrt(n / det + tilt * tilt) * (1.0 + tan * tan)
    return np.where(fine, psi, np.nan), np.where(fine, np.sqrt(sxx / det * (1.0 + sin * sin)), np.nan)


def _spread(pixels: Chosen, terms: list[Float64Array], weights: tuple[Float64Array, ...]) -> Float64Array:
    row = pixels.row
    q = weights[0][row] * terms[0] + weights[1][row] * terms[1] + weights[2][row] * terms[2]
    return np.sqrt(pixels.sums(q * q * pixels.light))

"""What simulated neutrons do: which pixels they reach with which wavelength, as tables from which events are drawn.

A table has cells: a group of pixels at nearly one scattering angle, and an interval of wavelength (or of d-spacing,
where peaks must stay sharp whatever the angle). Inside a cell everything is equally likely. Formulas: Maxwellian of a
moderator, 2 a^2 / wavelength^5 exp(-a / wavelength^2) with a = 949 / T; form factor of a sphere (Rayleigh 1911);
Fresnel reflectivity; reflections of diamond, a = 3.56712 Angstrom.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.instruments import NS_PER_ANGSTROM_METRE, Bank, Instrument, Monitor

__all__ = ["DIAMOND", "SLOTS", "Table", "moderator", "reflections", "table_of_bank", "table_of_monitor"]

Float64Array = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

DIAMOND: Final = 3.56712
"""Edge of the cell of diamond, Angstrom."""

SLOTS: Final = 1 << 17
"""Entries of a table: how finely probabilities are told apart."""

_GROUPS, _WAVELENGTHS, _STEPS = 96, 96, 9
_KELVIN, _RADIUS, _CRITICAL, _BEAM = 60.0, 60.0, 0.0217, 0.0349
_PEAK_WIDTH, _BACKGROUND = 0.0015, 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Cells, and what is in them.

    Parameters
    ----------
    slots
        The cell of each of `SLOTS` equally likely cases.
    start, size
        Of each cell: where in `pixel` its pixels begin, and how many it has.
    low, width
        Of each cell: the interval of its value.
    pixel, constant
        Pixels in the order of their angle, and what their value is multiplied by to give the time of flight, ns.
    weight
        Relative number of events of the whole table.
    """

    slots: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    low: Float64Array
    width: Float64Array
    pixel: npt.NDArray[np.int32]
    constant: Float64Array
    weight: float


def moderator(wavelength: Float64Array) -> Float64Array:
    """Return the flux of a cold moderator at a wavelength, in no unit.

    Examples
    --------
    >>> bool(moderator(np.array([2.5]))[0] > moderator(np.array([9.0]))[0])
    True
    """
    a = 949.0 / _KELVIN
    out: Float64Array = 2 * a**2 / wavelength**5 * np.exp(-a / wavelength**2)
    return out


def reflections(edge: float = DIAMOND, *, shortest: float = 0.4) -> tuple[Float64Array, Float64Array]:
    """Return the d-spacings of the reflections of a diamond lattice, Angstrom, and their relative strengths.

    Examples
    --------
    >>> reflections(shortest=1.0)[0].round(4).tolist()
    [2.0595, 1.2612, 1.0755]
    """
    most = int(edge / shortest) + 1
    found: dict[int, float] = {}
    for h, k, m in itertools.product(range(-most, most + 1), repeat=3):
        square, odd = h * h + k * k + m * m, {abs(i) % 2 for i in (h, k, m)}
        if square and (odd == {1} or (odd == {0} and (h + k + m) % 4 == 0)):
            found[square] = found.get(square, 0.0) + (1.0 if odd == {1} else 2.0)
    squares = np.array(sorted(s for s in found if edge / s**0.5 >= shortest))
    return edge / np.sqrt(squares), np.array([found[s] for s in squares.tolist()])


def table_of_monitor(one: Instrument, monitor: Monitor) -> Table:
    """Return the table of a monitor: the spectrum of the moderator, at its distance."""
    edges = np.linspace(*one.wavelengths, 513)
    weights = moderator((edges[1:] + edges[:-1]) / 2)
    zero, ones = np.zeros(512, np.int64), np.ones(512, np.int64)
    constant = np.array([NS_PER_ANGSTROM_METRE * monitor.distance])
    nowhere = np.full(1, -1, np.int32)
    return Table(_slots(weights), zero, ones, edges[:-1], np.diff(edges), nowhere, constant, monitor.share)


def table_of_bank(one: Instrument, bank: Bank) -> Table:
    """Return the table of a bank."""
    geometry = one.geometry()
    at = slice(bank.first - one.first, bank.first - one.first + bank.pixels)
    alive = np.flatnonzero(geometry.alive[at])
    angle, path = geometry.two_theta[at], geometry.path[at]
    order = alive[np.argsort(angle[alive], kind="stable")]
    ends = np.linspace(0, order.size, min(_GROUPS, order.size) + 1).astype(np.int64)
    start, size = ends[:-1], np.diff(ends)
    middle = angle[order[start + size // 2]]
    solid = size * bank.size[0] * bank.size[1] / (path[order[start + size // 2]] - one.path) ** 2
    low, width, density = _powder(one, middle) if one.method == "powder" else _scattered(one, middle)
    weights = density * width * solid[:, None]
    cells = weights.shape
    constant = NS_PER_ANGSTROM_METRE * path[order]
    if one.method == "powder":
        constant = constant * 2 * np.sin(angle[order] / 2)
    return Table(
        _slots(weights.ravel()),
        np.repeat(start, cells[1]),
        np.repeat(size, cells[1]),
        np.broadcast_to(low, cells).ravel(),
        np.broadcast_to(width, cells).ravel(),
        (bank.first + order).astype(np.int32),
        constant,
        float(weights.sum()),
    )


def _scattered(one: Instrument, angle: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    edges = np.linspace(*one.wavelengths, _WAVELENGTHS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    q = 4 * np.pi * np.sin(angle[:, None] / 2) / middle
    if one.method == "sans":
        x = np.maximum(q * _RADIUS, 1e-3)
        strength = (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2 + 2e-4
        strength *= angle[:, None] > 0.004  # behind the beam stop
    else:
        inner = np.sqrt(np.maximum(q**2 - _CRITICAL**2, 0))
        strength = ((q - inner) / (q + inner)) ** 2 * np.exp(-(((angle[:, None] - _BEAM) / 0.0015) ** 2)) + 1e-6
    return edges[:-1], np.diff(edges), strength * moderator(middle)


def _powder(one: Instrument, angle: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    d, multiplicity = reflections()
    steps = np.linspace(-2.5, 2.5, _STEPS + 1)
    edges = d[:, None] * (1 + _PEAK_WIDTH * steps)
    shape = np.exp(-(((steps[1:] + steps[:-1]) / 2) ** 2) / 2)
    heights = (multiplicity * d**4 / (_PEAK_WIDTH * d))[:, None] * shape
    flat = np.linspace(0.3, 3.0, 65)
    low, width = np.append(edges[:, :-1].ravel(), flat[:-1]), np.append(np.diff(edges).ravel(), np.diff(flat))
    level = _BACKGROUND * float((multiplicity * d**4).sum()) / 2.7
    height = np.append(heights.ravel(), np.full(64, level))
    wavelength = 2 * (low + width / 2) * np.sin(angle[:, None] / 2)
    inside = (wavelength >= one.wavelengths[0]) & (wavelength <= one.wavelengths[1])
    return low, width, np.where(inside, height * np.sin(angle[:, None] / 2) ** 2 * moderator(wavelength), 0.0)


def _slots(weights: Float64Array) -> npt.NDArray[np.int32]:
    """Return the cell of each slot; cells too rare for one of their own share slots with their neighbours."""
    total = np.cumsum(weights)
    found = np.searchsorted(total, (np.arange(SLOTS) + 0.5) / SLOTS * total[-1], side="right")
    out: npt.NDArray[np.int32] = np.minimum(found, weights.size - 1).astype(np.int32)
    return out

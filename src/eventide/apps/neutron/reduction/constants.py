"""Constants of the neutron, CODATA 2022 (physics.nist.gov/constants), and what conversions need of them.

The mass of the neutron moved by 1.5e-9 of itself between CODATA 2018 and 2022: results that must agree more closely
than that need the same edition.
"""

from __future__ import annotations

import math

__all__ = [
    "DIFC",
    "ENERGY",
    "ENERGY_OF_WAVELENGTH",
    "MANTID_DIFC",
    "NEUTRON_MASS",
    "PLANCK",
    "ROOT_ENERGY",
    "WAVELENGTH",
]

PLANCK = 6.62607015e-34
"""J s, exact."""

NEUTRON_MASS = 1.67492750056e-27
"""kg."""

_ELEMENTARY_CHARGE = 1.602176634e-19  # J / eV, exact

WAVELENGTH = PLANCK / NEUTRON_MASS * 1e4
"""Wavelength = WAVELENGTH t / L: Angstrom m / us (3.956034e-3)."""

DIFC = 1.0 / WAVELENGTH
"""t = DIFC 2 L sin(theta) d: us / (Angstrom m) (252.778414)."""

MANTID_DIFC = 252.777
"""The same, rounded as in tables that Mantid and SNS made: 5.6e-6 less. Data reduced with them need it to agree."""

ENERGY = NEUTRON_MASS / 2 / _ELEMENTARY_CHARGE * 1e15
"""E = ENERGY (L / t)^2: meV us^2 / m^2 (5.2270376e6)."""

ROOT_ENERGY = math.sqrt(ENERGY)
"""The square root of it: sqrt(meV) us / m."""

ENERGY_OF_WAVELENGTH = ENERGY * WAVELENGTH * WAVELENGTH
"""E = ENERGY_OF_WAVELENGTH / wavelength^2: meV Angstrom^2 (81.80421)."""

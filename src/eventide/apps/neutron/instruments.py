"""Instruments as data: their pulses, banks of pixels and monitors, and what geometry makes of a time of flight.

`LOKI`, `DREAM` and `AMOR` are like the instruments of those names in size, distances and method, and no survey of them;
`SANS2D` has the numbering of its gas tubes. Distances are m; the beam goes along z, the sample is at the origin.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.banks import Bank, Monitor, around
from eventide.apps.neutron.instrument_file import read_instrument
from eventide.apps.neutron.reduction.choppers import Chopper
from eventide.apps.neutron.reduction.constants import ROOT_ENERGY
from eventide.errors import UsageError, near_names

__all__ = ["INSTRUMENTS", "NS_PER_ANGSTROM_METRE", "Bank", "Chopper", "Geometry", "Instrument", "Monitor", "instrument"]

Float64Array = npt.NDArray[np.float64]

NS_PER_ANGSTROM_METRE: Final = 252_778.41
"""m_n / h: how long a neutron of one Angstrom takes for a metre, ns."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Of pixels from `first` on: the whole flight path, m, the scattering angle, rad, and whether they count.

    Numbers that no bank has are between banks: NaN.
    """

    first: int
    path: Float64Array
    two_theta: Float64Array
    alive: npt.NDArray[np.bool_]

    def wavelength(self) -> Float64Array:
        """Return by what a time of flight, ns, is multiplied to give the wavelength, Angstrom; NaN where masked."""
        out: Float64Array = np.where(self.alive, 1 / (NS_PER_ANGSTROM_METRE * self.path), np.nan)
        return out

    def d_spacing(self) -> Float64Array:
        """Return by what a time of flight, ns, is multiplied to give the d-spacing, Angstrom; NaN where masked."""
        out: Float64Array = self.wavelength() / (2 * np.sin(self.two_theta / 2))
        return out

    def momentum(self) -> Float64Array:
        """Return what is divided by a time of flight, ns, to give the momentum transfer Q, 1/Angstrom."""
        out: Float64Array = 4 * math.pi * np.sin(self.two_theta / 2) / self.wavelength()
        return out

    def root_energy(self) -> Float64Array:
        """Return what is divided by a time of flight, ns, to give the root of the energy, sqrt(meV)."""
        out: Float64Array = np.where(self.alive, ROOT_ENERGY * 1000 * self.path, np.nan)
        return out


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument.

    Parameters
    ----------
    name, method
        What it is called, and what it measures.
    period
        From pulse to pulse, ns.
    path
        From the moderator to the sample.
    banks, monitors
        What counts.
    wavelengths
        Shortest and longest, Angstrom; of muons there are none.
    calibration
        File of the calibration of its pixels (`eventide.apps.neutron.calibrated`); "": d-spacings are those of the
        geometry.
    choppers
        In the beam, with the source's times: ns after the beginning of a pulse.
    pulse_length
        ns; needed where choppers say what times of arrival mean.
    """

    name: str
    method: Literal["sans", "powder", "reflectometry", "muon"]
    period: int
    path: float
    banks: tuple[Bank, ...]
    monitors: tuple[Monitor, ...] = ()
    wavelengths: tuple[float, float] = (1.0, 10.0)
    calibration: str = ""
    choppers: tuple[Chopper, ...] = ()
    pulse_length: float = 0.0

    @property
    def first(self) -> int:
        """Number of the first pixel."""
        return min(b.first for b in self.banks)

    @property
    def pixels(self) -> int:
        """How many numbers there are from the first pixel to the last one, those of no bank too."""
        return max(b.first + b.pixels for b in self.banks) - self.first

    def geometry(self) -> Geometry:
        """Return paths and angles of all pixels.

        Examples
        --------
        >>> found = AMOR.geometry()
        >>> found.path.size, bool(np.nanmin(found.path) > AMOR.path)
        (32768, True)
        """
        return _geometry(self)


@functools.lru_cache(maxsize=4)
def _geometry(one: Instrument) -> Geometry:
    path, angle = np.full(one.pixels, np.nan), np.full(one.pixels, np.nan)
    alive = np.zeros(one.pixels, np.bool_)
    for bank in one.banks:
        at = slice(bank.first - one.first, bank.first - one.first + bank.pixels)
        where = bank.positions()
        distance = np.sqrt((where**2).sum(axis=1))
        path[at] = one.path + distance
        angle[at] = np.arctan2(np.hypot(where[:, 0], where[:, 1]), where[:, 2])
        alive[at] = bank.alive()
    return Geometry(one.first, path, angle, alive)


_ESS: Final = 71_428_571
_STRAWS: Final = (84 * 7, 512)

LOKI: Final = Instrument(
    "loki",
    "sans",
    _ESS,
    23.6,
    (
        Bank("loki_bank0", 1, 224 * 7, 512, (0.0, 0.0, 5.0), (1.0 / 512, 1.0 / 1568), dead=(700,)),
        *(
            Bank(
                f"loki_bank{i + 1}",
                802_817 + i * 301_056,
                *_STRAWS,
                centre,
                (0.5 / 512, 0.5 / 588),
                module=256,
                gap=0.01,
            )
            for i, centre in enumerate(
                (x * a, y * a, z)
                for z, a in ((3.0, 0.75), (1.3, 0.7))
                for x, y in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
            )
        ),
    ),
    (Monitor("loki_monitor1", 17.0), Monitor("loki_monitor2", 23.0)),
    (2.0, 11.0),
)
"""Small angles: 3,211,264 pixels in nine banks of tubes with straws."""

DREAM: Final = Instrument(
    "dream",
    "powder",
    _ESS,
    76.55,
    (
        *around(
            "dream_mantle", 1, (256, 128), distance=1.1, width=0.3, height=0.8,
            angles=(30, 46, 62, 78, 94, 110, 126, 142, -30, -46, -62, -78, -94, -110, -126, -142),
        ),
        *around("dream_endcap", 600_001, (128, 256), distance=1.3, width=0.4, height=0.4, angles=(14, -14, 164, -164)),
    ),
    (Monitor("dream_monitor", 75.0),),
    (0.5, 3.7),
)  # fmt: skip
"""Powder diffraction: 655,360 pixels around the sample; between mantle and end caps numbers are left out."""

AMOR: Final = Instrument(
    "amor",
    "reflectometry",
    _ESS,
    35.0,
    (Bank("amor_detector", 0, 256, 128, (0.0, 0.14, 4.0), (0.0014, 0.0007)),),
    (Monitor("amor_monitor", 30.0),),
    (2.0, 13.0),
)
"""A reflectometer with one area detector of 128 x 256 pixels."""

SANS2D: Final = Instrument(
    "sans2d",
    "sans",
    100_000_000,
    19.3,
    (
        Bank("detector_1_events", 9, 120, 512, (0.0, 0.25, 4.0), (1.0 / 512, 0.0083)),
        Bank("detector_2_events", 9 + 61_440, 120, 512, (0.0, -0.75, 4.0), (1.0 / 512, 0.0083)),
    ),
    (Monitor("monitor_1", 17.0),),
    (2.0, 14.0),
)
"""ISIS: events are numbered by spectrum, 9 to 122,888, of two banks of 120 tubes with 512 pixels."""

MUONS: Final = Instrument(
    "muons",
    "muon",
    25_000_000,
    1.0,
    tuple(around("muon_ring", 1, (1, 32), distance=0.2, width=0.2, height=0.05, angles=(45, 135))),
    (),
    (0.0, 0.0),
)
"""Two rings of 32 counters of positrons around a sample in which muons decay, in frames at 40 Hz."""

INSTRUMENTS: Final = {each.name: each for each in (LOKI, DREAM, AMOR, SANS2D, MUONS)}


def instrument(name: str) -> Instrument:
    """Return an instrument by name, or that of a file (``mine.toml``).

    Raises
    ------
    UsageError
        There is none of that name.
    ConfigError
        The file holds none.

    Examples
    --------
    >>> instrument("loki").pixels, len(instrument("loki").banks)
    (3211264, 9)
    """
    if name.endswith(".toml"):
        return read_instrument(name)
    if name not in INSTRUMENTS:
        msg = f"there is no instrument {name!r}"
        raise UsageError(msg, hint=f"or name a file: mine.toml; {near_names(name, INSTRUMENTS)}")
    return INSTRUMENTS[name]

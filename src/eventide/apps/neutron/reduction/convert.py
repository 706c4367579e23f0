"""Times of flight to wavelength, d-spacing, momentum transfer and energy, and back: pure functions of arrays.

Units: times of flight us, lengths m, angles radian, wavelength and d Angstrom, Q 1/Angstrom, energies meV. Arguments
are numbers or arrays that broadcast; results are float64. Nothing is refused: a time, length or angle for which the
result does not exist gives NaN or infinity, as IEEE division does, and such an event is in no bin of a histogram.

Formulas: G. L. Squires, Introduction to the Theory of Thermal Neutron Scattering, chapter 1; de Broglie and Bragg.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.reduction.constants import DIFC, ENERGY, ENERGY_OF_WAVELENGTH, WAVELENGTH

__all__ = [
    "d_spacing",
    "difc_of",
    "energy",
    "energy_of_wavelength",
    "energy_transfer_direct",
    "energy_transfer_indirect",
    "momentum_transfer",
    "q_factor",
    "time_of_flight",
    "wavelength",
    "wavelength_of_energy",
]

Float64Array = npt.NDArray[np.float64]


def wavelength(time: npt.ArrayLike, path: npt.ArrayLike) -> Float64Array:
    """Return the wavelength of neutrons that fly a path in a time: ``h t / (m L)``.

    Parameters
    ----------
    time
        Time of flight, us.
    path
        L1 + L2, m.

    Examples
    --------
    >>> wavelength([10_000.0, 20_000.0], 10.0).round(6).tolist()
    [3.956034, 7.912068]
    """
    t, length = _floats(time, path)
    with np.errstate(all="ignore"):
        return _array(WAVELENGTH * t / length)


def time_of_flight(wavelength: npt.ArrayLike, path: npt.ArrayLike) -> Float64Array:
    """Return the time in which neutrons of a wavelength fly a path: the inverse of `wavelength`, us.

    Examples
    --------
    >>> time_of_flight(3.956034, 10.0).round(3).tolist()
    10000.0
    """
    lam, length = _floats(wavelength, path)
    return _array(lam * length / WAVELENGTH)


def difc_of(path: npt.ArrayLike, two_theta: npt.ArrayLike, *, constant: float = DIFC) -> Float64Array:
    """Return the DIFC of a place, ``t = DIFC d``: ``2 L sin(theta) m / h``, us / Angstrom.

    Parameters
    ----------
    path
        L1 + L2, m.
    two_theta
        Scattering angle, radian.
    constant
        m / h in us / (Angstrom m); `MANTID_DIFC` where a table of an instrument was made with it.

    Examples
    --------
    >>> difc_of(10.0, np.pi).round(3).tolist()
    5055.568
    """
    length, angle = _floats(path, two_theta)
    return _array(2.0 * constant * length * np.sin(angle / 2))


def q_factor(path: npt.ArrayLike, two_theta: npt.ArrayLike, *, constant: float = DIFC) -> Float64Array:
    """Return the K of a place, ``Q = K / t``: ``4 pi L sin(theta) m / h``, us / Angstrom.

    Parameters are those of `difc_of`.

    Examples
    --------
    >>> q_factor(62.0, np.radians(147.0)).round(1).tolist()
    188833.3
    """
    return _array(2.0 * np.pi * difc_of(path, two_theta, constant=constant))


def d_spacing(time: npt.ArrayLike, path: npt.ArrayLike, two_theta: npt.ArrayLike) -> Float64Array:
    """Return the distance of lattice planes, ``wavelength / (2 sin(theta))``, Angstrom; parameters as in `difc_of`.

    Examples
    --------
    >>> d_spacing(5055.568, 10.0, np.pi).round(6).tolist()
    1.0
    """
    (t,) = _floats(time)
    with np.errstate(all="ignore"):
        return _array(t / difc_of(path, two_theta))


def momentum_transfer(time: npt.ArrayLike, path: npt.ArrayLike, two_theta: npt.ArrayLike) -> Float64Array:
    """Return the elastic Q, ``4 pi sin(theta) / wavelength``, 1/Angstrom; parameters as in `difc_of`.

    Examples
    --------
    >>> momentum_transfer(5055.568, 10.0, np.pi).round(4).tolist()
    6.2832
    """
    (t,) = _floats(time)
    with np.errstate(all="ignore"):
        return _array(q_factor(path, two_theta) / t)


def energy(time: npt.ArrayLike, path: npt.ArrayLike) -> Float64Array:
    """Return the kinetic energy of neutrons that fly a path in a time: ``m (L / t)^2 / 2``, meV.

    Parameters are those of `wavelength`.

    Examples
    --------
    >>> energy(4571.0, 10.0).round(3).tolist()
    25.017
    """
    t, length = _floats(time, path)
    with np.errstate(all="ignore"):
        return _array(ENERGY * (length / t) ** 2)


def energy_of_wavelength(wavelength: npt.ArrayLike) -> Float64Array:
    """Return the energy of neutrons of a wavelength, meV.

    Examples
    --------
    >>> energy_of_wavelength(9.0445680).round(6).tolist()
    1.0
    """
    (lam,) = _floats(wavelength)
    with np.errstate(all="ignore"):
        return _array(ENERGY_OF_WAVELENGTH / (lam * lam))


def wavelength_of_energy(energy: npt.ArrayLike) -> Float64Array:
    """Return the wavelength of neutrons of an energy; NaN for a negative one.

    Examples
    --------
    >>> wavelength_of_energy([1.0, -1.0]).round(5).tolist()
    [9.04457, nan]
    """
    (mev,) = _floats(energy)
    with np.errstate(all="ignore"):
        return _array(np.sqrt(ENERGY_OF_WAVELENGTH / mev))


def energy_transfer_direct(
    time: npt.ArrayLike, *, l1: npt.ArrayLike, l2: npt.ArrayLike, incident: npt.ArrayLike
) -> Float64Array:
    """Return Ei - Ef where the incident energy is known (choppers before the sample).

    Parameters
    ----------
    time
        From the source to the detector, us; NaN comes out where it is not later than the arrival at the sample.
    l1, l2
        From the source to the sample and on to the detector, m.
    incident
        Ei, meV.

    Examples
    --------
    >>> whole = time_of_flight(wavelength_of_energy(25.0), 12.0)
    >>> abs(energy_transfer_direct(whole, l1=10.0, l2=2.0, incident=25.0)).round(9).tolist()
    0.0
    """
    t, first, second, known = _floats(time, l1, l2, incident)
    with np.errstate(all="ignore"):
        rest = t - first * np.sqrt(ENERGY / known)
        return _array(np.where(rest > 0, known - ENERGY * (second / rest) ** 2, np.nan))


def energy_transfer_indirect(
    time: npt.ArrayLike, *, l1: npt.ArrayLike, l2: npt.ArrayLike, final: npt.ArrayLike
) -> Float64Array:
    """Return Ei - Ef where the final energy is known (analysers behind the sample).

    Parameters are those of `energy_transfer_direct`, with Ef in the place of Ei.

    Examples
    --------
    >>> whole = time_of_flight(wavelength_of_energy(5.0), 40.0)
    >>> abs(energy_transfer_indirect(whole, l1=38.0, l2=2.0, final=5.0)).round(9).tolist()
    0.0
    """
    t, first, second, known = _floats(time, l1, l2, final)
    with np.errstate(all="ignore"):
        rest = t - second * np.sqrt(ENERGY / known)
        return _array(np.where(rest > 0, ENERGY * (first / rest) ** 2 - known, np.nan))


def _floats(*values: npt.ArrayLike) -> tuple[Float64Array, ...]:
    return tuple(np.asarray(value, np.float64) for value in values)


def _array(value: Any) -> Float64Array:
    return np.asarray(value, np.float64)

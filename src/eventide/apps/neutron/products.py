"""What is counted of an instrument: its products, and which pixels count."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.instruments import NS_PER_ANGSTROM_METRE, Instrument
from eventide.apps.neutron.reduction.calibration import Calibration
from eventide.apps.neutron.reduction.constants import ENERGY_OF_WAVELENGTH
from eventide.errors import ConfigError, near_names
from eventide.kernel.histogram.axes import Axis, Edges, logarithmic, pixels, rows, uniform
from eventide.kernel.histogram.products import Product, product
from eventide.kernel.histogram.values import ratio, scaled

__all__ = ["CHOICE", "image", "longest", "masked_of", "products"]

_MILLISECOND = 1_000_000
_MUON_WINDOW = 32_000


CHOICE: Final = ("time_of_flight", "image", "wavelength", "d_spacing", "q", "energy")
"""The products that there are."""

_LOOKED_AT: Final = {
    "muon": ("time_of_flight", "image"),
    "powder": ("time_of_flight", "image", "d_spacing"),
    "sans": ("time_of_flight", "image", "wavelength", "q"),
    "reflectometry": ("time_of_flight", "image", "wavelength", "q"),
}


def products(
    one: Instrument,
    *,
    bins: int = 1000,
    mask: npt.NDArray[np.bool_] | None = None,
    chosen: str = "",
    calibration: Calibration | None = None,
) -> dict[str, Product | Axis]:
    """Return what is counted of an instrument's banks: what its method looks at, or what is chosen.

    Parameters
    ----------
    one
        The instrument.
    bins
        Of times and wavelengths.
    mask
        Of each pixel, from the first one on, whether it does not count.
    chosen
        Names with commas, of `CHOICE`, each with a range or without: ``"image,wavelength=1-12,energy"``.
    calibration
        Of all its pixels, from the first one on: d-spacings and momentum transfers are those of the calibration.

    Raises
    ------
    ConfigError
        There is no such product, or its range is none.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import DREAM
    >>> list(products(DREAM)), list(products(DREAM, chosen="wavelength=0.5-4,energy"))
    (['time_of_flight', 'image', 'd_spacing'], ['wavelength', 'energy'])
    """
    ranges = _chosen(chosen, one) if chosen else dict.fromkeys(_LOOKED_AT[one.method])
    made = {name: _product(name, one, bins=bins, mask=mask, span=span) for name, span in ranges.items()}
    if calibration is None:
        return made
    value = {"d_spacing": calibration.d_spacing, "q": calibration.momentum_transfer_whole}
    return {
        name: replace(each, value=value[name]()) if name in value and isinstance(each, Edges) else each
        for name, each in made.items()
    }


def _chosen(text: str, one: Instrument) -> dict[str, tuple[float, float] | None]:
    known = CHOICE[:2] if one.method == "muon" else CHOICE
    made: dict[str, tuple[float, float] | None] = {}
    for part in text.split(","):
        name, equals, span = part.strip().partition("=")
        if name not in known:
            msg = f"products={name!r} is nothing that is counted of {one.name}"
            raise ConfigError(msg, hint=f"one of {', '.join(known)}; {near_names(name, known)}")
        low, _, high = span.partition("-")
        try:
            made[name] = (float(low), float(high)) if equals else None
        except ValueError:
            msg = f"products={part!r} has no range"
            raise ConfigError(msg, hint=f"for example products={name}=1-12") from None
    return made


def _product(
    name: str, one: Instrument, *, bins: int, mask: npt.NDArray[np.bool_] | None, span: tuple[float, float] | None
) -> Product | Axis:
    if name == "image":
        return image(one, mask)
    if name == "time_of_flight":
        low, high = span or (0, longest(one))
        axis = uniform("time_of_flight", low, high, bins, unit="ns")
        if mask is None:
            return axis
        return product(axis, rows("pixel_id", np.where(mask, -1, 0), bins=1, first=one.first, name="counts"))
    geometry, (shortest, longer) = one.geometry(), one.wavelengths

    def masked(constants: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return constants if mask is None else np.where(mask, np.nan, constants)

    convert = functools.partial(scaled, "pixel_id", "time_of_flight", first=one.first)
    divide = functools.partial(ratio, "pixel_id", "time_of_flight", first=one.first)
    if name == "wavelength":
        low, high = span or (0, longer + shortest)
        return uniform(convert(masked(geometry.wavelength())), low, high, bins, name=name, unit="angstrom")
    if name == "d_spacing":
        low, high = span or (0.3, 3.0)
        return uniform(convert(masked(geometry.d_spacing())), low, high, 2 * bins, name=name, unit="angstrom")
    if name == "q":
        low, high = span or ((1e-3, 2.0) if one.method != "powder" else (0.1, 4 * math.pi / shortest))
        q = divide(masked(geometry.momentum()))
        return logarithmic(q, low, high, max(1, bins // 4), name=name, unit="1/angstrom")
    low, high = span or (ENERGY_OF_WAVELENGTH / longer**2, ENERGY_OF_WAVELENGTH / shortest**2)
    root = divide(masked(geometry.root_energy()), squared=True)
    return logarithmic(root, low, high, max(1, bins // 4), name=name, unit="meV")


def longest(one: Instrument) -> int:
    """Return the longest time of flight that is counted, ns: of the longest wavelength to the farthest pixel.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import MUONS
    >>> longest(MUONS)
    32000
    """
    if one.method == "muon":
        return _MUON_WINDOW
    farthest = max(math.dist((0, 0, 0), b.centre) for b in one.banks)
    exact = one.wavelengths[1] * NS_PER_ANGSTROM_METRE * (one.path + farthest)
    return math.ceil(exact * 1.02 / _MILLISECOND) * _MILLISECOND


def image(one: Instrument, mask: npt.NDArray[np.bool_] | None) -> Axis:
    """Return the axis of an instrument's pixels, without those that do not count."""
    if mask is None:
        return pixels("pixel_id", one.first, one.pixels)
    table = np.where(mask, -1, np.arange(one.pixels))
    return rows("pixel_id", table, bins=one.pixels, first=one.first, name="pixel_id")


def masked_of(text: str, one: Instrument) -> npt.NDArray[np.bool_] | None:
    """Return which pixels of an instrument a text such as ``"1-512,700"`` names; None for no text.

    Raises
    ------
    ConfigError
        It names no pixel of the instrument, or is something else.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import AMOR
    >>> int(masked_of("0-127,200", AMOR).sum())
    129
    """
    if not text:
        return None
    out = np.zeros(one.pixels, np.bool_)
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        begin = _pixel(low) - one.first
        end = _pixel(high if dash else low) - one.first + 1
        if not 0 <= begin < end <= one.pixels:
            msg = f"mask={part!r} is no pixel of {one.name}"
            raise ConfigError(msg, hint=f"its pixels are {one.first} to {one.first + one.pixels - 1}")
        out[begin:end] = True
    return out


def _pixel(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        msg = f"mask={text!r} is no number of a pixel"
        raise ConfigError(msg, hint="for example mask=1-512,700") from None

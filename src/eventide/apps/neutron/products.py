"""What is counted of an instrument: its products, and which pixels count."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.instruments import NS_PER_ANGSTROM_METRE, Instrument
from eventide.errors import ConfigError
from eventide.kernel.histogram.axes import Axis, logarithmic, pixels, rows, uniform
from eventide.kernel.histogram.products import Product, product
from eventide.kernel.histogram.values import ratio, scaled

__all__ = ["image", "longest", "masked_of", "products"]

_MILLISECOND = 1_000_000
_MUON_WINDOW = 32_000


def products(
    one: Instrument, *, bins: int = 1000, mask: npt.NDArray[np.bool_] | None = None
) -> dict[str, Product | Axis]:
    """Return what is counted of an instrument's banks: what its method looks at.

    Parameters
    ----------
    one
        The instrument.
    bins
        Of times and wavelengths.
    mask
        Of each pixel, from the first one on, whether it does not count.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import DREAM
    >>> list(products(DREAM))
    ['time_of_flight', 'image', 'd_spacing']
    """
    axis = uniform("time_of_flight", 0, longest(one), bins, unit="ns")
    flight: Product | Axis = axis
    if mask is not None:
        flight = product(axis, rows("pixel_id", np.where(mask, -1, 0), bins=1, first=one.first, name="counts"))
    made: dict[str, Product | Axis] = {"time_of_flight": flight, "image": image(one, mask)}
    if one.method == "muon":
        return made
    geometry = one.geometry()

    def masked(constants: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return constants if mask is None else np.where(mask, np.nan, constants)

    convert = functools.partial(scaled, "pixel_id", "time_of_flight", first=one.first)
    if one.method == "powder":
        value = convert(masked(geometry.d_spacing()))
        return made | {"d_spacing": uniform(value, 0.3, 3.0, 2 * bins, name="d_spacing", unit="angstrom")}
    wavelength = convert(masked(geometry.wavelength()))
    low, high = one.wavelengths
    made["wavelength"] = uniform(wavelength, 0, high + low, bins, name="wavelength", unit="angstrom")
    q = ratio("pixel_id", "time_of_flight", masked(geometry.momentum()), first=one.first)
    made["q"] = logarithmic(q, 1e-3, 2.0, max(1, bins // 4), name="q", unit="1/angstrom")
    return made


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

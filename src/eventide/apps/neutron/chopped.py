"""The choppers of an instrument as what times of arrival mean at its pixels and monitors."""

from __future__ import annotations

import functools

from eventide.apps.neutron.instruments import Instrument
from eventide.apps.neutron.reduction.choppers import Passed, passed
from eventide.apps.neutron.reduction.lookup import LookedUp, looked_up
from eventide.errors import ConfigError

__all__ = ["by_choppers", "passed_of"]

_NS = 1000.0


def passed_of(one: Instrument, *, up_to: float) -> tuple[Passed, ...]:
    """Return what of a pulse of an instrument passes its choppers.

    Parameters
    ----------
    one
        The instrument; its wavelengths are those that would come through without choppers.
    up_to
        Distance, m: choppers behind it do not count.

    Raises
    ------
    ConfigError
        It has no choppers or no length of a pulse, its choppers are not in step with the source, or nothing passes.
    """
    if not one.choppers or not one.pulse_length or one.method == "muon":
        msg = f"{one.name} has no choppers, or no length of a pulse"
        raise ConfigError(msg, hint="give [[choppers]] and pulse_length, or frames= a shortest wavelength")
    before = [c for c in one.choppers if c.distance < up_to]
    times = one.pulse_length / _NS, one.period / _NS
    found = passed(before, length=times[0], wavelengths=one.wavelengths, period=times[1])
    if not found:
        low, high = one.wavelengths
        msg = f"the choppers of {one.name} let nothing through of {low:g} to {high:g} Angstrom, up to {up_to:g} m"
        raise ConfigError(msg, hint="check the frequencies (Hz), openings (degrees) and phases of the choppers")
    return found


@functools.lru_cache(maxsize=2)
def by_choppers(one: Instrument) -> LookedUp:
    """Return what arrivals mean at an instrument with choppers; errors are those of `passed_of`.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from eventide.apps.neutron.instruments import AMOR, Chopper
    >>> disc = Chopper("wide", 10.0, 14.0, times=((5_000_000.0, 25_000_000.0),))
    >>> made = by_choppers(replace(AMOR, choppers=(disc,), pulse_length=2_860_000.0))
    >>> [round(share, 3) for share in made.detectors.shares()]
    [0.911, 0.0, 0.089]
    """
    there = {m.name: (passed_of(one, up_to=m.distance), m.distance) for m in one.monitors}
    parts, path = passed_of(one, up_to=one.path), one.geometry().path
    return looked_up(parts, path, period=one.period / _NS, first=one.first, monitors=there)

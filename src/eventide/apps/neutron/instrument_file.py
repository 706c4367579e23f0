"""An instrument in a file: what `Instrument`, `Bank`, `Monitor` and `Chopper` hold, as TOML, checked."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from eventide.apps.neutron.banks import Bank, Monitor
from eventide.apps.neutron.reduction.choppers import Chopper
from eventide.errors import ConfigError, UsageError, near_names

if TYPE_CHECKING:
    from eventide.apps.neutron.instruments import Instrument

__all__ = ["read_instrument"]

_T = TypeVar("_T")

_MOST = 1 << 20
_MOST_PIXELS = 1 << 26
_METHODS: Final = ("sans", "powder", "reflectometry", "muon")
_HINT: Final = "see 'Your own instrument' in the README of the application"


def read_instrument(path: str | Path) -> Instrument:
    r"""Return the instrument of a file; the calibration that it names is found from the folder of that file.

    Raises
    ------
    ConfigError
        The file cannot be read, or what it says is no instrument; the message says where.

    Examples
    --------
    >>> import tempfile
    >>> text = '''
    ... method = "sans"
    ... period = 71_428_571          # ns
    ... path = 20.0                  # m, from the source to the sample
    ... wavelengths = [2.0, 12.0]
    ... [[banks]]
    ... name = "rear"
    ... first = 1
    ... rows = 64
    ... columns = 64
    ... centre = [0.0, 0.0, 4.0]
    ... size = [0.008, 0.008]
    ... '''
    >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    ...     print(text, file=file, flush=True)
    ...     read_instrument(file.name).pixels
    4096
    """
    from eventide.apps.neutron.instruments import Instrument  # which finds files by this module

    where = Path(path)
    try:
        with where.open("rb") as file:
            found = tomllib.loads(file.read(_MOST).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"the instrument {where} cannot be read: {error}"
        raise ConfigError(msg, hint=_HINT) from None
    made = _made(Instrument, {"name": where.stem, **found}, str(where))
    wrong = _why_not(made)
    if wrong:
        msg = f"{where}: {wrong}"
        raise ConfigError(msg, hint=_HINT)
    return dataclasses.replace(made, calibration=str(where.parent / made.calibration)) if made.calibration else made


def _made(kind: type[_T], found: Mapping[str, Any], where: str) -> _T:
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in found:
        if name not in known:
            msg = f"{where}: there is no {name!r}"
            raise ConfigError(msg, hint=near_names(name, known))
    values = dict(found)
    for name, of in (("banks", Bank), ("monitors", Monitor), ("choppers", Chopper)):
        if name in values and isinstance(values[name], list):
            parts = [p if isinstance(p, dict) else {"": p} for p in values[name]]
            values[name] = [_made(of, part, f"{where}, {name} {at + 1}") for at, part in enumerate(parts)]
    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, UsageError) as error:
        msg = f"{where}: {error}"
        raise ConfigError(msg, hint=_HINT) from None


def _why_not(one: Instrument) -> str:
    """Return what is wrong with an instrument, "" for nothing."""
    low, high = one.wavelengths
    if one.method != "muon" and not 0 < low < high < math.inf:
        return f"wavelengths from {low} to {high} Angstrom are none"
    if not 0 < one.period < 10**12 or not 0 < one.path < 10_000:
        return f"period={one.period} (ns) and path={one.path} (m) are above 0"
    if not 0 <= one.pulse_length < one.period:
        return f"pulse_length={one.pulse_length} (ns) is shorter than the period"
    if not one.banks:
        return "it has no banks"
    names = [b.name for b in one.banks] + [m.name for m in one.monitors]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        return f"two sources are called {min(twice)!r}"
    for monitor in one.monitors:
        if not 0 < monitor.distance < 10_000 or not 0 <= monitor.share < 1:
            return f"monitor {monitor.name!r} has the distance {monitor.distance} and the share {monitor.share}"
    return _banks(one)


def _banks(one: Instrument) -> str:
    end, before = 0, ""
    for bank in sorted(one.banks, key=lambda b: b.first):
        numbers = (*bank.centre, *bank.across, *bank.size, bank.gap)
        if not all(map(math.isfinite, numbers)) or min(bank.size) <= 0 or bank.module < 0:
            return f"bank {bank.name!r} is nowhere: its numbers are finite, and its pixels have a size"
        if not (bank.rows > 0 and bank.columns > 0 and bank.first >= 0):
            return f"bank {bank.name!r} has {bank.rows} rows and {bank.columns} columns, from pixel {bank.first} on"
        if bank.first + bank.pixels - one.first > _MOST_PIXELS:
            return f"bank {bank.name!r} ends {bank.first + bank.pixels - one.first:,} pixels after the first one"
        if any(not 0 <= row < bank.rows for row in bank.dead):
            return f"bank {bank.name!r} has no row {max(bank.dead)}"
        if before and bank.first < end:
            return f"pixels of bank {bank.name!r} are those of bank {before!r} too"
        end, before = bank.first + bank.pixels, bank.name
    return ""

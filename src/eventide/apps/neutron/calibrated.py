"""A calibration file as what an instrument counts by: the constants of its own pixels, and which of them count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.instruments import Instrument
from eventide.apps.neutron.reduction.calibration import Calibration
from eventide.apps.neutron.reduction.calibration_file import read_calibration
from eventide.errors import ConfigError

__all__ = ["calibration_of", "without_calibration"]


def calibration_of(path: str | Path, one: Instrument) -> Calibration:
    """Return the calibration of an instrument's pixels from a file; pixels that it does not have are masked.

    Parameters
    ----------
    path
        As `eventide.apps.neutron.reduction.calibration_file.read_calibration` reads it. Offsets are those from the
        geometry of the instrument.
    one
        The instrument.

    Raises
    ------
    DataError
        The file is no calibration.
    ConfigError
        It is of no pixel that the instrument has, or the instrument measures no d-spacing.

    Examples
    --------
    >>> import tempfile
    >>> from eventide.apps.neutron.instruments import DREAM
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("detid,difc", "5,20000.0", sep=chr(10), file=file, flush=True)
    ...     int(calibration_of(file.name, DREAM).usable.sum())
    1
    """
    if one.method == "muon":
        msg = f"{one.name} has no d-spacing to calibrate"
        raise ConfigError(msg, hint="leave calibration= out")
    geometry = one.geometry()
    difc = 1.0 / (geometry.d_spacing() * 1000)  # us / Angstrom
    found = read_calibration(path, difc=difc, first=one.first)
    mine = found.within(one.first, one.pixels)
    made = replace(mine, use=mine.use & geometry.alive)
    if not made.usable.any():
        theirs = f"{found.first} to {found.first + found.use.size - 1}"
        msg = f"{path} has no pixel of {one.name} in use: its pixels are {theirs}"
        own = f"{one.first} to {one.first + one.pixels - 1}"
        raise ConfigError(msg, hint=f"those of {one.name} are {own}; use is 0 where one is masked")
    return made


def without_calibration(
    mask: npt.NDArray[np.bool_] | None, calibration: Calibration | None
) -> npt.NDArray[np.bool_] | None:
    """Return a mask with the pixels that a calibration does not let count; None for none."""
    if calibration is None:
        return mask
    more = ~calibration.usable
    return more if mask is None else mask | more

"""Raw waveforms of many events to images and peak times (R1 to DL1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.calibration.broken import mend
from eventide.apps.gamma.calibration.extract import Waveforms, around, local_peak, neighbor_peak, select_gain, to_r1
from eventide.apps.gamma.calibration.readout import Readout, integration_correction
from eventide.errors import ConfigError, DataError
from eventide.kernel.compiled import have_compiler

__all__ = ["EXTRACTORS", "Images", "calibrate"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

EXTRACTORS = ("neighbor_peak", "local_peak")
"""Where the window lies: about the peak of a pixel's neighbours, or of the pixel itself."""

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Images:
    """Photo-electrons and peak times (ns): events, pixels. `gain` says which gain each came from."""

    image: Float32Array = field(repr=False)
    peak_time: Float32Array = field(repr=False)
    gain: Int64Array = field(repr=False)


def calibrate(
    given: Readout,
    raw: npt.ArrayLike,
    *,
    extractor: str = "neighbor_peak",
    width: int = 7,
    shift: int = 3,
    local_weight: int = 0,
    gain: int | None = None,
    threshold: float = 4000.0,
) -> Images:
    """Turn counts into photo-electrons and peak times.

    Parameters
    ----------
    given
        Calibration of the camera.
    raw
        Counts: events, gains, pixels, samples.
    extractor
        ``neighbor_peak`` or ``local_peak``.
    width, shift
        Samples in the window, and how many of them are before the peak.
    local_weight
        With ``neighbor_peak``: weight of the pixel itself, 1 for as much as a neighbour.
    gain
        Take this gain of all pixels (calibration events). Left out: the low one where a sample of the high one is above
        the threshold.
    threshold
        Counts.

    Raises
    ------
    DataError
        Waveforms do not fit the calibration.
    ConfigError
        An option is out of its range.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.calibration.readout import readout
    >>> flower = hexagonal(7, pitch=0.05)
    >>> raw = np.full((1, 1, 7, 20), 300, np.uint16)
    >>> raw[..., 10] += 40
    >>> found = calibrate(readout(flower, rate=1.0, pedestal=np.full(7, 300.0), factor=0.25), raw)
    >>> found.image[0, 0], found.peak_time[0, 0]
    (np.float32(10.0), np.float32(10.0))
    """
    waveforms = _waveforms(given, raw)
    for what, value, least in (("width", width, 1), ("shift", shift, -1000), ("local_weight", local_weight, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1000:
            msg = f"calibrate cannot have {what}={value!r}"
            raise ConfigError(msg, hint="give a whole number of samples")
    if extractor not in EXTRACTORS or not (gain is None or (isinstance(gain, int) and 0 <= gain < given.gains)):
        msg = f"calibrate cannot have extractor={extractor!r} and gain={gain!r} with {given.gains} gains"
        raise ConfigError(msg, hint=f"extractors: {', '.join(EXTRACTORS)}; gains from 0")
    events, _, pixels, samples = waveforms.shape
    charge, time = (np.empty((events, pixels), np.float32) for _ in range(2))
    chosen = np.empty((events, pixels), np.int64)
    # Counts are whole numbers: above a threshold is above its floor, which float32 has.
    limit = np.float32(np.floor(threshold) if waveforms.dtype == np.uint16 else threshold)
    beside = extractor == "neighbor_peak"
    correction = integration_correction(given, width=width, shift=shift)
    if have_compiler():
        from eventide.apps.gamma.calibration.extract_loops import extract_all

        # The peak of a pixel itself is that of its neighbours if it has none.
        table = np.ascontiguousarray(given.camera.table.T if beside else given.camera.table.T[:, :0])
        weight = local_weight if beside else 1
        extract_all(
            waveforms, -1 if gain is None else gain, limit, given.pedestal, given.factor, given.broken,
            _scale(given, waveforms, table.shape[1] + weight), width, shift, weight, given.rate, table, correction,
            given.time_shift, chosen, charge, time,
        )  # fmt: skip
    else:
        for begin in range(0, events, _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            rows = waveforms[some]
            chosen[some] = select_gain(rows, limit) if gain is None else gain
            r1 = to_r1(rows, given, chosen[some])
            bad = given.broken[chosen[some], np.arange(pixels)]
            peak = neighbor_peak(given.camera, r1, local_weight=local_weight, broken=bad) if beside else local_peak(r1)
            light, late = around(r1, peak, width=width, shift=shift, rate=given.rate)
            charge[some] = light * correction[chosen[some]]
            time[some] = late - given.time_shift[chosen[some], np.arange(pixels)]
    if samples == 1:  # sums of the camera itself: nothing to place a window about
        charge, time = to_r1(waveforms, given, chosen)[..., 0], np.zeros_like(time)
    for rows in (charge, time):
        mend(given.camera, rows, given.broken[0 if gain is None else gain])
    return Images(charge, time, chosen)


def _scale(given: Readout, waveforms: Waveforms, terms: int) -> np.float32:
    """Return a power of two by which sums of so many photo-electrons still fit 32 bits as whole numbers; 0 if none."""
    if waveforms.dtype == np.uint16:
        largest = 65535.0
    else:
        largest = float(max(abs(waveforms.min(initial=0)), abs(waveforms.max(initial=0))))
    most = float(np.abs(given.factor).max(initial=0)) * (largest + float(np.abs(given.pedestal).max(initial=0))) * terms
    # Within these bounds the products are neither cut off by float32 nor do they lose digits in it.
    return np.float32(2.0 ** np.floor(np.log2(2.0**29 / most))) if 1e-20 < most < 1e20 else np.float32(0)


def _waveforms(given: Readout, raw: npt.ArrayLike) -> Waveforms:
    made = np.ascontiguousarray(raw)
    shape = (given.gains, given.camera.pixels)
    if made.ndim != 4 or made.shape[1:3] != shape or not 1 <= made.shape[3] <= 100_000 or made.dtype.kind not in "uif":
        msg = f"waveforms of the camera {given.camera.name!r} are {made.dtype} of the shape {made.shape}"
        raise DataError(msg, hint=f"give counts: events, {shape[0]} gains, {shape[1]} pixels, samples")
    with np.errstate(all="ignore"):
        return made if made.dtype == np.uint16 else made.astype(np.float32)

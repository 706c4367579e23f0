"""What turns counts of a camera into photo-electrons: one record, valid for a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import Camera
from eventide.errors import DataError

__all__ = ["Readout", "integration_correction", "readout"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Calibration of a camera; make one with `readout`. Arrays have a row for each gain (0 is the high one)."""

    camera: Camera
    rate: float
    pedestal: Float32Array = field(repr=False)
    factor: Float32Array = field(repr=False)
    time_shift: Float32Array = field(repr=False)
    broken: BoolArray = field(repr=False)
    pulse: Float64Array | None = field(repr=False)
    pulse_step: float

    @property
    def gains(self) -> int:
        """Number of gains."""
        return len(self.pedestal)


def readout(
    camera: Camera,
    *,
    rate: float,
    pedestal: npt.ArrayLike,
    factor: npt.ArrayLike,
    time_shift: npt.ArrayLike = 0.0,
    broken: npt.ArrayLike = False,
    pulse: npt.ArrayLike | None = None,
    pulse_step: float = 1.0,
) -> Readout:
    """Return the calibration of a camera.

    Parameters
    ----------
    camera
        Its pixels.
    rate
        Samples in a ns.
    pedestal
        Counts in a sample without light: one row of pixels for each gain.
    factor
        Photo-electrons of a count.
    time_shift
        ns by which a pixel is late.
    broken
        Pixels that are replaced by the mean of their neighbours.
    pulse
        Shape of a pulse, one row for each gain, for the light outside the window; left out, nothing is corrected.
    pulse_step
        ns from one number of the shape to the next.

    Raises
    ------
    DataError
        Arrays do not fit the camera, or are not finite.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> readout(hexagonal(7, pitch=0.05), rate=1.0, pedestal=np.full((2, 7), 300), factor=[[0.01] * 7, [0.2] * 7]).gains
    2
    """
    try:
        made = np.atleast_2d(np.asarray(pedestal, np.float32))
        shape = made.shape
        arrays = [np.ascontiguousarray(np.broadcast_to(np.asarray(a, np.float32), shape)) for a in (factor, time_shift)]
        bad = np.ascontiguousarray(np.broadcast_to(np.asarray(broken, bool), shape))
        form = None if pulse is None else np.atleast_2d(np.asarray(pulse, np.float64))
    except (TypeError, ValueError) as error:
        msg = f"the calibration of the camera {camera.name!r} does not fit together: {error}"
        raise DataError(msg, hint="give one row of pixels for each gain") from None
    numbers: list[npt.NDArray[Any]] = [made, *arrays] if form is None else [made, *arrays, form]
    fits = made.ndim == 2 and 1 <= shape[0] <= 8 and shape[1] == camera.pixels
    if not fits or (form is not None and len(form) != shape[0]):
        msg = f"the calibration of the camera {camera.name!r} has pedestals of the shape {shape}"
        raise DataError(msg, hint=f"give one row of {camera.pixels} pixels for each gain, and a pulse for each")
    if not all(np.isfinite(a).all() for a in numbers) or not all(np.isfinite(v) and v > 0 for v in (rate, pulse_step)):
        msg = f"the calibration of the camera {camera.name!r} has numbers that are not finite, or a rate not above 0"
        raise DataError(msg, hint="give finite numbers; mark pixels without a calibration as broken")
    return Readout(camera, float(rate), np.ascontiguousarray(made), arrays[0], arrays[1], bad, form, float(pulse_step))


def integration_correction(given: Readout, *, width: int, shift: int) -> Float64Array:
    """Return by what to multiply charges of each gain, so that a pulse without noise gives all of its light.

    The formula is that of ``ctapipe.image.extractor.integration_correction``: one over the share of the pulse, in the
    camera's samples, that lies in a window placed about its maximum.

    Parameters
    ----------
    given
        Its pulse and rate.
    width, shift
        Samples in the window, and how many of them are before the maximum.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> flower = hexagonal(7, pitch=0.05)
    >>> half = readout(flower, rate=1.0, pedestal=np.zeros(7), factor=1, pulse=[0, 2, 2, 2, 2, 0, 0], pulse_step=1.0)
    >>> integration_correction(half, width=2, shift=0).tolist()
    [2.0]
    """
    made = np.ones(given.gains)
    if given.pulse is None:
        return made
    sample = 1.0 / given.rate
    for gain, shape in enumerate(given.pulse):
        end = shape.size * given.pulse_step
        at = np.arange(0, end, given.pulse_step)[: shape.size]
        edges = np.arange(0, end, sample)
        if len(edges) < 2 or not shape[: len(at)].any():
            continue
        sampled, _ = np.histogram(at, edges, weights=shape[: len(at)], density=True)
        begin = max(int(sampled.argmax()) - shift, 0)
        share = float(np.sum(sampled[begin : min(begin + width, sampled.size)] * sample))
        if share > 0:
            made[gain] = 1.0 / share
    return made

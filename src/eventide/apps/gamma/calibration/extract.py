"""Charge and peak time of pixels from their waveforms, in a window about a peak, with numpy.

The twin of `extract_loops`, and what it does in steps: which gain (`select_gain`), photo-electrons (`to_r1`), where the
peak is in a pixel itself (`local_peak`) or in its neighbours (`neighbor_peak`), and the sums about it (`around`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.calibration.readout import Readout
from eventide.apps.gamma.cameras.camera import Camera

__all__ = ["Waveforms", "around", "local_peak", "neighbor_peak", "select_gain", "to_r1"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Waveforms = npt.NDArray[np.uint16 | np.float32]


def select_gain(raw: Waveforms, threshold: np.float32) -> Int64Array:
    """Return the gain of each pixel: the low one where a sample of the high one is above a threshold.

    Parameters
    ----------
    raw
        Counts: events, gains, pixels, samples.
    threshold
        Counts.

    Examples
    --------
    >>> select_gain(np.array([[[[1, 9], [1, 2]], [[0, 0], [0, 0]]]], np.uint16), np.float32(5)).tolist()
    [[1, 0]]
    """
    high = np.any(raw[:, 0] > threshold, axis=-1)
    made: Int64Array = high.astype(np.int64) * (raw.shape[1] > 1)
    return made


def to_r1(raw: Waveforms, given: Readout, gain: Int64Array) -> Float32Array:
    """Return waveforms of one gain a pixel in photo-electrons a sample: events, pixels, samples.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.calibration.readout import readout
    >>> given = readout(hexagonal(2, pitch=1.0), rate=1.0, pedestal=[300, 300], factor=[0.5, 0.25])
    >>> to_r1(np.full((1, 1, 2, 1), 310, np.uint16), given, np.zeros((1, 2), int)).tolist()
    [[[5.0], [2.5]]]
    """
    pixel = np.arange(raw.shape[2])
    chosen = np.take_along_axis(raw, gain[:, None, :, None], axis=1)[:, 0].astype(np.float32)
    made: Float32Array = (chosen - given.pedestal[gain, pixel][..., None]) * given.factor[gain, pixel][..., None]
    return made


def local_peak(r1: Float32Array) -> Int64Array:
    """Return the greatest sample of each pixel; of equals the first.

    Examples
    --------
    >>> local_peak(np.array([[[0, 3, 1]]], np.float32)).tolist()
    [[1]]
    """
    at: Int64Array = np.argmax(r1, axis=-1)
    return at


def neighbor_peak(camera: Camera, r1: Float32Array, *, local_weight: int, broken: BoolArray) -> Int64Array:
    """Return the greatest sample of the sum over each pixel's neighbours, and over itself so many times.

    Parameters
    ----------
    camera
        Its neighbours count.
    r1
        Waveforms: events, pixels, samples.
    local_weight
        Weight of the pixel itself.
    broken
        Pixels that are left out: events, pixels.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.camera import camera
    >>> row = camera("row", [0, 1], [0, 0], area=1.0, shape="square")
    >>> r1 = np.array([[[0, 3, 1], [0, 0, 5]]], np.float32)
    >>> neighbor_peak(row, r1, local_weight=0, broken=np.zeros((1, 2), bool))
    array([[2, 1]])
    """
    wide = np.zeros((r1.shape[0], r1.shape[1] + 1, r1.shape[2]))
    wide[:, :-1] = np.where(broken[..., None], 0.0, r1)
    total = r1.astype(np.float64) * local_weight
    for beside in camera.table:  # one neighbour after the other, ascending
        total += wide[:, beside]
    at: Int64Array = np.argmax(total, axis=-1)
    return at


def around(
    r1: Float32Array, peak: Int64Array, *, width: int, shift: int, rate: float
) -> tuple[Float32Array, Float32Array]:
    """Return the charge in a window about a peak, and its mean time, ns (``ctapipe``'s ``extract_around_peak``).

    Samples beyond the ends are left out; only positive ones count for the time, which is that of the peak without any.

    Parameters
    ----------
    r1
        Waveforms: events, pixels, samples.
    peak
        Sample: events, pixels.
    width, shift
        Samples in the window, and how many of them are before the peak.
    rate
        Samples in a ns.

    Examples
    --------
    >>> charge, time = around(np.array([[[0, 1, 3, 0]]], np.float32), np.array([[2]]), width=3, shift=1, rate=2.0)
    >>> charge.tolist(), time.tolist()
    ([[4.0]], [[0.875]])
    """
    samples = r1.shape[-1]
    charge, late, light = (np.zeros(peak.shape) for _ in range(3))
    for k in range(width):
        at = peak - shift + k
        inside = (at >= 0) & (at < samples)
        value = np.take_along_axis(r1, np.clip(at, 0, samples - 1)[..., None], axis=-1)[..., 0].astype(np.float64)
        value = np.where(inside, value, 0.0)
        charge += value
        value = np.where(value > 0, value, 0.0)
        late += value * at
        light += value
    with np.errstate(all="ignore"):
        time = np.where(light > 0, late / light, peak).astype(np.float32)
    return charge.astype(np.float32), (time.astype(np.float64) / rate).astype(np.float32)

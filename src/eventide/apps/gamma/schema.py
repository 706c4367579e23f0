"""Schemas of the streams of this application, from triggers to alerts, and the time stamps of CTAO.

Columns have the names of ctapipe's tables (data model v7). Times are UTC in ns, as everywhere in eventide; `stamps` and
`from_stamps` turn them into the pairs of numbers in which CTAO stores times, and back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.building.machine import ADDED
from eventide.apps.gamma.dl3.gadf import DL3_EVENTS
from eventide.apps.gamma.dl3.times import from_utc, to_utc
from eventide.apps.gamma.parameters.columns import GROUPS
from eventide.apps.gamma.parameters.measure import STANDARD
from eventide.apps.gamma.science.alerts import ALERTS as ALERT
from eventide.apps.gamma.slow_control.monitors import MONITOR
from eventide.apps.gamma.slow_control.streams import CALIBRATION, POINTINGS, TELESCOPE_STATE, WEATHER
from eventide.apps.gamma.stereo.operator import GEOMETRY, POINTING
from eventide.errors import DataError
from eventide.model.batch import Int64Array
from eventide.model.time import EVENT_TIME

__all__ = [
    "ALERT",
    "CALIBRATION",
    "DL1_IMAGE",
    "DL1_PARAM",
    "DL2_EVENT",
    "DL2_TEL",
    "DL3_EVENT",
    "MEASURED",
    "MONITOR",
    "POINTINGS",
    "R1",
    "TELESCOPE_STATE",
    "TIMED",
    "TRIGGER",
    "TRIGGERED",
    "WEATHER",
    "from_stamps",
    "stamps",
]

UInt32Array = npt.NDArray[np.uint32]

_SECOND = 1_000_000_000
_MJD_1970 = 40_587
_QUARTERS = 4

TRIGGER: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME, metadata={"meaning": "the telescope's clock"}),
        pa.field("obs_id", pa.int64()),
        pa.field("tel_id", pa.int16()),
        pa.field("tel_event_id", pa.int64(), metadata={"meaning": "ascending for a telescope"}),
        pa.field("event_type", pa.uint8(), metadata={"meaning": "32 subarray, as in ctapipe"}),
    ]
)
"""A telescope has triggered. Which array event that belongs to is found later."""

TRIGGERED: Final = pa.schema(
    [
        pa.field("trigger_id", pa.int64(), metadata={"meaning": "of the array's trigger: equal for an event's images"}),
        pa.field("n_triggered", pa.int32(), metadata={"meaning": "how many images the trigger asked for"}),
    ]
)
"""What images say beside `TRIGGER` where the array has a trigger that knows which telescopes saw a shower."""

_AIM: Final = [pa.field(name, pa.float64(), metadata={"unit": "deg"}) for name in POINTING]

DL1_IMAGE: Final = pa.schema(
    [
        *TRIGGER,
        pa.field("image", pa.list_(pa.float32()), metadata={"unit": "photo-electrons"}),
        pa.field("peak_time", pa.list_(pa.float32()), metadata={"unit": "ns", "meaning": "null where not known"}),
        *_AIM,
    ]
)
"""A calibrated image. The pointing is null where it is not known, or the telescope does not track."""

R1: Final = pa.schema(
    [
        *TRIGGER,
        pa.field("waveform", pa.list_(pa.uint16()), metadata={"unit": "counts", "meaning": "gains, pixels, samples"}),
        *_AIM,
    ]
)
"""A waveform of every pixel, as the camera gives it."""

_RENAMED = {"hillas_x": "hillas_fov_lon", "hillas_y": "hillas_fov_lat"}
_NAMES = [f"{group}_{name}" for group in STANDARD for name in GROUPS[group]]
_SHAPE, _UNITS = ("skewness", "kurtosis"), {"slope": "ns/deg"}

MEASURED: Final = pa.schema([pa.field(_RENAMED.get(name, name), pa.float64()) for name in _NAMES])
"""What is measured of an image, in the telescope frame (degrees)."""

TIMED: Final = pa.schema(
    [
        pa.field(f"{group}_{name}", pa.float64(), metadata={} if name in _SHAPE else {"unit": _UNITS.get(name, "ns")})
        for group in ("timing", "peak_time")
        for name in GROUPS[group]
    ]
)
"""What is measured of the peak times of an image, in the telescope frame (degrees), where that is asked for."""

DL1_PARAM: Final = pa.schema([*TRIGGER, *_AIM, *MEASURED, *ADDED])
"""The parameters of an image that belongs to an array event."""

DL2_TEL: Final = pa.schema(
    [*DL1_PARAM, pa.field("gammaness", pa.float64()), pa.field("energy", pa.float64(), metadata={"unit": "TeV"})]
)
"""An image with what models say of it; null where there is no model."""

DL2_EVENT: Final = pa.schema(
    [
        *GEOMETRY,
        pa.field("obs_id", pa.int64()),
        pa.field("gammaness", pa.float64(), metadata={"meaning": "null without a model"}),
        pa.field("energy", pa.float64(), metadata={"unit": "TeV", "meaning": "null without a model"}),
        pa.field("mean_width", pa.float64(), metadata={"unit": "deg", "meaning": "of the images, by intensity"}),
        pa.field("mean_length", pa.float64(), metadata={"unit": "deg", "meaning": "of the images, by intensity"}),
        pa.field("alt_pnt", pa.float64(), metadata={"unit": "deg", "meaning": "mean of the telescopes"}),
        pa.field("az_pnt", pa.float64(), metadata={"unit": "deg"}),
        pa.field("ra", pa.float64(), metadata={"unit": "deg", "meaning": "ICRS"}),
        pa.field("dec", pa.float64(), metadata={"unit": "deg"}),
        pa.field("ra_pnt", pa.float64(), metadata={"unit": "deg"}),
        pa.field("dec_pnt", pa.float64(), metadata={"unit": "deg"}),
    ]
)
"""A reconstructed array event, on the sky."""

DL3_EVENT: Final = pa.schema([*DL3_EVENTS, pa.field("gammaness", pa.float64()), pa.field("multiplicity", pa.int32())])
"""A gamma-like event, as the gamma-astro data formats have it."""


def stamps(times: npt.ArrayLike) -> tuple[UInt32Array, UInt32Array]:
    """Return times as CTAO stores them: seconds since 1970-01-01 TAI, and quarters of a ns.

    Parameters
    ----------
    times
        int64, ns since 1970-01-01 UTC.

    Raises
    ------
    DataError
        A time is not between 1970 and 2106: it does not fit 32 bits.
    MissingDependencyError
        astropy, which has the leap seconds, is not installed.

    Examples
    --------
    >>> [v.tolist() for v in stamps([1_767_225_600_000_000_007])]
    [[1767225637], [28]]
    """
    whole, rest = np.divmod(np.asarray(times, np.int64), _SECOND)
    seconds = np.rint(from_utc(whole * _SECOND, mjd=_MJD_1970, scale="tai"))
    if seconds.size and not (seconds.min() >= 0 and seconds.max() < 2**32):
        msg = "a time before 1970 or after 2106 cannot be a stamp of 32 bits"
        raise DataError(msg, hint="give ns since 1970-01-01 UTC")
    return seconds.astype(np.uint32), (rest * _QUARTERS).astype(np.uint32)


def from_stamps(seconds: npt.ArrayLike, quarters: npt.ArrayLike) -> Int64Array:
    """Return times, ns since 1970-01-01 UTC, of stamps as CTAO stores them; parts of a ns are cut off.

    Parameters
    ----------
    seconds
        uint32, since 1970-01-01 TAI.
    quarters
        uint32, quarters of a ns.

    Raises
    ------
    DataError
        There are not as many of both, or a second has more than 4,000,000,000 quarters.
    MissingDependencyError
        astropy, which has the leap seconds, is not installed.

    Examples
    --------
    >>> from_stamps([1767225637], [28]).tolist()
    [1767225600000000007]
    """
    whole, parts = np.asarray(seconds, np.int64), np.asarray(quarters, np.int64)
    if whole.shape != parts.shape or (parts.size and not (parts.min() >= 0 and parts.max() < _QUARTERS * _SECOND)):
        msg = f"{whole.size} seconds and {parts.size} quarters of a ns, up to {parts.max(initial=0)}, are no stamps"
        raise DataError(msg, hint="quarters are below 4,000,000,000")
    # Leap seconds begin with a second, so the whole second decides.
    return to_utc(whole, mjd=_MJD_1970, scale="tai") + parts // _QUARTERS

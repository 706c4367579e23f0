"""Frame unwrapping: what is recorded is the time after the newest pulse, but neutrons may be of an older one.

At a long pulse source (ESS: 14 Hz, 71.43 ms) slow neutrons arrive after the next pulse, or the one after that. Choppers
see to it that only one pulse can have sent what arrives: if nothing of a pulse reaches a pixel before its earliest time
and everything within a period from then on, the time of flight is the only one of ``recorded + k period`` in that
interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.reduction.constants import WAVELENGTH
from eventide.apps.neutron.reduction.units import per_microsecond
from eventide.errors import SchemaError, UsageError
from eventide.kernel.histogram.columns import event_columns
from eventide.model.batch import column
from eventide.model.stream import Stream

__all__ = ["ESS_PERIOD", "Frames", "frames_of", "unwrap", "unwrapped"]

Float64Array = npt.NDArray[np.float64]

ESS_PERIOD = 1e6 / 14
"""us between pulses."""


def unwrap(time: npt.ArrayLike, earliest: npt.ArrayLike, period: float) -> Float64Array:
    """Return the time in ``[earliest, earliest + period)`` that differs from another by whole periods.

    Parameters
    ----------
    time
        Recorded, after any pulse.
    earliest
        When the first neutrons of a pulse arrive, after that pulse, in the same unit; NaN gives NaN.
    period
        Between pulses, in the same unit; of a source that skips pulses, between those that are used.

    Raises
    ------
    UsageError
        The period is not above 0.

    Examples
    --------
    >>> unwrap([10.0, 60.0, 60.0], [50.0, 50.0, 150.0], 71.0).tolist()
    [81.0, 60.0, 202.0]
    """
    if not period > 0 or not np.isfinite(period):
        msg = f"a frame cannot be {period!r} long"
        raise UsageError(msg, hint="give the time between pulses: 1e6 / 14 us at ESS")
    t, low = np.asarray(time, np.float64), np.asarray(earliest, np.float64)
    with np.errstate(all="ignore"):
        k = np.ceil((low - t) / period)
        # The quotient may be rounded over a whole number: the interval itself decides.
        k = np.where(t + k * period < low, k + 1, k)
        k = np.where(t + (k - 1) * period >= low, k - 1, k)
        return np.asarray(t + k * period)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The earliest arrival at each pixel from `first` on, and the time between pulses, both us.

    Examples
    --------
    >>> Frames(np.array([50_000.0]), 71_000.0).times([0, 9], [10_000.0, 0.0]).tolist()
    [81000.0, nan]
    """

    earliest: Float64Array
    period: float = ESS_PERIOD
    first: int = 0

    def times(self, pixel: npt.ArrayLike, time: npt.ArrayLike) -> Float64Array:
        """Return the times of flight of events, us; NaN for pixels that are not known.

        Parameters
        ----------
        pixel
            Numbers of pixels.
        time
            Recorded, us after any pulse.
        """
        at = np.asarray(pixel).astype(np.int64) - self.first
        known = (at >= 0) & (at < self.earliest.size)
        low = np.where(known, self.earliest[np.where(known, at, 0)], np.nan)
        return unwrap(time, low, self.period)


def frames_of(
    path: npt.ArrayLike, *, shortest: float, period: float = ESS_PERIOD, delay: float = 0.0, first: int = 0
) -> Frames:
    """Return the frames of pixels at some distances when no wavelength below `shortest` passes the choppers.

    Parameters
    ----------
    path
        L1 + L2 of each pixel, m.
    shortest
        Wavelength, Angstrom.
    period
        Between pulses, us.
    delay
        When the fastest neutrons start, after the time to which events are referred, us; negative where the pulse
        has begun before.
    first
        Number of the first pixel.

    Raises
    ------
    UsageError
        A wavelength below 0.

    Examples
    --------
    >>> frames_of([23.6, 23.6], shortest=6.0).earliest.round(1).tolist()
    [35793.4, 35793.4]
    """
    if not shortest >= 0:
        msg = f"no neutron has a wavelength of {shortest!r}"
        raise UsageError(msg, hint="shortest= is in Angstrom, 0 or more")
    length = np.atleast_1d(np.asarray(path, np.float64))
    return Frames(length * shortest / WAVELENGTH + delay, period, first)


def unwrapped(
    stream: Stream,
    frames: Frames,
    *,
    pixel: str = "pixel_id",
    time: str = "time_of_flight",
    unit: str = "ns",
    delay: float = 0.0,
) -> Stream:
    """Replace the recorded time of events by the time of flight, float64 in the same unit.

    A row is an event, or a pulse with lists of what its events have. Events of unknown pixels get NaN: a histogram
    counts them as such.

    Parameters
    ----------
    stream
        Events.
    frames
        The earliest arrivals.
    pixel, time
        Columns.
    unit
        Of `time`.
    delay
        When neutrons start, us after the time to which events are referred (the middle of a long pulse): it is taken
        off after unwrapping.

    Examples
    --------
    >>> import eventide as ev
    >>> events = ev.from_table({"pixel_id": [0, 0], "time_of_flight": [10, 60]})
    >>> made = events.pipe(unwrapped, Frames(np.array([50.0]), 71.0), unit="us")
    >>> ev.fetch(made)["time_of_flight"].to_pylist()
    [81.0, 60.0]
    """
    by = per_microsecond(unit)
    inner = Frames(frames.earliest / by, frames.period / by, frames.first)
    convert = partial(_replaced, frames=inner, pixel=pixel, time=time, delay=delay / by)
    return stream.map_batches(convert, name="unwrap")


def _replaced(batch: pa.RecordBatch, *, frames: Frames, pixel: str, time: str, delay: float) -> pa.RecordBatch:
    held = column(batch, time, where="to unwrap frames")
    listed = _is_list(held.type)
    if listed != _is_list(column(batch, pixel, where="to unwrap frames").type):
        msg = f"one of the columns {pixel!r} and {time!r} holds lists and the other does not"
        raise SchemaError(msg, hint="an event has one of each; pulses have lists of both")
    events = event_columns(batch, (pixel, time))
    made: Any = frames.times(events.values[pixel], events.values[time]) - delay
    for none in events.nulls.values():
        made[none] = np.nan
    values = pa.array(made, pa.float64())
    if listed:
        lengths = np.asarray(held.value_lengths().fill_null(0))
        ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        values = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values)
    return batch.set_column(batch.schema.get_field_index(time), pa.field(time, values.type), values)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))

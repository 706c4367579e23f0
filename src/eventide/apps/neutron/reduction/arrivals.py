"""Times of arrival to times of flight, for pulses that overlap and for pulses that choppers cut into subframes.

At a long pulse a neutron is of one of several pulses, and where choppers with several windows (wavelength frame
multiplication) cut the pulse into short ones, of one of several subframes: each is as if a short pulse had been sent at
its own time with neutrons of its own wavelengths. A subframe that begins `delay` after the pulse reaches a pixel at the
distance L from ``delay + shortest L m / h`` to ``delay + longest L m / h``; what arrives between two of them was sent
by none, and has no time of flight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.reduction.constants import WAVELENGTH
from eventide.apps.neutron.reduction.frames import unwrap
from eventide.errors import ConfigError, UsageError
from eventide.kernel.histogram.columns import event_columns
from eventide.model.batch import column

__all__ = ["Arrivals", "Subframe", "subframes_of", "with_times"]

Float64Array = npt.NDArray[np.float64]

_NS = 1000.0


@dataclass(frozen=True, slots=True)
class Subframe:
    """When it begins after the pulse, us, and the shortest and longest wavelength in it, Angstrom."""

    delay: float
    shortest: float
    longest: float = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """What arrivals mean at an instrument; called with a batch of pulses or events, it replaces their times.

    Times become float64, ns after the beginning of the subframe; NaN where there is none, or the pixel is not known.

    Parameters
    ----------
    subframes
        In the order in which they arrive; one for a pulse that is whole.
    period
        From pulse to pulse, us.
    path
        L1 + L2 of each pixel, m.
    first
        Number of the first pixel.
    monitors
        Distances from the source, m, by the names of sources without pixels.

    Raises
    ------
    UsageError
        There is no subframe, one is empty, or two of them overlap.

    Examples
    --------
    >>> two = Arrivals((Subframe(0, 1, 2), Subframe(9000, 2, 4)), 71428.0, np.array([10.0]))
    >>> two.times(np.array([10.0, 10.0, 10.0]), np.array([3000.0, 6000.0, 15_000.0])).round().tolist()
    [3000.0, nan, 6000.0]
    """

    subframes: tuple[Subframe, ...]
    period: float
    path: Float64Array
    first: int = 0
    monitors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        before = None
        for each in self.subframes:
            if not (0 <= each.shortest < each.longest and math.isfinite(each.delay)):
                msg = f"a subframe cannot be from {each.shortest} to {each.longest} Angstrom, {each.delay} us after"
                raise UsageError(msg, hint="the shortest wavelength is 0 or more, and below the longest")
            if before is not None and (each.delay < before.delay or each.shortest < before.longest):
                msg = f"the subframe from {each.shortest} Angstrom on overlaps the one before it"
                raise UsageError(msg, hint="give subframes in order: later ones have longer wavelengths")
            before = each
        if not self.subframes:
            msg = "there is no subframe"
            raise UsageError(msg, hint="a pulse that is whole is one: Subframe(0, shortest)")

    def times(self, path: Float64Array, time: npt.ArrayLike) -> Float64Array:
        """Return times of flight, us, of arrivals after any pulse, us, at distances, m."""
        unit = path / WAVELENGTH
        first = self.subframes[0]
        found = unwrap(time, first.delay + first.shortest * unit, self.period)
        out = np.full(found.shape, np.nan)
        with np.errstate(invalid="ignore"):
            for each in self.subframes:
                low = each.delay + each.shortest * unit
                inside = (found >= low) & (found < each.delay + each.longest * unit)
                out[inside] = found[inside] - each.delay
        return out

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch with times of flight in the place of the times of arrival (column ``time_of_flight``, ns)."""
        return with_times(batch, self._of_pixels, self._of_source)

    def _of_pixels(self, pixel: npt.NDArray[np.generic], time: Float64Array) -> Float64Array:
        at = pixel.astype(np.int64) - self.first
        known = (at >= 0) & (at < self.path.size)
        return self.times(np.where(known, self.path[np.where(known, at, 0)], np.nan), time)

    def _of_source(self, name: str, time: Float64Array) -> Float64Array:
        return self.times(np.full(time.shape, self.monitors.get(name, math.nan)), time)


def with_times(
    batch: pa.RecordBatch,
    of_pixels: Callable[[npt.NDArray[np.generic], Float64Array], Float64Array],
    of_source: Callable[[str, Float64Array], Float64Array],
) -> pa.RecordBatch:
    """Return a batch with times of flight in the place of the times of arrival (column ``time_of_flight``, ns).

    Parameters
    ----------
    batch
        Pulses, which have lists, or events; with pixels, or all without.
    of_pixels
        From numbers of pixels and times of arrival, us, to times of flight, us.
    of_source
        The same from the name of a source without pixels.
    """
    held = column(batch, "time_of_flight", where="to unwrap frames")
    listed = pa.types.is_list(held.type) or pa.types.is_large_list(held.type)
    has_pixels = column(batch, "pixel_id", where="to unwrap frames").null_count < batch.num_rows
    events = event_columns(batch, ("time_of_flight", "pixel_id") if has_pixels else ("time_of_flight",))
    time = np.asarray(events.values["time_of_flight"], np.float64) / _NS
    lengths = np.asarray(held.value_lengths().fill_null(0)) if listed else np.ones(batch.num_rows, np.int64)
    if has_pixels:
        made = of_pixels(events.values["pixel_id"], time) * _NS
    else:
        made = np.full(time.shape, np.nan)
        names = column(batch, "source", where="to unwrap frames").cast(pa.string()).to_pylist()
        for name in dict.fromkeys(names):
            mine = np.repeat(np.array([n == name for n in names], np.bool_), lengths)
            made[mine] = of_source(name or "", time[mine]) * _NS
    for none in events.nulls.values():
        made[none] = np.nan
    values = pa.array(made, pa.float64())
    if listed:
        ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        values = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values)
    at = batch.schema.get_field_index("time_of_flight")
    metadata = batch.schema.field(at).metadata
    return batch.set_column(at, pa.field("time_of_flight", values.type, metadata=metadata), values)


def subframes_of(text: str) -> tuple[Subframe, ...]:
    """Return subframes as a setting names them: ``SHORTEST``, or ``DELAY:SHORTEST-LONGEST`` for each, with commas.

    Delays are us, wavelengths Angstrom.

    Raises
    ------
    ConfigError
        It is something else.

    Examples
    --------
    >>> subframes_of("2.5")
    (Subframe(delay=0.0, shortest=2.5, longest=inf),)
    >>> subframes_of("0:1-2.5,15000:2.5-4")[1]
    Subframe(delay=15000.0, shortest=2.5, longest=4.0)
    """
    made = []
    for part in text.split(","):
        delay, colon, rest = part.strip().rpartition(":")
        shortest, dash, longest = rest.partition("-")
        try:
            made.append(Subframe(float(delay) if colon else 0.0, float(shortest), float(longest) if dash else math.inf))
        except ValueError:
            msg = f"frames={part!r} is no subframe"
            raise ConfigError(msg, hint="for example frames=2.5, or frames=0:1-2.5,15000:2.5-4") from None
    return tuple(made)

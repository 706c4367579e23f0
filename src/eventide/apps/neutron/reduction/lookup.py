"""Times of arrival to times of flight behind choppers: a table by distance and time, looked up for each event.

What is recorded is the time after the newest pulse. A cell of the table says which neutrons (`Passed`, of which pulse)
are there then; where there are some of one kind, they were sent at times that the length of the pulse leaves open, and
the middle of their slownesses is taken. Two kinds at once cannot be told apart, and none are an event that nothing
which passed the choppers explains: both have no time of flight. Between the middles of cells of one kind the time at
which neutrons were sent is interpolated; which kind it is, the nearest cell says.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.reduction.arrivals import with_times
from eventide.apps.neutron.reduction.choppers import Passed
from eventide.errors import UsageError
from eventide.kernel.compiled import have_compiler

__all__ = ["AMBIGUOUS", "FORBIDDEN", "LookedUp", "Table", "looked_up", "table_of"]

Float64Array = npt.NDArray[np.float64]

FORBIDDEN, AMBIGUOUS = 0, -1
"""Kinds of cells with no time of flight; others count from 1 on."""

_CELLS = 8192
_STEP, _MOST_ROWS = 0.01, 256


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What arrives when, at evenly spaced distances.

    Parameters
    ----------
    first, step
        The distance of the first row, and from row to row, m.
    period
        From pulse to pulse, us: all cells of a row together.
    kinds
        int16, rows by cells: `FORBIDDEN`, `AMBIGUOUS`, or a number for each kind of neutrons.
    sent
        float64, of the same shape: when they were sent, us, in the middle of the cell; below 0 by whole periods where
        that was after an older pulse; NaN where no kind is alone.

    Examples
    --------
    >>> from eventide.apps.neutron.reduction.choppers import passed
    >>> made = table_of(passed((), length=1000.0, wavelengths=(2.0, 4.0), period=20_000.0), 10.0, 10.0, period=20_000.0)
    >>> made.times(np.array([10.0, 10.0]), np.array([8000.0, 15_000.0])).round(3).tolist()
    [7500.0, nan]
    >>> made.shares()
    (0.302734375, 0.697265625, 0.0)
    """

    first: float
    step: float
    period: float
    kinds: npt.NDArray[np.int16]
    sent: Float64Array

    def times(self, distance: npt.ArrayLike, time: npt.ArrayLike) -> Float64Array:
        """Return times of flight, us, of arrivals after any pulse, us, at distances, m; NaN where there is none."""
        at, came = np.broadcast_arrays(np.asarray(distance, np.float64), np.asarray(time, np.float64))
        if not have_compiler():
            return self._plain(at, came)
        loops = importlib.import_module("eventide.apps.neutron.reduction.lookup_loops")
        out = np.empty(came.shape)
        loops.look_up(
            at.ravel(), came.ravel(), out.reshape(-1), self.first, self.step, self.period, self.kinds, self.sent
        )
        return out

    def _plain(self, distance: Float64Array, time: Float64Array) -> Float64Array:
        rows, cells = self.kinds.shape
        with np.errstate(invalid="ignore"):
            came = np.mod(time, self.period)
            down = (distance - self.first) / self.step
            known = np.isfinite(came) & (down >= -0.5) & (down <= rows - 0.5)
        along = np.where(known, came, 0.0) * (cells / self.period) - 0.5
        down = np.clip(np.where(known, down, 0.0), 0, rows - 1)
        row, cell = np.floor(down).astype(np.int64), np.floor(along).astype(np.int64)
        near = np.minimum(row + (down - row >= 0.5), rows - 1), (cell + (along - cell >= 0.5)) % cells
        kind, own = self.kinds[near], self.sent[near]
        sent = np.zeros(own.shape)
        for below, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            at = np.minimum(row + below, rows - 1), (cell + right) % cells
            weight = np.abs(1 - below - (down - row)) * np.abs(1 - right - (along - cell))
            sent += weight * np.where(self.kinds[at] == kind, self.sent[at], own)
        return np.where(known & (kind > 0), came - sent, np.nan)

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of all cells that have a time of flight, are forbidden, and are ambiguous."""
        size = self.kinds.size
        forbidden, ambiguous = (int(np.count_nonzero(self.kinds == kind)) for kind in (FORBIDDEN, AMBIGUOUS))
        return (size - forbidden - ambiguous) / size, forbidden / size, ambiguous / size


def table_of(
    parts: Sequence[Passed], low: float, high: float, *, period: float, cells: int = _CELLS, step: float = _STEP
) -> Table:
    """Return the table of what passed choppers.

    Parameters
    ----------
    parts
        From `eventide.apps.neutron.reduction.choppers.passed`.
    low, high
        The least and the greatest distance, m.
    period
        From pulse to pulse, us.
    cells, step
        How many cells a period has; from row to row, m, or more where that would be over 256 rows.

    Raises
    ------
    UsageError
        There are no distances, or no cells.
    """
    if not (0 < low <= high < np.inf and 0 < cells <= 1 << 20 and step > 0 and period > 0):
        msg = f"no table has {cells} cells at {low} to {high} m"
        raise UsageError(msg, hint="distances are above 0, the least one first")
    rows = min(int(np.ceil((high - low) / step)) + 1, _MOST_ROWS)
    by = (high - low) / (rows - 1) if rows > 1 else step
    distance = low + by * np.arange(rows)
    width = period / cells
    kinds, sent = np.zeros((rows, cells), np.int16), np.full((rows, cells), np.nan)
    number = 0
    for part in parts:
        first, last = (float(t) for t in (part.arrivals(distance)[0].min(), part.arrivals(distance)[1].max()))
        for pulse in range(int(first // period), int(last // period) + 1):
            number += 1
            begin = max(int((first - pulse * period) / width) - 1, 0)
            end = min(int((last - pulse * period) / width) + 2, cells)
            came = (np.arange(begin, end) + 0.5) * width
            least, most = part.slowness(distance[:, None], came + pulse * period)
            here, mine = least <= most, (slice(None), slice(begin, end))
            taken = kinds[mine]
            flight = (least + most) / 2 * distance[:, None]
            sent[mine] = np.where(here & (taken == FORBIDDEN), came - flight, np.where(here, np.nan, sent[mine]))
            kinds[mine] = np.where(here, np.where(taken == FORBIDDEN, number, AMBIGUOUS), taken)
    return Table(low, by, period, kinds, sent)


@dataclass(frozen=True, slots=True, eq=False)
class LookedUp:
    """What arrivals mean at an instrument with choppers; called with a batch of pulses or events, it replaces times.

    Times become float64, ns; NaN where there is none, or the pixel or monitor is not known.

    Parameters
    ----------
    detectors
        The table of all pixels.
    path
        L1 + L2 of each pixel, m.
    first
        Number of the first pixel.
    monitors
        Tables, and distances, m, by the names of sources without pixels.
    """

    detectors: Table
    path: Float64Array
    first: int = 0
    monitors: Mapping[str, tuple[Table, float]] = field(default_factory=dict)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch with times of flight in the place of the times of arrival (column ``time_of_flight``, ns)."""
        return with_times(batch, self._of_pixels, self._of_source)

    def _of_pixels(self, pixel: npt.NDArray[np.generic], time: Float64Array) -> Float64Array:
        at = pixel.astype(np.int64) - self.first
        known = (at >= 0) & (at < self.path.size)
        return self.detectors.times(np.where(known, self.path[np.where(known, at, 0)], np.nan), time)

    def _of_source(self, name: str, time: Float64Array) -> Float64Array:
        if name not in self.monitors:
            return np.full(time.shape, np.nan)
        table, distance = self.monitors[name]
        return table.times(distance, time)


def looked_up(
    parts: Sequence[Passed],
    path: Float64Array,
    *,
    period: float,
    first: int = 0,
    monitors: Mapping[str, tuple[Sequence[Passed], float]],
) -> LookedUp:
    """Return what arrivals mean at pixels and monitors.

    Parameters
    ----------
    parts
        What comes to the pixels, from `eventide.apps.neutron.reduction.choppers.passed`.
    path
        L1 + L2 of each pixel from `first` on, m; NaN for numbers that are none.
    period
        From pulse to pulse, us.
    first
        Number of the first pixel.
    monitors
        What comes to each, and its distance from the source, m, by name.

    Examples
    --------
    >>> from eventide.apps.neutron.reduction.choppers import passed
    >>> parts = passed((), length=1000.0, wavelengths=(2.0, 4.0), period=20_000.0)
    >>> made = looked_up(parts, np.array([10.0, 10.5]), period=20_000.0, first=1, monitors={"m": (parts, 8.0)})
    >>> found = made(pa.record_batch({"pixel_id": [1, 2], "time_of_flight": [8_000_000, 15_000_000]}))
    >>> found["time_of_flight"].to_numpy().round().tolist()
    [7500000.0, nan]
    """
    low, high = float(np.nanmin(path)), float(np.nanmax(path))
    tables = {name: (table_of(mine, at, at, period=period), at) for name, (mine, at) in monitors.items()}
    return LookedUp(table_of(parts, low, high, period=period), path, first, tables)

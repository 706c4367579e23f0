"""Simulated pulses: small-angle scattering, powder diffraction, reflectometry, or decaying muons; millions a second.

The same seed gives the same events, however they are cut: a second of pulses is drawn at a time, each second with a
generator of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.instruments import Instrument, instrument
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.spectra import SLOTS, Table, table_of_bank, table_of_monitor
from eventide.errors import UsageError
from eventide.model.time import EVENT_TIME, instant

__all__ = ["MUON_LIFETIME", "Beam", "simulate"]

MUON_LIFETIME: Final = 2197.0
"""Of a muon at rest, ns."""

_MUON_WINDOW = 32_000.0
_CHUNK = 1 << 16
_SLOT_BITS, _PIXEL_BITS = SLOTS.bit_length() - 1, 22
_MOST = 1e9

Int32Array = npt.NDArray[np.int32]


class Beam:
    """A beam that is on for ever: any second of it can be had.

    Parameters
    ----------
    one
        The instrument.
    rate
        Events a second, of all banks and monitors together.
    seed
        The same seed gives the same events.
    start
        Time of the first pulse, ns since 1970.

    Raises
    ------
    UsageError
        The rate is not between 0 and 1e9.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import AMOR
    >>> second = Beam(AMOR, rate=10_000, seed=1).second(0)
    >>> second.num_rows, second.column("source").unique().to_pylist()
    (28, ['amor_detector', 'amor_monitor'])
    """

    def __init__(self, one: Instrument, *, rate: float, seed: int, start: int = 0) -> None:
        if not 0 <= rate <= _MOST:
            msg = f"a beam cannot have {rate!r} events a second"
            raise UsageError(msg, hint="rate= is a number from 0 to 1e9")
        self.instrument, self._rate, self._seed, self._start = one, rate, seed, start
        self.pulses_per_second = max(1, round(1e9 / one.period))
        self._muons = one.method == "muon"
        self.sources = [b.name for b in one.banks] + [m.name for m in one.monitors]
        shares = np.array([m.share for m in one.monitors])
        if self._muons:
            self._ring = [np.arange(b.first, b.first + b.pixels, dtype=np.int32) for b in one.banks]
            weights = np.array([float(b.pixels) for b in one.banks])
        else:
            tables = [table_of_bank(one, b) for b in one.banks]
            weights = np.array([t.weight for t in tables])
            self._tables = [*tables, *(table_of_monitor(one, m) for m in one.monitors)]
        self._shares = np.append(weights / weights.sum() * (1 - shares.sum()), shares)

    def second(self, number: int) -> pa.RecordBatch:
        """Return the pulses of a second (`PULSES`), one row for each pulse and source.

        Parameters
        ----------
        number
            0 is the first second.
        """
        rng = np.random.default_rng([self._seed, number])
        per, sources = self.pulses_per_second, len(self.sources)
        mean = self._rate * self.instrument.period / 1e9 * self._shares
        counts = rng.poisson(mean, (per, sources)).astype(np.int64)
        flights, pixels = np.empty(counts.sum(), np.int32), np.empty(counts.sum(), np.int32)
        # Source by source in time, in chunks that stay in the cache, and put where pulse and source have their place.
        ends = np.cumsum(counts.ravel()).reshape(per, sources)
        for source in range(sources):
            total = int(counts[:, source].sum())
            flight, pixel = self._draw(rng, source, total)
            begins = np.cumsum(counts[:, source]) - counts[:, source]
            for pulse in range(per):
                here = slice(int(ends[pulse, source] - counts[pulse, source]), int(ends[pulse, source]))
                there = slice(int(begins[pulse]), int(begins[pulse] + counts[pulse, source]))
                flights[here], pixels[here] = flight[there], pixel[there]
        return self._batch(number * per, counts, (flights, pixels))

    def _draw(self, rng: np.random.Generator, source: int, total: int) -> tuple[Int32Array, Int32Array]:
        flights, pixels = np.empty(total, np.int32), np.empty(total, np.int32)
        for begin in range(0, total, _CHUNK):
            part = slice(begin, min(begin + _CHUNK, total))
            raw = rng.integers(0, 1 << 64, part.stop - begin, dtype=np.uint64)
            flights[part], pixels[part] = self._decays(raw, source) if self._muons else _hits(raw, self._tables[source])
        return flights, pixels

    def _decays(self, raw: npt.NDArray[np.uint64], source: int) -> tuple[npt.NDArray[Any], Int32Array]:
        part = (raw >> np.uint64(32)) * 2.0**-32
        inside = -math.expm1(-_MUON_WINDOW / MUON_LIFETIME)
        ring = self._ring[source]
        which = ((raw & np.uint64(0xFFFFFFFF)) * np.uint64(ring.size) >> np.uint64(32)).astype(np.int64)
        return -MUON_LIFETIME * np.log1p(-part * inside), ring[which]

    def _batch(
        self, first: int, counts: npt.NDArray[np.int64], events: tuple[Int32Array, Int32Array]
    ) -> pa.RecordBatch:
        flights, pixels = events
        per, sources = counts.shape
        numbers = np.repeat(np.arange(first, first + per), sources)
        monitor = np.tile(np.arange(sources) >= len(self.instrument.banks), per)
        ends = np.append(0, np.cumsum(counts.ravel())).astype(np.int32)
        rows = per * sources
        columns = {
            "event_time": pa.array(self._start + numbers * self.instrument.period).cast(EVENT_TIME),
            "source": pa.array(self.sources * per, pa.string()),
            "message_id": pa.array(numbers),
            "pulse": pa.array(np.zeros(rows, np.int32)),
            "time_of_flight": pa.ListArray.from_arrays(pa.array(ends), pa.array(flights)),
            "pixel_id": _lists(counts.ravel(), pixels, absent=monitor),
        }
        return pa.RecordBatch.from_arrays([columns.get(f.name, pa.nulls(rows, f.type)) for f in PULSES], schema=PULSES)

    def batches(self, seconds: float) -> Iterator[pa.RecordBatch]:
        """Yield the pulses of the first seconds, a second in each batch; of the last one a part."""
        for number in range(math.ceil(seconds)):
            batch = self.second(number)
            left = round((seconds - number) * self.pulses_per_second) * len(self.sources)
            yield batch if left >= batch.num_rows else batch.slice(0, left)


def simulate(
    name: str = "loki", *, seconds: float = 1.0, rate: float = 1e6, seed: int = 2026, start: str = "2026-01-01"
) -> pa.Table:
    """Return simulated pulses (`PULSES`).

    Parameters
    ----------
    name
        Of the instrument: loki, dream, amor, sans2d or muons.
    seconds
        How long.
    rate
        Events a second.
    seed
        The same seed gives the same events.
    start
        Time of the first pulse.

    Raises
    ------
    UsageError
        There is no such instrument, or a number is out of its range.

    Examples
    --------
    >>> frames = simulate("muons", seconds=0.5, rate=1e5)
    >>> frames.num_rows, frames == simulate("muons", seconds=0.5, rate=1e5)
    (40, True)
    """
    if not 0 < seconds <= 1e6:
        msg = f"{seconds!r} seconds cannot be simulated"
        raise UsageError(msg, hint="seconds= is a number above 0, up to a million")
    beam = Beam(instrument(name), rate=rate, seed=seed, start=instant(start))
    return pa.Table.from_batches(beam.batches(seconds), PULSES)


def _hits(raw: npt.NDArray[np.uint64], table: Table) -> tuple[npt.NDArray[Any], Int32Array]:
    """Return times of flight and pixels: one number of 64 bits has slot, pixel and value of an event."""
    cell = table.slots[(raw & np.uint64(SLOTS - 1)).astype(np.int64)]
    part = ((raw >> np.uint64(_SLOT_BITS)) & np.uint64((1 << _PIXEL_BITS) - 1)).astype(np.int64)
    at = table.start[cell] + (part * table.size[cell] >> _PIXEL_BITS)
    value = table.low[cell] + table.width[cell] * ((raw >> np.uint64(40)) * 2.0**-24)
    return value * table.constant[at], table.pixel[at]


def _lists(counts: npt.NDArray[np.int64], values: Int32Array, *, absent: npt.NDArray[np.bool_]) -> pa.Array:
    """Return lists of values, null where there are none to tell of."""
    kept = values[np.repeat(~absent, counts)] if absent.any() else values
    ends = np.append(0, np.cumsum(np.where(absent, 0, counts))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(kept), mask=pa.array(absent))

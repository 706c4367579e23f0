"""``generator://events``: synthetic events, the same for the same seed whatever the batch size and at any restart.

Columns: ``timestamp`` (event time), ``key`` (int64, uniform), ``value`` (float64, standard normal). Row i of
the stream is a pure function of the seed and i, so a position is a row number and nothing has to be
kept. Random numbers: SplitMix64 (Steele, Lea and Flood 2014, OOPSLA) of a counter, and the transform of Box
and Muller 1958.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import UsageError
from eventide.model.batch import Int64Array
from eventide.model.protocols import Chunk, Options, Position
from eventide.model.time import EVENT_TIME, duration, instant

__all__ = ["GeneratorReader", "GeneratorSource", "source"]

_SCHEMA = pa.schema([("timestamp", EVENT_TIME), ("key", pa.int64()), ("value", pa.float64())])
_SECOND = 1_000_000_000
_FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class _Law:
    """What the events are: rows in all, period (ns), start (ns), disorder (ns), keys, seed, partitions, pace."""

    rows: int
    period: float
    start: int
    disorder: int
    keys: int
    seed: int
    partitions: int
    pace: float


def source(uri: str, options: Mapping[str, Any]) -> GeneratorSource:
    """Return a source of synthetic events.

    Parameters
    ----------
    uri
        ``generator://name``; the name is for the reader of the pipeline.
    options
        ``rows``: how many in all (none: without end). ``rate``: events per second of event time (1000).
        ``pace``: ``"max"``, or how many seconds of event time pass in one second (1 is real time).
        ``keys``: number of keys (10). ``disorder``: events arrive up to so much after younger ones
        (``"0"``). ``seed`` (0). ``partitions`` (1): row i is in partition i modulo this. ``start``: event time of
        the first row (2026-01-01).

    Raises
    ------
    UsageError
        An option is unknown or out of range.

    Examples
    --------
    >>> reader = source("generator://events", {"rows": 3, "rate": 2, "start": "1970-01-01"}).open({})
    >>> (chunk,) = reader.read(max_rows=9, timeout=0)
    >>> chunk.batch["timestamp"].cast(pa.int64()).to_pylist()
    [0, 500000000, 1000000000]
    """
    given = Options(options, where=uri)
    rate, pace, rows = given.take("rate", 1000), given.take("pace", "max"), given.take("rows")
    law = _Law(
        rows=_FOREVER if rows is None else rows,
        period=_SECOND / _number(rate, "rate", least=1e-9),
        start=instant(given.take("start", "2026-01-01"), what="start"),
        disorder=duration(given.take("disorder", "0"), what="disorder", zero=True),
        keys=given.take("keys", 10),
        seed=given.take("seed", 0),
        partitions=given.take("partitions", 1),
        pace=0.0 if pace == "max" else _number(pace, "pace", least=1e-9),
    )
    given.finish()
    for name, least in (("rows", 0), ("keys", 1), ("partitions", 1), ("seed", -_FOREVER)):
        value = getattr(law, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            bound = "" if name == "seed" else f" of at least {least}"
            msg = f"{uri}: {name} must be a whole number{bound}, not {value!r}"
            raise UsageError(msg, hint=f"for example {name}=1000")
    return GeneratorSource(law)


def _number(value: Any, name: str, *, least: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < 1e18:
        msg = f"generator {name} must be a number above zero, not {value!r}"
        raise UsageError(msg, hint="rate counts events per second of event time; pace is 'max' or a factor such as 1")
    return float(value)


class GeneratorSource:
    """Synthetic events; made by `source`."""

    def __init__(self, law: _Law) -> None:
        self._law = law

    @property
    def unbounded(self) -> bool:
        """Whether there is no last row."""
        return self._law.rows == _FOREVER

    def schema(self) -> pa.Schema:
        """Return the schema: timestamp, key, value."""
        return _SCHEMA

    def partitions(self) -> list[str]:
        """Return ``"0"``, ``"1"`` ..."""
        return [str(p) for p in range(self._law.partitions)]

    def open(self, positions: Mapping[str, Position]) -> GeneratorReader:
        """Open at ``{"row": n}``, rows of the partition that were read before."""
        rows = [int(positions.get(p, {}).get("row", 0)) for p in self.partitions()]
        return GeneratorReader(self._law, rows)


class GeneratorReader:
    """Makes the next rows of every partition, in turn."""

    def __init__(self, law: _Law, rows: list[int]) -> None:
        self._law = law
        self._rows = rows
        step = law.partitions
        self._ends = [max(0, -(-(law.rows - p) // step)) for p in range(step)]
        self._first = min(p + r * step for p, r in enumerate(rows))
        self._began = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether all rows were made."""
        return all(row >= end for row, end in zip(self._rows, self._ends, strict=True))

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next rows; at a pace, those whose time has come, waiting at most `timeout` seconds for one."""
        chunks = self._take(max_rows)
        if chunks or self.finished or not timeout:
            return chunks
        due = self._began + (min(self._next()) - self._first) * self._law.period / _SECOND / self._law.pace
        time.sleep(max(0.0, min(timeout, due - time.monotonic())))
        return self._take(max_rows)

    def _next(self) -> list[int]:
        step = self._law.partitions
        return [p + row * step for p, (row, end) in enumerate(zip(self._rows, self._ends, strict=True)) if row < end]

    def _due(self) -> int:
        """Return how many rows of all partitions have come by now, at the pace."""
        if not self._law.pace:
            return _FOREVER
        passed = (time.monotonic() - self._began) * _SECOND * self._law.pace
        return self._first + int(passed / self._law.period) + 1

    def _take(self, max_rows: int) -> list[Chunk]:
        law, step = self._law, self._law.partitions
        due = self._due()
        share = max(1, -(-max_rows // step))
        chunks: list[Chunk] = []
        for p in sorted(range(step), key=lambda p: self._rows[p]):
            row = self._rows[p]
            there = min(self._ends[p], -(-(due - p) // step))
            count = min(share, there - row, max_rows)
            if count > 0:
                max_rows -= count
                self._rows[p] = row + count
                chunks.append(Chunk(str(p), _rows(law, p + np.arange(row, row + count) * step), {"row": row + count}))
        return chunks

    def backlog(self) -> int | None:
        """Return how many rows are still to be made, at a pace only those whose time has come; None without end."""
        if self._law.rows == _FOREVER:
            return None
        step, due = self._law.partitions, self._due()
        there = (min(end, -(-(due - p) // step)) for p, end in enumerate(self._ends))
        return sum(max(0, now - row) for row, now in zip(self._rows, there, strict=True))

    def close(self) -> None:
        """Nothing is open."""


def _rows(law: _Law, index: Int64Array) -> pa.RecordBatch:
    counter = index.astype(np.uint64)
    times = law.start + _times(law, index)
    if law.disorder:
        times -= (_uniform(law.seed, counter, 3) * law.disorder).astype(np.int64)
    keys = (_uniform(law.seed, counter, 0) * law.keys).astype(np.int64)
    radius = np.sqrt(-2 * np.log1p(-_uniform(law.seed, counter, 1)))
    values = radius * np.cos(2 * np.pi * _uniform(law.seed, counter, 2))
    columns = [pa.array(times).cast(pa.timestamp("ns")).cast(EVENT_TIME), pa.array(keys), pa.array(values)]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _times(law: _Law, index: Int64Array) -> Int64Array:
    rate = _SECOND / law.period
    if rate >= 1 and rate == round(rate):  # whole numbers of events a second: no rounding adds up
        seconds, rest = np.divmod(index, round(rate))
        exact: Int64Array = seconds * _SECOND + rest * _SECOND // round(rate)
        return exact
    rounded: Int64Array = np.rint(index * law.period).astype(np.int64)
    return rounded


def _uniform(seed: int, counter: npt.NDArray[np.uint64], lane: int) -> npt.NDArray[np.float64]:
    """Return numbers in [0, 1) with 53 random bits, one for each counter; lanes are independent."""
    base = np.uint64(((seed * 4 + lane) * 0xD1B54A32D192ED03) % 2**64)
    with np.errstate(over="ignore"):
        z = _mixed(base + np.uint64(1)) ^ (counter * np.uint64(0x9E3779B97F4A7C15))
        unit: npt.NDArray[np.float64] = (_mixed(z) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return unit


def _mixed(z: Any) -> Any:
    """Return the output function of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

"""Two ends for watching a simulated day: a source that plays it back at a pace, a sink that tells of each row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.apps.sensors.simulate import Simulation
from eventide.errors import ConfigError
from eventide.model.protocols import Chunk, Delivery, Position

__all__ = ["Announce", "PacedDay"]


class PacedDay:
    """A bounded source that hands over the readings of a simulated day when their upload is due.

    Parameters
    ----------
    day
        The simulated day.
    seconds
        How long the day takes.

    Raises
    ------
    ConfigError
        `seconds` is not more than zero.

    Examples
    --------
    >>> from eventide.apps.sensors.simulate import simulate
    >>> PacedDay(simulate(2, incidents=0), seconds=10).partitions()
    ['0']
    """

    def __init__(self, day: Simulation, *, seconds: float) -> None:
        if not seconds > 0:
            msg = f"a day cannot be played back in {seconds} s"
            raise ConfigError(msg, hint="give a number of seconds of more than zero")
        self._day = day
        self._seconds = seconds

    def schema(self) -> pa.Schema:
        """Return the schema of readings as they are sent."""
        return self._day.readings.schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def open(self, positions: Mapping[str, Position]) -> _PacedReader:
        """Open at ``{"row": n}``, or at the start; the pace begins now."""
        row = int(positions.get("0", {}).get("row", 0))
        uploaded = self._day.uploaded
        due = (uploaded - uploaded[row:].min(initial=uploaded[-1])) / np.ptp(uploaded).clip(1) * self._seconds
        return _PacedReader(self._day.readings, due, row)


class _PacedReader:
    def __init__(self, readings: pa.RecordBatch, due: np.ndarray[Any, np.dtype[np.float64]], row: int) -> None:
        self._readings = readings
        self._due = due
        self._row = row
        self._began = time.monotonic()

    @property
    def finished(self) -> bool:
        return self._row >= len(self._due)

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        if self.finished:
            return []
        wait = self._due[self._row] - (time.monotonic() - self._began)
        if wait > 0:
            time.sleep(min(wait, timeout))
        ready = int(np.searchsorted(self._due, time.monotonic() - self._began, side="right"))
        rows = min(ready - self._row, max_rows)
        if rows <= 0:
            return []
        batch = self._readings.slice(self._row, rows)
        self._row += rows
        return [Chunk("0", batch, {"row": self._row})]

    def backlog(self) -> int:
        ready = int(np.searchsorted(self._due, time.monotonic() - self._began, side="right"))
        return max(0, ready - self._row)

    def close(self) -> None:
        self._row = self._readings.num_rows


class Announce:
    """A sink that calls a function with each row as it comes; after a crash rows may be told of again.

    Parameters
    ----------
    tell
        Called with one row as a dict.

    Examples
    --------
    >>> told = []
    >>> sink = Announce(told.append)
    >>> sink.write(pa.record_batch({"stream": ["a"]}))
    >>> told
    [{'stream': 'a'}]
    """

    delivery: Delivery = "at_least_once"

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Nothing has to be got ready."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Tell of the rows; there are few of them."""
        for row in batch.to_pylist():
            self._tell(row)

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Nothing is kept."""
        return {}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""

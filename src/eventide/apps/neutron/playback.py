"""Playing back: a source of batches that were made or recorded before, as fast as it goes or at a pace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eventide.apps.neutron.schema import PULSES
from eventide.errors import DataError, UsageError
from eventide.model.protocols import Chunk, Position
from eventide.model.time import EVENT_TIME

__all__ = ["Playback", "recorded", "recorded_schema", "repeated"]

_ROWS = 4096


class Playback:
    """A bounded source of batches with a time column, of one partition.

    Parameters
    ----------
    batches
        Makes them anew each time that it is called.
    schema
        Of the batches.
    time_column
        Which times give the pace.
    speed
        1: as it was; 2: twice as fast; 0: as fast as it goes.

    Raises
    ------
    UsageError
        The speed is no number from 0 on.

    Examples
    --------
    >>> from eventide.apps.neutron.simulate import simulate
    >>> pulses = simulate("amor", seconds=1, rate=100)
    >>> Playback(pulses.to_batches).schema() == PULSES
    True
    """

    def __init__(
        self,
        batches: Callable[[], Iterable[pa.RecordBatch]],
        *,
        schema: pa.Schema = PULSES,
        time_column: str = "event_time",
        speed: float = 0.0,
    ) -> None:
        if not 0 <= speed < math.inf:
            msg = f"nothing can be played back at speed {speed!r}"
            raise UsageError(msg, hint="1 is real time, 0 as fast as it goes")
        self._batches, self._schema, self._time, self._speed = batches, schema, time_column, speed

    def schema(self) -> pa.Schema:
        """Return the schema of the batches."""
        return self._schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def open(self, positions: Mapping[str, Position]) -> _Reader:
        """Open at ``{"row": n}``, or at the start; the pace begins now."""
        return _Reader(iter(self._batches()), self._time, self._speed, skip=int(positions.get("0", {}).get("row", 0)))


class _Reader:
    def __init__(self, batches: Iterator[pa.RecordBatch], column: str, speed: float, *, skip: int) -> None:
        self._batches, self._column, self._speed = batches, column, speed
        self._row, self._skip = skip, skip
        self._left: pa.RecordBatch | None = None
        self._began: tuple[float, int] | None = None
        self.finished = False

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next rows that are due."""
        batch = self._next()
        if batch is None:
            return []
        rows = min(batch.num_rows, max_rows)
        if self._speed:
            rows = min(rows, self._due(batch, timeout))
        if not rows:
            return []
        self._left = batch.slice(rows)
        self._row += rows
        return [Chunk("0", batch.slice(0, rows), {"row": self._row})]

    def _next(self) -> pa.RecordBatch | None:
        while self._left is None or not self._left.num_rows:
            found = next(self._batches, None)
            if found is None:
                self.finished = True
                return None
            gone = min(self._skip, found.num_rows)
            self._skip -= gone
            self._left = found.slice(gone)
        return self._left

    def _due(self, batch: pa.RecordBatch, timeout: float) -> int:
        """Return how many rows are due; wait for the first one, at most so many seconds."""
        times = batch.column(self._column).cast(pa.int64()).to_numpy()
        if self._began is None:
            self._began = time.monotonic(), int(times[0])
        started, first = self._began
        wait = (int(times[0]) - first) / 1e9 / self._speed - (time.monotonic() - started)
        if wait > 0:
            time.sleep(min(wait, timeout))
        now = first + int((time.monotonic() - started) * 1e9 * self._speed)
        late = np.flatnonzero(times > now)
        return int(late[0]) if late.size else times.size

    def backlog(self) -> int | None:
        """Nobody knows how much is left."""
        return None

    def close(self) -> None:
        """Let go of what makes the batches."""
        self.finished = True
        self._left = None
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()


def repeated(
    batches: Callable[[], Iterable[pa.RecordBatch]], times: int, *, period: int
) -> Callable[[], Iterator[pa.RecordBatch]]:
    """Return pulses again and again, each run after the one before it: times and message numbers go on.

    Parameters
    ----------
    batches
        Makes the pulses of a run.
    times
        How many runs.
    period
        From the last pulse of a run to the first of the next, ns.

    Examples
    --------
    >>> from eventide.apps.neutron.simulate import simulate
    >>> run = simulate("amor", seconds=1, rate=100)
    >>> twice = pa.Table.from_batches(repeated(run.to_batches, 2, period=10**8)())
    >>> twice.num_rows, twice["message_id"][-1].as_py()
    (56, 27)
    """

    def made() -> Iterator[pa.RecordBatch]:
        shift = number = 0
        for _ in range(times):
            first, last, most = 2**62, -(2**62), -1
            for batch in batches():
                stamps = batch.column("event_time").cast(pa.int64()).to_numpy()
                numbers = batch.column("message_id").to_numpy()
                if not stamps.size:
                    continue
                first, last = min(first, int(stamps.min())), max(last, int(stamps.max()))
                most = max(most, int(numbers.max()))
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                columns["event_time"] = pa.array(stamps + shift).cast(EVENT_TIME)
                columns["message_id"] = pa.array(numbers + number)
                yield pa.RecordBatch.from_arrays(list(columns.values()), schema=batch.schema)
            if last < first:
                return
            shift, number = shift + last - first + period, number + most + 1

    return made


def recorded_schema(path: str) -> pa.Schema:
    """Return the columns of a recording: pulses, or messages with `timestamp` and `value`.

    Raises
    ------
    DataError
        The file cannot be read, or is no recording.
    """
    try:
        found = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} cannot be read as Parquet: {error}"
        raise DataError(msg, hint="name a file that `eventide neutron record` wrote") from None
    if "value" in found.names and {"timestamp", "timestamp_ms"} & set(found.names):
        return pa.schema([("timestamp", EVENT_TIME), ("value", pa.large_binary())])
    if set(PULSES.names) <= set(found.names):
        return PULSES
    msg = f"{path} is no recording: it has the columns {', '.join(found.names)}"
    raise DataError(msg, hint="messages have timestamp and value; pulses those of the schema PULSES")


def recorded(path: str, *, topic: str = "") -> Iterator[pa.RecordBatch]:
    """Yield what a recording holds, in its order.

    Parameters
    ----------
    path
        A Parquet file.
    topic
        Of a recording of several topics, with a column ``topic``, the one that is wanted.

    Raises
    ------
    DataError
        The file cannot be read, or is no recording; or it has several topics, and none is named.
    """
    schema = recorded_schema(path)
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if topic and "topic" not in names:
        msg = f"{path} has no column topic"
        raise DataError(msg, hint="leave the topic out")
    for batch in file.iter_batches(_ROWS):
        if "topic" in names:
            found = set(batch.column("topic").unique().to_pylist())
            if not topic and len(found) > 1:
                msg = f"{path} has the topics {', '.join(sorted(map(str, found)))}"
                raise DataError(msg, hint="say which one")
            if topic:
                keep = np.array([t == topic for t in batch.column("topic").to_pylist()], np.bool_)
                batch = batch.filter(pa.array(keep))
        if batch.num_rows:
            yield _fitted(batch, schema)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        if field.name == "timestamp" and "timestamp" not in batch.schema.names:
            stamps = batch.column("timestamp_ms").cast(pa.int64()).to_numpy() * 1_000_000
            columns.append(pa.array(stamps).cast(EVENT_TIME))
        else:
            columns.append(batch.column(field.name).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)

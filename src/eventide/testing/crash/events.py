"""The simulated input: two topics whose every batch follows from a seed and its number.

``readings`` has one partition, with everything that goes wrong: events out of order, events that are too late, repeats,
and events without a believable time. ``marks`` has two partitions and is only out of order. So what is late depends on
nothing but the order within one partition, and the output of a run is the same however the topics were interleaved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.model.time import EVENT_TIME

__all__ = ["PARTITIONS", "ROWS", "SCHEMAS", "STEP", "make_batch", "plain_batch", "plain_readings"]

Int64Array = npt.NDArray[np.int64]

SCHEMAS = {
    "readings": pa.schema(
        [("timestamp", EVENT_TIME), ("id", pa.int64()), ("sensor", pa.int64()), ("value", pa.float64())]
    ),
    "marks": pa.schema([("timestamp", EVENT_TIME), ("sensor", pa.int64()), ("mark", pa.string())]),
}
PARTITIONS = {"readings": 1, "marks": 2}
ROWS = {"readings": 24, "marks": 6}
STEP = 1_000_000_000
"""Event time that a batch spans, ns."""

_SENSORS = 6
_START = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z, ns
_DISORDER = 1_500_000_000
_LATE = 4_500_000_000
_HOUR = 3_600_000_000_000
_REPEATS, _LATES = 3, 2
_TOPICS = ("readings", "marks")


def make_batch(topic: str, number: int, *, seed: int, partition: int = 0) -> pa.RecordBatch:
    """Return one batch of the input.

    Parameters
    ----------
    topic
        ``"readings"`` or ``"marks"``.
    number
        Which batch of the partition, from 0.
    seed
        Of the whole input.
    partition
        The partition of the topic.

    Examples
    --------
    >>> make_batch("marks", 3, seed=1).equals(make_batch("marks", 3, seed=1))
    True
    >>> make_batch("readings", 3, seed=1).num_rows
    30
    """
    if topic == "marks":
        return _marks(number, seed=seed, partition=partition)
    columns = plain_readings(number, seed=seed)
    rng = _rng("readings", number, seed=seed, partition=99)
    late = rng.integers(0, ROWS["readings"], _LATES)
    extra = {name: values[late].copy() for name, values in columns.items()}
    # Some of these are within what the windows still allow, some are behind that.
    extra["timestamp"] = extra["timestamp"] - _LATE - rng.integers(0, _LATE, _LATES)
    extra["id"] = extra["id"] + 500
    repeats = _repeats(number, rng, seed=seed)
    whole = {name: np.concatenate([columns[name], extra[name], repeats[name]]) for name in columns}
    bad = {name: values[:1].copy() for name, values in columns.items()}
    bad["id"] += 900
    whole = {name: np.concatenate([whole[name], bad[name]]) for name in whole}
    times = whole["timestamp"]
    missing = np.zeros(times.size, np.bool_)
    if number % 3 == 0:
        missing[-1] = True
    else:  # leaps ahead further than the pipeline believes, or stands where 64 bits of nanoseconds end
        times[-1] = times[-1] + 50 * _HOUR if number % 3 == 1 else np.iinfo(np.int64).min + 1
    timestamps = pa.array(times, mask=missing).cast(EVENT_TIME)
    arrays = [timestamps, *(pa.array(whole[name]) for name in ("id", "sensor", "value"))]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["readings"])


def plain_readings(number: int, *, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a batch of readings as it is without repeats, late and bad events: what any model counts.

    Examples
    --------
    >>> len(plain_readings(0, seed=1)["value"]) == ROWS["readings"]
    True
    """
    rng = _rng("readings", number, seed=seed, partition=0)
    rows = ROWS["readings"]
    times = _START + number * STEP + rng.integers(0, STEP, rows) - rng.integers(0, _DISORDER, rows)
    return {
        "timestamp": times,
        "id": number * 1000 + np.arange(rows),
        "sensor": rng.integers(0, _SENSORS, rows),
        "value": np.round(rng.normal(10.0, 3.0, rows), 4),
    }


def plain_batch(number: int, *, seed: int) -> pa.RecordBatch:
    """Return `plain_readings` as a batch.

    Examples
    --------
    >>> plain_batch(0, seed=1).num_rows == ROWS["readings"]
    True
    """
    columns = plain_readings(number, seed=seed)
    arrays = [
        pa.array(columns["timestamp"]).cast(EVENT_TIME),
        *(pa.array(columns[n]) for n in ("id", "sensor", "value")),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["readings"])


def _repeats(number: int, rng: np.random.Generator, *, seed: int) -> dict[str, npt.NDArray[Any]]:
    source = plain_readings(max(number - 1, 0), seed=seed)
    chosen = rng.integers(0, ROWS["readings"], _REPEATS)
    return {name: values[chosen] for name, values in source.items()}


def _marks(number: int, *, seed: int, partition: int) -> pa.RecordBatch:
    rng = _rng("marks", number, seed=seed, partition=partition)
    rows = ROWS["marks"]
    times = _START + number * STEP + rng.integers(0, STEP, rows) - rng.integers(0, _DISORDER, rows)
    sensors = rng.integers(0, _SENSORS // 2, rows) * 2 + partition
    names = [f"{number}.{partition}.{row}" for row in range(rows)]
    arrays = [pa.array(times).cast(EVENT_TIME), pa.array(sensors), pa.array(names)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["marks"])


def _rng(topic: str, number: int, *, seed: int, partition: int) -> np.random.Generator:
    return np.random.default_rng([seed, _TOPICS.index(topic), partition, number])

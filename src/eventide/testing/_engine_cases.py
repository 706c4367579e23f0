"""What the engine suite feeds and applies: events from text, processes with state, a function that fails once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.model.keyed import (
    Context,
    Events,
    StateSpec,
    Timers,
    clock_timer,
    event_timer,
    list_state,
    value_state,
)
from eventide.model.time import EVENT_TIME
from eventide.testing._compare import rows_of
from eventide.testing.strategies import SECOND

__all__ = [
    "IN",
    "SILENCES",
    "FailsOnce",
    "LastTwo",
    "Silence",
    "TOLD",
    "TellLater",
    "drop_odd",
    "events_of",
    "in_seconds",
]

IN = pa.schema([("time", EVENT_TIME), ("key", pa.string()), ("value", pa.float64())])
"""Schema of the events."""

TOLD = pa.schema([("key", pa.string()), ("events", pa.int64())])
SILENCES = pa.schema([("time", EVENT_TIME), ("key", pa.string()), ("events", pa.int64())])


def events_of(text: str) -> pa.RecordBatch:
    """Return events in order of arrival: ``a4:2`` is an event of key a at 4 s with value 2, ``?`` a null.

    Examples
    --------
    >>> in_seconds(pa.Table.from_batches([events_of("a4:2 ?5:?")]))
    [(4, 'a', 2.0), (5, None, None)]
    """
    rows = [(word[0], *word[1:].split(":")) for word in text.split()]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([None if t == "?" else round(float(t) * SECOND) for _, t, _ in rows], EVENT_TIME),
            pa.array([None if k == "?" else k for k, _, _ in rows], pa.string()),
            pa.array([None if v == "?" else float(v) for _, _, v in rows], pa.float64()),
        ],
        schema=IN,
    )


def in_seconds(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return rows as tuples, with event times in seconds (whole numbers where they are)."""
    columns = list(zip(*rows_of(table), strict=True)) or [() for _ in table.schema]
    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            columns[number] = tuple(_second(v) for v in columns[number])
    return list(zip(*columns, strict=True))


def _second(ns: int | None) -> float | None:
    if ns is None:
        return None
    return ns // SECOND if ns % SECOND == 0 else ns / SECOND


def drop_odd(batch: pa.RecordBatch) -> list[pa.RecordBatch] | None:
    """Return the rows with even values, each in a batch of its own; None where there is none."""
    even = [i for i, v in enumerate(batch["value"].to_pylist()) if v is not None and v % 2 == 0]
    if not batch.num_rows:
        return [batch]
    return [batch.slice(i, 1) for i in even] or None


@dataclass(frozen=True)
class FailsOnce:
    """A function of batches that fails at the first event of a value, in its first life only.

    Parameters
    ----------
    marker
        File that says that it has failed already; it outlives the process.
    value
        The value at which it fails.
    """

    marker: str
    value: float

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch, or fail."""
        if self.value in batch["value"].to_pylist() and not Path(self.marker).exists():
            Path(self.marker).touch()
            msg = "this failure is part of a test"
            raise ConnectionError(msg)
        return batch


class Silence:
    """Reports keys without an event for ten seconds, and how many they had before."""

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """A count and a timer in event time."""
        return {"events": value_state("int64"), "quiet": event_timer(after="10s")}

    def on_events(self, context: Context, events: Events) -> None:
        """Count, and wait for silence."""
        np.add.at(context.value("events"), events.slots, 1)
        context.set_timer("quiet", events.slots, events.times + 10 * SECOND)

    def on_timers(self, context: Context, timers: Timers) -> pa.RecordBatch:
        """Report and forget."""
        (keys,) = context.keys(timers.slots)
        counts = context.value("events")[timers.slots]
        context.forget(timers.slots)
        return pa.RecordBatch.from_arrays([pa.array(timers.times, EVENT_TIME), keys, pa.array(counts)], schema=SILENCES)


class LastTwo:
    """Gives each event on; every second one of a key goes, with the sum of both, to the port ``pairs``."""

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The value that waits for its partner, as rows."""
        return {"waiting": list_state(pa.schema([("value", pa.float64())]))}

    def on_events(self, context: Context, events: Events) -> Mapping[str, pa.RecordBatch]:
        """Pair the events of each key."""
        pairs = []
        values = events.batch["value"].to_pylist()
        for row, slot in enumerate(events.slots):
            one = np.array([slot], np.int32)
            _, kept = context.rows("waiting", one)
            if kept.num_rows:
                context.clear("waiting", one)
                pairs.append((row, values[row] + kept["value"][0].as_py()))
            else:
                context.append("waiting", one, events.batch.slice(row, 1).select(["value"]))
        rows = events.batch.take(pa.array([row for row, _ in pairs], pa.int64()))
        summed = rows.set_column(2, "value", pa.array([total for _, total in pairs], pa.float64()))
        return {"main": events.batch, "pairs": summed}

    def on_timers(self, context: Context, timers: Timers) -> None:
        """There are none."""


class TellLater:
    """Reports a key ten seconds of processing time after its first event."""

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """Whether the key is known, and a timer on the clock."""
        return {"events": value_state("int64"), "later": clock_timer()}

    def on_events(self, context: Context, events: Events) -> None:
        """Set the timer at the first event."""
        counts = context.value("events")
        new = np.unique(events.slots[counts[events.slots] == 0])
        np.add.at(counts, events.slots, 1)
        if new.size:
            context.set_timer("later", new, np.full(new.size, context.clock + 10 * SECOND))

    def on_timers(self, context: Context, timers: Timers) -> pa.RecordBatch:
        """Report."""
        (keys,) = context.keys(timers.slots)
        counts = context.value("events")[timers.slots]
        return pa.RecordBatch.from_arrays([keys, pa.array(counts)], schema=TOLD)

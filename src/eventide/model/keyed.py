"""Keyed processes: what a user writes to keep state per key, in columns.

A process is any object with the attributes and methods of `KeyedProcess`. It sees batches of many keys at
once: `Events.slots` numbers the key of each row, and every declared state is an array over those numbers, so
that ordinary numpy (or a compiled loop) updates all keys of a batch without a Python step per event.

Results do not depend on how events were cut into batches when a process treats the rows of each key one
after the other in the order given (`eventide.kernel.keyed.rank` and `eventide.kernel.keyed.segments` have what
that takes in numpy), remembers only what it declares, and reads neither `Context.watermark` nor
`Context.clock` to decide what to emit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.model.batch import visible
from eventide.model.time import duration

__all__ = [
    "BufferState",
    "Context",
    "Events",
    "KeyedProcess",
    "ListState",
    "MapState",
    "PortSchema",
    "StateSpec",
    "TimerState",
    "Timers",
    "ValueState",
    "buffer_state",
    "clock_timer",
    "event_timer",
    "list_state",
    "map_state",
    "port_schemas",
    "value_state",
]

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


PortSchema: TypeAlias = pa.Schema | Callable[[pa.Schema], pa.Schema]
"""Schema of an output, or a function that gives it from the schema of the input."""


def port_schemas(schemas: Mapping[str, PortSchema], source: pa.Schema) -> dict[str, pa.Schema]:
    """Return the output schemas of a process whose input has the schema `source`.

    Examples
    --------
    >>> source = pa.schema([("a", pa.int64())])
    >>> port_schemas({"main": lambda s: s.append(pa.field("n", pa.int64()))}, source)["main"].names
    ['a', 'n']
    """
    source = visible(source)
    return {port: schema(source) if callable(schema) else schema for port, schema in schemas.items()}


@dataclass(frozen=True, slots=True)
class ValueState:
    """One value per key: a numpy array over slots, `default` for a new key."""

    dtype: str
    default: Any = 0


@dataclass(frozen=True, slots=True)
class BufferState:
    """The last `size` values per key: a numpy array (slots, size) used as a ring by the process."""

    dtype: str
    size: int
    default: Any = 0


@dataclass(frozen=True, slots=True)
class ListState:
    """Rows of `schema` per key, in the order they were added."""

    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class MapState:
    """Per key, values of type `value` by map keys of type `key`."""

    key: pa.DataType
    value: pa.DataType


@dataclass(frozen=True, slots=True)
class TimerState:
    """A timer per key: in event time (`after`: how long after the event that sets it, at least, ns) or on the clock."""

    after: int = 0
    clock: bool = False


StateSpec: TypeAlias = ValueState | BufferState | ListState | MapState | TimerState


def value_state(dtype: str, default: Any = 0) -> ValueState:
    """Declare one value per key.

    Parameters
    ----------
    dtype
        A fixed-size numpy dtype, such as ``"float64"``, ``"int64"`` or ``"bool"``.
    default
        The value of a key never seen before.

    Examples
    --------
    >>> value_state("float64", default=-1.0)
    ValueState(dtype='float64', default=-1.0)
    """
    return ValueState(np.dtype(dtype).name, default)


def buffer_state(dtype: str, size: int, *, default: Any = 0) -> BufferState:
    """Declare the last `size` values per key.

    Examples
    --------
    >>> buffer_state("float64", 20).size
    20
    """
    return BufferState(np.dtype(dtype).name, size, default)


def list_state(schema: pa.Schema) -> ListState:
    """Declare rows per key.

    Examples
    --------
    >>> list_state(pa.schema([("v", pa.float64())])).schema.names
    ['v']
    """
    return ListState(schema)


def map_state(key: pa.DataType, value: pa.DataType) -> MapState:
    """Declare a map per key.

    Examples
    --------
    >>> map_state(pa.string(), pa.int64()).value
    DataType(int64)
    """
    return MapState(key, value)


def event_timer(*, after: str | timedelta = "0") -> TimerState:
    """Declare a timer in event time: one per key, set with `Context.set_timer`.

    A timer for time T fires when every event before T has been handed over and none at or after T has,
    key by key, whatever the batches.

    Parameters
    ----------
    after
        The shortest time between an event and a timer that it sets. The events of a key that lie less
        than this apart are handed over at once; without it, one event time after the other, which is
        slow for keys with many events.

    Examples
    --------
    >>> event_timer(after="10m")
    TimerState(after=600000000000, clock=False)
    """
    return TimerState(duration(after, what="after", zero=True))


def clock_timer() -> TimerState:
    """Declare a timer in processing time: it fires at the first tick of the clock that reaches it.

    Examples
    --------
    >>> clock_timer().clock
    True
    """
    return TimerState(clock=True)


@dataclass(frozen=True, slots=True)
class Events:
    """Events of many keys, in order.

    Parameters
    ----------
    batch
        The rows: ordered by event time (then by all columns) with ``order="event_time"``, as they came
        with ``order="arrival"``.
    slots
        int32, for each row the number of its key in every state array.
    times
        int64 event times, ns.
    """

    batch: pa.RecordBatch
    slots: Int32Array
    times: Int64Array


@dataclass(frozen=True, slots=True)
class Timers:
    """Timers that are due: the key's slot, the time it was set for, and its name.

    Ordered by time, then by a hash of the key, then as declared. A key has at most one time in it.
    """

    slots: Int32Array
    times: Int64Array
    names: tuple[str, ...]


class Context(Protocol):
    """What a process can ask for and do while it handles events or timers."""

    @property
    def watermark(self) -> int:
        """Event time up to which the input is complete, ns."""

    @property
    def clock(self) -> int:
        """Processing time of the newest tick in band, ns."""

    def value(self, name: str) -> npt.NDArray[Any]:
        """Return the array of a declared value or buffer state over slots; write to it to change it."""

    def rows(self, name: str, slots: Int32Array) -> tuple[Int32Array, pa.Table]:
        """Return the rows of a declared list state of some keys, and the slot of each."""

    def append(self, name: str, slots: Int32Array, rows: pa.RecordBatch) -> None:
        """Add rows to a declared list state."""

    def clear(self, name: str, slots: Int32Array) -> None:
        """Forget a state of some keys."""

    def get(self, name: str, slots: Int32Array, keys: pa.Array) -> pa.Array:
        """Return map values (null where there is none)."""

    def put(self, name: str, slots: Int32Array, *, keys: pa.Array, values: pa.Array) -> None:
        """Set map values."""

    def keys(self, slots: Int32Array) -> list[pa.Array]:
        """Return the key columns of some slots."""

    def set_timer(self, name: str, slots: Int32Array, times: Int64Array) -> None:
        """Wake up when the watermark (or the clock) reaches a time, ns; one timer per key and name, the last wins."""

    def cancel_timer(self, name: str, slots: Int32Array) -> None:
        """Take back timers."""

    def hold(self, slots: Int32Array, times: Int64Array) -> None:
        """Announce that a key may still emit rows of this event time, ns, although its events are later.

        A process that emits rows earlier than the event or timer at hand must hold the output's watermark
        back beforehand; one time per key, the last wins, `MAX_TIME` lets go.
        """

    def forget(self, slots: Int32Array) -> None:
        """Drop all state and timers of some keys; their slots may be used for other keys afterwards."""


class KeyedProcess(Protocol):
    """A process over keyed state.

    The object itself holds parameters only; everything it must remember goes into its declared state.
    One whose state depends on the columns of its input has a method ``bind(context: ProcessContext)`` too,
    which returns the process to run.
    """

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The declared state and timers, by name."""

    def on_events(self, context: Context, events: Events) -> pa.RecordBatch | Mapping[str, pa.RecordBatch] | None:
        """Take events; return rows of the main port, or of several ports by name."""

    def on_timers(self, context: Context, timers: Timers) -> pa.RecordBatch | Mapping[str, pa.RecordBatch] | None:
        """Take timers that are due."""

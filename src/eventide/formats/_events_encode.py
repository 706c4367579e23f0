"""From a batch of events to messages: cut where their source or number changes, pulses where the time does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.formats._events import EventMessage, Facility, write_message
from eventide.formats._events_decode import FACILITY
from eventide.model.batch import as_event_time, column

__all__ = ["encode_many", "encode_one"]


def encode_one(name: str, batch: pa.RecordBatch, *, source: str, message_id: int) -> bytes:
    """Return a batch that is one message.

    Raises
    ------
    SchemaError
        Its rows belong to several messages, or a column is missing.
    """
    if not batch.num_rows and name != "ev42":
        none = np.empty(0, np.int64)
        return write_message(EventMessage(source, message_id, none, none, none), name)
    found = encode_many(name, batch, source=source, message_id=message_id)
    if len(found) != 1:
        msg = f"{batch.num_rows} rows are {len(found)} messages of {name}, not one"
        raise SchemaError(msg, hint="a message has one source and one message_id: encode_many() makes all of them")
    return bytes(found[0].as_buffer())


def encode_many(name: str, batch: pa.RecordBatch, *, source: str, message_id: int) -> pa.Array:
    """Return the messages of a batch, in its order, as a column of large binary.

    Raises
    ------
    SchemaError
        A column is missing, holds nulls where the message has no room for them, or is not of the right type.
    DataError
        A number does not fit the message.
    """
    columns = _Columns(batch, source, message_id, by_pulse=name == "ev42")
    ends = np.append(columns.starts[1:], batch.num_rows)[: columns.starts.size]
    pieces = [
        write_message(columns.message(i, begin, end), name)
        for i, (begin, end) in enumerate(zip(columns.starts.tolist(), ends.tolist(), strict=True))
    ]
    return pa.array(pieces, pa.large_binary())


class _Columns:
    """Columns of a batch as arrays, and where its messages start."""

    def __init__(self, batch: pa.RecordBatch, source: str, message_id: int, *, by_pulse: bool) -> None:
        self._batch, self._source, self._message_id = batch, source, message_id
        self._times = _numbers(as_event_time(column(batch, "event_time", where="to write")), "event_time")
        self._flights = _numbers(column(batch, "time_of_flight", where="to write"), "time_of_flight")
        new_pulse = _changes(self._times)
        if "pulse" in batch.schema.names:
            new_pulse |= _changes(_numbers(column(batch, "pulse"), "pulse"))
        self._sources, new = self._texts()
        self._ids = None
        if "message_id" in batch.schema.names:
            self._ids = _numbers(column(batch, "message_id"), "message_id")
            new |= _changes(self._ids)
        elif by_pulse:
            new |= new_pulse
        self._new_pulse = new_pulse | new
        self.starts = np.flatnonzero(new)
        self._facility = self._facilities()

    def _texts(self) -> tuple[Callable[[int], str] | None, npt.NDArray[np.bool_]]:
        new = np.zeros(self._batch.num_rows, np.bool_)
        new[:1] = True
        if "source" not in self._batch.schema.names:
            return None, new
        found = column(self._batch, "source")
        coded = found if pa.types.is_dictionary(found.type) else found.dictionary_encode()
        if coded.null_count or not (_is_text(coded.dictionary.type) or not len(coded)):
            msg = f"column 'source' ({found.type}) holds nulls, or is not text"
            raise SchemaError(msg, hint="each event has a source: fill it in, or leave the column out and pass source=")
        words, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)
        new |= _changes(codes)
        return lambda row: words[codes[row]], new

    def _facilities(self) -> list[Facility | None] | None:
        names = self._batch.schema.names
        if not all(n in names for n in FACILITY.names):
            return None
        first = pa.array(self.starts)
        parts = [column(self._batch, n).take(first).to_pylist() for n in FACILITY.names]
        return [None if None in part else Facility(*part) for part in zip(*parts, strict=True)]

    def _optional(self, what: str, begin: int, end: int) -> npt.NDArray[Any] | None:
        if what not in self._batch.schema.names:
            return None
        part = column(self._batch, what).slice(begin, end - begin)
        if part.null_count == len(part):
            return None
        if part.null_count:
            msg = f"a message has events with {what} and events without"
            raise SchemaError(msg, hint="it holds one for every event or none: write them as messages of their own")
        return _numbers(part, what)

    def message(self, number: int, begin: int, end: int) -> EventMessage:
        """Return a message: rows from `begin` to `end`."""
        pulses = np.flatnonzero(self._new_pulse[begin:end])
        return EventMessage(
            self._source if self._sources is None else self._sources(begin),
            self._message_id + number if self._ids is None else int(self._ids[begin]),
            self._times[begin:end][pulses],
            pulses,
            self._flights[begin:end],
            self._optional("pixel_id", begin, end),
            self._optional("weight", begin, end),
            None if self._facility is None else self._facility[number],
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a value is another one than before; the first always is."""
    new = np.ones(values.size, np.bool_)
    new[1:] = values[1:] != values[:-1]
    return new


def _numbers(array: pa.Array, what: str) -> npt.NDArray[Any]:
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    if array.null_count or not pa.types.is_integer(array.type):
        msg = f"column {what!r} ({array.type}) holds nulls, or no integers"
        raise SchemaError(msg, hint="a message has a number there for every event")
    found: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return found

"""Many messages of events to one batch: one pass that finds what they hold, one copy of what is asked for.

What an event costs beside its 8 bytes on the wire is what is repeated for it: the time of its pulse, its source and
the number of its message. Who reads millions of events a second names the columns wanted in `schema`; the times of
pulses and the numbers of messages are in `EventBatch.pulses` and `EventBatch.messages`, once each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError, near_names
from eventide.formats._events import NO_FACILITY, Head, head_of, read_message
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.kernel.compiled import have_compiler
from eventide.kernel.recycled import Recycled
from eventide.model.batch import Int64Array
from eventide.model.protocols import BadInput, Decoded
from eventide.model.time import EVENT_TIME

__all__ = ["EVENTS", "FACILITY", "EventBatch", "Messages", "contiguous", "decode_many", "event_schema"]

Messages: TypeAlias = Sequence[Bytes | None] | pa.Array | pa.ChunkedArray
"""Messages one by one, or a binary column of Arrow, which is taken as it is."""

SOURCE = pa.dictionary(pa.int32(), pa.string())

EVENTS = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("time_of_flight", pa.int32()),
        pa.field("pixel_id", pa.int32()),
        pa.field("source", SOURCE),
        pa.field("message_id", pa.int64()),
        pa.field("pulse", pa.int32()),
    ]
)
"""Columns of events; an44 has `weight` (int16) too, and those of `FACILITY` can be asked for of ev42."""

FACILITY = pa.schema([("period", pa.uint32()), ("running", pa.bool_()), ("proton_charge", pa.float32())])
_MESSAGES = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("source", SOURCE),
        pa.field("message_id", pa.int64()),
        pa.field("first_event", pa.int64()),
        pa.field("events", pa.int64()),
        pa.field("first_pulse", pa.int64()),
        pa.field("pulses", pa.int64()),
    ]
)
_PULSES = pa.schema(
    [("event_time", EVENT_TIME), ("message", pa.int64()), ("first_event", pa.int64()), ("events", pa.int64())]
)
_INT64 = pa.int64()
_MOST_RECYCLED = 64 << 20
_COPIED: dict[str, tuple[int, np.dtype[Any]]] = {
    "time_of_flight": (4, np.dtype(np.int32)),
    "pixel_id": (6, np.dtype(np.int32)),
    "weight": (7, np.dtype(np.int16)),
}
"""What stands in messages as it is needed: where, of `Head`, and its type."""

_memory = {what: Recycled() for what in ("messages", *EVENTS.names, "weight")}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch(Decoded):
    """What messages of events hold.

    Parameters
    ----------
    batch, bad
        The events, and messages that cannot be read.
    messages
        A row for each that could be read, also one without events: its `number` among the messages given, `source`,
        `message_id`, the row of its `first_event`, how many `events`, the row of its `first_pulse` in `pulses`, how
        many `pulses`; of ev42 also `period`, `running` and `proton_charge`.
    pulses
        A row for each pulse, also one without events: `event_time`, its `message` (the row there), `first_event`,
        `events`.
    """

    messages: pa.RecordBatch
    pulses: pa.RecordBatch


def event_schema(name: str) -> pa.Schema:
    """Return the columns that events of a schema have."""
    return EVENTS.append(pa.field("weight", pa.int16())) if name == "an44" else EVENTS


def decode_many(name: str, messages: Messages, *, schema: pa.Schema | None, where: str) -> EventBatch:
    """Return the events of many messages of one schema as one batch."""
    wanted = _wanted(name, schema)
    data, starts, stops = contiguous(messages)
    head = _scan(name, data, starts=starts, stops=stops)
    rows = np.flatnonzero(head[:, 0])
    names, codes, rows = _sources(data, head, rows)
    while True:
        built = _Build(name, data, head[rows], names=names, codes=codes)
        wrong = built.too_large() if name == "ev42" else np.empty(0, np.int64)
        if not wrong.size:
            break
        rows, codes = np.delete(rows, wrong), np.delete(codes, wrong)
    lost = np.setdiff1d(np.arange(starts.size), rows).tolist() if rows.size < starts.size else []
    at = f"{where and where + ': '}message"
    bad = tuple(_bad(name, bytes(data[starts[i] : stops[i]]), f"{at} {i}") for i in lost)
    return EventBatch(batch=built.batch(wanted), bad=bad, messages=built.messages(rows), pulses=built.pulse_table())


def _wanted(name: str, schema: pa.Schema | None) -> pa.Schema:
    known = event_schema(name)
    if schema is None:
        return known
    known = pa.schema([*known, *FACILITY]) if name == "ev42" else known
    for field in schema:
        if field.name not in known.names:
            msg = f"events of {name} have no column {field.name!r}"
            raise SchemaError(msg, hint=near_names(field.name, known.names))
        kind = known.field(field.name).type
        if field.type != kind and str(field.type) not in _WIDER.get(str(kind), ()):
            msg = f"column {field.name!r} of {name} is {kind}, not {field.type}"
            raise SchemaError(msg, hint="take it as it is and convert it in the pipeline")
    return schema


_WIDER = {
    "int16": ("int32", "int64", "float", "double"),
    "int32": ("int64", "double"),
    "uint32": ("int64", "uint64", "double"),
    "float": ("double",),
    str(SOURCE): ("string", "large_string"),
}
"""Types that hold every value of another one."""


def contiguous(messages: Messages) -> tuple[npt.NDArray[np.uint8], Int64Array, Int64Array]:
    """Return messages as one stretch of bytes, and where each begins and ends. None is a message of no bytes."""
    if isinstance(messages, (pa.Array, pa.ChunkedArray)):
        if isinstance(messages, pa.ChunkedArray) or messages.type not in (pa.binary(), pa.large_binary()):
            messages = messages.cast(pa.large_binary())
        whole = messages.combine_chunks() if isinstance(messages, pa.ChunkedArray) else messages
        _, at, values = whole.buffers()
        kind = np.dtype(np.int32 if whole.type == pa.binary() else np.int64)
        if at is None or not len(whole):
            return np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
        ends = np.frombuffer(at, kind, len(whole) + 1, whole.offset * kind.itemsize).astype(np.int64)
        data = np.empty(0, np.uint8) if values is None else np.frombuffer(values, np.uint8)
        stops = ends[1:]
        if whole.null_count:  # what stands under a null is nothing
            stops = np.where(whole.is_null().to_numpy(zero_copy_only=False), ends[:-1], stops)
        return data, ends[:-1], stops
    given = [b"" if m is None else m for m in messages]
    ends = np.zeros(len(given) + 1, np.int64)
    np.cumsum([m.nbytes if isinstance(m, memoryview) else len(m) for m in given], out=ends[1:])
    if len(given) == 1:
        return np.frombuffer(given[0], np.uint8), ends[:-1], ends[1:]
    data, _ = _room("messages", int(ends[-1]), np.dtype(np.uint8))
    view = data.data
    for message, start, stop in zip(given, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        view[start:stop] = message
    return data, ends[:-1], ends[1:]


def _scan(name: str, data: npt.NDArray[np.uint8], *, starts: Int64Array, stops: Int64Array) -> Int64Array:
    """Return a row of `Head` for each message, whose first column is 0 where it cannot be read."""
    head = np.zeros((starts.size, len(Head._fields)), np.int64)
    head[:, 11] = NO_FACILITY
    if have_compiler():
        from eventide.formats import _events_loops as loops

        code = int.from_bytes(name.encode(), "little")
        if name == "ev42":
            loops.scan_ev42(data, starts, stops, code, head)
        else:
            loops.scan_ev44(data, starts, stops, code, name == "an44", head)
        return head
    view = data.data
    places = [i for i, f in enumerate(Head._fields) if f in _PLACES]
    for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        try:
            row = np.array(head_of(view[start:stop], name), np.int64)
        except BrokenMessageError:
            continue
        row[places] += np.where(row[places] >= 0, start, 0)
        head[i] = row
    return head


_PLACES = ("source", "time_of_flight", "pixel_id", "weight", "times", "first")


def _sources(
    data: npt.NDArray[np.uint8], head: Int64Array, rows: Int64Array
) -> tuple[list[str], npt.NDArray[np.int32], Int64Array]:
    """Return the names of sources, the number of the name of each message, and the messages whose name is text."""
    begins, lengths = head[rows, 2], head[rows, 3]
    codes = np.zeros(rows.size, np.int32)
    if have_compiler():
        from eventide.formats import _events_loops as loops

        firsts = np.empty(rows.size, np.int64)
        table = np.full(1 << (2 * rows.size + 1).bit_length(), -1, np.int64)
        firsts = firsts[: loops.number_sources(data, begins, lengths, table, firsts, codes)]
        raw = [bytes(data[begins[f] : begins[f] + lengths[f]]) for f in firsts.tolist()]
    else:
        known: dict[bytes, int] = {}
        pieces = (bytes(data[b : b + n]) for b, n in zip(begins.tolist(), lengths.tolist(), strict=True))
        codes[:] = [known.setdefault(piece, len(known)) for piece in pieces]
        raw = list(known)
    names: list[str] = []
    broken: list[int] = []
    for code, letters in enumerate(raw):
        try:
            names.append(letters.decode("utf-8"))
        except UnicodeDecodeError:
            names.append("")
            broken.append(code)
    if broken:
        kept = ~np.isin(codes, broken)
        rows, codes = rows[kept], codes[kept]
    return names, codes, rows


def _bad(name: str, data: bytes, position: str) -> BadInput:
    reason = f"it is no message of {name}"
    try:
        read_message(data, name)
    except BrokenMessageError as error:
        reason = str(error)
    return BadInput(data, position, reason)


class _Build:
    """Columns of the events of good messages, made when they are asked for."""

    def __init__(
        self,
        name: str,
        data: npt.NDArray[np.uint8],
        head: Int64Array,
        *,
        names: list[str],
        codes: npt.NDArray[np.int32],
    ) -> None:
        self._name, self._data, self._head = name, data, head
        self._names, self._codes = pa.array(names, pa.string()), codes
        self._events, self._pulses = np.ascontiguousarray(head[:, 5]), np.ascontiguousarray(head[:, 10])
        self._total = int(self._events.sum())
        self._made: dict[str, pa.Array] = {}
        self._first_event = np.cumsum(self._events) - self._events
        self._first_pulse = np.cumsum(self._pulses) - self._pulses
        self._times = np.empty(int(self._pulses.sum()), np.int64)
        _copy(data, head[:, 8], self._pulses * 8, out=self._times)
        self._first = np.repeat(self._first_event, self._pulses)
        if name != "ev42":
            inside = np.empty(self._times.size, np.int32)
            _copy(data, head[:, 9], self._pulses * 4, out=inside)
            self._first += inside
        self._counts = np.diff(np.append(self._first, self._total))

    def too_large(self) -> Int64Array:
        """Return the messages that have an unsigned number which an int32 does not hold."""
        wrong = np.zeros(self._events.size, np.bool_)
        for what in ("time_of_flight", "pixel_id"):
            values = self._numbers(what)
            if values.size and values.min() < 0:
                wrong[np.searchsorted(self._first_event + self._events, np.flatnonzero(values < 0), side="right")] = (
                    True
                )
        return np.flatnonzero(wrong)

    def _numbers(self, what: str) -> npt.NDArray[Any]:
        """Return what is copied out of the messages, and keep it as a column."""
        column, kind = _COPIED[what]
        if what in self._made:
            found: npt.NDArray[Any] = np.frombuffer(self._made[what].buffers()[1], kind, self._total)
            return found
        values, buffer = _room(what, self._total, kind)
        begins = np.ascontiguousarray(self._head[:, column])
        _copy(self._data, begins, self._events * kind.itemsize, out=values)
        absent = (begins < 0) & (self._events > 0)
        bits = None
        if absent.any():
            bits = pa.py_buffer(np.packbits(np.repeat(~absent, self._events), bitorder="little"))
        self._made[what] = pa.Array.from_buffers(pa.from_numpy_dtype(kind), self._total, [bits, buffer])
        return values

    def _repeated(self, what: str, values: npt.NDArray[Any], counts: Int64Array) -> pa.Array:
        out, buffer = _room(what, self._total, values.dtype)
        _repeat(values, counts, out)
        kind = EVENT_TIME if what == "event_time" else pa.from_numpy_dtype(values.dtype)
        return pa.Array.from_buffers(kind, self._total, [None, buffer])

    def _column(self, what: str) -> pa.Array:
        if what in _COPIED:
            self._numbers(what)
        if what in self._made:
            return self._made[what]
        if what in FACILITY.names:
            of_message = self._of_message(what)
            return of_message.take(pa.array(np.repeat(np.arange(self._events.size), self._events)))
        make = {"event_time": self._event_time, "pulse": self._pulse, "source": self._source}
        return make.get(what, self._message_id)()

    def _event_time(self) -> pa.Array:
        return self._repeated("event_time", self._times, self._counts)

    def _pulse(self) -> pa.Array:
        numbers = np.arange(self._times.size) - np.repeat(self._first_pulse, self._pulses)
        return self._repeated("pulse", numbers.astype(np.int32), self._counts)

    def _source(self) -> pa.Array:
        return self._named(self._repeated("source", self._codes, self._events))

    def _named(self, codes: pa.Array) -> pa.Array:
        return pa.DictionaryArray.from_arrays(codes, self._names, safe=False)  # the codes are ours: no check

    def _message_id(self) -> pa.Array:
        return self._repeated("message_id", np.ascontiguousarray(self._head[:, 1]), self._events)

    def _of_message(self, what: str) -> pa.Array:
        """Return a column of `FACILITY` by message."""
        missing = self._head[:, 11] == NO_FACILITY
        if what == "period":
            return pa.array(np.where(missing, 0, self._head[:, 11]).astype(np.uint32), mask=missing)
        if what == "running":
            return pa.array(self._head[:, 12] == 1, mask=missing)
        return pa.array(self._head[:, 13].astype(np.uint32).view(np.float32), mask=missing)

    def batch(self, wanted: pa.Schema) -> pa.RecordBatch:
        columns = [self._column(f.name) for f in wanted]
        fitting = [c if c.type == f.type else c.cast(f.type) for c, f in zip(columns, wanted, strict=True)]
        if not fitting:
            return pa.RecordBatch.from_arrays([], schema=wanted)
        return pa.RecordBatch.from_arrays(fitting, schema=wanted)

    def messages(self, rows: Int64Array) -> pa.RecordBatch:
        source = self._named(pa.array(self._codes, pa.int32()))
        plain = [self._head[:, 1], self._first_event, self._events, self._first_pulse, self._pulses]
        columns = [_int64(rows), source, *(_int64(c) for c in plain)]
        if self._name != "ev42":
            return pa.RecordBatch.from_arrays(columns, schema=_MESSAGES)
        more = [self._of_message(f.name) for f in FACILITY]
        return pa.RecordBatch.from_arrays([*columns, *more], schema=pa.schema([*_MESSAGES, *FACILITY]))

    def pulse_table(self) -> pa.RecordBatch:
        message = np.repeat(np.arange(self._pulses.size), self._pulses)
        times = _int64(self._times, EVENT_TIME)
        rest = [_int64(c) for c in (message, self._first, self._counts)]
        return pa.RecordBatch.from_arrays([times, *rest], schema=_PULSES)


def _int64(values: Int64Array, kind: pa.DataType = _INT64) -> pa.Array:
    """Return numbers as a column; half the time of `pyarrow.array`, which is seen where batches are small."""
    return pa.Array.from_buffers(kind, values.size, [None, pa.py_buffer(np.ascontiguousarray(values))])


def _room(what: str, count: int, kind: np.dtype[Any]) -> tuple[npt.NDArray[Any], pa.Buffer]:
    """Return an array to be filled, and the Arrow buffer over it; large ones come back for the next batch."""
    size = count * kind.itemsize
    whole = _memory[what].take(size) if 0 < size <= _MOST_RECYCLED else np.empty(size, np.uint8)
    return whole.view(kind), pa.py_buffer(whole)


def _copy(data: npt.NDArray[np.uint8], begins: Int64Array, sizes: Int64Array, *, out: npt.NDArray[Any]) -> None:
    raw = out.view(np.uint8)
    if have_compiler():
        from eventide.formats import _events_loops as loops

        loops.copy_runs(data, np.ascontiguousarray(begins), sizes, raw)
        return
    at = 0
    for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True):
        raw[at : at + size] = 0 if begin < 0 else data[begin : begin + size]
        at += size


def _repeat(values: npt.NDArray[Any], counts: Int64Array, out: npt.NDArray[Any]) -> None:
    if have_compiler():
        from eventide.formats import _events_loops as loops

        loops.repeat_runs(values, counts, out)
    else:
        out[:] = np.repeat(values, counts)

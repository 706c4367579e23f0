"""Messages of neutron events, one at a time: what they hold, why one is refused, and how one is written.

Three schemas carry events (github.com/ess-dmsc/streaming-data-types): ev42 holds one pulse, ev44 any number of them,
an44 (of ANSTO) is ev44 with a weight for each event. Times are ns since 1970, times of flight ns after the pulse.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError, SchemaError
from eventide.formats._flatbuffers import BrokenMessageError, Bytes, Table, root
from eventide.formats._flatbuffers_write import Node, message
from eventide.model.batch import Int64Array

__all__ = ["NO_FACILITY", "EventMessage", "Facility", "Head", "head_of", "read_message", "write_message"]

Int32Array = npt.NDArray[np.int32]

NO_FACILITY = -1
_ISIS = 1
_NO_TIME = -(2**63)
_LIMIT = 2**63
_INT32 = 2**31
_U32 = struct.Struct("<I")
_I2, _I4, _U4, _I8 = (np.dtype(k) for k in ("<i2", "<i4", "<u4", "<i8"))


class Head(NamedTuple):
    """Where in a message everything stands, bytes (-1: nowhere), and how much of it there is."""

    good: int
    message_id: int
    source: int
    letters: int
    time_of_flight: int
    events: int
    pixel_id: int
    weight: int
    times: int
    first: int
    pulses: int
    period: int = NO_FACILITY
    running: int = 0
    charge: int = 0  # the bits of a float32


@dataclass(frozen=True, slots=True)
class Facility:
    """What ISIS adds to a pulse (schema is84): the period, whether the run is running, the proton charge in uAh."""

    period: int
    running: bool
    proton_charge: float


@dataclass(frozen=True, slots=True, eq=False)
class EventMessage:
    """One message of events.

    Parameters
    ----------
    source
        What produced it.
    message_id
        Consecutive numbers of a source, by which lost and repeated messages are found.
    reference_time
        Times of the pulses, int64, ns since 1970.
    reference_time_index
        The first event of each pulse, int32.
    time_of_flight
        Of each event, int32, ns after its pulse.
    pixel_id
        Of each event, int32; None where there are no pixels (a beam monitor).
    weight
        Of each event, int16; only an44 has it.
    facility
        What ISIS adds; only ev42 has it.

    Examples
    --------
    >>> import numpy as np
    >>> one = EventMessage("monitor", 1, np.array([10**18]), np.array([0]), np.array([5, 6]), None)
    >>> one.pulse_of_event().tolist()
    [0, 0]
    """

    source: str
    message_id: int
    reference_time: Int64Array
    reference_time_index: npt.NDArray[Any]
    time_of_flight: npt.NDArray[Any]
    pixel_id: npt.NDArray[Any] | None = None
    weight: npt.NDArray[Any] | None = None
    facility: Facility | None = None

    def pulse_of_event(self) -> npt.NDArray[np.int64]:
        """Return which pulse of the message each event belongs to."""
        ends = np.append(self.reference_time_index[1:], len(self.time_of_flight))
        counts = ends.astype(np.int64) - self.reference_time_index
        return np.repeat(np.arange(len(self.reference_time)), counts)


def head_of(data: Bytes, name: str) -> Head:
    """Return where everything stands in a message.

    Raises
    ------
    BrokenMessageError
        It is no message of that schema, or not one whose events can be told apart.
    """
    table = root(data, name)
    return _head_ev42(table) if name == "ev42" else _head_ev44(data, table, weights=name == "an44")


def _head_ev44(data: Bytes, table: Table, *, weights: bool) -> Head:
    source, letters = table.span(0, 1)
    number = table.number(1, "q")
    times, pulses = table.span(2, 8)
    index, indices = table.span(3, 4)
    flights, events = table.span(4, 4)
    pixels, ids = table.span(5, 4)
    weight, weighed = table.span(6, 2) if weights else (-1, 0)
    for what, place in (("source_name", source), ("reference_time", times), ("reference_time_index", index)):
        if place < 0:
            msg = f"it has no {what}"
            raise BrokenMessageError(msg)
    if pulses != indices:
        msg = f"it has {pulses:,} reference times but {indices:,} indices"
        raise BrokenMessageError(msg)
    _check_lengths(events, ids, weighed)
    if events and not pulses:
        msg = f"it has {events:,} events but no reference time"
        raise BrokenMessageError(msg)
    if pulses:
        _check_pulses(np.frombuffer(data, "<i4", pulses, index), np.frombuffer(data, "<i8", pulses, times), events)
    pixels, weight = pixels if ids else -1, weight if weighed else -1
    return Head(1, number, source, letters, flights, events, pixels, weight, times, index, pulses)


def _check_lengths(events: int, ids: int, weights: int = 0) -> None:
    for what, count in (("pixel ids", ids), ("weights", weights)):
        if count not in (0, events):
            msg = f"it has {events:,} times of flight but {count:,} {what}"
            raise BrokenMessageError(msg)


def _check_pulses(first: Int32Array, times: Int64Array, events: int) -> None:
    if first.size == 1 and first[0] == 0 and times[0] != _NO_TIME:
        return
    if first[0] != 0:
        msg = f"its first pulse begins at event {first[0]}, so that the events before belong to none"
        raise BrokenMessageError(msg)
    if first.min() < 0 or first.max() > events:
        wrong = first[(first < 0) | (first > events)][0]
        msg = f"a pulse begins at event {wrong} of {events:,}"
        raise BrokenMessageError(msg)
    if (np.diff(first) < 0).any():
        msg = "its reference_time_index goes backwards"
        raise BrokenMessageError(msg)
    if (times == _NO_TIME).any():
        msg = f"a reference time is {_NO_TIME}, which is no time"
        raise BrokenMessageError(msg)


def _head_ev42(table: Table) -> Head:
    source, letters = table.span(0, 1)
    number, time = table.number(1, "Q"), table.number(2, "Q")
    flights, events = table.span(3, 4)
    pixels, ids = table.span(4, 4)
    for what, value in (("message_id", number), ("pulse_time", time)):
        if value >= _LIMIT:
            msg = f"its {what} {value} does not fit a signed integer of 64 bits"
            raise BrokenMessageError(msg)
    _check_lengths(events, ids)
    part: tuple[int, int, int] = (NO_FACILITY, 0, 0)
    if table.number(5, "B") == _ISIS:
        isis = table.table(6)
        if isis is None:
            msg = "it says that it has a facility part of ISIS, but has none"
            raise BrokenMessageError(msg)
        part = (isis.number(0, "I"), isis.number(1, "B"), 0)
        place = isis.place(2, 4)
        part = (*part[:2], 0 if place < 0 else isis.number(2, "I"))
    return Head(1, number, source, letters, flights, events, pixels if ids else -1, -1, table.place(2, 8), -1, 1, *part)


def read_message(data: Bytes, name: str) -> EventMessage:
    """Return what a message holds; its arrays are views of `data`.

    Parameters
    ----------
    data
        The message.
    name
        ``"ev42"``, ``"ev44"`` or ``"an44"``.

    Raises
    ------
    BrokenMessageError
        It cannot be read, or holds numbers that do not fit.
    """
    view = memoryview(data).cast("B") if isinstance(data, memoryview) else data
    head = head_of(view, name)
    flights = np.frombuffer(view, "<i4", head.events, head.time_of_flight) if head.events else np.empty(0, "<i4")
    pixels = np.frombuffer(view, "<i4", head.events, head.pixel_id) if head.pixel_id >= 0 else None
    for what, found in (("time_of_flight", flights), ("pixel_id", pixels)) if name == "ev42" else ():
        if found is not None and (found < 0).any():
            msg = f"a {what} of {found.view('<u4').max()} does not fit a signed integer of 32 bits"
            raise BrokenMessageError(msg)
    try:
        source = bytes(view[head.source : head.source + head.letters]).decode("utf-8") if head.source >= 0 else ""
    except UnicodeDecodeError:
        msg = "its source_name is not UTF-8"
        raise BrokenMessageError(msg) from None
    return EventMessage(
        source,
        head.message_id,
        np.frombuffer(view, "<i8", head.pulses, head.times) if head.times >= 0 and head.pulses else _zeros(head),
        np.frombuffer(view, "<i4", head.pulses, head.first) if head.first >= 0 and head.pulses else _firsts(head),
        flights,
        pixels,
        np.frombuffer(view, "<i2", head.events, head.weight) if head.weight >= 0 else None,
        _facility(head),
    )


def _zeros(head: Head) -> Int64Array:
    return np.zeros(head.pulses, np.int64)


def _firsts(head: Head) -> Int32Array:
    return np.zeros(head.pulses, np.int32)


def _facility(head: Head) -> Facility | None:
    if head.period == NO_FACILITY:
        return None
    charge = struct.unpack("<f", struct.pack("<I", head.charge))[0]
    return Facility(head.period, head.running == 1, charge)


def write_message(one: EventMessage, name: str) -> bytes:
    """Return the bytes of a message.

    Parameters
    ----------
    one
        What it holds. Numbers must fit the types of the schema: nothing is cut off.
    name
        ``"ev42"`` (one pulse), ``"ev44"`` or ``"an44"``.

    Raises
    ------
    SchemaError
        Arrays do not belong together, or the schema has no room for them.
    DataError
        A number does not fit.
    """
    first = _exact(one.reference_time_index, _I4, "reference_time_index")
    times = _exact(one.reference_time, _I8, "reference_time")
    wide = _U4 if name == "ev42" else _I4
    flights = _exact(one.time_of_flight, wide, "time_of_flight")
    pixels = None if one.pixel_id is None else _exact(one.pixel_id, wide, "pixel_id")
    weights = None if one.weight is None else _exact(one.weight, _I2, "weight")
    _check_whole(one, name, times)
    try:
        _check_lengths(flights.size, 0 if pixels is None else pixels.size, 0 if weights is None else weights.size)
        if times.size:
            _check_pulses(first, times, flights.size)
    except BrokenMessageError as error:
        msg = f"a message of {name} cannot be written: {error}"
        raise SchemaError(msg, hint="events stand pulse by pulse, and each pulse says where its events begin") from None
    if name == "ev42":
        return _write_ev42(one, flights, pixels, time=int(times[0]))
    arrays = [times, first, flights, pixels, weights]
    return _write_ev44(one, name.encode(), arrays if name == "an44" else arrays[:-1])


def _check_whole(one: EventMessage, name: str, times: Int64Array) -> None:
    wrong = ""
    if len(times) != len(one.reference_time_index):
        wrong = f"{len(times)} reference times have {len(one.reference_time_index)} indices"
    elif name == "ev42" and len(times) != 1:
        wrong = f"it holds one pulse, not {len(times)}"
    elif name != "ev42" and one.facility is not None:
        wrong = "it has no facility part"
    elif name != "an44" and one.weight is not None:
        wrong = "it has no weights"
    elif not len(times) and len(one.time_of_flight):
        wrong = "there are events but no pulse"
    if wrong:
        msg = f"a message of {name} cannot be written: {wrong}"
        raise SchemaError(msg, hint="ev44 holds any number of pulses, an44 weights, ev42 one pulse and what ISIS adds")


def _exact(values: Any, to: np.dtype[Any], what: str) -> npt.NDArray[Any]:
    """Return numbers in another type, every one as it was."""
    found = np.asarray(values)
    if found.dtype == to and found.ndim == 1:
        return found
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        msg = f"{what} is an array of {found.ndim} dimensions of {found.dtype}"
        raise SchemaError(msg, hint="pass one dimension of integers")
    limits = np.iinfo(to)
    if found.size and (int(found.min()) < limits.min or int(found.max()) > limits.max):
        msg = f"{what} has numbers from {found.min()} to {found.max()}, which do not fit {to.name}"
        raise DataError(msg, hint="times of flight are ns: those of an int32 end at 2.1 s")
    return found.astype(to)


def _write_ev44(one: EventMessage, name: bytes, arrays: list[npt.NDArray[Any] | None]) -> bytes:
    """Return the message of arrays in the order of their slots: in a third of the time that `message` takes.

    The vtable stands at byte 8, the table at 24 or (an44) 28, of offsets and then the number of the message, at a
    multiple of 8; then the name, and the arrays in order, the times at a multiple of 8 too.
    """
    count = len(arrays)
    vtable, source = 8 + 2 * count, one.source.encode("utf-8")
    table = 8 + vtable
    table += (
        -(table + 8 + 4 * count) % 8
    )  # so that the number of the message, behind the offsets, is at a multiple of 8
    text = table + 16 + 4 * count
    gap = -(text + 5 + len(source)) % 8 + 4
    gap -= 8 if gap >= 8 else 0
    at = text + 5 + len(source) + gap
    pieces: list[Any] = []
    targets: list[int] = []
    for array in arrays:
        targets.append(0 if array is None else at)
        if array is not None:
            pieces += [_U32.pack(array.size), np.ascontiguousarray(array).data]
            at += 4 + array.nbytes
    places = [table + 8 + 4 * i for i in range(count)]
    slots = [8 + 4 * i if targets[i] else 0 for i in range(count)]
    if at > _INT32 - 1 or not -_LIMIT <= one.message_id < _LIMIT:
        return message(name.decode(), _node_ev44(one, arrays))  # which says what is wrong
    head = struct.pack(
        f"<I4s{table - 8 - vtable}x{3 + len(slots) + 1}Hi{1 + count}IqI",
        *(table, name, vtable, 16 + 4 * count, 4, 8 + 4 * count, *slots),
        *(vtable, text - table - 4),
        *(target - place if target else 0 for target, place in zip(targets, places, strict=True)),
        *(one.message_id, len(source)),
    )
    return b"".join([head, source, bytes(1 + gap), *pieces])


def _node_ev44(one: EventMessage, arrays: list[npt.NDArray[Any] | None]) -> Node:
    return Node({0: one.source, 1: ("q", one.message_id), **dict(enumerate(arrays, 2))})


def _write_ev42(one: EventMessage, flights: Any, pixels: Any, *, time: int) -> bytes:
    fields: dict[int, Any] = {0: one.source, 1: ("Q", one.message_id), 2: ("Q", time), 3: flights, 4: pixels}
    if one.facility is not None:
        part = one.facility
        isis = {0: ("I", part.period), 1: ("b", int(part.running)), 2: ("f", part.proton_charge)}
        fields |= {5: ("B", _ISIS), 6: Node(isis)}
    return message("ev42", Node(fields))

"""Between messages of events (ev42, ev44, an44) and pulses: many at once, and without a time for each event."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide import registry
from eventide.apps.neutron.schema import BROKEN, DECODED, MESSAGES, PULSES
from eventide.errors import DataError, UsageError, near_names
from eventide.model.batch import column

__all__ = ["EVENTS", "FORMS", "broken_of", "decode", "encode", "events_of"]

FORMS: Final = ("ev42", "ev44", "an44")
"""The formats of events."""

EVENTS: Final = PULSES.set(
    PULSES.get_field_index("time_of_flight"), pa.field("time_of_flight", pa.int32(), metadata={"unit": "ns"})
).set(PULSES.get_field_index("pixel_id"), pa.field("pixel_id", pa.int32()))
"""Columns of events one by one."""

_WANTED = pa.schema([("time_of_flight", pa.int32()), ("pixel_id", pa.int32())])
_FACILITY = ("period", "running", "proton_charge")
_MOST = 2**31 - 1


def decode(batch: pa.RecordBatch, form: str) -> pa.RecordBatch:
    """Return the pulses of messages, and behind them the messages that are broken (`DECODED`).

    A pulse without events does not tell whether it is of a monitor: its pixels are an empty list.

    Parameters
    ----------
    batch
        Messages in a column ``value``.
    form
        ``"ev42"``, ``"ev44"`` or ``"an44"``.

    Raises
    ------
    UsageError
        There is no such form.
    SchemaError
        There is no column ``value``.
    DataError
        The messages have more events than a batch holds.

    Examples
    --------
    >>> from eventide.apps.neutron.simulate import simulate
    >>> pulses = simulate("amor", seconds=1, rate=100).combine_chunks().to_batches()[0]
    >>> decode(encode(pulses, "ev44"), "ev44").num_rows == pulses.num_rows
    True
    """
    got = _format(form).decode_many(column(batch, "value", where="of messages"), schema=_WANTED)
    if got.batch.num_rows > _MOST:
        msg = f"{batch.num_rows} messages have {got.batch.num_rows:,} events, more than a batch holds"
        raise DataError(msg, hint="decode fewer messages at a time: batch_rows=")
    pulses, messages = got.pulses, got.messages
    owner = pulses.column("message")
    first = pulses.column("first_event").to_numpy()
    ends = pa.array(np.append(first, got.batch.num_rows).astype(np.int32))
    numbers = np.arange(pulses.num_rows) - messages.column("first_pulse").to_numpy()[owner.to_numpy()]
    columns = {
        "event_time": pulses.column("event_time"),
        "source": messages.column("source").cast(pa.string()).take(owner),
        "message_id": messages.column("message_id").take(owner),
        "pulse": pa.array(numbers.astype(np.int32)),
        "time_of_flight": pa.ListArray.from_arrays(ends, got.batch.column(0)),
        "pixel_id": _pixels(got.batch.column(1), first, pulses.column("events").to_numpy(), ends=ends),
    }
    for name in _FACILITY:
        if name in messages.schema.names:
            columns[name] = messages.column(name).take(owner).cast(PULSES.field(name).type)
    rows = pulses.num_rows
    good = [columns.get(f.name, pa.nulls(rows, f.type)) for f in DECODED]
    if not got.bad:
        return pa.RecordBatch.from_arrays(good, schema=DECODED)
    broken = {"value": [b.data for b in got.bad], "reason": [b.reason for b in got.bad]}
    below = [pa.array(broken[f.name], f.type) if f.name in broken else pa.nulls(len(got.bad), f.type) for f in DECODED]
    whole = [pa.concat_arrays(pair) for pair in zip(good, below, strict=True)]
    return pa.RecordBatch.from_arrays(whole, schema=DECODED)


def _pixels(pixels: pa.Array, first: npt.NDArray[Any], events: npt.NDArray[Any], *, ends: pa.Array) -> pa.Array:
    """Return the pixels of each pulse, as they lie; null where its message has none."""
    absent = np.zeros(first.size, np.bool_)
    if not pixels.null_count:
        return pa.ListArray.from_arrays(ends, pixels)
    filled = np.flatnonzero(events)
    absent[filled] = np.asarray(pixels.take(pa.array(first[filled])).is_null())
    return pa.ListArray.from_arrays(ends, pixels, mask=pa.array(absent))


def encode(batch: pa.RecordBatch, form: str, *, together: int = 1) -> pa.RecordBatch:
    """Return pulses as messages (`MESSAGES`), in the order of the first pulse that each has.

    Parameters
    ----------
    batch
        Pulses (`PULSES`).
    form
        ``"ev42"``, ``"ev44"`` or ``"an44"``.
    together
        How many pulses of a source a message has; their number is that of the first, divided by this. ev42 has one.

    Raises
    ------
    UsageError
        There is no such form, or it cannot hold as many pulses.
    DataError
        A number does not fit the message.

    Examples
    --------
    >>> from eventide.apps.neutron.simulate import simulate
    >>> pulses = simulate("amor", seconds=1, rate=100).combine_chunks().to_batches()[0]
    >>> encode(pulses, "ev44", together=7).num_rows  # of two sources, 14 pulses each
    4
    """
    module = _format(form)
    if not isinstance(together, int) or together < 1 or (form == "ev42" and together > 1):
        msg = f"{together!r} pulses cannot be put into a message of {form}"
        raise UsageError(msg, hint="1 or more, and 1 in ev42")
    cells = {name: column(batch, name).to_pylist() for name in ("source", "message_id", *_FACILITY)}
    times = column(batch, "event_time").cast(pa.int64()).to_numpy()
    flights, pixels = _checked(batch)
    values, sent = [], []
    for rows in _together(cells["source"], together):
        message_id = cells["message_id"][rows[0]]
        parts = [_numbers(flights[r]) for r in rows]
        counts = np.cumsum([0, *(p.size for p in parts)])
        has_pixels = pixels[rows[0]].is_valid
        ids = np.concatenate([_numbers(pixels[r]) for r in rows]) if has_pixels else None
        period, running, charge = (cells[name][rows[0]] for name in _FACILITY)
        told = form == "ev42" and period is not None
        made = module.EventMessage(
            cells["source"][rows[0]] or "",
            0 if message_id is None else message_id // together,
            times[rows],
            counts[:-1],
            np.concatenate(parts),
            ids,
            facility=module.Facility(period, bool(running), charge or 0.0) if told else None,
        )
        values.append(module.write(made))
        sent.append(int(times[rows[-1]]))
    columns = [pa.array(sent, pa.int64()).cast(MESSAGES.field(0).type), pa.array(values, pa.large_binary())]
    return pa.RecordBatch.from_arrays(columns, schema=MESSAGES)


def _numbers(cell: pa.Scalar) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = cell.values.to_numpy(zero_copy_only=False) if cell.is_valid else np.empty(0, np.int32)
    return found


def _checked(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return times of flight and pixels, of which each pulse has as many, or no pixels."""
    flights, pixels = column(batch, "time_of_flight"), column(batch, "pixel_id")
    most, own = (np.asarray(a.value_lengths().fill_null(0)) for a in (flights, pixels))
    wrong = np.flatnonzero((own != most) & np.asarray(pixels.is_valid()))
    if wrong.size:
        row = int(wrong[0])
        msg = f"pulse {row} of a batch has {int(most[row])} times of flight and {int(own[row])} pixels"
        raise DataError(msg, hint="each event needs both; a pulse of a monitor has null in place of its pixels")
    return flights, pixels


def _together(sources: list[Any], together: int) -> list[list[int]]:
    """Return the rows of each message."""
    if together == 1:
        return [[row] for row in range(len(sources))]
    waiting: dict[Any, list[int]] = {}
    made = []
    for row, source in enumerate(sources):
        rows = waiting.setdefault(source, [])
        rows.append(row)
        if len(rows) == together:
            made.append(waiting.pop(source))
    return sorted([*made, *waiting.values()])


def events_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the events of pulses one by one (`EVENTS`): what a topic of ``format="ev44"`` is written from.

    Examples
    --------
    >>> from eventide.apps.neutron.simulate import simulate
    >>> pulses = simulate("amor", seconds=1, rate=100).combine_chunks().to_batches()[0]
    >>> events_of(pulses).schema.field("time_of_flight").type
    DataType(int32)
    """
    flights, pixels = _checked(batch)
    counts = np.asarray(flights.value_lengths().fill_null(0))
    owner = pa.array(np.repeat(np.arange(batch.num_rows), counts))
    lists = ("time_of_flight", "pixel_id")
    columns = {f.name: column(batch, f.name).take(owner) for f in EVENTS if f.name not in lists}
    columns["time_of_flight"] = flights.flatten()
    absent = np.repeat(np.asarray(pixels.is_null()), counts)
    spread = np.zeros(absent.size, np.int32)
    spread[~absent] = pixels.flatten().to_numpy(zero_copy_only=False)
    columns["pixel_id"] = pa.array(spread, mask=absent)
    return pa.RecordBatch.from_arrays([columns[f.name] for f in EVENTS], schema=EVENTS)


def broken_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the broken messages of what `decode` returned (`BROKEN`)."""
    return batch.filter(batch.column("reason").is_valid()).select(BROKEN.names)


def _format(form: str) -> Any:
    if form not in FORMS:
        msg = f"{form!r} is no format of events"
        raise UsageError(msg, hint=near_names(form, FORMS))
    return registry.resolve("format", form)

"""``format="an44"``: neutron events of any number of pulses, each with a weight (ANSTO).

All else is as in `eventide.formats.ev44`. Schema: an44_events.fbs of github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

import pyarrow as pa

from eventide.formats._events import EventMessage, read_message, write_message
from eventide.formats._events_decode import EventBatch, Messages, event_schema
from eventide.formats._events_decode import decode_many as _decode_many
from eventide.formats._events_encode import encode_many as _encode_many
from eventide.formats._events_encode import encode_one
from eventide.formats._flatbuffers import BrokenMessageError, Bytes

__all__ = [
    "SUFFIXES", "BrokenMessageError", "EventBatch", "EventMessage", "decode", "decode_many", "encode",
    "encode_many", "infer", "read", "write",
]  # fmt: skip

SUFFIXES = (".an44",)


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> EventBatch:
    """Return the events of one message.

    Parameters
    ----------
    data
        The message.
    schema
        The columns wanted; left out: ``event_time`` (of the pulse, UTC), ``time_of_flight`` (ns), ``pixel_id`` (null
        where a message has none), ``source``, ``message_id``, ``pulse`` (its number in the message),
        ``weight`` (int16, null where a message has none).
    where
        What the data is called in the position of a message that cannot be read.

    Raises
    ------
    SchemaError
        A column is asked for that events do not have, or as a type that does not hold all of its values.

    Examples
    --------
    >>> import numpy as np
    >>> one = EventMessage("bank", 7, np.array([10**18]), np.array([0]), np.array([5, 6]), np.array([1, 2]))
    >>> decode(write(one)).batch.select(["time_of_flight", "pixel_id", "message_id"]).to_pylist()[1]
    {'time_of_flight': 6, 'pixel_id': 2, 'message_id': 7}
    >>> decode(b"no message").bad[0].reason
    "the message is of the schema 'essa', not 'an44'"
    """
    return _decode_many("an44", [data], schema=schema, where=where)


def decode_many(messages: Messages, *, schema: pa.Schema | None = None, where: str = "") -> EventBatch:
    """Return the events of many messages as one batch, with one copy of the columns asked for.

    Parameters
    ----------
    messages
        Messages as bytes, or a binary column of Arrow, which is read where it is.
    schema
        The columns wanted, as for `decode`. Each one left out is time saved: an event is 8 bytes in its message and
        28 in the columns that are made when nothing is said.
    where
        What the messages are called in positions.

    Returns
    -------
    Events in the order of the messages, messages that cannot be read, and what there is once for a message or pulse.

    Examples
    --------
    >>> import numpy as np
    >>> made = [
    ...     write(EventMessage("bank", i, np.array([10**18 + i]), np.array([0]), np.array([5, 6]), np.array([1, 2])))
    ...     for i in range(3)
    ... ]
    >>> got = decode_many([*made[:2], b"", made[2]], schema=pa.schema([("pixel_id", pa.int32())]))
    >>> got.batch.num_rows, got.messages["message_id"].to_pylist(), [b.position for b in got.bad]
    (6, [0, 1, 2], ['message 2'])
    """
    return _decode_many("an44", messages, schema=schema, where=where)


def encode(batch: pa.RecordBatch, *, source: str = "", message_id: int = 0) -> bytes:
    """Return events as one message.

    Parameters
    ----------
    batch
        Columns ``event_time`` and ``time_of_flight``, and those of ``pixel_id`` (all of a message or none),
        ``weight``, ``source``, ``message_id`` and ``pulse`` that are there. Events of a pulse stand together; a
        pulse begins where ``pulse`` or the time changes, and one without events is not written.
    source, message_id
        What stands for a column that is not there.

    Raises
    ------
    SchemaError
        The rows belong to several messages (`encode_many` makes all of them), or a column is missing or has nulls.
    DataError
        A number does not fit.

    Examples
    --------
    >>> from eventide.model.time import EVENT_TIME
    >>> batch = pa.record_batch({"event_time": pa.array([9, 9], EVENT_TIME), "time_of_flight": [1, 2]})
    >>> read(encode(batch, source="monitor")).time_of_flight.tolist()
    [1, 2]
    """
    return encode_one("an44", batch, source=source, message_id=message_id)


def encode_many(batch: pa.RecordBatch, *, source: str = "", message_id: int = 0) -> pa.Array:
    """Return events as messages, a column of large binary: a new one where ``source`` or ``message_id`` changes.

    Without a column ``message_id`` they are numbered from `message_id` on. The rest is as in `encode`.

    Examples
    --------
    >>> from eventide.model.time import EVENT_TIME
    >>> batch = pa.record_batch(
    ...     {"event_time": pa.array([8, 9], EVENT_TIME), "time_of_flight": [1, 2], "message_id": [4, 5]}
    ... )
    >>> [read(m.as_buffer()).message_id for m in encode_many(batch)]
    [4, 5]
    """
    return _encode_many("an44", batch, source=source, message_id=message_id)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[:2]
    ['event_time', 'time_of_flight']
    """
    return event_schema("an44")


def read(data: Bytes) -> EventMessage:
    """Return what one message holds, as arrays over its bytes.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> one = EventMessage("bank", 7, np.array([10**18]), np.array([0]), np.array([5, 6]), np.array([1, 2]))
    >>> read(write(one)).pixel_id.tolist()
    [1, 2]
    """
    return read_message(data, "an44")


def write(one: EventMessage) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        Its arrays do not belong together.
    DataError
        A number does not fit the message.

    Examples
    --------
    >>> import numpy as np
    >>> write(EventMessage("bank", 7, np.array([10**18]), np.array([0]), np.array([5]), np.array([1])))[4:8]
    b'an44'
    """
    return write_message(one, "an44")

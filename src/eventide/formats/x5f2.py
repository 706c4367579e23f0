"""``format="x5f2"``: a program says that it lives.

`update_interval` is ms; `status_json` is the program's own. Schema: x5f2_status.fbs of
github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.formats._runs import (
    HEARTBEAT,
    Heartbeat,
    heartbeat_from_row,
    heartbeat_to_row,
    read_heartbeat,
    write_heartbeat,
)
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "BrokenMessageError", "Heartbeat", "decode", "decode_many", "encode", "encode_many", "infer", "read",
    "write",
]  # fmt: skip

SUFFIXES = (".x5f2",)


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return [heartbeat_to_row(read(data))]


def _write(row: Mapping[str, Any]) -> bytes:
    return write(heartbeat_from_row(row))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the heartbeat of one message.

    Parameters
    ----------
    data
        The message.
    schema
        The columns wanted; numbers can be asked for in another type, and a message whose numbers that type does not
        hold is not read. Left out: those of `infer`.
    where
        What the data is called in the position of a message that cannot be read.

    Raises
    ------
    SchemaError
        A column is asked for that there is not, or in a type that it cannot have.

    Examples
    --------
    >>> decode(write(Heartbeat(host_name="here"))).batch["host_name"].to_pylist()
    ['here']
    >>> decode(b"").bad[0].reason
    '0 bytes are no message'
    """
    return decode_many([data], schema=schema, where=where)


def decode_many(messages: Messages, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the rows of many messages as one batch; the rest is as in `decode`.

    Examples
    --------
    >>> decode_many([b"", b"?"]).bad[1].position
    'message 1'
    """
    return decode_rows(messages, HEARTBEAT, _rows, schema=schema, where=where)


def encode(batch: pa.RecordBatch) -> bytes:
    """Return the message of a batch, which has one row.

    Raises
    ------
    SchemaError
        It has more rows or none (`encode_many` makes a message of each), or a column that the message has no room for.
    DataError
        A number does not fit the message.

    Examples
    --------
    >>> read(encode(decode(write(Heartbeat(host_name="here"))).batch)).host_name
    'here'
    """
    return encode_row(batch, HEARTBEAT, _write)


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, HEARTBEAT, _write)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'software_name'
    """
    return HEARTBEAT


def read(data: Bytes) -> Heartbeat:
    """Return the heartbeat of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> read(write(Heartbeat(host_name="here"))).host_name
    'here'
    """
    return read_heartbeat(data)


def write(one: Heartbeat) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        The message has no room for what is given.
    DataError
        A number does not fit it.

    Examples
    --------
    >>> write(Heartbeat(software_name="eventide"))[4:8]
    b'x5f2'
    """
    return write_heartbeat(one)

"""``format="f142"``: values of sample environment and motors, with alarms and text (what f144 replaces).

A number is in `value`, an array in `values`, and `type` says what they are in the message ("float64", "int32[]").
Text is in `text`, an array of texts in `texts`; `status` and `severity` are the numbers of the alarm of EPICS
(22 and 4: the message says nothing of it). Integers beyond 2^53 have no float64: a message with
one is not read unless `value` is asked for as an integer. Schema: f142_logdata.fbs of
github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._log_data import LogValue, columns_of, from_row, read_log, to_row, write_log
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "BrokenMessageError", "LogValue", "decode", "decode_many", "encode", "encode_many", "infer", "read",
    "write",
]  # fmt: skip

SUFFIXES = (".f142",)
_COLUMNS = columns_of("f142")


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return [to_row(read(data), "f142")]


def _write(row: Mapping[str, Any]) -> bytes:
    return write(from_row(row))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the value of one message.

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
    >>> decode(write(LogValue("T1", 4.25, 10**18))).batch.select(["source", "value", "type"]).to_pylist()
    [{'source': 'T1', 'value': 4.25, 'type': 'float64'}]
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
    return decode_rows(messages, _COLUMNS, _rows, schema=schema, where=where)


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
    >>> read(encode(decode(write(LogValue("T1", 4.25, 10**18))).batch)).value
    np.float64(4.25)
    """
    return encode_row(batch, _COLUMNS, _write)


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, _COLUMNS, _write)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'event_time'
    """
    return _COLUMNS


def read(data: Bytes) -> LogValue:
    """Return the value of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> read(write(LogValue("T1", 4.25, 10**18))).value
    np.float64(4.25)
    """
    return read_log(data, "f142")


def write(one: LogValue) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        The message has no room for what is given.
    DataError
        A number does not fit it.

    Examples
    --------
    >>> write(LogValue("T1", 4.25, 10**18))[4:8]
    b'f142'
    """
    return write_log(one, "f142")

"""``format="6s4t"``: the end of a run.

The time is ms in the message; `event_time` is null for a run that is to end at once. As Python has no module whose name
begins with a digit, import what is here as ``eventide.registry.resolve("format", "6s4t")``, or from
`eventide.formats.pl72`. Schema: 6s4t_run_stop.fbs of github.com/ess-dmsc/streaming-data-types.
"""  # noqa: N999 - the schema is called so

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.formats._runs import STOP, RunStop, read_stop, stop_from_row, stop_to_row, write_stop
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "BrokenMessageError", "RunStop", "decode", "decode_many", "encode", "encode_many", "infer", "read",
    "write",
]  # fmt: skip

SUFFIXES = (".6s4t",)


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return [stop_to_row(read(data))]


def _write(row: Mapping[str, Any]) -> bytes:
    return write(stop_from_row(row))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the end of a run of one message.

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
    >>> decode(write(RunStop(run_name="42", stop_time=1_700_000_000_000))).batch["run_name"].to_pylist()
    ['42']
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
    return decode_rows(messages, STOP, _rows, schema=schema, where=where)


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
    >>> read(encode(decode(write(RunStop(run_name="42"))).batch)).run_name
    '42'
    """
    return encode_row(batch, STOP, _write)


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, STOP, _write)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'event_time'
    """
    return STOP


def read(data: Bytes) -> RunStop:
    """Return the end of a run of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> read(write(RunStop(run_name="42"))).run_name
    '42'
    """
    return read_stop(data)


def write(one: RunStop) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        The message has no room for what is given.
    DataError
        A number does not fit it.

    Examples
    --------
    >>> write(RunStop(job_id="1"))[4:8]
    b'6s4t'
    """
    return write_stop(one)

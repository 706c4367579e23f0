"""``format="pl72"``: the beginning of a run.

`event_time` is the start, null where the message has none; `stop_time` is null for a run that ends with its 6s4t (both
are ms in the message). A detector map, where there is one, is in `spectrum` and `detector_id`. Schema:
pl72_run_start.fbs of github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.formats._runs import (
    START,
    RunStart,
    RunStop,
    SpectrumMap,
    read_start,
    start_from_row,
    start_to_row,
    write_start,
)
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "BrokenMessageError", "RunStart", "RunStop", "SpectrumMap", "decode", "decode_many", "encode",
    "encode_many", "infer", "read", "write",
]  # fmt: skip

SUFFIXES = (".pl72",)


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return [start_to_row(read(data))]


def _write(row: Mapping[str, Any]) -> bytes:
    return write(start_from_row(row))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the beginning of a run of one message.

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
    >>> decode(write(RunStart(run_name="42", start_time=1_700_000_000_000))).batch["run_name"].to_pylist()
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
    return decode_rows(messages, START, _rows, schema=schema, where=where)


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
    >>> read(encode(decode(write(RunStart(run_name="42"))).batch)).run_name
    '42'
    """
    return encode_row(batch, START, _write)


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, START, _write)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'event_time'
    """
    return START


def read(data: Bytes) -> RunStart:
    """Return the beginning of a run of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> read(write(RunStart(run_name="42"))).run_name
    '42'
    """
    return read_start(data)


def write(one: RunStart) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        The message has no room for what is given.
    DataError
        A number does not fit it.

    Examples
    --------
    >>> write(RunStart(job_id="1", start_time=1_700_000_000_000))[4:8]
    b'pl72'
    """
    return write_start(one)

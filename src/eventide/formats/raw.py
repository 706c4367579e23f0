"""``format="raw"``: messages as the bytes that they are, one a row, for who keeps or passes on what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.model.batch import column
from eventide.model.protocols import Decoded

__all__ = ["SUFFIXES", "RawBatch", "decode", "decode_many", "encode", "encode_many", "infer"]

SUFFIXES = (".raw", ".bin")

_COLUMNS = pa.schema([("value", pa.large_binary())])
_BYTES = (pa.binary(), pa.large_binary())


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBatch(Decoded):
    """Messages; `messages` says that each is one row."""

    messages: pa.RecordBatch


def decode(data: bytes, *, schema: pa.Schema | None = None, where: str = "") -> RawBatch:
    """Return one message as the row that it is.

    Parameters
    ----------
    data
        Any bytes.
    schema
        The column wanted, ``value``, binary or large binary (left out: large).
    where
        Not used: nothing is bad.

    Raises
    ------
    SchemaError
        Another column is asked for.

    Examples
    --------
    >>> decode(b"any").batch.to_pylist()
    [{'value': b'any'}]
    """
    return decode_many([data], schema=schema, where=where)


def decode_many(messages: Sequence[bytes], *, schema: pa.Schema | None = None, where: str = "") -> RawBatch:
    """Return messages as a batch; the rest is as in `decode`.

    Examples
    --------
    >>> decode_many([b"a", b""]).messages.to_pylist()[1]
    {'number': 1, 'events': 1}
    """
    wanted = _COLUMNS if schema is None else schema
    for field in wanted:
        if field.name != "value" or field.type not in _BYTES:
            msg = f"raw messages have no column {field.name!r} of {field.type}"
            raise SchemaError(msg, hint="their column is value, of binary or large_binary")
    columns = [pa.array(messages, f.type) for f in wanted]
    batch = pa.RecordBatch.from_arrays(columns, schema=wanted)
    numbers, ones = np.arange(len(messages)), np.ones(len(messages), np.int64)
    return RawBatch(batch=batch, messages=pa.record_batch({"number": numbers, "events": ones}))


def encode(batch: pa.RecordBatch) -> bytes:
    """Return the message of a batch, which has one row.

    Raises
    ------
    SchemaError
        It has more rows or none, there is no column ``value`` of bytes, or it is null.

    Examples
    --------
    >>> encode(decode(b"any").batch)
    b'any'
    """
    if batch.num_rows != 1:
        msg = f"{batch.num_rows} rows are not one message: a raw message is one row"
        raise SchemaError(msg, hint="write with rows_per_message=1, or use encode_many()")
    return bytes(encode_many(batch)[0].as_buffer())


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return the column ``value`` as large binary; other columns may stand beside it. Errors are those of `encode`.

    Examples
    --------
    >>> encode_many(pa.record_batch({"value": [b"a", b"b"], "key": ["x", "y"]})).to_pylist()
    [b'a', b'b']
    """
    values = column(batch, "value", where="of raw messages")
    if values.type not in _BYTES or values.null_count:
        msg = f"column 'value' ({values.type}) holds nulls, or no bytes"
        raise SchemaError(msg, hint="a raw message is bytes: binary or large_binary, without nulls")
    return values.cast(pa.large_binary())


def infer(data: bytes) -> pa.Schema:
    """Return the one column that there is.

    Examples
    --------
    >>> infer(b"").names
    ['value']
    """
    return _COLUMNS

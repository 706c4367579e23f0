"""``format="da00"``: named arrays with axes and units: histograms and anything else.

A message holds variables; those of a histogram are ``signal``, ``errors`` and the edges under the names of the axes. A
row is a message with all its variables (`eventide.formats._data_array.ARRAYS`), arrays as bytes beside their type and
shape. Schema: da00_dataarray.fbs of github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats._data_array import (
    ARRAYS,
    DataArray,
    Variable,
    from_histogram,
    from_row,
    read_array,
    to_histogram,
    to_row,
    write_array,
    write_array_in,
)
from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._histogram import Axis, Histogram
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.kernel.recycled import Recycled
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "Axis", "BrokenMessageError", "DataArray", "Histogram", "Variable", "decode", "decode_many",
    "encode", "encode_histogram", "encode_histogram_in", "encode_many", "infer", "read", "read_histogram", "write",
]  # fmt: skip

SUFFIXES = (".da00",)


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return [to_row(read(data))]


def _write(row: Mapping[str, Any]) -> bytes:
    return write(from_row(row))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the variables of one message.

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
    >>> import numpy as np
    >>> data = write(DataArray("demo", 10**18, (Variable("x", np.arange(3), ("x",)),)))
    >>> decode(data).batch["variables"][0][0]["shape"].as_py()
    [3]
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
    return decode_rows(messages, ARRAYS, _rows, schema=schema, where=where)


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
    >>> import numpy as np
    >>> data = write(DataArray("demo", 10**18, (Variable("x", np.arange(3), ("x",)),)))
    >>> read(encode(decode(data).batch)).variables[0].data.tolist()
    [0, 1, 2]
    """
    return encode_row(batch, ARRAYS, _write)


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, ARRAYS, _write)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'event_time'
    """
    return ARRAYS


def read(data: Bytes) -> DataArray:
    """Return the variables of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> read(write(DataArray("demo", 10**18, (Variable("x", np.arange(3), ("x",)),)))).variables[0].data.tolist()
    [0, 1, 2]
    """
    return read_array(data)


def write(one: DataArray) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        The message has no room for what is given.
    DataError
        A number does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> write(DataArray("demo", 10**18, (Variable("x", np.arange(3), ("x",)),)))[4:8]
    b'da00'
    """
    return write_array(one)


def read_histogram(data: Bytes) -> Histogram:
    """Return the variable ``signal`` of one message as a histogram, with ``errors`` and edges where they are.

    Raises
    ------
    BrokenMessageError
        It cannot be read, or has no ``signal``.

    Examples
    --------
    >>> import numpy as np
    >>> one = Histogram(np.array([3, 0, 1]), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> read_histogram(encode_histogram(one)).axes[0].unit
    'm'
    """
    return to_histogram(read(data))


def encode_histogram(one: Histogram) -> bytes:
    """Return the bytes of a histogram as the variables ``signal``, ``errors``, ``info`` and one for each axis.

    Raises
    ------
    SchemaError
        It is a part of a larger one, its axes have no names, or its parts do not belong together.

    Examples
    --------
    >>> import numpy as np
    >>> one = Histogram(np.array([3, 0, 1]), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> [v.name for v in read(encode_histogram(one)).variables]
    ['signal', 'x']
    """
    return write_array(from_histogram(one))


def encode_histogram_in(memory: Recycled, one: Histogram) -> memoryview:
    """Return what `encode_histogram` does as a view of memory that is used again, for those who publish often.

    New memory costs more than the copy of the arrays into it. A message stays as it is as long as anybody holds it.

    Examples
    --------
    >>> import numpy as np
    >>> memory = Recycled()
    >>> one = Histogram(np.array([3, 0, 1], np.int32), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> bytes(encode_histogram_in(memory, one)) == encode_histogram(one)
    True
    """
    return write_array_in(memory, from_histogram(one))

"""``format="ad00"``: images of cameras.

A row is an image: its pixels are in `data`, float64 unless another type is asked for (``{"data": large_list(uint16)}``
costs a quarter of it), `type` is theirs in the message. Schema: ad00_area_detector_array.fbs of
github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats._camera import IMAGE, Attribute, Image, from_row, read_image, to_row, write_image
from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "Attribute", "BrokenMessageError", "Image", "decode", "decode_many", "encode", "encode_many",
    "infer", "read", "write",
]  # fmt: skip

SUFFIXES = (".ad00",)


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return [to_row(read(data))]


def _write(row: Mapping[str, Any]) -> bytes:
    return write(from_row(row))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the image of one message.

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
    >>> data = write(Image("camera", 1, 10**18, np.ones((2, 3), np.uint16)))
    >>> decode(data).batch.select(["id", "shape", "type"]).to_pylist()
    [{'id': 1, 'shape': [2, 3], 'type': 'uint16'}]
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
    return decode_rows(messages, IMAGE, _rows, schema=schema, where=where)


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
    >>> read(encode(decode(write(Image("camera", 1, 10**18, np.ones((2, 3), np.uint16)))).batch)).data.dtype.name
    'uint16'
    """
    return encode_row(batch, IMAGE, _write)


def encode_many(batch: pa.RecordBatch) -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, IMAGE, _write)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'event_time'
    """
    return IMAGE


def read(data: Bytes) -> Image:
    """Return the image of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> read(write(Image("camera", 1, 10**18, np.ones((2, 3), np.uint16)))).data.shape
    (2, 3)
    """
    return read_image(data)


def write(one: Image) -> bytes:
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
    >>> write(Image("camera", 1, 10**18, np.ones((2, 3), np.uint16)))[4:8]
    b'ad00'
    """
    return write_image(one)

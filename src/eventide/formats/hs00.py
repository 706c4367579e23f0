"""``format="hs00"``: histograms of any number of dimensions, with numbers without a sign (what hs01 replaces).

There are two dialects. "ess" is that of the schema's own library; "mantid" is what Mantid reads, and what the first
histogram streamer wrote: the shape holds the number of EDGES, then that of spectra, while the data are spectra by
bins. Both are read as spectra by bins. A message may be a part of a larger histogram, whose place `offset` says. A row
is a message; see `eventide.formats._histogram.HISTOGRAM` for its columns. Schema: hs00_event_histogram.fbs of
github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.formats import _event_histogram as wire
from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._histogram import HISTOGRAM, Axis, Histogram, from_row, to_row
from eventide.formats._rows import decode_rows, encode_row, encode_rows
from eventide.kernel.recycled import Recycled
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "Axis", "BrokenMessageError", "Histogram", "decode", "decode_many", "encode", "encode_histogram",
    "encode_histogram_in", "encode_many", "infer", "read_histogram",
]  # fmt: skip

SUFFIXES = (".hs00",)


def _rows(data: Bytes, dialect: str | None = None) -> list[dict[str, Any]]:
    return [to_row(read_histogram(data, dialect=dialect))]


def _write(row: Mapping[str, Any], dialect: str = "ess") -> bytes:
    return encode_histogram(from_row(row), dialect=dialect)


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "", dialect: str | None = None) -> Decoded:
    """Return the histogram of one message.

    Parameters
    ----------
    data
        The message.
    schema
        The columns wanted; numbers can be asked for in another type, and a message whose numbers that type does not
        hold is not read. Left out: those of `infer`.
    where
        What the data is called in the position of a message that cannot be read.
    dialect
        ``"ess"`` or ``"mantid"``; left out: that which the shape of each message shows.

    Raises
    ------
    SchemaError
        A column is asked for that there is not, or in a type that it cannot have.

    Examples
    --------
    >>> import numpy as np
    >>> one = Histogram(np.array([3, 0, 1], np.uint32), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> decode(encode_histogram(one)).batch.select(["data", "type"]).to_pylist()
    [{'data': [3.0, 0.0, 1.0], 'type': 'uint32'}]
    >>> decode(b"").bad[0].reason
    '0 bytes are no message'
    """
    return decode_many([data], schema=schema, where=where, dialect=dialect)


def decode_many(
    messages: Messages, *, schema: pa.Schema | None = None, where: str = "", dialect: str | None = None
) -> Decoded:
    """Return the rows of many messages as one batch; the rest is as in `decode`.

    Examples
    --------
    >>> decode_many([b"", b"?"]).bad[1].position
    'message 1'
    """
    return decode_rows(messages, HISTOGRAM, functools.partial(_rows, dialect=dialect), schema=schema, where=where)


def encode(batch: pa.RecordBatch, *, dialect: str = "ess") -> bytes:
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
    >>> one = Histogram(np.array([3, 0, 1], np.uint32), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> read_histogram(encode(decode(encode_histogram(one)).batch)).data.tolist()
    [3, 0, 1]
    """
    return encode_row(batch, HISTOGRAM, functools.partial(_write, dialect=dialect))


def encode_many(batch: pa.RecordBatch, *, dialect: str = "ess") -> pa.Array:
    """Return a message for each row of a batch, as a column of large binary; the rest is as in `encode`.

    Examples
    --------
    >>> len(encode_many(decode_many([]).batch))
    0
    """
    return encode_rows(batch, HISTOGRAM, functools.partial(_write, dialect=dialect))


def infer(data: bytes, *, dialect: str | None = None) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'event_time'
    """
    return HISTOGRAM


def read_histogram(data: Bytes, *, dialect: str | None = None) -> Histogram:
    """Return the histogram of one message; its arrays are views of `data`.

    Parameters
    ----------
    data
        The message.
    dialect
        ``"ess"`` or ``"mantid"``; left out: that which its shape shows.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> one = Histogram(np.array([3, 0, 1], np.uint32), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> read_histogram(encode_histogram(one)).data.tolist()
    [3, 0, 1]
    """
    return wire.read_histogram(data, "hs00", dialect=dialect)


def encode_histogram(one: Histogram, *, dialect: str = "ess") -> bytes:
    """Return the bytes of one message: a head, and one copy of the arrays.

    Parameters
    ----------
    one
        The histogram. Counts and errors are of a type that the message has (uint32, uint64, float32, float64): no
        other is written as one of them.
    dialect
        ``"ess"``, or ``"mantid"`` for what Mantid reads: two dimensions, float64, no errors and no offset.

    Raises
    ------
    SchemaError
        Its parts do not belong together, or the message has no room for them.
    DataError
        A number does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> one = Histogram(np.array([3, 0, 1], np.uint32), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> encode_histogram(one)[4:8]
    b'hs00'
    """
    return wire.write_histogram(one, "hs00", dialect=dialect)


def encode_histogram_in(memory: Recycled, one: Histogram, *, dialect: str = "ess") -> memoryview:
    """Return what `encode_histogram` does as a view of memory that is used again, for those who publish often.

    New memory costs more than the copy of the arrays into it. A message stays as it is as long as anybody holds it.

    Examples
    --------
    >>> import numpy as np
    >>> memory = Recycled()
    >>> one = Histogram(np.array([3, 0, 1], np.uint32), (Axis("x", "m", np.arange(4.0)),), "demo", 10**18)
    >>> bytes(encode_histogram_in(memory, one)) == encode_histogram(one)
    True
    """
    return wire.write_histogram_in(memory, one, "hs00", dialect=dialect)

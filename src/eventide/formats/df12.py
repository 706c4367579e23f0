"""``format="df12"``: which spectrum each detector belongs to.

A message is a whole map, and a row is one detector of it. It may be larger than the 1 MB that Kafka takes when nobody
says otherwise. Schema: df12_det_spec_map.fbs of github.com/ess-dmsc/streaming-data-types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.formats._events_decode import Messages
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.formats._rows import decode_rows
from eventide.formats._runs import MAP, SpectrumMap, map_to_rows, read_map, write_map
from eventide.model.batch import column
from eventide.model.protocols import Decoded

__all__ = [
    "SUFFIXES", "BrokenMessageError", "SpectrumMap", "decode", "decode_many", "encode", "infer", "read", "write",
]  # fmt: skip

SUFFIXES = (".df12",)


def _rows(data: Bytes) -> list[dict[str, Any]]:
    return map_to_rows(read(data))


def _whole(batch: pa.RecordBatch) -> bytes:
    parts = [column(batch, name, where="to write") for name in ("spectrum", "detector_id")]
    if any(p.null_count or not pa.types.is_integer(p.type) for p in parts):
        msg = "a map has integers without nulls in the columns spectrum and detector_id"
        raise SchemaError(msg, hint="leave out detectors that belong to no spectrum, and cast the rest")
    spectrum, detector = (p.to_numpy(zero_copy_only=False) for p in parts)
    count = len(np.unique(spectrum))
    if "n_spectra" in batch.schema.names and batch.num_rows:
        told = column(batch, "n_spectra").unique().to_pylist()
        if len(told) != 1 or told[0] is None:
            msg = f"n_spectra is one number for the whole map, not {told[:3]}"
            raise SchemaError(msg, hint="leave the column out: spectra are counted then")
        count = told[0]
    return write(SpectrumMap(spectrum, detector, count))


def decode(data: Bytes, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the map of one message.

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
    >>> decode(write(SpectrumMap(np.array([1, 1]), np.array([10, 11]), 1))).batch.to_pylist()[1]
    {'spectrum': 1, 'detector_id': 11, 'n_spectra': 1}
    """
    return decode_many([data], schema=schema, where=where)


def decode_many(messages: Messages, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the rows of many messages as one batch; the rest is as in `decode`.

    Examples
    --------
    >>> decode_many([b"", b"?"]).bad[1].position
    'message 1'
    """
    return decode_rows(messages, MAP, _rows, schema=schema, where=where)


def encode(batch: pa.RecordBatch) -> bytes:
    """Return the message of a batch, which has a row for each detector.

    Raises
    ------
    SchemaError
        A column is missing, or holds nulls.
    DataError
        A number does not fit the message.

    Examples
    --------
    >>> read(encode(pa.record_batch({"spectrum": [1, 1], "detector_id": [10, 11]}))).n_spectra
    1
    """
    return _whole(batch)


def infer(data: bytes) -> pa.Schema:
    """Return the columns that `decode` makes, which are always the same.

    Examples
    --------
    >>> infer(b"").names[0]
    'spectrum'
    """
    return MAP


def read(data: Bytes) -> SpectrumMap:
    """Return the map of one message; arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.

    Examples
    --------
    >>> read(write(SpectrumMap(np.array([1, 1]), np.array([10, 11]), 1))).detector_id.tolist()
    [10, 11]
    """
    return read_map(data)


def write(one: SpectrumMap) -> bytes:
    """Return the bytes of one message.

    Raises
    ------
    SchemaError
        The message has no room for what is given.
    DataError
        A number does not fit it.

    Examples
    --------
    >>> write(SpectrumMap(np.array([1, 1]), np.array([10, 11]), 1))[4:8]
    b'df12'
    """
    return write_map(one)

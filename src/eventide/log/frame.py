"""One frame: a header of 88 bytes and one Arrow IPC record-batch message.

::

    magic 4 | crc of the rest of the header u32 | crc of the message u32 |
    message length u32 | message start u16 | version u16 | reserved u32 |
    base offset i64 | rows i64 | min time i64 | max time i64 | append time i64 |
    transaction i64 | producer i64 | sequence i64 | padding | message | padding

All numbers are little endian. A frame begins at a multiple of 64 bytes, and the message is placed so
that its body begins at one too: a batch decoded from a memory map is aligned and copies nothing. Checksums
are zlib's CRC-32. That of the header is checked whenever a frame is read; it also tells a file that was
cut short from one with a damaged length. That of the message is computed outside the writer's lock.
"""

from __future__ import annotations

import struct
import time
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from eventide.errors import DataError
from eventide.log.checksum import crc32
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = [
    "ALIGNMENT",
    "HEADER_SIZE",
    "MAGIC",
    "NO_SEQUENCE",
    "Body",
    "Frame",
    "FrameHeader",
    "decode",
    "encode",
    "intact",
    "parse",
    "seal",
]

ALIGNMENT = 64
MAGIC = b"EVF1"
VERSION = 1
NO_SEQUENCE = -1
_HEADER = struct.Struct("<4sIIIHHI8q")
_AFTER_CRC = struct.Struct("<IIHHI8q")
_MAGIC_CRC = struct.Struct("<4sI")
HEADER_SIZE = _HEADER.size
_ZEROS = bytes(2 * ALIGNMENT)


class FrameHeader(NamedTuple):
    """What the header of a frame says, plus its size.

    Parameters
    ----------
    base_offset, rows
        Offset of the first event and number of events.
    min_time, max_time
        Smallest and largest event time, ns since 1970; `MAX_TIME` and `MIN_TIME` when there is none.
    append_time
        When the frame was appended, ns since 1970 by the clock of the writer.
    transaction, producer, sequence
        0, 0 and -1 when there is none.
    start, length
        Place of the message from the start of the frame, and its length, bytes.
    size
        Bytes of the whole frame with its padding.
    """

    crc: int
    length: int
    start: int
    base_offset: int
    rows: int
    min_time: int
    max_time: int
    append_time: int
    transaction: int
    producer: int
    sequence: int
    size: int

    @property
    def end_offset(self) -> int:
        """Offset after the last event of the frame."""
        return self.base_offset + self.rows


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive events of one partition, as a reader returns them.

    Parameters
    ----------
    partition
        The partition they come from.
    base_offset
        Offset of the first row of `batch`.
    batch
        The events; its buffers lie in the memory map of the segment and are read-only.
    min_event_time, max_event_time
        Bounds of the event times, ns since 1970, of the frame as it was appended (of more rows than
        `batch` when reading began inside it); None when the topic has no event time.
    append_time
        When it was appended, ns since 1970.

    Examples
    --------
    >>> Frame(partition=0, base_offset=5, batch=pa.record_batch({"a": [1, 2]})).end_offset
    7
    """

    partition: int
    base_offset: int
    batch: pa.RecordBatch
    min_event_time: int | None = None
    max_event_time: int | None = None
    append_time: int = 0

    @property
    def end_offset(self) -> int:
        """Offset after the last row of `batch`: where reading goes on."""
        return self.base_offset + int(self.batch.num_rows)


class Body(NamedTuple):
    """A batch made ready to be written at any offset."""

    message: pa.Buffer
    crc: int
    start: int
    rows: int
    min_time: int
    max_time: int
    size: int


def encode(batch: pa.RecordBatch, event_time: str | None = None) -> Body:
    """Serialise a batch for a frame.

    Parameters
    ----------
    batch
        The events, at least one.
    event_time
        Name of the event-time column, if there is one.

    Examples
    --------
    >>> body = encode(pa.record_batch({"a": [1, 2]}))
    >>> body.rows, body.size % 64
    (2, 0)
    """
    message = batch.serialize()
    metadata = int.from_bytes(memoryview(message)[4:8], "little")
    start = HEADER_SIZE + (-(HEADER_SIZE + 8 + metadata)) % ALIGNMENT
    if message.size > 0xFFFFFFFF:
        msg = f"a batch of {batch.num_rows} rows takes {message.size} bytes, more than a frame can hold"
        raise DataError(msg, hint="append it in slices")
    low, high = _time_bounds(batch, event_time)
    size = -(-(start + message.size) // ALIGNMENT) * ALIGNMENT
    return Body(message, crc32(message), start, batch.num_rows, low, high, size)


def _time_bounds(batch: pa.RecordBatch, event_time: str | None) -> tuple[int, int]:
    if event_time is None:
        return MAX_TIME, MIN_TIME
    column = batch.column(batch.schema.get_field_index(event_time))
    if column.null_count:
        column = column.drop_null()
        if not len(column):
            return MAX_TIME, MIN_TIME
    data = column.buffers()[1]
    times = np.frombuffer(data, np.int64, len(column), column.offset * 8)
    return int(times.min()), int(times.max())


def seal(
    body: Body, base_offset: int, *, transaction: int, producer: int, sequence: int, append_time: int = 0
) -> list[bytes | pa.Buffer]:
    """Return the pieces of a frame in the order in which they are written; an append time of 0 is now.

    Examples
    --------
    >>> body = encode(pa.record_batch({"a": [1, 2]}))
    >>> raw = b"".join(seal(body, 7, transaction=0, producer=0, sequence=-1))
    >>> header = parse(raw)
    >>> header.base_offset, header.size == len(raw)
    (7, True)
    """
    rest = _AFTER_CRC.pack(
        body.crc,
        body.message.size,
        body.start,
        VERSION,
        0,
        base_offset,
        body.rows,
        body.min_time,
        body.max_time,
        append_time or time.time_ns(),
        transaction,
        producer,
        sequence,
    )
    head = _MAGIC_CRC.pack(MAGIC, crc32(rest)) + rest + _ZEROS[: body.start - HEADER_SIZE]
    return [head, body.message, _ZEROS[: body.size - body.start - body.message.size]]


def parse(raw: bytes | memoryview) -> FrameHeader | None:
    """Return the header at the start of `raw`, or None when there is none or its checksum is wrong.

    Examples
    --------
    >>> parse(bytes(88)) is None
    True
    """
    if len(raw) < HEADER_SIZE:
        return None
    magic, own_crc, crc, length, start, version, _, *fields = _HEADER.unpack_from(raw)
    if magic != MAGIC or crc32(raw[8:HEADER_SIZE]) != own_crc or version != VERSION:
        return None
    size = -(-(start + length) // ALIGNMENT) * ALIGNMENT
    return FrameHeader._make((crc, length, start, *fields, size))


def intact(header: FrameHeader, raw: memoryview) -> bool:
    """Tell whether the checksum of a message is right; `raw` begins at its header and holds all of it."""
    return crc32(raw[header.start : header.start + header.length]) == header.crc


def decode(header: FrameHeader, message: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch of a frame, zero copy.

    Parameters
    ----------
    header
        Its header.
    message
        Its message.
    schema
        Schema of the segment.

    Raises
    ------
    DataError
        The message is not a record batch of that schema with the header's number of rows.
    """
    try:
        batch = pa.ipc.read_record_batch(message, schema)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(str(error)) from None
    if batch.num_rows != header.rows:
        msg = f"the message holds {batch.num_rows} rows, the header says {header.rows}"
        raise DataError(msg)
    return batch

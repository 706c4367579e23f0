"""Segment files: a header that describes itself, then frames.

::

    magic 8 | crc32 u32 | header size u32 | facts length u32 | schema length u32 |
    facts (JSON) | schema (Arrow IPC) | padding

A segment is written under another name and renamed, so a file that ends in ``.seg`` has a whole
header. While it is written its file is longer than its frames: space is reserved ahead in growing
steps (so that a sync need not record a new file size every time) and holds zeros.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from eventide.errors import DataError, LogCorruptError
from eventide.log import frame
from eventide.log.layout import segment_path, sync_file, sync_folder
from eventide.model.time import MIN_TIME

__all__ = [
    "SegmentFacts",
    "SegmentView",
    "create_segment",
    "frames",
    "header_is_torn",
    "read_header",
    "tail_is_empty",
    "write_at",
]

_MAGIC = b"EVSEG001"
_PREFIX = struct.Struct("<8sIIII")


class SegmentFacts(msgspec.Struct, frozen=True):
    """What a segment says about itself.

    Parameters
    ----------
    topic, partition, base_offset
        Where it belongs.
    event_time
        Name of the event-time column, if there is one.
    created
        When it was made, ns since 1970.
    time_before
        Largest event time of the partition before this segment, ns.
    producers
        For every producer its latest sequences and their offsets at the beginning of this segment.
    """

    topic: str
    partition: int
    base_offset: int
    event_time: str | None = None
    created: int = 0
    time_before: int = MIN_TIME
    producers: dict[int, list[tuple[int, int]]] = {}


def create_segment(folder: Path, facts: SegmentFacts, schema: pa.Schema) -> tuple[int, int]:
    """Make a segment file and return its descriptor, open for writing, and the position of its first frame.

    The file and its name are durable when this returns.
    """
    json, arrow = msgspec.json.encode(facts), schema.serialize().to_pybytes()
    size = -(-(_PREFIX.size + len(json) + len(arrow)) // frame.ALIGNMENT) * frame.ALIGNMENT
    rest = struct.pack("<III", size, len(json), len(arrow)) + json + arrow
    raw = (_MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest).ljust(size, b"\0")
    path = segment_path(folder, facts.base_offset)
    spare = path.with_suffix(".new")
    fd = os.open(spare, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_at(fd, [raw], 0)
        sync_file(fd)
        spare.rename(path)
        sync_folder(folder)
    except BaseException:
        os.close(fd)
        raise
    return fd, size


def write_at(fd: int, pieces: list[bytes | pa.Buffer], position: int) -> None:
    """Write all of some pieces, one after the other, at a position of a file.

    Raises
    ------
    OSError
        The disk refused; some of it may have been written.
    """
    os.lseek(fd, position, os.SEEK_SET)
    written, size = os.writev(fd, pieces), sum(map(len, pieces))
    if written < size:
        rest = memoryview(b"".join(pieces))
        while written < size:
            written += os.write(fd, rest[written:])


def read_header(fd: int, path: Path) -> tuple[SegmentFacts, pa.Schema, int] | None:
    """Return facts, schema and size of a segment's header; None when the file ends inside it.

    Raises
    ------
    LogCorruptError
        The header is whole and its checksum is wrong.
    """
    prefix = os.pread(fd, _PREFIX.size, 0)
    if len(prefix) < _PREFIX.size:
        return None
    magic, crc, size, facts_length, schema_length = _PREFIX.unpack(prefix)
    most = os.fstat(fd).st_size  # lengths that lie must not cost memory
    body = os.pread(fd, min(facts_length + schema_length, most), _PREFIX.size) if magic == _MAGIC else b""
    if magic == _MAGIC and len(body) < facts_length + schema_length and os.fstat(fd).st_size < size:
        return None
    if magic != _MAGIC or zlib.crc32(prefix[12:] + body) != crc:
        msg = f"the header of {path} (byte 0) is not what was written"
        raise LogCorruptError(msg, hint="restore this file from a copy; its events begin at the offset in its name")
    if os.fstat(fd).st_size < size:
        return None
    facts = msgspec.json.decode(body[:facts_length], type=SegmentFacts)
    return facts, pa.ipc.read_schema(pa.py_buffer(body[facts_length:])), size


def header_is_torn(folder: Path, base_offset: int) -> bool:
    """Tell whether a segment file ends inside its own header (its end was lost; its name was not)."""
    path = segment_path(folder, base_offset)
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_header(fd, path) is None
    finally:
        os.close(fd)


def frames(
    fd: int, position: int, offset: int, *, check_from: int | None = None
) -> Iterator[tuple[int, frame.FrameHeader]]:
    """Walk along the frames of a segment from a known frame on and stop at the first that is not good.

    Parameters
    ----------
    fd
        The open segment file.
    position, offset
        Where the first frame begins in the file, and the offset it must have.
    check_from
        Verify checksums of the frames at and after this position; None: of none.

    Yields
    ------
    Position and header of each frame.
    """
    size = os.fstat(fd).st_size
    while True:
        header = frame.parse(os.pread(fd, frame.HEADER_SIZE, position))
        if header is None or header.base_offset != offset or position + header.start + header.length > size:
            return
        if check_from is not None and position >= check_from:
            raw = os.pread(fd, header.start + header.length, position)
            if len(raw) < header.start + header.length or not frame.intact(header, memoryview(raw)):
                return
        yield position, header
        position += header.size
        offset = header.end_offset


def tail_is_empty(fd: int, position: int) -> bool:
    """Tell whether a file ends at `position`, inside the frame there, or in nothing but zeros."""
    size = os.fstat(fd).st_size
    header = frame.parse(os.pread(fd, frame.HEADER_SIZE, position))
    if header is not None and position + header.start + header.length > size:
        return True
    if size - position < frame.HEADER_SIZE:
        return True
    step = 1 << 20
    return not any(np.frombuffer(os.pread(fd, step, at), np.uint8).any() for at in range(position, size, step))


class SegmentView:
    """A segment open for reading.

    Batches point into its memory map and keep it alive: neither closing the view nor deleting the
    file hurts them. Headers are read with a system call, not through the map: while the writer seals
    a segment it cuts the reserved space off, and touching mapped pages past the end of a file kills
    the process.

    Parameters
    ----------
    folder, base_offset
        The partition's folder and the segment's first offset.

    Raises
    ------
    FileNotFoundError
        There is no such segment (any more).
    LogCorruptError
        Its header is damaged.
    """

    __slots__ = ("__weakref__", "_buffer", "_close", "_mapped", "base_offset", "facts", "fd", "first", "path", "schema")

    def __init__(self, folder: Path, base_offset: int) -> None:
        self.path = segment_path(folder, base_offset)
        self.base_offset = base_offset
        self.fd = os.open(self.path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self.fd)
        header = read_header(self.fd, self.path)
        if header is None:
            self.close()
            msg = f"{self.path} ends inside its header (offset {base_offset})"
            raise LogCorruptError(msg, hint="open the log for writing to repair its end")
        self.facts, self.schema, self.first = header
        self._mapped = 0
        self._buffer: pa.Buffer | None = None

    @property
    def replaced(self) -> bool:
        """Whether another file has taken this one's name (a topic that evolves replaces an empty segment)."""
        try:
            return os.stat(self.path).st_ino != os.fstat(self.fd).st_ino  # noqa: PTH116 - no Path is made per look
        except FileNotFoundError:
            return False

    def header(self, position: int, offset: int) -> frame.FrameHeader | None:
        """Return the header of the frame at `position` if a frame of that offset begins there."""
        header = frame.parse(os.pread(self.fd, frame.HEADER_SIZE, position))
        return header if header is not None and header.base_offset == offset else None

    def _map(self) -> None:
        mapped = mmap.mmap(self.fd, 0, access=mmap.ACCESS_READ)  # the whole file, however long it is by now
        self._buffer = pa.py_buffer(mapped)
        self._mapped = len(mapped)

    def batch(self, position: int, header: frame.FrameHeader, *, verify: bool = False) -> pa.RecordBatch | None:
        """Return the batch of a frame without a copy, None when the file ends inside it.

        Raises
        ------
        LogCorruptError
            The frame cannot be decoded, or `verify` is set and its checksum is wrong.
        """
        end = position + header.start + header.length
        if end > self._mapped:
            self._map()
            if end > self._mapped:
                return None
        assert self._buffer is not None
        if verify and not frame.intact(header, memoryview(self._buffer)[position:end]):
            raise self.corrupt(position, header.base_offset, "its checksum is wrong")
        message = self._buffer.slice(position + header.start, header.length)
        try:
            return frame.decode(header, message, self.schema)
        except DataError as error:
            raise self.corrupt(position, header.base_offset, error.message) from None

    def corrupt(self, position: int, offset: int, why: str) -> LogCorruptError:
        """Return the error for damage at a place of this segment."""
        msg = f"{self.path} is damaged at byte {position} (offset {offset}): {why}"
        return LogCorruptError(msg, hint="restore this file from a copy; verify() lists all damage of the log")

    def close(self) -> None:
        """Close the file; batches stay valid."""
        self._close()

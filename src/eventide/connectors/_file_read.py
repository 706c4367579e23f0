"""Reading one file piece by piece: text by lines, containers by rows, anything else at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from eventide.connectors._file_form import COMPRESSED, Form, stream_of
from eventide.errors import EventideError, UsageError
from eventide.model.batch import empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["OneFile", "first_lines", "open_one", "unreadable"]

_LEAST_BYTES, _MOST_BYTES = 1 << 16, 1 << 23
_RECORD_BYTES = 1 << 26


class OneFile(Protocol):
    """An open file, at a position: bytes of the text, or rows."""

    at: int

    def next(self, max_rows: int, *, final: bool) -> Decoded | None:
        """Return what comes next; None at the end, or (not `final`) while a last line is not complete."""

    def close(self) -> None:
        """Close the file."""


def open_one(path: Path, form: Form, at: int) -> OneFile:
    """Open a file at a position.

    Raises
    ------
    DataError
        It cannot be read as what it should be.
    """
    if hasattr(form.module, "cut"):
        return _Lines(path, form, at)
    if hasattr(form.module, "open_file"):
        if path.suffix in COMPRESSED:
            msg = f"{path}: a container cannot be read through compression"
            raise UsageError(msg, hint="unpack it: the format compresses its own pages")
        return _Rows(path, form, at)
    return _Whole(path, form, at)


class _Lines:
    """A text file; positions are bytes of the text (after decompression)."""

    def __init__(self, path: Path, form: Form, at: int) -> None:
        self._path, self._form = path, form
        self._module = form.module
        self._options = dict(form.options)
        self._stream = stream_of(path)
        self._waiting = b""
        self._row_bytes = 64.0
        self.at = at
        self._ready = not hasattr(form.module, "preamble")
        if self._ready and at:
            self._skip(at)

    def _skip(self, count: int) -> None:
        if self._stream.seekable():
            self._stream.seek(count)
            return
        while count > 0 and (piece := self._stream.read(min(count, _MOST_BYTES))):
            count -= len(piece)

    def _start(self, *, final: bool) -> bool:
        """Read what stands before the first record; False while it is not complete."""
        self._waiting += self._stream.read(_LEAST_BYTES)
        if not final and b"\n" not in self._waiting:
            return False
        size, self._options = self._module.preamble(
            self._waiting, schema=self._form.schema, where=str(self._path), **self._form.options
        )
        self._options = dict(self._form.options) | dict(self._options)
        at, self.at = max(self.at, size), size
        if at <= len(self._waiting):
            self._waiting = self._waiting[at:]
        else:
            self._skip(at if self._stream.seekable() else at - len(self._waiting))
            self._waiting = b""
        self.at, self._ready = at, True
        return True

    def next(self, max_rows: int, *, final: bool) -> Decoded | None:
        if not self._ready and not self._start(final=final):
            return None
        wanted = int(min(_MOST_BYTES, max(_LEAST_BYTES, max_rows * self._row_bytes)))
        while True:
            piece = b"" if len(self._waiting) >= wanted else self._stream.read(wanted)
            self._waiting += piece
            usable = self._cut(max_rows)
            if usable:
                return self._take(usable)
            if not piece and len(self._waiting) < wanted:
                return self._take(len(self._waiting)) if final and self._waiting else None
            if len(self._waiting) > _RECORD_BYTES:
                return self._too_long()
            wanted = len(self._waiting) * 2

    def _cut(self, max_rows: int) -> int:
        """Return how many of the waiting bytes make at most about `max_rows` whole records."""
        few = first_lines(self._waiting, max_rows)
        if few and (size := int(self._module.cut(self._waiting[:few], **self._form.options))):
            return size
        return int(self._module.cut(self._waiting, **self._form.options))

    def _take(self, size: int) -> Decoded:
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        decoded: Decoded = self._module.decode(
            data, schema=self._form.schema, where=str(self._path), offset=self.at, **self._options
        )
        self.at += size
        rows = decoded.batch.num_rows + len(decoded.bad)
        self._row_bytes = max(1.0, size / rows) if rows else self._row_bytes
        return decoded

    def _too_long(self) -> Decoded:
        assert self._form.schema is not None
        bad = BadInput(self._waiting, f"{self._path}: byte {self.at}", f"a record of more than {_RECORD_BYTES} bytes")
        self.at += len(self._waiting)
        self._waiting = b""
        return Decoded(empty(self._form.schema), (bad,))

    def close(self) -> None:
        self._stream.close()


class _Rows:
    """A container that can be opened at any row; positions are rows."""

    def __init__(self, path: Path, form: Form, at: int) -> None:
        self._path, self._form = path, form
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._rest: pa.RecordBatch | None = None
        self.at = at

    def next(self, max_rows: int, *, final: bool) -> Decoded | None:
        if self._batches is None:
            self._batches = self._form.module.open_file(
                self._path, schema=self._form.schema, start=self.at, batch_rows=max_rows, **self._form.options
            )
        batch = self._rest if self._rest is not None else next(self._batches, None)
        if batch is None:
            return None
        self._rest = batch.slice(max_rows) if batch.num_rows > max_rows else None
        batch = batch.slice(0, max_rows)
        self.at += batch.num_rows
        return Decoded(batch)

    def close(self) -> None:
        self._batches = None


class _Whole:
    """A file that is read at once; positions are rows, and what could not be read belongs to the first."""

    def __init__(self, path: Path, form: Form, at: int) -> None:
        self._path, self._form = path, form
        self._decoded: Decoded | None = None
        self.at = at

    def next(self, max_rows: int, *, final: bool) -> Decoded | None:
        if self._decoded is None:
            with stream_of(self._path) as stream:
                data = stream.read()
            schema, where = self._form.schema, str(self._path)
            self._decoded = self._form.module.decode(data, schema=schema, where=where, **self._form.options)
            bad = () if self.at else self._decoded.bad
        else:
            bad = ()
        batch = self._decoded.batch.slice(self.at, max_rows)
        if not batch.num_rows and not bad:
            return None
        self.at += batch.num_rows
        return Decoded(batch, bad)

    def close(self) -> None:
        self._decoded = None


def first_lines(data: bytes, count: int) -> int:
    r"""Return how many bytes the first `count` lines have; 0 where there are no more than so many.

    Examples
    --------
    >>> first_lines(b"a\nb\nc\n", 2)
    4
    """
    if len(data) <= count:
        return 0
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    return int(breaks[count - 1]) + 1 if len(breaks) > count else 0


def unreadable(path: Path, error: Exception, at: int = 0) -> BadInput:
    """Return a whole file, or the rest of it from a place on, as bad input."""
    reason = error.message if isinstance(error, EventideError) else f"{type(error).__name__}: {error}"
    return BadInput(b"", f"{path}: from {at}" if at else str(path), reason)

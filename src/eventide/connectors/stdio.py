"""``stdio://``, or just ``-``: standard input as source, standard output as sink.

Input cannot be read again: a run that is resumed goes on with what comes next. Output that was written is
written: after a crash the events since the last checkpoint come twice (at least once).
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from eventide.connectors._decode_again import decode_again
from eventide.connectors._file_form import Form, form_of
from eventide.connectors._file_read import first_lines
from eventide.errors import DataError, UsageError
from eventide.model.batch import visible
from eventide.model.protocols import BadInput, Chunk, Decoded, Delivery, Options, Position

__all__ = ["StdioReader", "StdioSink", "StdioSource", "sink", "source"]

_PARTITION = "stdin"
_READ_BYTES = 1 << 20


def source(uri: str, options: Mapping[str, Any]) -> StdioSource:
    """Return a source of the records on standard input; it ends where the input ends.

    Parameters
    ----------
    uri
        ``stdio://``.
    options
        ``format``: a text format (``"json"``). ``schema``: a `pyarrow.Schema` or ``{"column": "type"}``; left out,
        the first records that come say it. The rest are options of the format.

    Raises
    ------
    UsageError
        An option is unknown, or the format is not one of records in text.

    Examples
    --------
    >>> source("stdio://", {"schema": {"value": "float64"}}).schema()
    value: double
    """
    given = Options({"format": "json", **options}, where="stdio://")
    form = form_of("-", given)
    given.finish()
    if not hasattr(form.module, "cut"):
        msg = f"stdio:// cannot carry {given.take('format')!r}"
        raise UsageError(msg, hint="choose a format of records in text, 'json' or 'csv'")
    return StdioSource(form)


def sink(uri: str, options: Mapping[str, Any]) -> StdioSink:
    """Return a sink that writes to standard output, at once.

    Parameters
    ----------
    uri
        ``stdio://``.
    options
        ``format``: a text format (``"json"``). The rest are options of the format.

    Examples
    --------
    >>> out = sink("stdio://", {"format": "csv"})
    >>> out.open(pa.schema([("a", pa.int64())]), None)
    >>> out.write(pa.record_batch({"a": [1, 2]}))
    a
    1
    2
    """
    given = Options({"format": "json", **options}, where="stdio://")
    form = form_of("-", given, side="encode")
    given.finish()
    return StdioSink(form)


class StdioSource:
    """Records on standard input; made by `source`."""

    replayable = False

    def __init__(self, form: Form) -> None:
        self._form = form
        self._waiting = b""
        self._ended = False

    def schema(self) -> pa.Schema:
        """Return the schema; where none is declared, wait for the first records.

        Raises
        ------
        DataError
            The input ends before there is a record.
        """
        if self._form.schema is None:
            options = self._form.options
            while not self._ended and not self._form.module.cut(self._waiting, **options):
                self._more(timeout=1.0)
            schema = self._form.module.infer(self._waiting, **options)
            if not schema.names:
                msg = "standard input has no record that says which columns there are"
                raise DataError(msg, hint="pass schema={'column': 'type', ...}")
            self._form = replace(self._form, schema=schema)
        return self._form.schema

    def _more(self, *, timeout: float) -> None:
        """Take what has come, waiting at most `timeout` seconds for something."""
        handle = sys.stdin.fileno()
        if select.select([handle], [], [], timeout)[0]:
            piece = os.read(handle, _READ_BYTES)
            self._waiting += piece
            self._ended = not piece

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return [_PARTITION]

    def again(self, bad: Sequence[BadInput]) -> Decoded:
        """Decode once more what could not be decoded; the schema must be declared, as nothing is read.

        Raises
        ------
        DataError
            No schema is declared.
        """
        if self._form.schema is None:
            msg = "standard input cannot say again which columns it had"
            raise DataError(msg, hint="pass schema={'column': 'type', ...}")
        return decode_again(self._form, bad)

    def open(self, positions: Mapping[str, Position]) -> StdioReader:
        """Go on with what comes next, whatever the position."""
        self.schema()
        return StdioReader(self, self._form)


class StdioReader:
    """Reads whole records as they come."""

    def __init__(self, source: StdioSource, form: Form) -> None:
        self._source, self._form = source, form
        self._options = dict(form.options)
        self._ready = not hasattr(form.module, "preamble")
        self._at = 0

    @property
    def finished(self) -> bool:
        """Whether the input has ended and all of it was taken."""
        return self._source._ended and not self._source._waiting

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the records that are there, else wait for some."""
        deadline = time.monotonic() + timeout
        rest = timeout
        while not self.finished:
            decoded = self._decode(max_rows)
            if decoded is not None:
                return [Chunk(_PARTITION, decoded.batch, {"at": self._at}, decoded.bad)]
            if self._source._ended or rest < 0:
                break
            self._source._more(timeout=rest)
            rest = deadline - time.monotonic()
        return []

    def _decode(self, max_rows: int) -> Decoded | None:
        source, module = self._source, self._form.module
        size = self._cut(max_rows)
        if not size:
            return None
        data, source._waiting = source._waiting[:size], source._waiting[size:]
        if not self._ready:
            begin, more = module.preamble(data, schema=self._form.schema, where=_PARTITION, **self._form.options)
            self._options |= dict(more)
            self._at, data, self._ready = begin, data[begin:], True
        decoded: Decoded = module.decode(
            data, schema=self._form.schema, where=_PARTITION, offset=self._at, **self._options
        )
        self._at += len(data)
        return decoded

    def _cut(self, max_rows: int) -> int:
        """Return how many of the waiting bytes make at most about `max_rows` whole records."""
        waiting, cut = self._source._waiting, self._form.module.cut
        few = first_lines(waiting, max_rows)
        if few and (size := int(cut(waiting[:few], **self._form.options))):
            return size
        return len(waiting) if self._source._ended else int(cut(waiting, **self._form.options))

    def backlog(self) -> int | None:
        """Return None: how much is still to come cannot be known."""
        return None

    def close(self) -> None:
        """Leave standard input open: it is not ours."""


class StdioSink:
    """Writes to standard output; made by `sink`."""

    delivery: Delivery = "at_least_once"

    def __init__(self, form: Form) -> None:
        self._form = form
        self._names: list[str] = []
        self._first = True

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Get ready; a run that is resumed does not write a header again."""
        self._names = visible(schema).names
        self._first = state is None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write one batch."""
        if not batch.num_rows:
            return
        after = {} if self._first else getattr(self._form.module, "CONTINUATION", {})
        self._first = False
        data = self._form.module.encode(batch.select(self._names), **{**self._form.options, **after})
        raw = getattr(sys.stdout, "buffer", None)
        if raw is None:  # a notebook, or a test, put something else in its place
            sys.stdout.write(data.decode("utf-8", "replace"))
        else:
            raw.write(data)
        sys.stdout.flush()

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Return nothing: what is written is written."""
        return {}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Do nothing: it is visible already."""

    def close(self) -> None:
        """Leave standard output open: it is not ours."""

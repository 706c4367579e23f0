"""Reading one file piece by piece: text by lines, containers by rows, anything else at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.errors import DataError, EventideError, MissingDependencyError, UsageError, near_names
from eventide.model.batch import empty
from eventide.model.protocols import BadInput, Decoded, Options
from eventide.model.time import EVENT_TIME

__all__ = [
    "COMPRESSED",
    "Form",
    "OneFile",
    "form_of",
    "has_format",
    "open_one",
    "schema_of",
    "schema_option",
    "unreadable",
]

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_HEAD_BYTES = 1 << 20
_LEAST_BYTES, _MOST_BYTES = 1 << 16, 1 << 23
_RECORD_BYTES = 1 << 26
_NOT_OPTIONS = ("data", "batch", "schema", "where", "offset")


@dataclass(frozen=True, slots=True)
class Form:
    """How files are read: a format, its options, and the schema of the events (None: as each file says)."""

    module: Any
    options: Mapping[str, Any]
    schema: pa.Schema | None


class OneFile(Protocol):
    """An open file, at a position: bytes of the text, or rows."""

    at: int

    def next(self, max_rows: int, *, final: bool) -> Decoded | None:
        """Return what comes next; None at the end, or (not `final`) while a last line is not complete."""

    def close(self) -> None:
        """Close the file."""


def form_of(path: str, given: Options, *, side: str = "decode") -> Form:
    """Return the form that the options and the suffix of a path say; `side` is what the options are for.

    Raises
    ------
    UsageError
        The suffix says nothing and there is no option ``format``.
    """
    name = given.take("format")
    module = registry.resolve("format", name) if name else _by_suffix(path)
    tab = {"delimiter": "\t"} if _suffix(path) == ".tsv" else {}
    parameters = inspect.signature(getattr(module, side)).parameters.values()
    known = [p.name for p in parameters if p.name not in _NOT_OPTIONS and p.kind is not p.VAR_KEYWORD]
    options = tab | {n: given.take(n) for n in known if n in given.values}
    for option in known:
        given.take(option)
    return Form(module, options, schema_option(given.take("schema")) if side == "decode" else None)


def has_format(path: str) -> bool:
    """Tell whether the suffix of a path is that of a format."""
    suffix = _suffix(path)
    return bool(suffix) and any(suffix in module.SUFFIXES for _, module in _formats(suffix))


def _formats(suffix: str) -> Iterator[tuple[str, Any]]:
    """Return the formats that are there; one that lacks its library is an error only where its suffix is meant."""
    for name in registry.names("format"):
        try:
            yield name, registry.resolve("format", name)
        except MissingDependencyError:
            if suffix == f".{name}":
                raise


def _suffix(path: str) -> str:
    bare = Path(path)
    return (bare.with_suffix("") if bare.suffix in COMPRESSED else bare).suffix.lower()


def _by_suffix(path: str) -> Any:
    suffix = _suffix(path)
    known: dict[str, str] = {}
    for name, module in _formats(suffix):
        known |= dict.fromkeys(module.SUFFIXES, name)
        if suffix in module.SUFFIXES:
            return module
    msg = f"{path}: the suffix {suffix!r} is of no format"
    raise UsageError(msg, hint=f"pass format=...; {near_names(suffix, known)}")


def schema_option(value: Any) -> pa.Schema | None:
    """Return the schema that an option gives: a schema, or column names and types as text.

    Examples
    --------
    >>> schema_option({"t": "event_time", "v": "float64"})
    t: timestamp[ns, tz=UTC]
    v: double
    """
    if value is None or isinstance(value, pa.Schema):
        return value
    if not isinstance(value, Mapping):
        msg = f"schema={value!r} is not a schema"
        raise UsageError(msg, hint="pass a pyarrow.Schema or {'column': 'type'}, for example {'value': 'float64'}")
    fields = []
    for name, kind in value.items():
        try:
            known = EVENT_TIME if kind == "event_time" else kind
            fields.append((name, known if isinstance(known, pa.DataType) else pa.type_for_alias(known)))
        except ValueError:
            msg = f"column {name!r}: there is no type {kind!r}"
            raise UsageError(msg, hint="for example int64, float64, string, bool, event_time") from None
    return pa.schema(fields)


def _stream(path: Path) -> Any:
    return pa.input_stream(str(path), compression=COMPRESSED.get(path.suffix))


def schema_of(path: Path, form: Form) -> pa.Schema:
    """Return the schema of the events of a file.

    Raises
    ------
    DataError
        The file cannot be read, or says nothing.
    """
    if form.schema is not None:
        return form.schema
    if hasattr(form.module, "file_schema"):
        schema: pa.Schema = form.module.file_schema(path)
        return schema
    try:
        with _stream(path) as stream:
            head = stream.read(_HEAD_BYTES)
            if not hasattr(form.module, "cut"):
                head += stream.read()
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg, hint="is it another format, or was the file not finished?") from None
    if hasattr(form.module, "cut"):
        head = head[: form.module.cut(head, **form.options) or len(head)]
        schema = form.module.infer(head, **form.options)
    else:
        schema = form.module.decode(head, **form.options).batch.schema
    if not schema.names:
        msg = f"{path} is empty: nothing says which columns there are"
        raise DataError(msg, hint="pass schema={'column': 'type', ...}")
    return schema


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
        self._stream = _stream(path)
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
        if len(self._waiting) > max_rows:
            breaks = np.flatnonzero(np.frombuffer(self._waiting, np.uint8) == ord("\n"))
            if len(breaks) > max_rows:
                few = self._module.cut(self._waiting[: int(breaks[max_rows - 1]) + 1], **self._form.options)
                if few:
                    return int(few)
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
            with _stream(self._path) as stream:
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


def unreadable(path: Path, error: Exception) -> BadInput:
    """Return a whole file, or the rest of it, as bad input."""
    reason = error.message if isinstance(error, EventideError) else f"{type(error).__name__}: {error}"
    return BadInput(b"", str(path), reason)

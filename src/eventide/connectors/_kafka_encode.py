"""From events to messages of Kafka: the values in a format, keys, headers and times beside them.

Messages are a record batch themselves, so that they can be kept and read back as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import DataError, SchemaError, near_names
from eventide.formats._text import spans
from eventide.kernel.recycled import Recycled
from eventide.model.batch import as_event_time

__all__ = ["BESIDE", "HEADERS", "MESSAGES", "Encoder", "dictionaries"]

BESIDE = ("key", "timestamp", "headers", "partition")
"""What can stand beside the value of a message, each taken from a column."""

HEADERS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))
MESSAGES = pa.schema(
    [
        ("value", pa.large_binary()),
        ("key", pa.binary()),
        ("timestamp", pa.int64()),
        ("headers", HEADERS),
        ("partition", pa.int32()),
    ]
)
_TARGET_BYTES = 256 << 10
_PIECES = 64
"""Pieces of memory that are kept for values to come: no more than were held at one time for their commit."""
_MILLISECOND = 1_000_000

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes messages of events.

    Parameters
    ----------
    module, options
        The format.
    beside
        Columns by what they are used for, of `BESIDE`.
    rows_per_message
        Most events in one; 0: as many as make some 256 KiB. Events in one message have one key.
    where
        What errors call the topic.
    largest
        Most bytes of a value.
    """

    module: Any
    options: Mapping[str, Any]
    beside: Mapping[str, str]
    rows_per_message: int
    where: str
    largest: int = 1_000_000
    _memory: Recycled = field(default_factory=lambda: Recycled(_PIECES))

    @property
    def text(self) -> bool:
        """Whether values are lines of text."""
        return hasattr(self.module, "cut")

    @property
    def _cut_by_format(self) -> bool:
        """Whether the format says where messages end: it makes many at once, and no number of events was asked for."""
        return self.rows_per_message == 0 and hasattr(self.module, "encode_many")

    def check(self, schema: pa.Schema) -> None:
        """See whether events of a schema can be made messages.

        Raises
        ------
        SchemaError
            A column is missing, or has a type that cannot be used for what it is to be used for.
        """
        for what, name in self.beside.items():
            if name not in schema.names:
                msg = f"{self.where}: there is no column {name!r} for the {what}"
                raise SchemaError(msg, hint=near_names(name, schema.names))
            kind = schema.field(name).type
            if not _can(what, kind):
                msg = f"{self.where}: column {name!r} of type {kind} cannot be the {what} of messages"
                raise SchemaError(msg, hint="cast it in the pipeline, or name another column")

    def encode(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the messages (of the schema `MESSAGES`) of a batch.

        Raises
        ------
        SchemaError
            The format cannot hold a column.
        DataError
            A message is larger than the topic takes.
        """
        columns = {what: self._column(batch, what) for what in self.beside}
        if self.rows_per_message == 1:
            starts = np.arange(batch.num_rows, dtype=np.int64)
        else:
            batch, columns, starts = self._grouped(batch, columns)
        values, starts = self._values(batch, starts)
        sizes = np.diff(np.frombuffer(values.buffers()[1], np.int64, len(values) + 1, values.offset * 8))
        if len(sizes) and int(sizes.max()) > self.largest:
            row = int(starts[int(sizes.argmax())])
            msg = f"{self.where}: a message of {int(sizes.max()):,} bytes (row {row} of a batch) is too large"
            hint = f"the topic takes {self.largest:,}: raise its max.message.bytes, or pass fewer rows_per_message"
            raise DataError(msg, hint=hint)
        taken = {w: c.take(pa.array(starts)) if len(starts) != len(c) else c for w, c in columns.items()}
        arrays = [values, *(taken.get(f.name, pa.nulls(len(values), f.type)) for f in list(MESSAGES)[1:])]
        return pa.RecordBatch.from_arrays(arrays, schema=MESSAGES)

    def _column(self, batch: pa.RecordBatch, what: str) -> pa.Array:
        array = batch.column(batch.schema.get_field_index(self.beside[what]))
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if what == "timestamp":
            return pc.divide(as_event_time(array).cast(pa.int64()), _MILLISECOND)
        if what == "partition":
            return array.cast(pa.int32())
        if what == "headers":
            return _headers(array)
        binary = pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)
        return array.cast(pa.binary()) if binary else array.cast(pa.string()).cast(pa.binary())

    def _grouped(
        self, batch: pa.RecordBatch, columns: dict[str, pa.Array]
    ) -> tuple[pa.RecordBatch, dict[str, pa.Array], Int64s]:
        """Bring rows together that may share a message, and return where messages start."""
        rows = batch.num_rows
        most = self.rows_per_message or max(1, rows * _TARGET_BYTES // max(batch.nbytes, 1))
        if self._cut_by_format:
            most = max(1, rows)
        if not columns:
            return batch, columns, np.arange(0, rows, most)
        breaks = np.zeros(rows, np.bool_)
        breaks[:1] = True
        if rows:
            codes = _codes(columns)
            order = np.argsort(codes, kind="stable")
            if not np.array_equal(order, np.arange(rows)):
                taken = pa.array(order)
                batch, columns = batch.take(taken), {w: c.take(taken) for w, c in columns.items()}
            breaks[1:] = np.diff(codes[order]) != 0
        firsts = np.flatnonzero(breaks)
        within = np.arange(rows) - np.repeat(firsts, np.diff(np.append(firsts, rows)))
        return batch, columns, np.flatnonzero(within % most == 0)

    def _values(self, batch: pa.RecordBatch, starts: Int64s) -> tuple[pa.Array, Int64s]:
        """Return the values, and for each a row from which what stands beside it is taken.

        They are lines of text cut where messages start, else one encoded piece for each start; a format that makes
        many messages at once may make several of what begins there.
        """
        if self._cut_by_format:
            stops = np.append(starts[1:], batch.num_rows)
            cut = [self._many(batch.slice(a, b - a)) for a, b in zip(starts.tolist(), stops, strict=False)]
            owners = np.repeat(starts, [len(values) for values in cut])
            return pa.concat_arrays([pa.array([], pa.large_binary()), *cut]), owners
        if self.rows_per_message == 1 and hasattr(self.module, "encode_many"):
            whole = self._many(batch)
            if len(whole) == batch.num_rows:
                return whole, starts
        return self._pieces(batch, starts), starts

    def _many(self, batch: pa.RecordBatch) -> pa.Array:
        return self.module.encode_many(batch, **self.options)

    def _pieces(self, batch: pa.RecordBatch, starts: Int64s) -> pa.Array:
        """Return one value for each start."""
        options = self.options
        if self.text and not options.get("header"):
            text = self.module.encode(batch, **options)
            begins, ends = spans(text, quote=b'"' if hasattr(self.module, "preamble") else b"")
            if len(begins) == batch.num_rows:
                return _cut(text, begins[starts], ends[np.append(starts[1:], batch.num_rows) - 1])
        stops = np.append(starts[1:], batch.num_rows)
        parts = [batch.slice(a, b - a) for a, b in zip(starts.tolist(), stops, strict=True)]
        if hasattr(self.module, "encode_into") and not options:
            return self._written(parts)
        return _joined([self.module.encode(part, **options) for part in parts])

    def _written(self, parts: list[pa.RecordBatch]) -> pa.Array:
        """Return one value for each part, written where it stays; its size is asked first."""
        sizes = pa.MockOutputStream()
        ends = [0]
        for part in parts:
            self.module.encode_into(part, sizes)
            ends.append(sizes.size())
        memory = pa.py_buffer(self._memory.take(ends[-1]))
        out = pa.FixedSizeBufferWriter(memory)
        for part in parts:
            self.module.encode_into(part, out)
        return _values_of(ends, memory)


def dictionaries(messages: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return messages as `confluent_kafka.Producer` takes them: what is not there is left out."""
    columns: dict[str, list[Any]] = {"value": messages.column(0).to_pylist()}
    for name in MESSAGES.names[1:]:
        array = messages.column(messages.schema.get_field_index(name))
        if array.null_count < len(array):
            columns[name] = array.to_pylist()
    if list(columns) == ["value"]:
        return [{"value": v} for v in columns["value"]]
    if list(columns) == ["value", "key"]:
        return [{"value": v, "key": k} for v, k in zip(columns["value"], columns["key"], strict=True)]
    made = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for message in made:
        if message.get("headers") is not None:
            message["headers"] = [(h["name"], h["value"]) for h in message["headers"]]
    return [{k: v for k, v in m.items() if v is not None or k == "value"} for m in made]


def _joined(pieces: list[bytes]) -> pa.Array:
    """Return an array of large values, of which each is copied once."""
    return _values_of(np.cumsum([0, *map(len, pieces)]).tolist(), pa.py_buffer(b"".join(pieces)))


def _values_of(ends: list[int], memory: pa.Buffer) -> pa.Array:
    buffers = [None, pa.array(ends, pa.int64()).buffers()[1], memory]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends) - 1, buffers)


def _cut(text: bytes, begins: Int64s, ends: Int64s) -> pa.Array:
    """Return pieces of a text that follow each other, without what stands between them."""
    if not len(begins) or len(text) != ends[-1] + 1 or not np.array_equal(begins[1:], ends[:-1] + 1):
        return pa.array([text[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)], pa.large_binary())
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(),
        len(begins),
        [None, pa.py_buffer(np.append(begins, ends[-1] + 1).tobytes()), pa.py_buffer(text)],
    )
    return pc.binary_slice(whole, 0, -1)  # each still has the line break that ends it


def _codes(columns: Mapping[str, pa.Array]) -> Int64s:
    """Return a number for each row that is the same where all of the columns are."""
    codes = np.zeros(len(next(iter(columns.values()))), np.int64)
    for array in columns.values():
        if pa.types.is_list(array.type):
            array = pa.array([str(v) for v in array.to_pylist()])
        encoded = array.dictionary_encode(null_encoding="encode")
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return codes


def _can(what: str, kind: pa.DataType) -> bool:
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if what == "timestamp":
        return bool(types.is_timestamp(kind))
    if what == "partition":
        return bool(types.is_integer(kind))
    if what == "headers":
        return bool(types.is_map(kind) or types.is_struct(kind))
    return not types.is_nested(kind)


def _headers(array: pa.Array) -> pa.Array:
    """Return headers from a column that is a map, or a struct whose fields are the headers."""
    found: list[list[dict[str, Any]] | None] = []
    for value in array.to_pylist():
        pairs = value.items() if isinstance(value, dict) else value or ()
        found.append([{"name": str(k), "value": _bytes(v)} for k, v in pairs])
    return pa.array(found, HEADERS)


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else str(value).encode()

"""``format="arrow"``: Arrow IPC, the stream form in memory and on the wire, the file form on disk.

`encode` writes a stream (schema, dictionaries, batches); `decode` reads streams and whole files of either
form. Bytes from elsewhere are not believed: every batch is validated in full before anybody looks at its
values. A stream that breaks off gives the batches before the break and one `BadInput` for the rest. The
layout is that of the Arrow Columnar Format, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import DataError, SchemaError, near_names
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["SUFFIXES", "decode", "encode", "encode_into", "file_schema", "infer", "open_file", "open_writer"]

SUFFIXES = (".arrow", ".arrows", ".feather", ".ipc")
_FILE_MAGIC = b"ARROW1"
_BROKEN = (pa.ArrowException, OSError, EOFError, ValueError, KeyError, MemoryError)


def encode(batch: pa.RecordBatch) -> bytes:
    """Return a batch as an Arrow IPC stream.

    Examples
    --------
    >>> data = encode(pa.record_batch({"a": [1, 2]}))
    >>> decode(data).batch.to_pydict()
    {'a': [1, 2]}
    """
    sink = pa.BufferOutputStream()
    encode_into(batch, sink)
    return bytes(sink.getvalue())


def encode_into(batch: pa.RecordBatch, out: pa.NativeFile) -> None:
    """Write a batch as an Arrow IPC stream, for whoever has the memory already.

    Examples
    --------
    >>> batch, size, memory = pa.record_batch({"a": [1, 2]}), pa.MockOutputStream(), pa.allocate_buffer(1000)
    >>> encode_into(batch, size)
    >>> encode_into(batch, pa.FixedSizeBufferWriter(memory))
    >>> memory[: size.size()].to_pybytes() == encode(batch)
    True
    """
    with pa.ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(batch)


def decode(data: bytes | memoryview, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the events of an Arrow IPC stream or file.

    Parameters
    ----------
    data
        A stream, or the whole of a file.
    schema
        Columns wanted, by name, and their types (converted without loss or not at all); left out: all as
        they are.
    where
        What the data is called in the positions of what could not be read.

    Returns
    -------
    All batches as one, without a copy when there is one; and what could not be read.

    Raises
    ------
    DataError
        This is not Arrow IPC, or its schema cannot be read.
    SchemaError
        A column of `schema` is missing.

    Examples
    --------
    >>> data = encode(pa.record_batch({"a": [1, 2], "b": [0.5, 0.25]}))
    >>> decode(data, schema=pa.schema([("a", pa.int16())])).batch.to_pydict()
    {'a': [1, 2]}
    >>> decode(data[:-100]).bad[0].reason[:7]
    'Expecte'
    """
    buffer = pa.py_buffer(data)
    reader, is_file = _open(buffer, where)
    wanted = reader.schema if schema is None else schema
    _check_columns(reader.schema, wanted, where)
    good: list[pa.RecordBatch] = []
    bad: list[BadInput] = []
    number = 0
    while not is_file or number < reader.num_record_batches:
        try:
            batch = reader.get_batch(number) if is_file else reader.read_next_batch()
            batch.validate(full=True)
            good.append(_convert(batch, wanted))
        except StopIteration:
            break
        except _BROKEN as error:
            bad.append(
                BadInput(bytes(data) if not good else b"", f"{where and where + ': '}batch {number}", str(error))
            )
            if not is_file:
                break  # nothing says where the next message of a broken stream begins
        number += 1
    return Decoded(concat(good) if good else empty(wanted), tuple(bad))


def _open(buffer: pa.Buffer, where: str) -> tuple[Any, bool]:
    is_file = bytes(buffer[: len(_FILE_MAGIC)]) == _FILE_MAGIC
    try:
        reader = pa.ipc.open_file(buffer) if is_file else pa.ipc.open_stream(buffer)
        _check_schema(reader.schema)
    except _BROKEN as error:
        msg = f"{where or 'the data'} cannot be read as Arrow IPC: {error}"
        raise DataError(msg, hint="is it another format, or was the file not finished?") from None
    return reader, is_file


def _check_schema(schema: pa.Schema) -> None:
    """Raise what is wrong with a schema from elsewhere, before an array is made of it.

    Names that are not UTF-8 show only when they are looked at, types that Python has no arrays for only when one is
    made, and a union of no types ends the process then.
    """
    fields = list(schema)
    while fields:
        field = fields.pop()
        _, kind = field.name, field.type
        if pa.types.is_union(kind) and not kind.num_fields:
            msg = f"column {field.name!r} is a union of no types"
            raise ValueError(msg)
        if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            fields.append(pa.field("values", kind.value_type))
        fields += [kind.field(i) for i in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    empty(schema)


def _check_columns(found: pa.Schema, wanted: pa.Schema, where: str) -> None:
    for name in wanted.names:
        if found.get_field_index(name) < 0:
            msg = f"{where or 'the data'} has no column {name!r}"
            raise SchemaError(msg, hint=near_names(name, found.names))


def _convert(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(wanted):
        return batch
    columns = []
    for field in wanted:
        values = batch.column(batch.schema.get_field_index(field.name))
        try:
            columns.append(values if values.type == field.type else pc.cast(values, field.type))
        except pa.ArrowException as error:
            msg = f"column {field.name!r}: {error}"
            raise ValueError(msg) from None
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def infer(data: bytes, **options: Any) -> pa.Schema:
    """Return the schema that the first bytes of a stream or file declare.

    Raises
    ------
    DataError
        They are not the beginning of Arrow IPC.

    Examples
    --------
    >>> infer(encode(pa.record_batch({"a": [1]})))
    a: int64
    """
    skip = 8 if data[: len(_FILE_MAGIC)] == _FILE_MAGIC else 0  # a file is a stream between two magic words
    reader, _ = _open(pa.py_buffer(data[skip:]), "")
    return reader.schema


def file_schema(path: str | PathLike[str]) -> pa.Schema:
    """Return the schema of a file.

    Raises
    ------
    DataError
        It is not Arrow IPC.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "x.arrow"
    >>> _ = path.write_bytes(encode(pa.record_batch({"a": [1]})))
    >>> file_schema(path)
    a: int64
    """
    with pa.memory_map(str(path)) as file:
        return _open_path(file, path)[0].schema


def _open_path(file: pa.MemoryMappedFile, path: str | PathLike[str]) -> tuple[Any, bool]:
    is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    file.seek(0)
    try:
        reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        _check_schema(reader.schema)
    except _BROKEN as error:
        msg = f"{path} cannot be read as Arrow IPC: {error}"
        raise DataError(msg, hint="is it another format, or was the file not finished?") from None
    return reader, is_file


def open_file(
    path: str | PathLike[str], *, schema: pa.Schema | None = None, start: int = 0, batch_rows: int = 1 << 16
) -> Iterator[pa.RecordBatch]:
    """Return the batches of a file (of the file or the stream form), from row `start` on.

    Parameters
    ----------
    path
        The file; it is mapped, not read into memory.
    schema
        Columns wanted and their types; left out: all.
    start
        Rows to leave out.
    batch_rows
        Most rows of a batch.

    Raises
    ------
    DataError
        It is not Arrow IPC, or a batch is damaged or cannot be converted.
    SchemaError
        A column of `schema` is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "x.arrow"
    >>> _ = path.write_bytes(encode(pa.record_batch({"a": [1, 2, 3]})))
    >>> [batch.column(0).to_pylist() for batch in open_file(path, start=1, batch_rows=1)]
    [[2], [3]]
    """
    with pa.memory_map(str(path)) as file:
        reader, is_file = _open_path(file, path)
        wanted = reader.schema if schema is None else schema
        _check_columns(reader.schema, wanted, str(path))
        number = row = 0
        while not is_file or number < reader.num_record_batches:
            try:
                batch = reader.get_batch(number) if is_file else reader.read_next_batch()
                batch.validate(full=True)
                begin = max(0, start - row)
                row += batch.num_rows
                batch = _convert(batch.slice(begin), wanted)
            except StopIteration:
                return
            except _BROKEN as error:
                msg = f"{path}: batch {number} (row {row}) cannot be read: {error}"
                raise DataError(msg, hint="restore the file from a copy") from None
            number += 1
            for at in range(0, batch.num_rows, batch_rows):
                yield batch.slice(at, batch_rows)


def open_writer(path: str | PathLike[str], schema: pa.Schema) -> Any:
    """Return a writer of a file in the file form: an object with ``write(batch)`` and ``close()``.

    Dictionary-encoded columns are written as their values: a file holds one dictionary for each column, and batches
    bring their own.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "x.arrow"
    >>> batch = pa.record_batch({"a": [1, 2, 3]})
    >>> writer = open_writer(path, batch.schema)
    >>> writer.write(batch)
    >>> writer.close()
    >>> [b.num_rows for b in open_file(path)]
    [3]
    """
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema]
    return _FileWriter(pa.ipc.new_file(str(path), pa.schema(plain, schema.metadata)), pa.schema(plain))


class _FileWriter:
    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write(_convert(batch, self._schema))

    def close(self) -> None:
        self._writer.close()

"""``format="parquet"``: Apache Parquet files, read by row group, written with page checksums.

A file is a container: it can be read once its footer is written, and only whole row groups can be lost. A
row group that is damaged goes to `bad`, the others are kept; a footer that is damaged is a `DataError`.
Checksums of pages are verified where the writer made them (eventide does).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from os import PathLike
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eventide.errors import DataError, SchemaError, near_names
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["SUFFIXES", "ParquetWriter", "decode", "encode", "file_schema", "infer", "open_file", "open_writer"]

SUFFIXES = (".parquet", ".pq")
_BROKEN = (pa.ArrowException, OSError, EOFError, ValueError, KeyError, MemoryError)
_GROUP_ROWS = 1 << 17
_HINT = "is it another format, or was the file not finished?"


def encode(batch: pa.RecordBatch) -> bytes:
    """Return a batch as a Parquet file in memory.

    Examples
    --------
    >>> decode(encode(pa.record_batch({"a": [1, 2]}))).batch.to_pydict()
    {'a': [1, 2]}
    """
    out = io.BytesIO()
    writer = ParquetWriter(out, batch.schema)
    writer.write(batch)
    writer.close()
    return out.getvalue()


def decode(data: bytes | memoryview, *, schema: pa.Schema | None = None, where: str = "") -> Decoded:
    """Return the events of a Parquet file in memory.

    Parameters
    ----------
    data
        The whole file.
    schema
        Columns wanted, by name, and their types (converted without loss or not at all); left out: all.
    where
        What the data is called in the positions of what could not be read.

    Raises
    ------
    DataError
        The footer cannot be read.
    SchemaError
        A column of `schema` is missing.

    Examples
    --------
    >>> data = encode(pa.record_batch({"a": [1, 2], "b": ["x", "y"]}))
    >>> decode(data, schema=pa.schema([("b", pa.string())])).batch.to_pydict()
    {'b': ['x', 'y']}
    """
    file, found = _opened(pa.BufferReader(pa.py_buffer(data)), where or "the data")
    wanted = found if schema is None else schema
    _check_columns(found, wanted, where or "the data")
    good: list[pa.RecordBatch] = []
    bad: list[BadInput] = []
    for group in range(file.num_row_groups):
        try:
            table = file.read_row_group(group, columns=wanted.names, use_threads=False)
            batches = [_converted(b, wanted) for b in table.combine_chunks().to_batches()]
        except _BROKEN as error:
            bad.append(BadInput(b"", f"{where and where + ': '}row group {group}", str(error)))
        else:
            good += batches
    return Decoded(concat(good) if good else empty(wanted), tuple(bad))


def infer(data: bytes, **options: Any) -> pa.Schema:
    """Return the schema in the footer of a whole file.

    Raises
    ------
    DataError
        The footer cannot be read.

    Examples
    --------
    >>> infer(encode(pa.record_batch({"a": [1]})))
    a: int64
    """
    return _opened(pa.BufferReader(pa.py_buffer(data)), "the data")[1]


def file_schema(path: str | PathLike[str]) -> pa.Schema:
    """Return the schema of a file.

    Raises
    ------
    DataError
        The footer cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
    >>> _ = path.write_bytes(encode(pa.record_batch({"a": [1]})))
    >>> file_schema(path)
    a: int64
    """
    with pa.OSFile(str(path)) as opened:
        return _opened(opened, path)[1]


def open_file(
    path: str | PathLike[str], *, schema: pa.Schema | None = None, start: int = 0, batch_rows: int = 1 << 16
) -> Iterator[pa.RecordBatch]:
    """Return the batches of a file from row `start` on; row groups before it are not read.

    Parameters
    ----------
    path
        The file.
    schema
        Columns wanted and their types; left out: all.
    start
        Rows to leave out.
    batch_rows
        Most rows of a batch.

    Raises
    ------
    DataError
        The footer or a row group is damaged, or a column cannot be converted.
    SchemaError
        A column of `schema` is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
    >>> _ = path.write_bytes(encode(pa.record_batch({"a": [1, 2, 3]})))
    >>> [batch.column(0).to_pylist() for batch in open_file(path, start=1, batch_rows=1)]
    [[2], [3]]
    """
    with pa.OSFile(str(path)) as opened:
        file, found = _opened(opened, path)
        wanted = found if schema is None else schema
        _check_columns(found, wanted, path)
        groups, skip = _groups_from(file, start)
        row = start - skip
        try:
            for batch in file.iter_batches(batch_rows, row_groups=groups, columns=wanted.names, use_threads=False):
                row += batch.num_rows
                rest = batch.slice(min(skip, batch.num_rows))
                skip -= batch.num_rows - rest.num_rows
                if rest.num_rows:
                    yield _converted(rest, wanted)
        except _BROKEN as error:
            msg = f"{path}: rows from {row} on cannot be read: {error}"
            raise DataError(msg, hint="restore the file from a copy") from None


def open_writer(path: str | PathLike[str], schema: pa.Schema) -> ParquetWriter:
    """Return a writer of a file: an object with ``write(batch)`` and ``close()``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
    >>> batch = pa.record_batch({"a": [1, 2, 3]})
    >>> writer = open_writer(path, batch.schema)
    >>> writer.write(batch)
    >>> writer.close()
    >>> [b.num_rows for b in open_file(path)]
    [3]
    """
    return ParquetWriter(str(path), schema)


class ParquetWriter:
    """Writes row groups of at least 131,072 rows, however small the batches; made by `open_writer`."""

    def __init__(self, where: Any, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(where, schema, compression="zstd", write_page_checksum=True)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=max(1, self._rows))
            self._waiting, self._rows = [], 0

    def close(self) -> None:
        """Write the rest and the footer."""
        self._flush()
        self._writer.close()


def _opened(where: Any, name: object) -> tuple[pq.ParquetFile, pa.Schema]:
    try:
        file = pq.ParquetFile(where, page_checksum_verification=True)
        schema = file.schema_arrow
        names = schema.names  # a name that is not UTF-8 shows only when it is looked at
    except _BROKEN as error:
        msg = f"{name} cannot be read as Parquet: {error}"
        raise DataError(msg, hint=_HINT) from None
    if len(set(names)) < len(names):
        msg = f"{name} has two columns of one name"
        raise DataError(msg, hint="write it again with other names")
    return file, schema.remove_metadata()


def _groups_from(file: pq.ParquetFile, start: int) -> tuple[list[int], int]:
    """Return the row groups that hold row `start` and those after it, and how many rows of the first to skip."""
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if start < rows:
            return list(range(group, file.num_row_groups)), start
        start -= rows
    return [], start


def _check_columns(found: pa.Schema, wanted: pa.Schema, where: object) -> None:
    for name in wanted.names:
        if found.get_field_index(name) < 0:
            msg = f"{where} has no column {name!r}"
            raise SchemaError(msg, hint=near_names(name, found.names))


def _converted(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    batch.validate(full=True)
    columns = []
    for field in wanted:
        values = batch.column(batch.schema.get_field_index(field.name))
        try:
            columns.append(values if values.type == field.type else pc.cast(values, field.type))
        except pa.ArrowException as error:
            msg = f"column {field.name!r}: {error}"
            raise ValueError(msg) from None
    return pa.RecordBatch.from_arrays(columns, schema=wanted)

"""``format="csv"``: comma-separated values (RFC 4180), with or without a header line.

A row that cannot be read (too few or too many cells, an open quote, a cell that is not of its column's
type, bytes that are not UTF-8) goes to `bad` and costs no other row. An empty cell is null; a quoted empty
cell is the empty text. Quoted line breaks are read with ``multiline=True``; without it every line is a row,
so that one open quote cannot swallow the rows after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from csv import Error as CsvError
from csv import reader
from typing import Any

import polars as pl
import pyarrow as pa

from eventide.errors import DataError, SchemaError, near_names
from eventide.formats._csv_rows import CsvForm, closed, read_rows, read_whole
from eventide.formats._text import infer_type, last_newline, plain, spans
from eventide.model.batch import empty
from eventide.model.protocols import Decoded

__all__ = ["CONTINUATION", "SUFFIXES", "cut", "decode", "encode", "infer", "preamble"]

SUFFIXES = (".csv", ".tsv")
CONTINUATION = {"header": False}
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.9fZ"
_BOM = b"\xef\xbb\xbf"
_SAMPLE_ROWS = 20_000


def decode(
    data: bytes | memoryview,
    *,
    schema: pa.Schema | None = None,
    where: str = "",
    header: bool = True,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    nulls: Sequence[str] = ("",),
    multiline: bool = False,
    offset: int = 0,
) -> Decoded:
    r"""Return the rows of some CSV, and the rows that could not be read.

    Parameters
    ----------
    data
        Whole rows, in UTF-8.
    schema
        The columns wanted, by name, and their types; left out: all columns, with types suggested by the
        first 20,000 rows.
    where
        What the data is called in the positions of bad rows.
    header
        Whether the first line has the names of the columns.
    columns
        The names where there is no header line; left out: those of the schema.
    delimiter
        What stands between two cells, one character.
    nulls
        Unquoted cells that mean null.
    multiline
        Whether a quoted cell may hold line breaks.
    offset
        Where `data` begins in what `where` names, bytes.

    Raises
    ------
    DataError
        The header line cannot be read.
    SchemaError
        The schema has a column that the header has not.

    Examples
    --------
    >>> got = decode(b"t,v\n1,2.5\n2,high\n", schema=pa.schema([("t", pa.int64()), ("v", pa.float64())]))
    >>> got.batch.to_pylist()
    [{'t': 1, 'v': 2.5}]
    >>> print(got.bad[0].position, got.bad[0].reason)
    byte 10 column 'v': 'high' is not double
    """
    data = bytes(data)
    size, rest = preamble(
        data, schema=schema, where=where, header=header, columns=columns, delimiter=delimiter, multiline=multiline
    )
    names: tuple[str, ...] = rest["columns"]
    body = data[size:]
    if not names:
        return Decoded(empty(schema or pa.schema([])))
    if schema is None:
        schema = _suggested(body, names, delimiter=delimiter, nulls=tuple(nulls))
    form = CsvForm(names, schema, delimiter, tuple(nulls), multiline)
    whole = read_whole(body, form)
    return Decoded(whole) if whole is not None else read_rows(body, form, where=where, offset=offset + size)


def preamble(
    data: bytes,
    *,
    schema: pa.Schema | None = None,
    where: str = "",
    header: bool = True,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    **options: Any,
) -> tuple[int, Mapping[str, Any]]:
    r"""Return how many bytes stand before the first row, and the options that `decode` needs for the rest.

    Raises
    ------
    DataError
        The header line cannot be read.
    SchemaError
        The schema has a column that the header has not.

    Examples
    --------
    >>> preamble(b"a,b\n1,2\n")
    (4, {'header': False, 'columns': ('a', 'b')})
    """
    size = len(_BOM) if data.startswith(_BOM) else 0
    names = tuple(columns or ())
    if not names and not data[size:].strip(None if header else b"\r\n"):
        return len(data), {"header": False, "columns": tuple(schema.names if schema else ())}
    if header:
        end = data.find(b"\n", size)
        end = len(data) if end < 0 else end + 1
        names = tuple(columns or _cells(data[size:end], delimiter))
        size = end
        if len(set(names)) < len(names) or not names:
            msg = f"the header line of {where or 'the data'} cannot be read: {data[:80]!r}"
            raise DataError(msg, hint="pass header=False and columns=[...] where the file has no header")
    elif not names:
        names = tuple(schema.names) if schema else tuple(f"f{i}" for i in range(len(_cells(data[size:], delimiter))))
    for name in schema.names if schema else ():
        if name not in names:
            msg = f"{where or 'the data'} has no column {name!r}"
            raise SchemaError(msg, hint=near_names(name, names))
    return size, {"header": False, "columns": names}


def infer(
    data: bytes,
    *,
    header: bool = True,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    nulls: Sequence[str] = ("",),
    **options: Any,
) -> pa.Schema:
    r"""Return the schema that the first 20,000 rows suggest.

    Examples
    --------
    >>> infer(b"a,b\n1,x\n").field("a").type
    DataType(int64)
    """
    size, rest = preamble(data, header=header, columns=columns, delimiter=delimiter)
    return _suggested(data[size:], rest["columns"], delimiter=delimiter, nulls=tuple(nulls))


def cut(data: bytes, *, multiline: bool = False, **options: Any) -> int:
    r"""Return how many bytes of `data` are whole rows.

    Examples
    --------
    >>> cut(b"1,2\n3,")
    4
    """
    if not multiline or b'"' not in data:
        return last_newline(data)
    if data.endswith(b"\n") and closed(data):
        return len(data)
    return int(spans(data, quote=b'"')[0][-1])


def encode(batch: pa.RecordBatch, *, header: bool = True, delimiter: str = ",") -> bytes:
    r"""Return a batch as CSV.

    Text is quoted where it must be, times are ISO 8601 in UTC, bytes base64, null is an empty cell.

    Raises
    ------
    SchemaError
        A column is nested.

    Examples
    --------
    >>> encode(pa.record_batch({"a": [1, None], "b": ["x", ""]}))
    b'a,b\n1,x\n,""\n'
    """
    flat = plain(batch, nested=False, what="csv")
    if not flat.num_columns:
        return b""
    text = pl.DataFrame(flat).write_csv(include_header=header, separator=delimiter, datetime_format=_TIME_FORMAT)
    return text.encode()


def _cells(line: bytes, delimiter: str) -> list[str]:
    """Return the cells of the first row as text; none where it cannot be read."""
    line = line.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        return []
    try:
        return next(reader([line.decode("utf-8")], delimiter=delimiter, strict=True))
    except (CsvError, UnicodeDecodeError):
        return []


def _suggested(body: bytes, names: tuple[str, ...], *, delimiter: str, nulls: tuple[str, ...]) -> pa.Schema:
    _, ends = spans(body)
    sample = body[: int(ends[min(len(ends), _SAMPLE_ROWS) - 1]) + 2] if len(ends) else b""
    text = pa.schema([(n, pa.string()) for n in names])
    batch = read_rows(sample, CsvForm(names, text, delimiter, nulls, False), where="", offset=0).batch
    return pa.schema([(n, infer_type(batch.column(i))) for i, n in enumerate(names)])

"""``format="csv"``: comma-separated values (RFC 4180), with or without a header line.

A row that cannot be read (too few or too many cells, an open quote, a cell that is not of its column's
type, bytes that are not UTF-8) goes to `bad` and costs no other row. An empty cell is null; a quoted empty
cell is the empty text. Quoted line breaks are read with ``multiline=True``; without it every line is a row,
so that one open quote cannot swallow the rows after it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from csv import Error as CsvError
from csv import reader
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from eventide.errors import DataError, SchemaError, near_names
from eventide.formats._text import broken_utf8, infer_type, last_newline, parse, plain, spans
from eventide.model.batch import empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["CONTINUATION", "SUFFIXES", "cut", "decode", "encode", "infer", "preamble"]

SUFFIXES = (".csv", ".tsv")
CONTINUATION = {"header": False}
_BOM = b"\xef\xbb\xbf"
_SAMPLE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class _Form:
    columns: tuple[str, ...]
    schema: pa.Schema
    delimiter: str
    nulls: tuple[str, ...]
    multiline: bool


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
        first thousand rows.
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
    form = _Form(names, schema, delimiter, tuple(nulls), multiline)
    whole = _read_whole(body, form)
    return Decoded(whole) if whole is not None else _read_rows(body, form, where=where, offset=offset + size)


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
    if not names and not data[size:].strip():
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
    r"""Return the schema that the first thousand rows suggest.

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
    if data.endswith(b"\n") and _closed(data):
        return len(data)
    return int(spans(data, quote=b'"')[0][-1])


def encode(batch: pa.RecordBatch, *, header: bool = True, delimiter: str = ",") -> bytes:
    r"""Return a batch as CSV: text quoted, times in ISO 8601 with UTC, bytes in base64, null as an empty cell.

    Raises
    ------
    SchemaError
        A column is nested.

    Examples
    --------
    >>> encode(pa.record_batch({"a": [1, None], "b": ["x", ""]}))
    b'"a","b"\n1,"x"\n,""\n'
    """
    out = io.BytesIO()
    arrow_csv.write_csv(
        plain(batch, nested=False, what="csv"),
        out,
        arrow_csv.WriteOptions(include_header=header, delimiter=delimiter, quoting_style="needed"),
    )
    return out.getvalue()


def _closed(record: bytes) -> bool:
    return record.count(b'"') % 2 == 0


def _quotes_pair_up(body: bytes) -> bool:
    """Tell whether every line has an even number of quotes."""
    if b'"' not in body:
        return True
    return _closed(body) and len(spans(body, quote=b'"')[0]) == len(spans(body)[0])


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
    batch = _read_rows(sample, _Form(names, text, delimiter, nulls, False), where="", offset=0).batch
    return pa.schema([(n, infer_type(batch.column(i))) for i, n in enumerate(names)])


def _read_whole(body: bytes, form: _Form) -> pa.RecordBatch | None:
    """Return all rows, or None where some row cannot be read that way.

    Every line must give exactly one row: a quote that swallows a line break, or a lone carriage return
    that the parser takes for one, shows in the number of rows.
    """
    if not body or (body.isspace() and len(form.columns) > 1):
        return empty(form.schema)
    if form.multiline or (b"\r" in body and body.count(b"\r") != body.count(b"\r\n")) or not _quotes_pair_up(body):
        return None
    direct = {f.name: f.type if _is_direct(f.type) else pa.string() for f in form.schema}
    read = _parse_rows(body, form, direct)
    if read is None or read.num_rows != _records(body, form):
        return None
    arrays = []
    for field in form.schema:
        cells = read.column(field.name)
        values, bad = (cells, None) if cells.type == field.type else parse(cells, field.type)
        if bad is not None and bad.any():
            return None
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=form.schema)


def _is_direct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _records(body: bytes, form: _Form) -> int:
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    if len(form.columns) == 1 or not (b"\n\n" in body or b"\n\r\n" in body or body[:1] in (b"\n", b"\r")):
        return lines
    starts, ends = spans(body)
    return int(np.count_nonzero(ends > starts))


def _parse_rows(
    body: bytes, form: _Form, types: Mapping[str, pa.DataType], *, wrong: list[int] | None = None
) -> pa.RecordBatch | None:
    """Return the rows as the given types; None where that fails. `wrong` collects rows with a wrong count of cells."""

    def skip(row: Any) -> str:
        if wrong is not None:
            wrong.append(row.number)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            io.BytesIO(body),
            arrow_csv.ReadOptions(column_names=form.columns, use_threads=False, block_size=len(body) + 1),
            arrow_csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if b'"' in body else False,
                newlines_in_values=form.multiline,
                ignore_empty_lines=len(form.columns) > 1,
                invalid_row_handler=None if wrong is None else skip,
            ),
            arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=form.schema.names,
                null_values=form.nulls,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError, OverflowError):
        return None
    combined = table.combine_chunks().to_batches()
    return combined[0] if combined else empty(table.schema)


def _read_rows(body: bytes, form: _Form, *, where: str, offset: int) -> Decoded:
    """Return what can be read, row by row where it must be."""
    starts, ends = spans(body, quote=b'"' if form.multiline else b"")
    if form.multiline and len(starts) and not _closed(body[starts[-1] :]):
        tail = int(starts[-1])  # a quote that is never closed: from here on every line is a row
        more, last = spans(body[tail:])
        starts, ends = np.append(starts[:-1], more + tail), np.append(ends[:-1], last + tail)
    lines = [body[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    bad: dict[int, str] = {}
    for i, broken in enumerate(broken_utf8(lines)):
        if broken:
            bad[i] = "not UTF-8"
        elif not _closed(lines[i]):
            bad[i] = "a quote is not closed on this line (multiline=True reads quoted line breaks)"
    kept = [i for i, line in enumerate(lines) if i not in bad and (line or len(form.columns) == 1)]
    text = pa.schema([(f.name, pa.string()) for f in form.schema])
    pieces: list[pa.RecordBatch] = []
    good: list[int] = []
    _isolate(lines, kept, form=form, into=(pieces, good, bad))
    batch = pa.concat_batches(pieces) if pieces else empty(text)
    batch = _converted(batch, form, good=good, bad=bad)
    at = where and f"{where}: "
    found = (BadInput(lines[i], f"{at}byte {offset + int(starts[i])}", bad[i]) for i in sorted(bad))
    return Decoded(batch, tuple(found))


def _isolate(
    lines: list[bytes],
    indexes: list[int],
    *,
    form: _Form,
    into: tuple[list[pa.RecordBatch], list[int], dict[int, str]],
) -> None:
    """Read lines as text; where their rows do not add up, halve them until the faulty line stands alone."""
    pieces, good, bad = into
    stack = [indexes]
    types = dict.fromkeys(form.schema.names, pa.string())
    while stack:
        part = stack.pop()
        if not part:
            continue
        wrong: list[int] = []
        body = b"\n".join([lines[i] for i in part]) + b"\n"
        batch = _parse_rows(body, form, types, wrong=wrong)
        if batch is not None and batch.num_rows + len(wrong) == len(part):
            out = {n - 1 for n in wrong}
            bad |= {part[n]: f"not {len(form.columns)} cells" for n in out}
            good += [i for n, i in enumerate(part) if n not in out]
            pieces.append(batch)
        elif len(part) == 1:
            bad[part[0]] = "not one row of cells"
        else:
            stack += [part[len(part) // 2 :], part[: len(part) // 2]]


def _converted(batch: pa.RecordBatch, form: _Form, *, good: list[int], bad: dict[int, str]) -> pa.RecordBatch:
    arrays = []
    keep = np.ones(batch.num_rows, np.bool_)
    for field in form.schema:
        cells = batch.column(field.name)
        values, wrong = parse(cells, field.type)
        for row in np.flatnonzero(wrong & keep).tolist():
            bad[good[row]] = f"column {field.name!r}: {cells[row].as_py()!r:.80} is not {field.type}"
        keep &= ~wrong
        arrays.append(values)
    whole = pa.RecordBatch.from_arrays(arrays, schema=form.schema)
    return whole if keep.all() else whole.filter(pa.array(keep))

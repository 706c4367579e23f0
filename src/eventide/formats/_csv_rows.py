"""Rows of CSV: all at once where that can be trusted, else every faulty one found and kept apart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from eventide.formats._text import broken_utf8, parse, spans
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["CsvForm", "closed", "read_rows", "read_whole"]


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How rows are written: names of the cells, columns wanted, delimiter, null words, quoted line breaks."""

    columns: tuple[str, ...]
    schema: pa.Schema
    delimiter: str
    nulls: tuple[str, ...]
    multiline: bool


def closed(record: bytes) -> bool:
    """Tell whether the quotes of some text pair up."""
    return record.count(b'"') % 2 == 0


def _quotes_pair_up(body: bytes) -> bool:
    """Tell whether every line has an even number of quotes."""
    if b'"' not in body:
        return True
    return closed(body) and len(spans(body, quote=b'"')[0]) == len(spans(body)[0])


def read_whole(body: bytes, form: CsvForm) -> pa.RecordBatch | None:
    """Return all rows, or None where some row cannot be read that way.

    Every line must give exactly one row: a quote that swallows a line break, or a lone carriage return
    that the parser takes for one, shows in the number of rows.
    """
    if not body or (len(form.columns) > 1 and not body.strip(b"\r\n")):
        return empty(form.schema)
    if form.multiline or (b"\r" in body and body.count(b"\r") != body.count(b"\r\n")) or not _quotes_pair_up(body):
        return None
    direct = {f.name: f.type if _is_direct(f.type) else pa.string() for f in form.schema}
    read = _parse_rows(body, form, direct)
    if read is None or not _adds_up(read.num_rows, body, form):
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


def _adds_up(rows: int, body: bytes, form: CsvForm) -> bool:
    """Tell whether there are as many rows as lines (lines that are not empty, where a row has several cells)."""
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    if rows == lines or len(form.columns) == 1:
        return rows == lines
    starts, ends = spans(body)
    return rows == int(np.count_nonzero(ends > starts))


def _parse_rows(
    body: bytes, form: CsvForm, types: Mapping[str, pa.DataType], *, wrong: list[int] | None = None
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


def read_rows(body: bytes, form: CsvForm, *, where: str, offset: int) -> Decoded:
    """Return what can be read, row by row where it must be."""
    starts, ends = spans(body, quote=b'"' if form.multiline else b"")
    if form.multiline and len(starts) and not closed(body[starts[-1] :]):
        tail = int(starts[-1])  # a quote that is never closed: from here on every line is a row
        more, last = spans(body[tail:])
        starts, ends = np.append(starts[:-1], more + tail), np.append(ends[:-1], last + tail)
    lines = [body[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    bad: dict[int, str] = {}
    for i, broken in enumerate(broken_utf8(lines)):
        if broken:
            bad[i] = "not UTF-8"
        elif not closed(lines[i]):
            bad[i] = "a quote is not closed on this line (multiline=True reads quoted line breaks)"
    kept = [i for i, line in enumerate(lines) if i not in bad and (line or len(form.columns) == 1)]
    text = pa.schema([(f.name, pa.string()) for f in form.schema])
    pieces: list[pa.RecordBatch] = []
    good: list[int] = []
    _isolate(lines, kept, form=form, into=(pieces, good, bad))
    batch = concat(pieces) if pieces else empty(text)
    batch = _converted(batch, form, good=good, bad=bad)
    at = where and f"{where}: "
    found = (BadInput(lines[i], f"{at}byte {offset + int(starts[i])}", bad[i]) for i in sorted(bad))
    return Decoded(batch, tuple(found))


def _isolate(
    lines: list[bytes],
    indexes: list[int],
    *,
    form: CsvForm,
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


def _converted(batch: pa.RecordBatch, form: CsvForm, *, good: list[int], bad: dict[int, str]) -> pa.RecordBatch:
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

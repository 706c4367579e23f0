r"""``format="json"``: JSON lines, one object a line (RFC 8259, and the tokens NaN, Infinity and -Infinity).

A line that cannot be read (not JSON, not one object, a value that is not of its column's type, a name
twice, bytes that are not UTF-8) goes to `bad` and costs no other line. A missing member is null, members
that the schema does not have are passed over. Numbers keep their digits: an integer that its column cannot
hold is a bad line, never a rounded one. Times are ISO 8601 text, bytes base64.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from json import dumps
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json

from eventide.errors import SchemaError
from eventide.formats._json_schema import infer
from eventide.formats._text import last_newline, parse, plain, spans, wire_type
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["SUFFIXES", "cut", "decode", "encode", "infer"]

SUFFIXES = (".jsonl", ".ndjson", ".json")
_MANY_LINES, _SLOW_LINES = 4096, 128
_ROW = re.compile(r" in row (\d+)$")
_OPEN, _CLOSE = ord("{"), ord("}")


def decode(data: bytes | memoryview, *, schema: pa.Schema | None = None, where: str = "", offset: int = 0) -> Decoded:
    r"""Return the events of some JSON lines, and the lines that could not be read.

    Parameters
    ----------
    data
        Whole lines, in UTF-8.
    schema
        The members wanted and their types; left out: all members of the first 10,000 lines, with the types
        found there.
    where
        What the data is called in the positions of bad lines.
    offset
        Where `data` begins in what `where` names, bytes.

    Raises
    ------
    SchemaError
        A type that JSON cannot hold is asked for.

    Examples
    --------
    >>> got = decode(b'{"a": 1}\n{"a": "x"}\n{"a": 3', schema=pa.schema([("a", pa.int64())]))
    >>> got.batch.to_pylist()
    [{'a': 1}]
    >>> [(b.position, b.data) for b in got.bad]
    [('byte 9', b'{"a": "x"}'), ('byte 20', b'{"a": 3')]
    """
    data = bytes(data)
    if schema is None:
        schema = infer(data)
    wire = pa.schema([(f.name, wire_type(f.type)) for f in schema])
    whole = _read_whole(data, wire)
    if whole is not None:
        typed, wrong = _typed(whole, schema)
        if not wrong:
            return Decoded(typed)
    return _read_lines(data, schema, wire=wire, where=where, offset=offset)


def cut(data: bytes, **options: Any) -> int:
    r"""Return how many bytes of `data` are whole lines.

    Examples
    --------
    >>> cut(b'{"a": 1}\n{"a"')
    9
    """
    return last_newline(data)


def encode(batch: pa.RecordBatch) -> bytes:
    r"""Return a batch as JSON lines: times in ISO 8601 with UTC, bytes in base64, NaN and infinities as in Python.

    Raises
    ------
    SchemaError
        A column holds what JSON cannot.

    Examples
    --------
    >>> encode(pa.record_batch({"a": [1, None], "b": ["x", "y"]}))
    b'{"a":1,"b":"x"}\n{"a":null,"b":"y"}\n'
    """
    for field in batch.schema:
        if pa.types.is_nested(field.type) and not _is_plain(field.type):
            msg = f"json cannot hold the column {field.name!r} of type {field.type}"
            raise SchemaError(msg, hint="write parquet or arrow, or leave the column out with .select()")
    if not batch.num_rows or not batch.num_columns:
        return b""
    flat = plain(batch, nested=True, what="json")
    written = pl.DataFrame(flat).write_ndjson().encode()
    if all(_is_finite(leaf) for column in flat.columns for leaf in _leaves(column)):
        return written
    # Polars writes what is not finite as null: those lines, and only those, are mended one by one.
    lines = written.split(b"\n")
    odd = [c for c in flat.schema.names if not all(_is_finite(leaf) for leaf in _leaves(flat.column(c)))]
    for i, record in enumerate(pl.DataFrame(flat.select(odd)).to_dicts()):
        if any(_has_odd(v) for v in record.values()):
            whole = msgspec.json.decode(lines[i])
            lines[i] = dumps(_mended(whole, whole | record), separators=(",", ":"), ensure_ascii=False).encode()
    return b"\n".join(lines)


def _is_plain(kind: pa.DataType) -> bool:
    """Tell whether a nested type can be written to JSON and read back."""
    if pa.types.is_struct(kind):
        return all(_is_plain(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_plain(kind.value_type)
    return not pa.types.is_nested(kind) and (wire_type(kind) == kind or pa.types.is_timestamp(kind))


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_nested(array.type):
        parts = array.flatten() if pa.types.is_struct(array.type) else [array.flatten()]
        for part in parts:
            yield from _leaves(part)
    else:
        yield array


def _is_finite(array: pa.Array) -> bool:
    return not pa.types.is_floating(array.type) or pc.all(pc.is_finite(array)).as_py() is not False


def _has_odd(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has_odd(v) for v in inner)


def _mended(written: Any, value: Any) -> Any:
    """Return what was written with the floats of `value` that are not finite in their places."""
    if isinstance(value, float) and not math.isfinite(value):
        return value
    if isinstance(value, dict) and isinstance(written, dict):
        return {k: _mended(w, value[k]) for k, w in written.items()}
    if isinstance(value, list) and isinstance(written, list):
        return [_mended(w, v) for w, v in zip(written, value, strict=True)]
    return written


def _read_whole(data: bytes, wire: pa.Schema) -> pa.RecordBatch | None:
    """Return all lines, or None where some line cannot be read that way.

    Every line must begin and end as an object and give one event: two objects on a line, an object over
    two lines or a byte that ends the text too soon show in the number of events.
    """
    starts, ends = spans(data)
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return empty(wire)
    octets = np.frombuffer(data, np.uint8)
    if not ((octets[starts] == _OPEN) & (octets[ends - 1] == _CLOSE)).all():
        return None
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return None
    batch, _ = _parsed(data, wire)
    return batch if batch is not None and batch.num_rows == len(starts) else None


def _parsed(data: bytes, wire: pa.Schema) -> tuple[pa.RecordBatch | None, str]:
    try:
        table = arrow_json.read_json(
            io.BytesIO(data),
            arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            arrow_json.ParseOptions(explicit_schema=wire, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowNotImplementedError as error:
        msg = f"json cannot hold one of the types asked for: {error}"
        raise SchemaError(msg, hint="declare the column as text, or use parquet or arrow") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        return None, str(error).removeprefix("JSON parse error: ")
    batches = table.combine_chunks().to_batches()
    return (batches[0] if batches else empty(wire)), ""


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Return the columns as the types asked for, and the rows where that fails."""
    arrays = []
    wrong: dict[int, str] = {}
    for field in schema:
        cells = batch.column(field.name)
        if cells.type == field.type:
            values = cells
        elif pa.types.is_string(cells.type):
            values, bad = parse(cells, field.type)
            for row in np.flatnonzero(bad).tolist():
                wrong.setdefault(row, f"column {field.name!r}: {cells[row].as_py()!r:.80} is not {field.type}")
        else:
            values = (cells.dictionary_encode() if pa.types.is_dictionary(field.type) else cells).cast(field.type)
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=schema), wrong


def _read_lines(data: bytes, schema: pa.Schema, *, wire: pa.Schema, where: str, offset: int) -> Decoded:
    """Return what can be read, line by line where it must be."""
    starts, ends = spans(data)
    lines = {a: data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True) if data[a:b].strip()}
    bad: dict[int, str] = {a: reason for a, line in lines.items() if (reason := _fault(line))}
    kept = [a for a in lines if a not in bad]
    pieces: list[pa.RecordBatch] = []
    good: list[int] = []
    stack = [kept[i : i + _MANY_LINES] for i in range(0, len(kept), _MANY_LINES)][::-1]
    while stack:
        part = stack.pop()
        if not part:
            continue
        batch, reason = _parsed(b"\n".join([lines[a] for a in part]), wire)
        if batch is not None and batch.num_rows == len(part):
            pieces.append(batch)
            good += part
        elif len(part) == 1:
            bad[part[0]] = _ROW.sub("", reason) or "not one JSON object on the line"
        elif len(part) > _SLOW_LINES:
            stack += [part[i : i + _SLOW_LINES] for i in range(0, len(part), _SLOW_LINES)][::-1]
        else:
            # The parser says which row it stumbled over; it is believed where that line fails alone as well.
            row = int(found[1]) if (found := _ROW.search(reason)) else -1
            if 0 <= row < len(part) and _parsed(lines[part[row]], wire)[0] is None:
                bad[part[row]] = _ROW.sub("", reason)
                stack.append(part[:row] + part[row + 1 :])
            else:
                stack += [part[len(part) // 2 :], part[: len(part) // 2]]
    batch, wrong = _typed(concat(pieces) if pieces else empty(wire), schema)
    if wrong:
        bad |= {good[row]: reason for row, reason in wrong.items()}
        keep = np.ones(batch.num_rows, np.bool_)
        keep[list(wrong)] = False
        batch = batch.filter(pa.array(keep))
    at = where and f"{where}: "
    return Decoded(batch, tuple(BadInput(lines[a], f"{at}byte {offset + a}", bad[a]) for a in sorted(bad)))


def _fault(line: bytes) -> str:
    """Say what is wrong with the syntax of a line, where that is certain; the parser has the last word."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    text = line.strip()
    if text[0] != _OPEN or text[-1] != _CLOSE:
        return "not one JSON object on the line"
    if b"NaN" in line or b"Inf" in line:
        return ""
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        return f"not JSON: {error}"
    except RecursionError:
        return ""
    return ""

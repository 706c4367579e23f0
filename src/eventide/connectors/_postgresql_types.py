"""Arrow types in PostgreSQL: how a column is declared, which declared types keep its values, rows as CSV for COPY."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv

from eventide.connectors._sql_columns import Column, as_whole, exact, four_digit_years, refuse

__all__ = ["as_csv", "declared", "fits", "plain"]

# Decimal digits of an integer type; the narrowest type of PostgreSQL that holds all of its values.
_INTEGERS = {
    "int8": (3, "smallint"),
    "uint8": (3, "smallint"),
    "int16": (5, "smallint"),
    "uint16": (5, "integer"),
    "int32": (10, "integer"),
    "uint32": (10, "bigint"),
    "int64": (19, "bigint"),
    "uint64": (20, "numeric(20,0)"),
}
_WIDER = ["smallint", "integer", "bigint"]
_NUMERIC = re.compile(r"numeric(?:\((\d+),(\d+)\))?$")
_TEXT = re.compile(r"(text|character varying(\(\d+\))?|citext|json|jsonb|uuid)$")


def declared(column: Column, *, times: str) -> str:
    """Return the type with which a new table has a column.

    Examples
    --------
    >>> declared(Column("t", "instant", pa.timestamp("ns", "UTC")), times="native")
    'timestamp with time zone'
    """
    if column.kind == "int":
        return _INTEGERS[str(column.type)][1]
    if column.kind == "float":
        return "double precision" if column.type == pa.float64() else "real"
    if column.kind == "decimal":
        return f"numeric({column.type.precision},{column.type.scale})"
    if column.kind == "instant":
        zone = "with" if column.type.tz is not None else "without"
        return "bigint" if times == "ns" else f"timestamp {zone} time zone"
    return {"bool": "boolean", "text": "text", "bytes": "bytea", "date": "date", "duration": "bigint"}[column.kind]


def fits(column: Column, there: str, *, times: str) -> bool:
    """Return whether a column of the declared type `there` keeps every value as it is.

    Examples
    --------
    >>> fits(Column("n", "int", pa.int64()), "integer", times="native")
    False
    """
    ours = declared(column, times=times)
    if there == ours:
        return True
    numeric = _NUMERIC.match(there)
    if column.kind == "text":
        return bool(_TEXT.match(there))
    if column.kind == "float":
        return (ours, there) == ("real", "double precision")
    if column.kind == "decimal" and numeric:
        return _holds(numeric, column.type.precision - column.type.scale, scale=column.type.scale)
    if ours in _WIDER or column.kind == "int":
        digits = _INTEGERS[str(column.type)][0] if column.kind == "int" else 19
        if numeric:
            return _holds(numeric, digits, scale=0)
        return there in _WIDER and ours in _WIDER and _WIDER.index(there) >= _WIDER.index(ours)
    return False


def _holds(numeric: re.Match[str], digits: int, *, scale: int) -> bool:
    if numeric[1] is None:
        return True
    return int(numeric[1]) - int(numeric[2]) >= digits and int(numeric[2]) >= scale


def plain(array: pa.Array, column: Column, *, times: str) -> pa.Array:
    """Return a column as COPY takes it; refuse what the database would round, cut or not take.

    Raises
    ------
    DataError
        A text has a zero character, an instant is finer than microseconds.

    Examples
    --------
    >>> t = pa.array([1_000, None], pa.timestamp("ns", "UTC"))
    >>> plain(t, Column("t", "instant", t.type), times="native").type
    TimestampType(timestamp[us, tz=UTC])
    """
    kind = column.kind
    if kind == "duration" or (kind == "instant" and times == "ns"):
        return as_whole(array, column)
    if kind == "instant":
        hint = "PostgreSQL keeps microseconds: pass times='ns' for whole nanoseconds, or round in the pipeline"
        array = exact(array, column, pa.timestamp("us", array.type.tz), hint=hint)
        four_digit_years(array, column)
        return array.cast(pa.timestamp("us", "UTC" if array.type.tz is not None else None))
    if kind == "text":
        array = array.cast(pa.large_string())
        zeros = pc.fill_null(pc.match_substring(array, "\0"), False)
        if pc.any(zeros).as_py():
            value = repr(array.filter(zeros)[0].as_py()[:40])
            raise refuse(column, value, why="with a zero character", hint="PostgreSQL's text has none: remove it")
        return array
    if kind == "bytes":
        return array.cast(pa.large_binary())
    if kind == "date":
        return array.cast(pa.date32())
    if kind == "float" and column.type == pa.float16():
        return array.cast(pa.float32())
    return array


def as_csv(batch: pa.RecordBatch, there: Mapping[str, str]) -> bytes:
    r"""Return rows as CSV for COPY: text in quotes, null as nothing, bytes in hex.

    Parameters
    ----------
    batch
        Rows that have gone through `plain`.
    there
        The declared type of each column in the table.

    Examples
    --------
    >>> as_csv(pa.record_batch({"n": [1, None], "s": ["a", ""]}), {"n": "bigint", "s": "text"})
    b'1,"a"\n,""\n'
    """
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if array.type == pa.large_binary():
            array = _hex(array)
        elif array.type == pa.float32() and there[name] == "double precision":
            array = array.cast(pa.float64())  # else 0.1 of 32 bits would become another number of 64 bits
        arrays.append(array)
    out = io.BytesIO()
    rows = pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])
    pc_csv.write_csv(rows, out, pc_csv.WriteOptions(include_header=False))
    return out.getvalue()


def _hex(array: pa.Array) -> pa.Array:
    import polars as pl

    text = "\\x" + pl.Series(array).bin.encode("hex")
    return text.to_arrow().cast(pa.large_string())

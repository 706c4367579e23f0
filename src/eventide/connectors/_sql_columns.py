"""Columns of a table in a database: which Arrow types have a place there, and their values made plain.

A value that the database cannot hold exactly is an error that names the column and the value; nothing is
rounded, cut or wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import DataError, SchemaError
from eventide.model.batch import visible

__all__ = ["Column", "Kind", "Times", "as_text_times", "as_whole", "columns_of", "exact", "four_digit_years", "refuse"]

Kind: TypeAlias = Literal["bool", "int", "float", "decimal", "text", "bytes", "instant", "date", "duration"]

Times: TypeAlias = Literal["native", "ns"]
"""How instants are kept: as the database keeps times, or as whole nanoseconds since 1970."""

_EARLIEST, _LATEST = "0001-01-01", "9999-12-31"
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, what kind of value it has, and its Arrow type (of the values, for a dictionary)."""

    name: str
    kind: Kind
    type: pa.DataType


_KINDS: tuple[tuple[Kind, Callable[[Any], bool]], ...] = (
    ("bool", pa.types.is_boolean),
    ("int", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("text", lambda t: str(t) in ("string", "large_string", "string_view")),
    ("bytes", lambda t: str(t) in ("binary", "large_binary", "binary_view") or pa.types.is_fixed_size_binary(t)),
    ("instant", pa.types.is_timestamp),
    ("date", pa.types.is_date),
    ("duration", pa.types.is_duration),
)


def columns_of(schema: pa.Schema, *, where: str) -> tuple[Column, ...]:
    """Return the columns of a schema, without eventide's own.

    Raises
    ------
    SchemaError
        A column has no place in a table: a list, a struct, a map, a time of day.

    Examples
    --------
    >>> [c.kind for c in columns_of(pa.schema([("t", pa.timestamp("ns")), ("n", pa.int8())]), where="here")]
    ['instant', 'int']
    """
    columns = []
    for field in visible(schema):
        inner = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        kind = next((k for k, is_one in _KINDS if is_one(inner)), None)
        if kind is None:
            msg = f"{where}: column {field.name!r} is {field.type}, which has no place in a table"
            raise SchemaError(msg, hint="turn it into numbers or text first, or leave it out with .select(...)")
        columns.append(Column(field.name, kind, inner))
    if not columns:
        msg = f"{where}: there is no column to write"
        raise SchemaError(msg, hint="a table needs at least one column")
    return tuple(columns)


def refuse(column: Column, value: Any, *, why: str, hint: str) -> DataError:
    """Return the error that says which value the database cannot hold."""
    return DataError(f"column {column.name!r} ({column.type}) has the value {value}, {why}", hint=hint)


def exact(array: pa.Array, column: Column, to: pa.DataType, *, hint: str) -> pa.Array:
    """Return an array as another type, where every value has its equal there.

    Raises
    ------
    DataError
        One has not.

    Examples
    --------
    >>> exact(pa.array([1, 2], pa.uint8()), Column("n", "int", pa.uint8()), pa.int64(), hint="").type
    DataType(int64)
    """
    try:
        return array.cast(to)
    except pa.ArrowInvalid as error:
        msg = f"column {column.name!r} ({column.type}) does not fit {to}: {error}"
        raise DataError(msg, hint=hint) from None


def as_whole(array: pa.Array, column: Column) -> pa.Array:
    """Return integers, instants and durations as int64; times in ns.

    Raises
    ------
    DataError
        A value is too large.

    Examples
    --------
    >>> as_whole(pa.array([2], pa.timestamp("s")), Column("t", "instant", pa.timestamp("s"))).to_pylist()
    [2000000000]
    """
    hint = "keep such a column as text or as a floating-point number"
    if column.kind == "instant":
        array = exact(array, column, pa.timestamp("ns", array.type.tz), hint="only 1677 to 2262 fits nanoseconds")
        return array.view(pa.int64())
    if column.kind == "duration":
        return exact(array, column, pa.duration("ns"), hint="only 292 years fit nanoseconds").view(pa.int64())
    return exact(array, column, pa.int64(), hint=hint)


def four_digit_years(array: pa.Array, column: Column) -> None:
    """Refuse instants outside of the years 1 to 9999, which are not written with four digits.

    Raises
    ------
    DataError
        There is one.
    """
    if array.type.unit == "ns" or not len(array) or array.null_count == len(array):
        return
    scale = _UNITS[array.type.unit]
    found = pc.min_max(array.view(pa.int64())).as_py()
    for value in (found["min"], found["max"]):
        if not _FIRST_SECOND <= value // scale <= _LAST_SECOND:
            shown = f"{value} {array.type.unit} since 1970"
            raise refuse(column, shown, why=f"not in {_EARLIEST} to {_LATEST}", hint="write it with times='ns'")


def as_text_times(array: pa.Array, column: Column) -> pa.Array:
    """Return instants as ISO 8601 text, all of one length, so that text order is time order.

    Examples
    --------
    >>> array = pa.array([1_500_000_000], pa.timestamp("ns", "UTC"))
    >>> as_text_times(array, Column("t", "instant", array.type)).to_pylist()
    ['1970-01-01T00:00:01.500000000Z']
    """
    four_digit_years(array, column)
    scale, zone = _UNITS[array.type.unit], array.type.tz is not None
    values = pc.fill_null(array.view(pa.int64()), 0).to_numpy(zero_copy_only=False)
    days, rest = np.divmod(values, 86_400 * scale)
    each, of_row = np.unique(days, return_inverse=True)
    dates = pa.array(each, pa.int32()).view(pa.date32()).cast(pa.string()).to_pylist()
    seconds, fraction = np.divmod(rest, scale)
    digits = len(str(scale)) - 1
    width = 19 + (digits + 1 if digits else 0) + zone
    text = np.empty((len(values), width), np.uint8)
    text[:, :10] = np.array(dates, "S10").view(np.uint8).reshape(-1, 10)[of_row]
    text[:, [10, 13, 16]] = np.frombuffer(b"T::", np.uint8)
    _put_digits(text, 11, seconds // 3600, count=2)
    _put_digits(text, 14, seconds // 60 % 60, count=2)
    _put_digits(text, 17, seconds % 60, count=2)
    if digits:
        text[:, 19] = ord(".")
        _put_digits(text, 20, fraction, count=digits)
    if zone:
        text[:, -1] = ord("Z")
    offsets = pa.py_buffer(np.arange(len(values) + 1, dtype=np.int64) * width)
    made = pa.LargeStringArray.from_buffers(len(values), offsets, pa.py_buffer(text))
    return made if not array.null_count else pc.if_else(array.is_valid(), made, None)


def _put_digits(text: npt.NDArray[np.uint8], at: int, number: npt.NDArray[np.int64], *, count: int) -> None:
    """Write a number, with leading zeros, into `count` columns of characters."""
    for column in range(at + count - 1, at - 1, -1):
        number, digit = np.divmod(number, 10)
        text[:, column] = digit + ord("0")

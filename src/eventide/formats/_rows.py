"""Formats of which one message is one row: fields of a message to columns, and rows to messages.

Numbers keep their values: what a column cannot hold exactly costs its message, which is returned as `BadInput`. The
columns are always the same ones, so that messages of one topic fit together; numbers of any type are float64 unless
the schema that is asked for says otherwise, and a column `type` tells what they are in the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError, near_names
from eventide.formats._flatbuffers import BrokenMessageError, Bytes
from eventide.model.protocols import BadInput, Decoded

__all__ = [
    "RowBatch",
    "decode_rows",
    "encode_row",
    "encode_rows",
    "exactly",
    "ms_to_time",
    "ns_to_time",
    "plain_bytes",
    "type_name",
]

Row = Mapping[str, Any]
Given: TypeAlias = Sequence[Bytes | None] | pa.Array | pa.ChunkedArray

_LIMIT = 2**63
_MILLISECOND = 1_000_000
_MESSAGES = pa.schema([("number", pa.int64()), ("events", pa.int64())])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch(Decoded):
    """The rows of messages; `messages` has the number of each that could be read, and how many rows it has."""

    messages: pa.RecordBatch


def decode_rows(
    messages: Given, known: pa.Schema, read: Callable[[Bytes], Sequence[Row]], *, schema: pa.Schema | None, where: str
) -> RowBatch:
    """Return the rows of messages.

    Parameters
    ----------
    messages
        Messages as bytes, or a binary column of Arrow.
    known
        All columns of the format.
    read
        Makes the rows of one message, or raises `BrokenMessageError`. A list of numbers is an array of numpy.
    schema
        Columns wanted; None: all.
    where
        What the messages are called in positions.
    """
    wanted = known if schema is None else _checked(schema, known)
    columns: list[list[Any]] = [[] for _ in wanted]
    bad: list[BadInput] = []
    read_ones: list[tuple[int, int]] = []
    for number, message in enumerate(messages):
        data = plain_bytes(message)
        try:
            rows = [[_fitting(row[f.name], f) for f in wanted] for row in read(data)]
        except BrokenMessageError as error:
            bad.append(BadInput(bytes(data), f"{where and where + ': '}message {number}", str(error)))
            continue
        read_ones.append((number, len(rows)))
        for row in rows:
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    arrays = [_column(values, f.type) for values, f in zip(columns, wanted, strict=True)]
    numbers = [pa.array([pair[i] for pair in read_ones], pa.int64()) for i in range(2)]
    return RowBatch(
        batch=pa.RecordBatch.from_arrays(arrays, schema=wanted),
        bad=tuple(bad),
        messages=pa.RecordBatch.from_arrays(numbers, schema=_MESSAGES),
    )


def plain_bytes(message: Any) -> Bytes:
    """Return a message as bytes that can be sliced; None and null are no bytes.

    Examples
    --------
    >>> plain_bytes(None), bytes(plain_bytes(pa.scalar(b"x")))
    (b'', b'x')
    """
    if isinstance(message, pa.Scalar):
        buffer = message.as_buffer()
        return b"" if buffer is None else memoryview(buffer)
    if isinstance(message, memoryview):
        return message.cast("B")
    return message or b""


def _checked(schema: pa.Schema, known: pa.Schema) -> pa.Schema:
    for field in schema:
        if field.name not in known.names:
            msg = f"there is no column {field.name!r} in these messages"
            raise SchemaError(msg, hint=near_names(field.name, known.names))
        kind = known.field(field.name).type
        if not _may_be(kind, field.type):
            msg = f"column {field.name!r} is {kind}, and cannot be read as {field.type}"
            raise SchemaError(msg, hint="numbers can be read as other numbers, all else as it is")
    return schema


def _may_be(kind: pa.DataType, other: pa.DataType) -> bool:
    """Tell whether a column of one type can be asked for as another."""
    types = pa.types
    if kind == other:
        return True
    if types.is_large_list(kind) or types.is_list(kind):
        return (types.is_large_list(other) or types.is_list(other)) and _may_be(kind.value_type, other.value_type)
    if types.is_string(kind):
        return bool(types.is_large_string(other))
    return _is_number(kind) and _is_number(other)


def _is_number(kind: pa.DataType) -> bool:
    return bool((pa.types.is_integer(kind) or pa.types.is_floating(kind)) and kind != pa.float16())


def _fitting(value: Any, field: pa.Field) -> Any:
    """Return a value as its column takes it."""
    kind = field.type
    if value is None:
        return None
    if isinstance(value, np.ndarray) and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return exactly(value, kind.value_type, field.name)
    if isinstance(value, np.generic):
        return exactly(np.array([value]), kind, field.name)[0].as_py()
    if isinstance(value, int) and pa.types.is_integer(kind) and not isinstance(value, bool):
        try:
            pa.scalar(value, kind)
        except (pa.ArrowInvalid, OverflowError):
            msg = f"{field.name} {value} does not fit {kind}"
            raise BrokenMessageError(msg) from None
    return value


def exactly(values: npt.NDArray[Any], kind: pa.DataType, what: str) -> pa.Array:
    """Return numbers as an Arrow array of a type, each with the value that it has.

    Raises
    ------
    BrokenMessageError
        The type does not hold one of them.

    Examples
    --------
    >>> exactly(np.array([1, 2], np.int8), pa.float64(), "x").to_pylist()
    [1.0, 2.0]
    """
    native = pa.array(values)
    if native.type == kind:
        return native
    try:
        found = native.cast(kind)
    except pa.ArrowInvalid as error:
        msg = f"{what} ({values.dtype}) does not fit {kind}: {error}"
        raise BrokenMessageError(msg) from None
    if pa.types.is_floating(native.type) and kind != pa.float64():
        again = found.cast(native.type, safe=False).to_numpy(zero_copy_only=False)
        if not np.array_equal(again, values, equal_nan=True):
            msg = f"{what} ({values.dtype}) does not fit {kind} without loss"
            raise BrokenMessageError(msg)
    return found


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return a column; lists of numbers come as arrays and are put one behind the other."""
    large = pa.types.is_large_list(kind)
    if not (large or pa.types.is_list(kind)) or not _is_number(kind.value_type):
        return pa.array(values, kind)
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum([0 if v is None else len(v) for v in values], out=ends[1:])
    parts = [v for v in values if v is not None and len(v)]
    if not large and ends[-1] >= 2**31:
        msg = f"{ends[-1]:,} numbers do not fit a column of {kind}"
        raise SchemaError(msg, hint="ask for a large_list, or decode fewer messages at a time")
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts) if parts else pa.array([], kind.value_type)
    absent = np.array([v is None for v in values], np.bool_)
    bits = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    at = pa.py_buffer(ends if large else ends.astype(np.int32))
    return pa.Array.from_buffers(kind, len(values), [bits, at], children=[whole])


def ns_to_time(value: int, what: str) -> int:
    """Return a time in ns that fits a column of times.

    Examples
    --------
    >>> ns_to_time(5, "timestamp")
    5
    """
    if not -_LIMIT < value < _LIMIT:
        msg = f"its {what} of {value} ns is no time between 1677 and 2262"
        raise BrokenMessageError(msg)
    return value


def ms_to_time(value: int, what: str) -> int:
    """Return a time in ms as ns.

    Examples
    --------
    >>> ms_to_time(5, "start_time")
    5000000
    """
    if value * _MILLISECOND >= _LIMIT:
        msg = f"its {what} of {value} ms is no time between 1677 and 2262"
        raise BrokenMessageError(msg)
    return value * _MILLISECOND


def type_name(kind: npt.DTypeLike) -> str:
    """Return what a type is called in the column `type`.

    Examples
    --------
    >>> type_name("<i4")
    'int32'
    """
    return np.dtype(kind).name


def encode_rows(batch: pa.RecordBatch, known: pa.Schema, write: Callable[[Row], bytes]) -> pa.Array:
    """Return a message for each row, as a column of large binary.

    Raises
    ------
    SchemaError
        A column is none of the format's.
    """
    for name in batch.schema.names:
        if name not in known.names and not name.startswith("_"):
            msg = f"there is no place for the column {name!r} in these messages"
            raise SchemaError(msg, hint=f"leave it out with .select(); {near_names(name, known.names)}")
    columns = {f.name: _cells(batch.column(i), known.field(f.name).type) for i, f in enumerate(batch.schema)}
    made = [write({n: cells[i] for n, cells in columns.items()}) for i in range(batch.num_rows)]
    return pa.array(made, pa.large_binary())


def encode_row(batch: pa.RecordBatch, known: pa.Schema, write: Callable[[Row], bytes]) -> bytes:
    """Return the message of the only row of a batch.

    Raises
    ------
    SchemaError
        There are more rows or none, or a column is none of the format's.
    """
    if batch.num_rows != 1:
        msg = f"{batch.num_rows} rows are not one message: in this format a message is one row"
        raise SchemaError(msg, hint="write with rows_per_message=1, or use encode_many()")
    return bytes(encode_rows(batch, known, write)[0].as_buffer())


def _cells(array: pa.Array, kind: pa.DataType) -> Sequence[Any]:
    """Return the values of a column; lists of numbers as arrays, times as ns."""
    types = pa.types
    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if types.is_timestamp(kind):
        return list(array.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist())
    if types.is_list(array.type) or types.is_large_list(array.type):
        if not _is_number(array.type.value_type):
            return list(array.to_pylist())
        return [None if not v.is_valid else v.values.to_numpy(zero_copy_only=False) for v in array]
    return list(array.to_pylist())

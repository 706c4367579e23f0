"""What the text formats share: records in bytes, cells as values, and the type that some cells suggest.

Whether a cell can be read depends on the cell alone, never on its neighbours or on how the input was cut:
a whole column is converted at once, and where that fails it is halved until the faulty cells stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import SchemaError
from eventide.model.batch import Int64Array
from eventide.model.time import EVENT_TIME

__all__ = ["NEWLINE", "broken_utf8", "infer_type", "last_newline", "parse", "plain", "spans", "wire_type"]

NEWLINE = 10
_RETURN = 13
_INTEGER = r"^[+-]?(0|[1-9][0-9]*)$"
_NUMBER = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?([nN][aA][nN]|[iI]nf(inity)?)$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
_Cells = Callable[[pa.Array], pa.Array]


def spans(data: bytes, *, quote: bytes = b"") -> tuple[Int64Array, Int64Array]:
    r"""Return where the lines of `data` start and end, without their terminators (LF or CR LF).

    Parameters
    ----------
    data
        Lines; the last one may lack its terminator.
    quote
        Where given, a line break between two of these bytes does not end a line.

    Examples
    --------
    >>> [x.tolist() for x in spans(b"a\r\nbc")]
    [[0, 3], [1, 5]]
    """
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets == NEWLINE).astype(np.int64)
    if quote:
        quotes = np.flatnonzero(octets == quote[0])
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    starts = np.concatenate([np.zeros(1, np.int64), ends + 1])
    if starts[-1] == len(data):
        starts = starts[:-1]
    else:
        ends = np.append(ends, len(data))
    returned = (ends > starts) & (octets[np.maximum(ends - 1, 0)] == _RETURN) if len(data) else np.zeros(0, bool)
    return starts, ends - returned


def last_newline(data: bytes) -> int:
    r"""Return how many bytes of `data` are whole lines.

    Examples
    --------
    >>> last_newline(b"ab\ncd")
    3
    """
    return data.rfind(b"\n") + 1


def broken_utf8(lines: Sequence[bytes]) -> list[bool]:
    """Tell which lines are not UTF-8."""
    return [not _is_utf8(line) for line in lines]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def wire_type(kind: pa.DataType) -> pa.DataType:
    """Return the type as which a column stands in JSON: text for what JSON has no notion of.

    Examples
    --------
    >>> print(wire_type(EVENT_TIME))
    string
    """
    types = pa.types
    if types.is_dictionary(kind):
        return wire_type(kind.value_type)
    if types.is_duration(kind):
        return pa.int64()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_temporal(kind) or types.is_binary(kind) or types.is_large_binary(kind) or is_view(kind):
        return pa.string()
    return kind


def is_view(kind: pa.DataType) -> bool:
    """Tell whether a type is one of Arrow's view types, which not every reader and writer knows."""
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def plain(batch: pa.RecordBatch, *, nested: bool, what: str) -> pa.RecordBatch:
    """Return a batch whose columns text can hold: bytes as base64, durations as a number of their unit.

    Raises
    ------
    SchemaError
        A column cannot be written as text.
    """
    arrays = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = array.cast(kind) if kind != field.type else array
        if not _has_plain_times(array):
            msg = f"{what} cannot hold the times of column {field.name!r}: beyond a day, or beyond the years 1 to 9999"
            raise SchemaError(msg, hint="write parquet or arrow, or filter such times out")
        if pa.types.is_nested(kind) and not nested:
            msg = f"{what} cannot hold the column {field.name!r} of type {kind}"
            raise SchemaError(msg, hint="write json, parquet or arrow, or leave the column out with .select()")
        if pa.types.is_duration(kind):
            array = array.cast(pa.int64())
        elif pa.types.is_float16(kind):
            array = array.cast(pa.float32())
        elif pa.types.is_string_view(kind):
            array = array.cast(pa.string())
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or is_view(kind):
            array = pl.Series(array.cast(pa.binary())).bin.encode("base64").to_arrow().cast(pa.string())
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


_DAY_S = 86_400
_FIRST_S, _END_S = -62_135_596_800, 253_402_300_800  # the years 1 to 9999, as ISO 8601 writes them
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _has_plain_times(array: pa.Array) -> bool:
    """Tell whether text can hold every time in an array; Polars ends in a panic over some that it cannot."""
    kind, types = array.type, pa.types
    if types.is_struct(kind):
        return all(_has_plain_times(part) for part in array.flatten())
    if types.is_list(kind) or types.is_large_list(kind):
        return _has_plain_times(array.flatten())
    if not (types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind)):
        return True
    if types.is_timestamp(kind) and kind.unit == "ns":
        return True  # 64 bits of them do not leave those years
    per_second = 1 if types.is_date32(kind) else 1000 if types.is_date64(kind) else _PER_SECOND[kind.unit]
    first, end = (0, _DAY_S) if types.is_time(kind) else (_FIRST_S, _END_S)
    seconds = _DAY_S if types.is_date32(kind) else 1
    span = pc.min_max(array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())).as_py()
    if span["min"] is None:
        return True
    return bool(first * per_second <= span["min"] * seconds and span["max"] * seconds < end * per_second)


def parse(cells: pa.Array, kind: pa.DataType) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return text cells as values of a type, and which of them could not be read (null in the result).

    A time without a zone is taken as UTC. Spaces around a number or a time do not count.

    Raises
    ------
    SchemaError
        A cell can never be of that type.

    Examples
    --------
    >>> values, bad = parse(pa.array(["1", "x", None]), pa.int64())
    >>> values.to_pylist(), bad.tolist()
    ([1, None, None], [False, True, False])
    """
    bad = np.zeros(len(cells), np.bool_)
    convert = _converter(kind)
    try:
        return convert(cells), bad
    except (pa.ArrowInvalid, OverflowError):
        pass
    shape = _shape(kind)
    if shape:
        bad = pc.invert(pc.match_substring_regex(cells, shape)).fill_null(False).to_numpy(zero_copy_only=False)
        cells = pc.if_else(pa.array(bad), pa.scalar(None, cells.type), cells)
        bad = bad.copy()
    pieces: list[pa.Array] = []
    stack = [(0, len(cells))]
    while stack:
        low, high = stack.pop()
        try:
            pieces.append(convert(cells.slice(low, high - low)))
        except (pa.ArrowInvalid, OverflowError):
            if high - low == 1:
                bad[low] = True
                pieces.append(pa.nulls(1, kind))
            else:
                middle = (low + high) // 2
                stack += [(middle, high), (low, middle)]
    return pa.concat_arrays(pieces), bad


def _shape(kind: pa.DataType) -> str:
    """Return a pattern that every cell of a type has; what lacks it need not be tried."""
    types = pa.types
    if types.is_integer(kind):
        body = r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)"
    elif types.is_float32(kind) or types.is_float64(kind):
        body = r"[+-]?([0-9.]+([eE][+-]?[0-9]+)?|[iI][nN][fF].*|[nN][aA][nN].*)"
    elif types.is_timestamp(kind) or types.is_date(kind):
        body = r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
    else:
        return ""
    return rf"^[\s\v]*{body}[\s\v]*$"


def _converter(kind: pa.DataType) -> _Cells:
    types = pa.types
    if types.is_dictionary(kind):
        inner = _converter(kind.value_type)
        return lambda cells: inner(cells).dictionary_encode().cast(kind)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return lambda cells: _base64(cells).cast(kind)
    if types.is_string(kind) or types.is_large_string(kind) or is_view(kind):
        return lambda cells: cells.cast(kind)
    if types.is_timestamp(kind):
        return lambda cells: _times(cells, kind)
    if types.is_duration(kind):
        return lambda cells: _trimmed(cells, pa.int64()).cast(kind)
    if types.is_date64(kind):
        return lambda cells: _trimmed(cells, pa.date32()).cast(kind)
    if types.is_float16(kind):
        return lambda cells: _trimmed(cells, pa.float32()).cast(kind)
    if types.is_nested(kind) or types.is_interval(kind) or types.is_fixed_size_binary(kind):
        msg = f"text cannot be read as {kind}"
        raise SchemaError(msg, hint="declare the column as text, or use json, parquet or arrow")
    return lambda cells: _trimmed(cells, kind)


def _trimmed(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return cells.cast(kind)
    except pa.ArrowInvalid:
        return pc.ascii_trim_whitespace(cells).cast(kind)


def _times(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        utc = _trimmed(cells, EVENT_TIME)
    except pa.ArrowInvalid:  # no zone: Arrow reads either all with a zone or all without
        utc = _trimmed(cells, pa.timestamp("ns")).cast(EVENT_TIME)
    if kind == EVENT_TIME:
        return utc
    return utc.cast(pa.timestamp("ns", kind.tz)).cast(kind, safe=False)


def _base64(cells: pa.Array) -> pa.Array:
    decoded = pl.Series(cells, dtype=pl.String).str.decode("base64", strict=False)
    if decoded.null_count() > cells.null_count:
        msg = "not base64"
        raise pa.ArrowInvalid(msg)
    return decoded.to_arrow().cast(pa.binary())


def infer_type(cells: pa.Array) -> pa.DataType:
    """Return the narrowest of int64, float64, bool, event time and string that holds all cells.

    Digits with a leading zero are names, not numbers; cells that are all null are text.

    Examples
    --------
    >>> [str(infer_type(pa.array(c))) for c in (["1", None], ["1", "2.5"], ["007"], ["2026-01-01T00:00:00Z"])]
    ['int64', 'double', 'string', 'timestamp[ns, tz=UTC]']
    """
    cells = pc.drop_null(cells)
    if not len(cells):
        return pa.string()
    trimmed = pc.ascii_trim_whitespace(cells)
    candidates = (
        (_INTEGER, pa.int64()),
        (_NUMBER, pa.float64()),
        (r"^([tT]rue|TRUE|[fF]alse|FALSE)$", pa.bool_()),
        (_TIME, EVENT_TIME),
    )
    for pattern, kind in candidates:
        if re.search(pattern, trimmed[0].as_py()) or kind == pa.float64():
            fits = pc.all(pc.match_substring_regex(trimmed, pattern)).as_py()
            if fits and not parse(cells, kind)[1].any():
                return kind
    return pa.string()

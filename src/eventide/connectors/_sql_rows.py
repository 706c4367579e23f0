"""Rows of a database as a batch; a row with a value that is not of its column's type goes to quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventide.model.protocols import BadInput, Decoded
from eventide.model.time import EVENT_TIME

__all__ = ["decode"]

_ZONE = r":\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$"
_WRONG = (pa.ArrowException, TypeError, ValueError, OverflowError)


def decode(rows: Sequence[tuple[Any, ...]], schema: pa.Schema, *, keys: int, where: str) -> Decoded:
    """Return rows as a batch.

    Parameters
    ----------
    rows
        Tuples: `keys` values of the key, then the columns of `schema`.
    schema
        What the columns are.
    keys
        How many values of each tuple are its place.
    where
        The table, for messages.

    Examples
    --------
    >>> made = decode([(1, 5), (2, "five"), (3, None)], pa.schema([("n", pa.int8())]), keys=1, where="t")
    >>> made.batch["n"].to_pylist(), made.bad[0].position
    ([5, None], "t, key 2: column 'n'")
    """
    columns = list(zip(*rows, strict=True))[keys:]
    arrays: dict[int, pa.Array] = {}
    wrong: dict[int, tuple[str, str]] = {}
    for index, (field, values) in enumerate(zip(schema, columns, strict=True)):
        try:
            arrays[index] = _array(values, field.type)
        except _WRONG:
            for row, value in enumerate(values):
                reason = _reason(value, field.type)
                if reason:
                    wrong.setdefault(row, (field.name, reason))
    if not wrong:
        return Decoded(pa.RecordBatch.from_arrays([arrays[i] for i in range(len(columns))], schema=schema))
    bad = tuple(_bad(rows[row], *told, keys=keys, where=where) for row, told in sorted(wrong.items()))
    good = [r for i, r in enumerate(rows) if i not in wrong]
    # Without the rows that are wrong; a single pass, as every wrong row is known now.
    kept = [tuple(r[keys + i] for r in good) for i in range(len(columns))]
    made = [_array(values, field.type) for values, field in zip(kept, schema, strict=True)]
    return Decoded(pa.RecordBatch.from_arrays(made, schema=schema), bad)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return plain values of a database as an Arrow array: times as ISO 8601 or as whole nanoseconds."""
    if pa.types.is_timestamp(kind):
        return _instants(values, kind)
    if pa.types.is_boolean(kind):
        return _truths(values)
    if pa.types.is_date(kind) or pa.types.is_decimal(kind):
        return pa.array(values, pa.string()).cast(kind)
    if pa.types.is_duration(kind):
        return pa.array(values, pa.int64()).cast(pa.duration("ns")).cast(kind)
    if pa.types.is_floating(kind):
        try:
            return pa.array(values, pa.float64()).cast(kind, safe=False)
        except _WRONG:  # what the option nan="text" of the sink has made of NaN
            numbers = [float("nan") if v == "NaN" else v for v in values]
            return pa.array(numbers, pa.float64()).cast(kind, safe=False)
    return pa.array(values, kind)


def _truths(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.bool_())
    except _WRONG:
        numbers = pa.array(values, pa.int8())
    if not pc.all(pc.is_in(numbers, pa.array([0, 1, None], pa.int8()))).as_py():
        msg = "a truth value is 0 or 1"
        raise ValueError(msg)
    return numbers.cast(pa.bool_())


def _instants(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        text = pa.array(values, pa.string())
    except _WRONG:
        return pa.array(values, pa.int64()).cast(pa.timestamp("ns")).cast(kind)
    zoned = pc.fill_null(pc.match_substring_regex(text, _ZONE), False)
    with_zone = pc.if_else(zoned, text, None).cast(EVENT_TIME)
    # Without a zone it is UTC, as everywhere.
    times = pc.coalesce(with_zone, pc.if_else(zoned, None, text).cast(pa.timestamp("ns")).cast(EVENT_TIME))
    return times.cast(kind) if kind.tz is not None else times.cast(pa.timestamp("ns")).cast(kind)


def _reason(value: Any, kind: pa.DataType) -> str:
    try:
        _array([value], kind)
    except _WRONG as error:
        return str(error).partition("\n")[0]
    return ""


def _bad(row: tuple[Any, ...], name: str, reason: str, *, keys: int, where: str) -> BadInput:
    place = ", ".join(str(k) for k in row[:keys])
    return BadInput(repr(row[keys:]).encode(), f"{where}, key {place}: column {name!r}", reason)

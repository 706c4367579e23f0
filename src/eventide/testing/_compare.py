"""Rows of Arrow tables as plain values that can be compared: times as integers, NaN equal to NaN."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pyarrow as pa

__all__ = ["plain_type", "rows_of", "same_rows"]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type under which values of `kind` are compared: times, dates and durations as integers.

    Examples
    --------
    >>> plain_type(pa.list_(pa.timestamp("ns", "UTC")))
    ListType(list<item: int64>)
    """
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    if pa.types.is_temporal(kind):
        return pa.int64()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, plain_type(f.type)) for f in kind])
    return kind


def rows_of(data: pa.Table | pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return rows as tuples of plain values, in their order.

    Examples
    --------
    >>> rows_of(pa.table({"t": pa.array([5], pa.timestamp("ns", "UTC")), "s": ["a"]}))
    [(5, 'a')]
    """
    columns = []
    for column in data.columns:
        kind = plain_type(column.type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append((column if column.type == kind else column.cast(kind)).to_pylist())
    return list(zip(*columns, strict=True)) if columns else [()] * data.num_rows


def same_rows(
    found: pa.Table | pa.RecordBatch,
    expected: pa.Table | pa.RecordBatch,
    *,
    ordered: bool = False,
    relative: float | None = None,
) -> None:
    """Assert that two tables have the same columns and rows.

    Parameters
    ----------
    found, expected
        What came, and what should have come.
    ordered
        Whether the order of the rows counts.
    relative
        Relative difference that two floats may have; left out, none: the same bits (any NaN equals any other).

    Examples
    --------
    >>> same_rows(pa.table({"a": [1, 2]}), pa.table({"a": [2, 1]}))
    """
    assert list(found.schema.names) == list(expected.schema.names)
    kinds = [(f.name, f.type) for f in found.schema]
    assert kinds == [(f.name, f.type) for f in expected.schema]
    ours, theirs = rows_of(found), rows_of(expected)
    if relative is not None:
        assert len(ours) == len(theirs), _difference(ours, theirs)
        if not ordered:
            ours, theirs = sorted(ours, key=_about), sorted(theirs, key=_about)
        for a, b in zip(ours, theirs, strict=True):
            assert _close(a, b, relative), (a, b)
        return
    if ordered:
        assert list(map(repr, ours)) == list(map(repr, theirs))
    else:
        assert Counter(map(repr, ours)) == Counter(map(repr, theirs)), _difference(ours, theirs)


def _difference(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> str:
    a, b = Counter(map(repr, ours)), Counter(map(repr, theirs))
    return f"too many: {list((a - b).elements())[:10]}; missing: {list((b - a).elements())[:10]}"


def _about(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{v:+.5e}" if isinstance(v, float) else repr(v) for v in row)


def _close(x: Any, y: Any, relative: float) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=relative, abs_tol=relative)
    if isinstance(x, list | tuple) and isinstance(y, list | tuple):
        return len(x) == len(y) and all(_close(a, b, relative) for a, b in zip(x, y, strict=True))
    if isinstance(x, dict) and isinstance(y, dict):
        return x.keys() == y.keys() and all(_close(x[k], y[k], relative) for k in x)
    return bool(x == y)

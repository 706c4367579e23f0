"""Events as text and as JSON: times in ISO 8601 to the last nanosecond that is not zero."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["cell", "plain_rows"]


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as plain Python values, with times as text.

    Examples
    --------
    >>> times = pa.array([1_500_000_000, None], pa.timestamp("ns", "UTC"))
    >>> plain_rows(pa.table({"t": times, "x": [1, 2]}))
    [{'t': '1970-01-01T00:00:01.5Z', 'x': 1}, {'t': None, 'x': 2}]
    """
    names = table.column_names
    columns = [_column(table.column(i).combine_chunks()) for i in range(table.num_columns)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _column(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Python's datetime has no nanoseconds, so that Arrow would refuse to make one.
        text = pc.replace_substring(pc.cast(column, pa.string()), " ", "T")
        return [_short(t) for t in text.to_pylist()]
    if pa.types.is_duration(kind):
        return [None if v is None else f"{v} {kind.unit}" for v in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        values, ends = _column(column.values), column.offsets.to_pylist()
        valid = column.is_valid().to_pylist()
        return [values[a:b] if ok else None for a, b, ok in zip(ends, ends[1:], valid, strict=False)]
    if pa.types.is_struct(kind):
        inner = [_column(column.field(i)) for i in range(kind.num_fields)]
        names = [kind.field(i).name for i in range(kind.num_fields)]
        rows = [dict(zip(names, r, strict=True)) for r in zip(*inner, strict=True)]
        return [r if ok else None for r, ok in zip(rows, column.is_valid().to_pylist(), strict=True)]
    out: list[Any] = column.to_pylist()
    return out


def _short(text: str | None) -> str | None:
    if text is None or "." not in text:
        return text
    body, zone = (text[:-1], "Z") if text.endswith("Z") else (text, "")
    return body.rstrip("0").rstrip(".") + zone


def cell(value: Any) -> str:
    """Return a value as text for a table."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return value[:80].decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return "[" + ", ".join(cell(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {cell(v)}" for k, v in value.items()) + "}"
    return str(value)

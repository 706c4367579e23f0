"""The schema that some lines of JSON suggest."""

from __future__ import annotations

from json import dumps, loads
from typing import Any

import msgspec
import pyarrow as pa

from eventide.formats._text import infer_type, spans

__all__ = ["infer"]

_SAMPLE_LINES = 10_000
_DEEPEST = 32


def infer(data: bytes, **options: Any) -> pa.Schema:
    r"""Return the schema that the first 10,000 lines suggest.

    Integers that do not fit 64 bits make a column of 38-digit decimals; text that is a full ISO 8601 date
    and time makes event time; where two lines disagree, the type of the first stands.

    Examples
    --------
    >>> infer(b'{"a": 1, "b": null}\n{"a": 2.5, "b": {"c": [true]}}\n')
    a: double
    b: struct<c: list<item: bool>>
      child 0, c: list<item: bool>
          child 0, item: bool
    """
    found: dict[str, pa.DataType] = {}
    text: dict[str, list[str]] = {}
    starts, ends = spans(data)
    for a, b in zip(starts[:_SAMPLE_LINES].tolist(), ends[:_SAMPLE_LINES].tolist(), strict=True):
        record = _loaded(data[a:b])
        for name, value in record.items() if isinstance(record, dict) else ():
            found[name] = _merged(found.get(name, pa.null()), _type_of(value))
            if isinstance(value, str):
                text.setdefault(name, []).append(value)
    for name, kind in found.items():
        if pa.types.is_string(kind):
            suggested = infer_type(pa.array(text[name]))
            found[name] = suggested if pa.types.is_timestamp(suggested) else kind
    return pa.schema([(name, _settled(kind)) for name, kind in found.items()])


def _loaded(line: bytes) -> Any:
    """Return what a line holds; None where it cannot be read."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        value = loads(line)
        dumps(value, ensure_ascii=False).encode()  # `loads` takes half of a surrogate pair for text; it is none
    except (ValueError, RecursionError):
        return None
    return value


def _type_of(value: Any, depth: int = 0) -> pa.DataType:
    if value is None or depth > _DEEPEST:
        return pa.null()
    if isinstance(value, int) and not isinstance(value, bool):
        return pa.int64() if -(2**63) <= value < 2**63 else pa.decimal128(38) if abs(value) < 10**38 else pa.float64()
    if isinstance(value, list):
        inner = pa.null()
        for item in value:
            inner = _merged(inner, _type_of(item, depth + 1))
        return pa.list_(inner)
    if isinstance(value, dict):
        return pa.struct([(k, _type_of(v, depth + 1)) for k, v in value.items()])
    return {bool: pa.bool_(), float: pa.float64(), str: pa.string()}[type(value)]


def _merged(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """Return a type for values of both; where there is none, the first."""
    types = pa.types
    if a == b or types.is_null(b):
        return a
    if types.is_null(a):
        return b
    if types.is_list(a) and types.is_list(b):
        return pa.list_(_merged(a.value_type, b.value_type))
    if types.is_struct(a) and types.is_struct(b):
        fields = {f.name: f.type for f in a}
        for f in b:
            fields[f.name] = _merged(fields.get(f.name, pa.null()), f.type)
        return pa.struct(list(fields.items()))
    rank = {pa.int64(): 0, pa.decimal128(38): 1, pa.float64(): 2}
    return max(a, b, key=lambda k: rank[k]) if a in rank and b in rank else a


def _settled(kind: pa.DataType) -> pa.DataType:
    """Return a type without nulls-only parts, which become text."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_settled(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, _settled(f.type)) for f in kind])
    return kind

"""What is bound to functions, as text that is the same in every process.

A `functools.partial`, a method or an object that is called carries values that decide what it does. They are part of a
graph's identity, so they are told by what they are, never by where they lie in memory.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import uuid
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import BuiltinMethodType, MethodType, ModuleType
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

__all__ = ["bound"]

_PLAIN = (
    bool, int, float, complex, str, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, range,
    type(None), type(...), np.dtype, np.bool_, np.number, np.datetime64, np.timedelta64, pa.DataType,
)  # fmt: skip
_DEEP = 20
_Told: TypeAlias = Callable[[Any], str]


def bound(value: Any) -> str:
    """Return what is bound to the functions in a setting of a node, "" where nothing is.

    Parameters
    ----------
    value
        A function or something else; a tuple or a mapping of them.

    Examples
    --------
    >>> bound(functools.partial(round, ndigits=2)), bound(round), bound(3)
    ('builtins.round(ndigits=2)', '', '')
    """
    if isinstance(value, tuple):
        return _joined({str(n): v for n, v in enumerate(value)})
    if isinstance(value, Mapping):
        return _joined(value)
    carries = isinstance(value, (functools.partial, MethodType)) or (callable(value) and bool(_fields(value)))
    return _told(value, 0) if carries and not hasattr(value, "meta") else ""


def _joined(parts: Mapping[Any, Any]) -> str:
    told = {key: bound(value) for key, value in parts.items()}
    return ", ".join(f"{key}: {text}" for key, text in told.items() if text)


def _told(value: Any, depth: int) -> str:
    """Return a value as text; that of which nothing is known for certain by its type."""
    if depth > _DEEP:
        return "..."
    known = _simple(value)
    return _made_of_parts(value, lambda part: _told(part, depth + 1)) if known is None else known


def _simple(value: Any) -> str | None:
    """Return a value that has no parts as text."""
    if isinstance(value, enum.Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, PurePath):
        return repr(str(value))
    if isinstance(value, _PLAIN) and not _fields(value):
        return repr(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"bytes {hashlib.sha256(value).hexdigest()}"
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, pa.Schema):
        return "{" + ", ".join(f"{f.name}: {f.type}" for f in value) + "}"
    if hasattr(value, "meta") and type(value).__module__.partition(".")[0] == "polars":
        return str(value)
    return None


def _made_of_parts(value: Any, told: _Told) -> str:
    if isinstance(value, functools.partial):
        arguments = [*map(told, value.args), *_named(dict(sorted(value.keywords.items())), told)]
        return f"{told(value.func)}({', '.join(arguments)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{told(k)}: {told(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(told, value))) + "}"
    if fields := _fields(value):
        return f"{_name(type(value))}({', '.join(_named(fields, told))})"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(told, value)) + "]"
    return _function(value, told)


def _named(parts: Mapping[str, Any], told: _Told) -> list[str]:
    return [f"{name}={told(part)}" for name, part in parts.items()]


def _function(value: Any, told: _Told) -> str:
    if isinstance(value, type) or not callable(value) or not hasattr(value, "__qualname__"):
        return _name(value if isinstance(value, type) else type(value))
    owner = getattr(value, "__self__", None) if isinstance(value, (MethodType, BuiltinMethodType)) else None
    name = f"{value.__module__ or 'builtins'}.{value.__qualname__}"
    return name if owner is None or isinstance(owner, ModuleType) else f"{name} of {told(owner)}"


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, a struct or a named tuple that count when two of them are compared."""
    if isinstance(value, type):
        return {}
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value) if f.compare}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name, None) for name in value.__struct_fields__}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return {}


def _array(value: np.ndarray[Any, Any]) -> str:
    if value.dtype.hasobject:
        return _name(type(value))
    return f"array {value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

"""Values of sample environment and motors: f144, and f142 with alarms and text, which came before it.

A value is a number of any type, an array of them, or (f142) text or an array of texts. Each stands in a table of its
own, and a byte before it says of which type it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import DataError, SchemaError
from eventide.formats._flatbuffers import BrokenMessageError, Bytes, Table, root
from eventide.formats._flatbuffers_write import Node, message
from eventide.formats._rows import ns_to_time, type_name
from eventide.model.time import EVENT_TIME

__all__ = ["LOG", "NO_CHANGE", "LogValue", "columns_of", "from_row", "read_log", "to_row", "write_log"]

_CODES = ("b", "B", "h", "H", "i", "I", "q", "Q", "f", "d")
_KINDS = tuple(np.dtype("<" + {"b": "i1", "B": "u1", "q": "i8", "Q": "u8"}.get(c, c)) for c in _CODES)
_TEXT, _TEXTS = 21, 22

NO_CHANGE = (22, 4)
"""Alarm status and severity of an f142 that says nothing of them."""

LOG = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("source", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("values", pa.large_list(pa.float64())),
        pa.field("type", pa.string()),
    ]
)
_ALARM = [("text", pa.string()), ("texts", pa.list_(pa.string())), ("status", pa.int32()), ("severity", pa.int32())]


def columns_of(name: str) -> pa.Schema:
    """Return the columns of a format.

    Examples
    --------
    >>> columns_of("f142").names[-2:]
    ['status', 'severity']
    """
    return LOG if name == "f144" else pa.schema([*LOG, *_ALARM])


@dataclass(frozen=True, slots=True, eq=False)
class LogValue:
    """One value at one time.

    Parameters
    ----------
    source
        What was measured.
    value
        A number of numpy, an array of one dimension, and in f142 also text or a list of texts.
    timestamp
        When, ns since 1970.
    status, severity
        The alarm of EPICS; only f142 has them.

    Examples
    --------
    >>> LogValue("T1", 4.2, 10**18).value
    4.2
    """

    source: str
    value: Any
    timestamp: int
    status: int = NO_CHANGE[0]
    severity: int = NO_CHANGE[1]


def read_log(data: Bytes, name: str) -> LogValue:
    """Return what a message of ``"f144"`` or ``"f142"`` holds; an array is a view of `data`."""
    table = root(data, name)
    source = table.text(0) or ""
    if name == "f144":
        return LogValue(source, _value(table.number(2, "B"), table.table(3), name), table.number(1, "q"))
    value = _value(table.number(1, "B"), table.table(2), name)
    status, severity = table.number(4, "H", NO_CHANGE[0]), table.number(5, "H", NO_CHANGE[1])
    return LogValue(source, value, table.number(3, "Q"), status, severity)


def _value(kind: int, table: Table | None, name: str) -> Any:
    if table is None or kind == 0:
        msg = "it has no value"
        raise BrokenMessageError(msg)
    count = len(_CODES)
    if kind <= count:
        return _KINDS[kind - 1].type(table.number(0, _CODES[kind - 1]))
    if kind <= 2 * count:
        found = table.vector(0, _KINDS[kind - 1 - count])
        return np.empty(0, _KINDS[kind - 1 - count]) if found is None else found
    if name == "f142" and kind == _TEXT:
        return table.text(0) or ""
    if name == "f142" and kind == _TEXTS:
        return table.texts(0)
    msg = f"its value is of the type {kind}, which {name} does not have"
    raise BrokenMessageError(msg)


def write_log(one: LogValue, name: str) -> bytes:
    """Return the bytes of a value.

    Raises
    ------
    SchemaError
        The format has no type for the value.
    DataError
        A number does not fit.
    """
    kind, part = _part(one.value, name)
    if name == "f144":
        fields = {0: one.source, 1: ("q", one.timestamp), 2: ("B", kind), 3: part}
        return message(name, Node(fields))
    fields = {0: one.source, 1: ("B", kind), 2: part, 3: ("Q", one.timestamp)}
    return message(name, Node(fields | {4: ("H", one.status), 5: ("H", one.severity)}))


def _part(value: Any, name: str) -> tuple[int, Node]:
    if name == "f142" and isinstance(value, str):
        return _TEXT, Node({0: value})
    if name == "f142" and isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return _TEXTS, Node({0: value})
    array = np.asarray(value)
    kind = array.dtype.newbyteorder("<")
    if array.ndim > 1 or kind not in _KINDS:
        msg = f"{name} has no place for a value of {array.ndim} dimensions of {array.dtype}"
        raise SchemaError(msg, hint="a number or an array of one dimension, of integers or floats" + _more(name))
    number = _KINDS.index(kind)
    if array.ndim:
        return number + 1 + len(_CODES), Node({0: array})
    return number + 1, Node({0: (_CODES[number], array.item())})


def _more(name: str) -> str:
    return "; text, or a list of texts" if name == "f142" else "; text is sent as f142"


def to_row(one: LogValue, name: str) -> dict[str, Any]:
    """Return a value as a row of `columns_of`: what it is not is null, and `type` says what it is."""
    value = one.value
    row: dict[str, Any] = dict.fromkeys(columns_of(name).names)
    row |= {"event_time": ns_to_time(one.timestamp, "timestamp"), "source": one.source}
    if name == "f142":
        row |= {"status": one.status, "severity": one.severity}
    if isinstance(value, str):
        return row | {"text": value, "type": "string"}
    if isinstance(value, list):
        return row | {"texts": value, "type": "string[]"}
    if isinstance(value, np.ndarray):
        return row | {"values": value, "type": type_name(value.dtype) + "[]"}
    return row | {"value": value, "type": type_name(value.dtype)}


def from_row(row: Mapping[str, Any]) -> LogValue:
    """Return a row as a value of the type that its column `type` names, else of the type of its column.

    Raises
    ------
    SchemaError
        The row has no time, or not exactly one of `value`, `values`, `text` and `texts`.
    DataError
        The value does not fit its type.
    """
    given = {n: row[n] for n in ("value", "values", "text", "texts") if row.get(n) is not None}
    if len(given) != 1 or row.get("event_time") is None:
        msg = "a value needs a time, and one of the columns value, values, text and texts"
        raise SchemaError(msg, hint=f"the row has {', '.join(given) or 'none of them'}")
    ((what, value),) = given.items()
    if what in ("value", "values"):
        kind = (row.get("type") or "").removesuffix("[]")
        value = as_type(np.asarray(value), kind)
    status, severity = row.get("status"), row.get("severity")
    return LogValue(
        row.get("source") or "",
        value,
        row["event_time"],
        NO_CHANGE[0] if status is None else status,
        NO_CHANGE[1] if severity is None else severity,
    )


def as_type(values: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    """Return numbers in the type of a name, each with the value that it has; as they are where there is no name.

    Raises
    ------
    DataError
        There is no such type, or it does not hold one of them.

    Examples
    --------
    >>> as_type(np.array([1.0]), "int8").dtype.name
    'int8'
    """
    if not kind or kind == values.dtype.name:
        return values
    if kind not in [k.name for k in _KINDS]:
        msg = f"there is no type {kind!r} of numbers"
        raise DataError(msg, hint="one of " + ", ".join(k.name for k in _KINDS))
    with np.errstate(all="ignore"):
        found = values.astype(kind)
        same = np.array_equal(found.astype(values.dtype), values, equal_nan=values.dtype.kind == "f")
    if not same:
        msg = f"numbers of {values.dtype} do not fit {kind}"
        raise DataError(msg, hint="write another type in the column 'type', or leave it out")
    return found

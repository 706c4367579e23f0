"""da00: named arrays with axes, units and labels, the form of scipp's DataArray; and histograms as such arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.formats._arrays import TYPES, array_of, number_of_type, text_of
from eventide.formats._flatbuffers import BrokenMessageError, Bytes, Table, root
from eventide.formats._flatbuffers_write import Node, Raw, message, message_in
from eventide.formats._histogram import Axis, Histogram, checked
from eventide.formats._rows import ns_to_time
from eventide.kernel.recycled import Recycled
from eventide.model.time import EVENT_TIME

__all__ = [
    "ARRAYS",
    "DataArray",
    "Variable",
    "from_histogram",
    "from_row",
    "read_array",
    "to_histogram",
    "to_row",
    "write_array",
]

_TEXT = len(TYPES) + 1

_VARIABLE = pa.struct(
    [
        pa.field("name", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("label", pa.string()),
        pa.field("source", pa.string()),
        pa.field("type", pa.string()),
        pa.field("axes", pa.list_(pa.string())),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("data", pa.large_binary()),
    ]
)
ARRAYS = pa.schema([("event_time", EVENT_TIME), ("source", pa.string()), ("variables", pa.list_(_VARIABLE))])
"""One row for a message; bytes of an array are in C order, little-endian, of the type named; ``"string"`` is text."""


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """One named array, number or text.

    Parameters
    ----------
    name
        What it is: ``signal``, ``errors``, or the axis whose coordinate it is.
    data
        An array, or text.
    axes
        The name of each dimension.
    unit, label, source
        What else is known of it; None where nothing is.

    Examples
    --------
    >>> Variable("x", np.array([0.0, 1.0]), ("x",), unit="m").data.shape
    (2,)
    """

    name: str
    data: npt.NDArray[Any] | str
    axes: tuple[str, ...] = ()
    unit: str | None = None
    label: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DataArray:
    """Variables of one source at one time, ns since 1970.

    Examples
    --------
    >>> DataArray("demo", 10**18, (Variable("title", "a run"),)).variables[0].data
    'a run'
    """

    source: str
    timestamp: int
    variables: tuple[Variable, ...]


def read_array(data: Bytes) -> DataArray:
    """Return what a message holds; its arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.
    """
    table = root(data, "da00")
    source = table.text(0)
    if source is None:
        msg = "it has no source_name"
        raise BrokenMessageError(msg)
    return DataArray(source, table.number(1, "Q"), tuple(_variable(part) for part in table.tables(2)))


def _variable(table: Table) -> Variable:
    name, raw, shape = table.text(0), table.vector(7, "u1"), table.vector(6, "<i8")
    for what, found in (("name", name), ("data", raw), ("shape", shape)):
        if found is None:
            msg = f"a variable has no {what}"
            raise BrokenMessageError(msg)
    assert raw is not None
    assert shape is not None
    axes, kind = tuple(table.texts(5)), table.number(4, "b")
    what = f"variable {name!r}"
    data: npt.NDArray[Any] | str
    if kind == _TEXT:
        data, axes = text_of(raw, what), ()
    elif axes:
        if len(axes) != shape.size:
            msg = f"{what} has {len(axes)} axes for {shape.size} dimensions"
            raise BrokenMessageError(msg)
        data = array_of(raw, kind - 1, [int(n) for n in shape], what=what)
    else:
        flat = array_of(raw, kind - 1, None, what=what)
        data = flat.reshape(()) if flat.size == 1 else flat
    return Variable(name or "", data, axes, table.text(1), table.text(2), table.text(3))


def write_array(one: DataArray) -> bytes:
    """Return the bytes of a message: a head, and one copy of its arrays.

    Raises
    ------
    SchemaError
        An array is of a type that messages do not have, or has no name for each dimension.
    """
    return message("da00", _array_node(one))


def write_array_in(memory: Recycled, one: DataArray) -> memoryview:
    """Return what `write_array` does, in memory that is used again."""
    return message_in(memory, "da00", _array_node(one))


def _array_node(one: DataArray) -> Node:
    if not one.variables:
        msg = f"the data of {one.source!r} cannot be written: it has no variable"
        raise SchemaError(msg, hint="a message of da00 has one at least")
    return Node({0: one.source, 1: ("Q", one.timestamp), 2: [_node(v) for v in one.variables]})


def _node(one: Variable) -> Node:
    fields: dict[int, Any] = {0: one.name, 1: one.unit, 2: one.label, 3: one.source}
    if isinstance(one.data, str):
        raw = np.frombuffer(one.data.encode("utf-8"), np.uint8)
        return Node(fields | {4: ("b", _TEXT), 5: [], 6: np.array([raw.size], np.int64), 7: raw})
    data = np.asarray(one.data)
    if len(one.axes) != data.ndim and not (data.ndim == 1 and not one.axes):
        msg = f"variable {one.name!r} cannot be written: it has {len(one.axes)} axes for {data.ndim} dimensions"
        raise SchemaError(msg, hint="name each dimension")
    kind = number_of_type(data.dtype, f"variable {one.name!r}") + 1
    shape = np.array(data.shape, np.int64)
    return Node(fields | {4: ("b", kind), 5: list(one.axes), 6: shape, 7: Raw(data)})


def from_histogram(one: Histogram) -> DataArray:
    """Return a histogram as variables: ``signal``, ``errors``, the edges under the names of their axes, ``info``.

    Raises
    ------
    SchemaError
        It is a part of a larger one, for whose place da00 has no room; or its parts do not belong together.
    """
    one.check()
    names = tuple(a.name for a in one.axes)
    wrong = ""
    if not one.is_whole():
        wrong = "it is a part of a larger one, and da00 has no place to say which"
    elif len(set(names)) < len(names) or "" in names or {"signal", "errors", "info"} & set(names):
        wrong = f"the names {names} of its axes are not all different, or mean something else"
    if wrong:
        msg = f"the histogram of {one.source!r} cannot be written as da00: {wrong}"
        raise SchemaError(msg, hint="slices go as hs01, which has an offset")
    edges = [Variable(a.name, a.edges, (a.name,), unit=a.unit) for a in one.axes if a.edges is not None]
    errors = () if one.errors is None else (Variable("errors", one.errors, names, unit="counts"),)
    info = (Variable("info", one.info),) if one.info else ()
    signal = Variable("signal", one.data, names, unit="counts")
    return DataArray(one.source, one.timestamp, (signal, *errors, *edges, *info))


def to_histogram(one: DataArray) -> Histogram:
    """Return variables as a histogram: a variable with the name of an axis, and one more value than bins, is its edges.

    Raises
    ------
    BrokenMessageError
        There is no variable ``signal``, or what belongs to it does not fit.
    """
    found = {v.name: v for v in one.variables}
    signal, errors, info = found.get("signal"), found.get("errors"), found.get("info")
    if signal is None or isinstance(signal.data, str):
        msg = f"it has no array 'signal'; there is {', '.join(found) or 'nothing'}"
        raise BrokenMessageError(msg)
    names = signal.axes or tuple("" for _ in signal.data.shape)
    return checked(
        Histogram(
            signal.data,
            tuple(_axis(found.get(name), name, count) for name, count in zip(names, signal.data.shape, strict=True)),
            one.source,
            one.timestamp,
            None if errors is None or isinstance(errors.data, str) else errors.data,
            info=info.data if info is not None and isinstance(info.data, str) else "",
        )
    )


def _axis(coordinate: Variable | None, name: str, count: int) -> Axis:
    if coordinate is None or isinstance(coordinate.data, str):
        return Axis(name, length=count)
    has_edges = coordinate.data.ndim == 1 and len(coordinate.data) == count + 1
    return Axis(name, coordinate.unit or "", coordinate.data if has_edges else None, count)


def to_row(one: DataArray) -> dict[str, Any]:
    """Return a message as a row of `ARRAYS`."""
    return {
        "event_time": ns_to_time(one.timestamp, "timestamp"),
        "source": one.source,
        "variables": [_cells(v) for v in one.variables],
    }


def _cells(one: Variable) -> dict[str, Any]:
    text = isinstance(one.data, str)
    data = np.asarray(one.data) if not text else np.empty(0)
    return {
        "name": one.name,
        "unit": one.unit,
        "label": one.label,
        "source": one.source,
        "type": "string" if text else data.dtype.name,
        "axes": list(one.axes),
        "shape": [] if text else list(data.shape),
        "data": one.data.encode("utf-8") if isinstance(one.data, str) else data.tobytes(),
    }


def from_row(row: Mapping[str, Any]) -> DataArray:
    """Return a row of `ARRAYS` as variables.

    Raises
    ------
    SchemaError
        Columns are missing, or bytes are not of their type and shape.
    """
    if row.get("event_time") is None or row.get("variables") is None:
        msg = "a message needs a time and variables"
        raise SchemaError(msg, hint="columns: " + ", ".join(ARRAYS.names))
    try:
        variables = tuple(_of_cells(v) for v in row["variables"])
    except BrokenMessageError as error:
        msg = f"the data of {row.get('source')!r} cannot be written: {error}"
        raise SchemaError(msg, hint="'data' holds the bytes of the array in C order, little-endian") from None
    return DataArray(row.get("source") or "", row["event_time"], variables)


def _of_cells(cells: Mapping[str, Any]) -> Variable:
    name, kind = cells.get("name") or "", cells.get("type") or ""
    raw = np.frombuffer(cells.get("data") or b"", np.uint8)
    rest = (tuple(cells.get("axes") or ()), cells.get("unit"), cells.get("label"), cells.get("source"))
    what = f"variable {name!r}"
    if kind == "string":
        return Variable(name, text_of(raw, what), *rest)
    number = TYPES.index(kind) if kind in TYPES else -1
    return Variable(name, array_of(raw, number, cells.get("shape") or [], what=what), *rest)

"""The messages hs00 and hs01: the same table, whose numbers have no sign in the one and a sign in the other.

hs00 is written in two dialects. That of the schema's own library ("ess") has in `current_shape` the shape of the data.
That which Mantid reads and the first histogram streamer wrote ("mantid") has two dimensions and in it the number of
EDGES in time of flight, then that of spectra, while the data are spectra by bins, doubles; its axes come in the same
order, and the unit of the second one is that of the counts. Here both come as spectra by bins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import SchemaError, UsageError, near_names
from eventide.formats._arrays import shaped
from eventide.formats._flatbuffers import BrokenMessageError, Bytes, Table, root
from eventide.formats._flatbuffers_write import Node, message, message_in
from eventide.formats._histogram import MOST_AXES, Axis, Histogram, checked
from eventide.kernel.recycled import Recycled

__all__ = ["DIALECTS", "read_histogram", "write_histogram", "write_histogram_in"]

DIALECTS = ("ess", "mantid")

_ARRAYS = {"hs00": ("<u4", "<u8", "<f8", "<f4"), "hs01": ("<i4", "<i8", "<f8", "<f4")}
_LENGTH = {"hs00": "I", "hs01": "i"}
_TIME = {"hs00": "Q", "hs01": "q"}


def read_histogram(data: Bytes, name: str, *, dialect: str | None = None) -> Histogram:
    """Return what a message of ``"hs00"`` or ``"hs01"`` holds, in a dialect or in the one that its shape shows.

    Raises
    ------
    BrokenMessageError
        It cannot be read.
    UsageError
        There is no such dialect.
    """
    _check_dialect(dialect)
    table = root(data, name)
    length = np.dtype("<" + _LENGTH[name])
    shape = table.vector(4, length)
    if shape is None:
        msg = "it has no current_shape"
        raise BrokenMessageError(msg)
    values = _array(table, 6, name)
    if values is None:
        msg = "it has no data"
        raise BrokenMessageError(msg)
    errors = _array(table, 8, name)
    parts = table.tables(2)
    if len(parts) > MOST_AXES or shape.size > MOST_AXES:
        msg = f"it has {max(len(parts), shape.size)} dimensions, more than {MOST_AXES}"
        raise BrokenMessageError(msg)
    axes, sizes = tuple(_axis(part, name) for part in parts), [int(n) for n in shape]
    if _is_mantid(sizes, values.size, name) and dialect != "ess":
        axes, sizes = axes[::-1], [sizes[1], sizes[0] - 1]
    elif dialect == "mantid":
        msg = f"{values.size:,} counts of the shape {sizes} are not the dialect of Mantid"
        raise BrokenMessageError(msg)
    offset = table.vector(5, length)
    return checked(
        Histogram(
            _shaped(values, sizes),
            axes or tuple(Axis("") for _ in sizes),
            table.text(0) or "",
            table.number(1, _TIME[name]),
            None if errors is None else _shaped(errors, sizes),
            () if offset is None or not offset.size else tuple(int(n) for n in offset),
            table.text(10) or "",
            table.number(3, _TIME[name]),
        )
    )


def _check_dialect(dialect: str | None) -> None:
    if dialect is not None and dialect not in DIALECTS:
        msg = f"there is no dialect {dialect!r} of hs00"
        raise UsageError(msg, hint=near_names(str(dialect), DIALECTS))


def _is_mantid(shape: list[int], count: int, name: str) -> bool:
    """Tell whether a shape is one of edges and spectra: as one of data it does not say how many there are."""
    return name == "hs00" and len(shape) == 2 and math.prod(shape) != count and (shape[0] - 1) * shape[1] == count


def _shaped(values: npt.NDArray[Any], shape: list[int]) -> npt.NDArray[Any]:
    if min(shape, default=0) < 0 or math.prod(shape) != values.size:
        msg = f"it has {values.size:,} numbers for a histogram of the shape {shape}"
        raise BrokenMessageError(msg)
    return shaped(values, shape, what="it")


def _array(table: Table, slot: int, name: str) -> npt.NDArray[Any] | None:
    """Return an array that stands in a table of its own, with its type in the slot before."""
    kind, part = table.number(slot, "B"), table.table(slot + 1)
    if kind == 0 or part is None:
        return None
    if kind > len(_ARRAYS[name]):
        msg = f"an array is of the type {kind}, which {name} does not have"
        raise BrokenMessageError(msg)
    found = part.vector(0, _ARRAYS[name][kind - 1])
    return np.empty(0, _ARRAYS[name][kind - 1]) if found is None else found


def _axis(table: Table, name: str) -> Axis:
    edges = _array(table, 3, name)
    bare = edges is None or not edges.size
    return Axis(table.text(2) or "", table.text(1) or "", None if bare else edges, table.number(0, _LENGTH[name]))


def write_histogram(one: Histogram, name: str, *, dialect: str = "ess") -> bytes:
    """Return the bytes of a histogram: a head, and one copy of its arrays.

    Raises
    ------
    SchemaError
        Its parts do not belong together, or its numbers are of a type that the message does not have.
    UsageError
        There is no such dialect.
    """
    return message(name, _node(one, name, dialect))


def write_histogram_in(memory: Recycled, one: Histogram, name: str, *, dialect: str = "ess") -> memoryview:
    """Return what `write_histogram` does, in memory that is used again."""
    return message_in(memory, name, _node(one, name, dialect))


def _node(one: Histogram, name: str, dialect: str) -> Node:
    _check_dialect(dialect)
    one.check()
    axes, shape, data = one.axes, list(one.data.shape), _typed(one.data, name, "data")
    if dialect == "mantid":
        axes, shape, data = _for_mantid(one)
    errors = None if one.errors is None else _typed(one.errors, name, "errors")
    kind = np.dtype("<" + _LENGTH[name])
    fields: dict[int, Any] = {
        0: one.source,
        1: (_TIME[name], one.timestamp),
        2: [_axis_node(a, n, name=name, bare=dialect == "mantid") for a, n in zip(axes, shape, strict=True)],
        3: (_TIME[name], one.metadata_time),
        4: np.array(shape, kind),
        5: np.array(one.offset, kind) if one.offset else None,
        10: one.info,
    }
    fields |= _array_fields(6, data, name)
    fields |= {} if errors is None else _array_fields(8, errors, name)
    return Node(fields)


def _typed(values: npt.NDArray[Any], name: str, what: str) -> npt.NDArray[Any]:
    if values.dtype.newbyteorder("<") not in [np.dtype(k) for k in _ARRAYS[name]]:
        there = ", ".join(np.dtype(k).name for k in _ARRAYS[name])
        msg = f"{what} of the type {values.dtype} cannot be written as {name}, which has {there}"
        raise SchemaError(msg, hint="convert it to one of them, where you see whether its numbers fit")
    return values


def _array_fields(slot: int, values: npt.NDArray[Any], name: str) -> dict[int, Any]:
    kinds = [np.dtype(k) for k in _ARRAYS[name]]
    kind = kinds.index(values.dtype.newbyteorder("<")) + 1
    return {slot: ("B", kind), slot + 1: Node({0: values})}


def _axis_node(axis: Axis, here: int, *, name: str, bare: bool) -> Node:
    length = axis.length if axis.length >= 0 else here
    fields: dict[int, Any] = {0: (_LENGTH[name], length), 1: axis.unit, 2: axis.name}
    if axis.edges is not None:
        fields |= _array_fields(3, _edges(axis, name), name)
    elif not bare:  # the schema's own library reads no dimension without edges, but one that has none of them
        fields |= _array_fields(3, np.empty(0, np.float64), name)
    return Node(fields)


def _edges(axis: Axis, name: str) -> npt.NDArray[Any]:
    """Return edges in a type that the message has; integers of a type that it has not become doubles where they fit."""
    assert axis.edges is not None
    edges = np.asarray(axis.edges)
    if edges.dtype.newbyteorder("<") in [np.dtype(k) for k in _ARRAYS[name]]:
        return edges
    wide = edges.astype(np.float64) if edges.dtype.kind in "iuf" else edges
    if wide.dtype != np.float64 or not np.array_equal(wide.astype(edges.dtype), edges):
        return _typed(edges, name, f"edges of {axis.name!r}")
    return wide


def _for_mantid(one: Histogram) -> tuple[tuple[Axis, ...], list[int], npt.NDArray[Any]]:
    """Return axes, shape and counts as Mantid reads them: doubles, edges by spectra, the axis of the edges first."""
    wrong = ""
    if one.data.ndim != 2 or one.axes[1].edges is None:
        wrong = "it has two dimensions, spectra and bins, and edges of the bins"
    elif one.errors is not None or one.offset:
        wrong = "it has no errors and no offset"
    elif one.data.dtype != np.float64:
        wrong = "its counts are float64"
    if wrong:
        msg = f"the histogram of {one.source!r} cannot be written in the dialect of Mantid: {wrong}"
        raise SchemaError(msg, hint="convert it, or write the dialect 'ess'")
    spectra, bins = one.axes
    doubles = Axis(bins.name, bins.unit, np.asarray(bins.edges, np.float64), bins.length)
    return (doubles, spectra), [one.data.shape[1] + 1, one.data.shape[0]], one.data

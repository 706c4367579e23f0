"""Histograms of any number of dimensions, as messages carry them, and as rows.

A `Histogram` may be a part of a larger one: `offset` says where its counts begin in the whole, whose lengths and edges
its axes have. Arrays that were read are views of the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.formats._flatbuffers import BrokenMessageError
from eventide.formats._log_data import as_type
from eventide.formats._rows import exactly, ns_to_time, type_name
from eventide.model.time import EVENT_TIME

__all__ = ["HISTOGRAM", "MOST_AXES", "Axis", "Histogram", "from_row", "to_row"]

MOST_AXES = 32
"""So many dimensions a histogram may have; numpy's own bound is 64."""

_AXIS = pa.struct(
    [("name", pa.string()), ("unit", pa.string()), ("length", pa.int64()), ("edges", pa.list_(pa.float64()))]
)
HISTOGRAM = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("source", pa.string()),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("offset", pa.list_(pa.int64())),
        pa.field("axes", pa.list_(_AXIS)),
        pa.field("data", pa.large_list(pa.float64())),
        pa.field("errors", pa.large_list(pa.float64())),
        pa.field("type", pa.string()),
        pa.field("info", pa.string()),
    ]
)
"""One row for a message: counts and errors in C order, float64 unless another type is asked for; `type` is theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One dimension.

    Parameters
    ----------
    name
        What is along it.
    unit
        Its unit; "" for none.
    edges
        Edges of the bins, one more than bins; None for a dimension that is only numbered (spectra, pixels).
    length
        How many bins the whole histogram has along it; left out: as the edges say.

    Examples
    --------
    >>> Axis("time_of_flight", "ns", np.linspace(0, 1e8, 101)).length
    100
    """

    name: str
    unit: str = ""
    edges: npt.NDArray[Any] | None = None
    length: int = -1

    def __post_init__(self) -> None:
        if self.length < 0 and self.edges is not None:
            object.__setattr__(self, "length", max(0, len(self.edges) - 1))


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts, where they belong, and when.

    Parameters
    ----------
    data
        Counts; as many dimensions as there are axes.
    axes
        The dimensions of the whole histogram, in the order of those of `data`.
    source
        What produced it.
    timestamp
        When, ns since 1970.
    errors
        Of the counts, the same shape; None for none.
    offset
        Where `data` begins along each axis of the whole histogram; () for one that is whole.
    info
        Anything, often JSON.
    metadata_time
        When the axes were last changed, ns since 1970.

    Examples
    --------
    >>> Histogram(np.array([3, 0, 1]), (Axis("x", "m", np.arange(4)),), "demo", 10**18).is_whole()
    True
    """

    data: npt.NDArray[Any]
    axes: tuple[Axis, ...]
    source: str = ""
    timestamp: int = 0
    errors: npt.NDArray[Any] | None = None
    offset: tuple[int, ...] = field(default=())
    info: str = ""
    metadata_time: int = 0

    def is_whole(self) -> bool:
        """Tell whether this is no part of a larger histogram."""
        return all(n == a.length or a.length < 0 for n, a in zip(self.data.shape, self.axes, strict=False))

    def check(self) -> None:
        """See whether the parts belong together.

        Raises
        ------
        SchemaError
            They do not; the message says which.
        """
        wrong = why_not(self)
        if wrong:
            msg = f"the histogram of {self.source!r} cannot be written: {wrong}"
            raise SchemaError(msg, hint="data has a dimension for each axis, and lies inside the lengths of the axes")

    def slices(self, most: int) -> list[Histogram]:
        """Return it in parts of at most `most` counts each, cut along the first dimension; views of its arrays.

        Examples
        --------
        >>> whole = Histogram(np.zeros((10, 4)), (Axis("y", length=10), Axis("x", length=4)))
        >>> [(part.data.shape, part.offset) for part in whole.slices(20)]
        [((5, 4), (0, 0)), ((5, 4), (5, 0))]
        """
        rows = max(1, most * len(self.data) // max(1, self.data.size)) if self.data.ndim else 1
        if not self.data.ndim or rows >= len(self.data):
            return [self]
        first = self.offset or (0,) * self.data.ndim
        return [
            Histogram(
                self.data[at : at + rows],
                self.axes,
                self.source,
                self.timestamp,
                None if self.errors is None else self.errors[at : at + rows],
                (first[0] + at, *first[1:]),
                self.info,
                self.metadata_time,
            )
            for at in range(0, len(self.data), rows)
        ]


def why_not(one: Histogram) -> str:
    """Return why the parts of a histogram do not belong together, "" where they do."""
    shape, ndim = one.data.shape, one.data.ndim
    if ndim != len(one.axes):
        return f"data of {ndim} dimensions has {len(one.axes)} axes"
    if ndim > MOST_AXES:
        return f"it has {ndim} dimensions, more than {MOST_AXES}"
    if one.errors is not None and one.errors.shape != shape:
        return f"its errors are of the shape {one.errors.shape}, its data of {shape}"
    if one.offset and len(one.offset) != ndim:
        return f"its offset has {len(one.offset)} numbers for {ndim} dimensions"
    for i, axis in enumerate(one.axes):
        begin = one.offset[i] if one.offset else 0
        if axis.edges is not None and (axis.edges.ndim != 1 or len(axis.edges) != axis.length + 1):
            return f"axis {axis.name!r} has {axis.edges.size} edges for {axis.length} bins"
        if axis.length >= 0 and not 0 <= begin <= begin + shape[i] <= axis.length:
            return f"its {shape[i]} bins from {begin} on are not inside the {axis.length} of axis {axis.name!r}"
    return ""


def to_row(one: Histogram) -> dict[str, Any]:
    """Return a histogram as a row of `HISTOGRAM`."""
    axes = [
        {
            "name": a.name,
            "unit": a.unit,
            "length": a.length if a.length >= 0 else one.data.shape[i],
            "edges": None if a.edges is None else exactly(a.edges, pa.float64(), f"edges of {a.name!r}").to_pylist(),
        }
        for i, a in enumerate(one.axes)
    ]
    return {
        "event_time": ns_to_time(one.timestamp, "timestamp"),
        "source": one.source,
        "shape": np.array(one.data.shape, np.int64),
        "offset": np.array(one.offset, np.int64) if one.offset else None,
        "axes": axes,
        "data": one.data.reshape(-1),
        "errors": None if one.errors is None else one.errors.reshape(-1),
        "type": type_name(one.data.dtype),
        "info": one.info,
    }


def from_row(row: Mapping[str, Any]) -> Histogram:
    """Return a row of `HISTOGRAM` as a histogram, of the type that its column `type` names.

    Raises
    ------
    SchemaError
        Columns are missing, or do not belong together.
    DataError
        Counts do not fit their type.
    """
    for what in ("event_time", "data", "axes"):
        if row.get(what) is None:
            msg = f"a histogram needs a value in the column {what!r}"
            raise SchemaError(msg, hint="columns: " + ", ".join(HISTOGRAM.names))
    axes = tuple(_axis(a) for a in row["axes"])
    lengths = [a.length for a in axes]
    shape = lengths if row.get("shape") is None else np.asarray(row["shape"]).tolist()
    if any(n is None or n < 0 for n in shape) or np.prod([int(n) for n in shape], dtype=object) != len(row["data"]):
        msg = f"{len(row['data']):,} counts are not of the shape {shape}"
        raise SchemaError(msg, hint="the column 'shape' has the length of each dimension of 'data'")
    kind = row.get("type") or ""
    errors = row.get("errors")
    return Histogram(
        as_type(np.asarray(row["data"]), kind).reshape(shape),
        axes,
        row.get("source") or "",
        row["event_time"],
        None if errors is None else _shaped(np.asarray(errors), shape),
        () if row.get("offset") is None else tuple(np.asarray(row["offset"]).tolist()),
        row.get("info") or "",
    )


def _shaped(errors: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    if np.prod(list(shape), dtype=object) != errors.size:
        msg = f"{errors.size:,} errors are not of the shape {shape}"
        raise SchemaError(msg, hint="there is an error for each count")
    return errors.reshape(shape)


def _axis(given: Mapping[str, Any]) -> Axis:
    edges, length = given.get("edges"), given.get("length")
    return Axis(
        given.get("name") or "",
        given.get("unit") or "",
        None if edges is None else np.array(edges, np.float64),
        -1 if length is None else length,
    )


def checked(one: Histogram) -> Histogram:
    """Return a histogram that was read, if its parts belong together.

    Raises
    ------
    BrokenMessageError
        They do not.
    """
    wrong = why_not(one)
    if wrong:
        raise BrokenMessageError(wrong)
    return one

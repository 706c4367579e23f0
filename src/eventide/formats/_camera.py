"""ad00: an image of a camera with its attributes, as the area detectors of EPICS send it."""

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
from eventide.formats._flatbuffers_write import Node, Raw, message
from eventide.formats._log_data import as_type
from eventide.formats._rows import exactly, ns_to_time, type_name
from eventide.model.time import EVENT_TIME

__all__ = ["IMAGE", "Attribute", "Image", "from_row", "read_image", "to_row", "write_image"]

_TEXT = len(TYPES)

_ATTRIBUTE = pa.struct(
    [
        pa.field("name", pa.string()),
        pa.field("description", pa.string()),
        pa.field("source", pa.string()),
        pa.field("type", pa.string()),
        pa.field("values", pa.list_(pa.float64())),
        pa.field("text", pa.string()),
    ]
)
IMAGE = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("source", pa.string()),
        pa.field("id", pa.int32()),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("data", pa.large_list(pa.float64())),
        pa.field("type", pa.string()),
        pa.field("attributes", pa.list_(_ATTRIBUTE)),
    ]
)
"""One row for a message; pixels in C order, float64 unless another type is asked for; `type` is theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """Something known of an image: an array of one dimension, or text.

    Examples
    --------
    >>> Attribute("gain", "of the camera", "CAM:GAIN", np.array([2.0])).name
    'gain'
    """

    name: str
    description: str
    source: str
    data: npt.NDArray[Any] | str


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One image.

    Parameters
    ----------
    source
        The camera.
    number
        Consecutive numbers of its images.
    timestamp
        When, ns since 1970.
    data
        The pixels, of any number of dimensions; text where the message holds that.
    attributes
        What else is known.

    Examples
    --------
    >>> Image("camera", 1, 10**18, np.zeros((2, 3), np.uint16)).data.shape
    (2, 3)
    """

    source: str
    number: int
    timestamp: int
    data: npt.NDArray[Any] | str
    attributes: tuple[Attribute, ...] = ()


def read_image(data: Bytes) -> Image:
    """Return what a message holds; its arrays are views of `data`.

    Raises
    ------
    BrokenMessageError
        It cannot be read.
    """
    table = root(data, "ad00")
    shape = table.vector(3, "<i8")
    return Image(
        table.text(0) or "",
        table.number(1, "i"),
        table.number(2, "q"),
        _content(table, 4, None if shape is None else [int(n) for n in shape], what="the image"),
        tuple(
            Attribute(a.text(0) or "", a.text(1) or "", a.text(2) or "", _content(a, 3, None, what="an attribute"))
            for a in table.tables(6)
        ),
    )


def _content(table: Table, slot: int, shape: list[int] | None, *, what: str) -> npt.NDArray[Any] | str:
    kind, raw = table.number(slot, "b"), table.vector(slot + 1, "u1")
    if raw is None:
        msg = f"{what} has no data"
        raise BrokenMessageError(msg)
    return text_of(raw, what) if kind == _TEXT else array_of(raw, kind, shape, what=what)


def write_image(one: Image) -> bytes:
    """Return the bytes of a message: a head, and one copy of the pixels.

    Raises
    ------
    SchemaError
        An array is of a type that messages do not have.
    """
    kind, data, shape = _written(one.data, "the image")
    fields: dict[int, Any] = {0: one.source, 1: ("i", one.number), 2: ("q", one.timestamp), 3: shape}
    attributes = []
    for a in one.attributes:
        number, content, _ = _written(a.data, f"attribute {a.name!r}")
        attributes.append(Node({0: a.name, 1: a.description, 2: a.source, 3: ("b", number), 4: content}))
    return message("ad00", Node(fields | {4: ("b", kind), 5: data, 6: attributes}))


def _written(data: npt.NDArray[Any] | str, what: str) -> tuple[int, Any, npt.NDArray[np.int64]]:
    if isinstance(data, str):
        raw = np.frombuffer(data.encode("utf-8"), np.uint8)
        return _TEXT, raw, np.array([raw.size], np.int64)
    array = np.asarray(data)
    return number_of_type(array.dtype, what), Raw(array), np.array(array.shape, np.int64)


def to_row(one: Image) -> dict[str, Any]:
    """Return an image as a row of `IMAGE`.

    Raises
    ------
    BrokenMessageError
        It is text, or its numbers do not fit.
    """
    if isinstance(one.data, str):
        msg = "it holds text where an image should be"
        raise BrokenMessageError(msg)
    return {
        "event_time": ns_to_time(one.timestamp, "timestamp"),
        "source": one.source,
        "id": one.number,
        "shape": np.array(one.data.shape, np.int64),
        "data": one.data.reshape(-1),
        "type": type_name(one.data.dtype),
        "attributes": [_cells(a) for a in one.attributes],
    }


def _cells(one: Attribute) -> dict[str, Any]:
    text = one.data if isinstance(one.data, str) else None
    array = None if isinstance(one.data, str) else one.data
    return {
        "name": one.name,
        "description": one.description,
        "source": one.source,
        "type": "string" if array is None else type_name(array.dtype),
        "values": None if array is None else exactly(array, pa.float64(), f"attribute {one.name!r}").to_pylist(),
        "text": text,
    }


def from_row(row: Mapping[str, Any]) -> Image:
    """Return a row of `IMAGE` as an image, of the type that its column `type` names.

    Raises
    ------
    SchemaError
        Columns are missing, or the pixels are not of their shape.
    DataError
        Pixels do not fit their type.
    """
    for what in ("event_time", "data", "shape"):
        if row.get(what) is None:
            msg = f"an image needs a value in the column {what!r}"
            raise SchemaError(msg, hint="columns: " + ", ".join(IMAGE.names))
    pixels, shape = np.asarray(row["data"]), np.asarray(row["shape"]).tolist()
    if min(shape, default=0) < 0 or np.prod(shape, dtype=object) != pixels.size:
        msg = f"{pixels.size:,} pixels are not of the shape {shape}"
        raise SchemaError(msg, hint="the column 'shape' has the length of each dimension of 'data'")
    return Image(
        row.get("source") or "",
        row.get("id") or 0,
        row["event_time"],
        as_type(pixels, row.get("type") or "").reshape(shape),
        tuple(_of_cells(a) for a in row.get("attributes") or ()),
    )


def _of_cells(cells: Mapping[str, Any]) -> Attribute:
    kind = cells.get("type") or ""
    data: npt.NDArray[Any] | str = cells.get("text") or ""
    if kind != "string":
        data = as_type(np.array(cells.get("values") or [], np.float64), kind)
    return Attribute(cells.get("name") or "", cells.get("description") or "", cells.get("source") or "", data)

"""Publications: what a histogram has at some time, as rows of a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.kernel.histogram.codes import CLASSES
from eventide.kernel.histogram.products import Product, describe_product
from eventide.kernel.recycled import Recycled
from eventide.model.time import EVENT_TIME

__all__ = ["LEDGER", "METADATA", "Publisher", "publication_schema", "read_metadata"]

METADATA = b"eventide.histograms"
"""Where the schema of publications says what the products are, as JSON."""

LEDGER = ("events", "binned", *CLASSES, "vetoed")
"""Columns that add up: events = binned + below + above + unknown + masked + nan + vetoed."""

_LEAST, _MOST = 1 << 10, 2**31 - 1
"""Values that the lists of a column in one batch have room for."""


def publication_schema(
    products: Mapping[str, Product], keys: Sequence[pa.Field], *, sparse: bool, track: Sequence[str]
) -> pa.Schema:
    """Return the schema of publications.

    Parameters
    ----------
    products
        By name.
    keys
        Fields of the keys, which come first.
    sparse
        Whether only bins with events are listed.
    track
        Columns whose least and greatest values are told.

    Raises
    ------
    SchemaError
        A key has the name of another column.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> from eventide.kernel.histogram.products import checked
    >>> schema = publication_schema(checked({"tof": uniform("tof", 0, 1, 2)}), (), sparse=False, track=())
    >>> schema.names[:6]
    ['until', 'since', 'first', 'last', 'product', 'sequence']
    >>> read_metadata(schema)["tof"]["shape"]
    [2]
    """
    fields = [
        *keys,
        *(pa.field(n, EVENT_TIME) for n in ("until", "since", "first", "last")),
        pa.field("product", pa.string()),
        pa.field("sequence", pa.int64()),
        *(pa.field(n, pa.int64()) for n in LEDGER),
        *(pa.field(f"{n}_{end}", pa.int64()) for n in track for end in ("first", "last")),
        *([pa.field("bins", pa.list_(pa.int64()))] if sparse else []),
        pa.field("counts", pa.list_(pa.int64())),
    ]
    if any(each.weights for each in products.values()):
        fields += [pa.field("sums", pa.list_(pa.float64())), pa.field("squares", pa.list_(pa.float64()))]
    names = [f.name for f in fields]
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        msg = f"histogram() adds the column {double[0]!r}, and there is one already"
        raise SchemaError(msg, hint="rename the key, or the column that is tracked")
    described = json.dumps({name: describe_product(each) for name, each in products.items()})
    return pa.schema(fields, metadata={METADATA: described.encode()})


def read_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return what the schema of publications says of its products: shape, weights and axes, by name.

    Raises
    ------
    SchemaError
        It says nothing.
    """
    found = (schema.metadata or {}).get(METADATA)
    if found is None:
        msg = "this schema does not say what its histograms are"
        raise SchemaError(msg, hint="take it from the stream that histogram() returns, before other operators")
    out: dict[str, Any] = json.loads(found)
    return out


class Publisher:
    """Gathers rows and makes batches of them; lists are written once, into memory that comes back.

    Parameters
    ----------
    schema
        From `publication_schema`.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._lists = [f.name for f in schema if pa.types.is_list(f.type)]
        self._memory = {name: Recycled() for name in self._lists}
        self._rows: list[tuple[list[pa.Array], Mapping[str, Any]]] = []
        self._slabs: dict[str, _Slab] = {}
        self._done: list[pa.RecordBatch] = []

    def room(self, sizes: Mapping[str, int], *, together: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Return memory for the lists of the next row, by column.

        Parameters
        ----------
        sizes
            How many values each list has; a column that is left out is null.
        together
            How many values of a column are wanted in one batch; the row that is one too many begins the next.
        """
        if self._rows and any(n in self._slabs and not self._slabs[n].fits(size) for n, size in sizes.items()):
            self._make()
        out = {}
        for name, size in sizes.items():
            if name not in self._slabs:
                kind = self._schema.field(name).type.value_type
                count = max(size, _LEAST, min(together, _MOST))
                self._slabs[name] = _Slab(kind, self._memory[name].take(count * kind.bit_width // 8))
            out[name] = self._slabs[name].take(size)
        return out

    def add(self, keys: list[pa.Array], row: Mapping[str, Any]) -> None:
        """Add a row: its keys as arrays of one value, and the other columns by name (of lists: what `room` gave)."""
        self._rows.append((keys, row))

    def _make(self) -> None:
        arrays: list[pa.Array] = []
        for at, field in enumerate(self._schema):
            if field.name not in self._rows[0][1]:
                arrays.append(pa.concat_arrays([keys[at] for keys, _ in self._rows]))
            elif field.name in self._lists:
                sizes = [None if row[field.name] is None else row[field.name].size for _, row in self._rows]
                slab = self._slabs.pop(field.name, None)
                values = pa.array([], field.type.value_type) if slab is None else slab.values()
                arrays.append(_lists(sizes, values))
            else:
                arrays.append(pa.array([row[field.name] for _, row in self._rows], field.type))
        self._done.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def batches(self) -> list[pa.RecordBatch]:
        """Return the batches of all rows added since the last time."""
        if self._rows:
            self._make()
        done, self._done = self._done, []
        return done


class _Slab:
    """Memory for the lists of a column, one behind the other."""

    def __init__(self, kind: pa.DataType, memory: npt.NDArray[np.uint8]) -> None:
        # The buffer holds the memory itself: what numpy makes of it would hold what lies behind.
        self._kind, self._buffer = kind, pa.py_buffer(memory)
        self._array: npt.NDArray[Any] = memory.view(np.dtype(str(kind)))
        self.used = 0

    def fits(self, size: int) -> bool:
        return self.used + size <= self._array.size

    def take(self, size: int) -> npt.NDArray[Any]:
        self.used += size
        return self._array[self.used - size : self.used]

    def values(self) -> pa.Array:
        return pa.Array.from_buffers(self._kind, self.used, [None, self._buffer])


def _lists(sizes: list[int | None], values: pa.Array) -> pa.Array:
    ends = np.cumsum([0, *(size or 0 for size in sizes)])
    offsets = pa.array(ends.astype(np.int32), mask=np.array([*(size is None for size in sizes), False]))
    return pa.ListArray.from_arrays(offsets, values)

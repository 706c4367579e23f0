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
from eventide.model.time import EVENT_TIME

__all__ = ["LEDGER", "METADATA", "Publisher", "publication_schema", "read_metadata"]

METADATA = b"eventide.histograms"
"""Where the schema of publications says what the products are, as JSON."""

LEDGER = ("events", "binned", *CLASSES, "vetoed")
"""Columns that add up: events = binned + below + above + unknown + masked + nan + vetoed."""

_TOGETHER = 1 << 20
"""Counts that one batch has at the most, unless one histogram alone has more."""


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
    """Gathers rows and makes batches of them.

    Parameters
    ----------
    schema
        From `publication_schema`.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._lists = [f.name for f in schema if pa.types.is_list(f.type)]
        self._rows: list[tuple[list[pa.Array], Mapping[str, Any]]] = []
        self._size = 0
        self._done: list[pa.RecordBatch] = []

    def add(self, keys: list[pa.Array], row: Mapping[str, Any]) -> None:
        """Add a row: its keys as arrays of one value, and the other columns by name (arrays, or None, for lists)."""
        size = sum(0 if row[n] is None else len(row[n]) for n in self._lists)
        if self._rows and self._size + size > _TOGETHER:
            self._make()
        self._rows.append((keys, row))
        self._size += size

    def _make(self) -> None:
        arrays: list[pa.Array] = []
        for at, field in enumerate(self._schema):
            if field.name not in self._rows[0][1]:
                arrays.append(pa.concat_arrays([keys[at] for keys, _ in self._rows]))
            elif field.name in self._lists:
                arrays.append(_lists([row[field.name] for _, row in self._rows], field.type))
            else:
                arrays.append(pa.array([row[field.name] for _, row in self._rows], field.type))
        self._done.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows, self._size = [], 0

    def batches(self) -> list[pa.RecordBatch]:
        """Return the batches of all rows added since the last time."""
        if self._rows:
            self._make()
        done, self._done = self._done, []
        return done


def _lists(values: list[npt.NDArray[Any] | None], kind: pa.DataType) -> pa.Array:
    given = [v for v in values if v is not None]
    dtype = np.dtype(str(kind.value_type))
    flat = given[0] if len(given) == 1 else np.concatenate([np.empty(0, dtype), *given])
    ends = np.cumsum([0, *(0 if v is None else len(v) for v in values)])
    offsets = pa.array(ends.astype(np.int32), mask=np.array([*(v is None for v in values), False]))
    return pa.ListArray.from_arrays(offsets, pa.array(flat, kind.value_type))

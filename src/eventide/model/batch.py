"""Batches: Arrow record batches, and the few things every layer asks of one.

A column whose name begins with an underscore is eventide's own and never reaches a user or a sink.
`WATERMARK_COLUMN` is the only one that travels between operators: the watermark that each row met
when it arrived, present only in batches in which some row was behind it. With it the verdict "late"
depends on the order of events alone, never on how they were cut into batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import SchemaError, near_names
from eventide.model.time import EVENT_TIME

__all__ = ["WATERMARK_COLUMN", "Int64Array", "as_event_time", "column", "concat", "empty", "event_times", "visible"]

Int64Array = npt.NDArray[np.int64]

WATERMARK_COLUMN = "_watermark"


def column(batch: pa.RecordBatch, name: str, *, where: str = "") -> pa.Array:
    """Return a column by name.

    Raises
    ------
    SchemaError
        There is no such column; the hint names near ones.

    Examples
    --------
    >>> column(pa.record_batch({"a": [1, 2]}), "a").to_pylist()
    [1, 2]
    """
    index = batch.schema.get_field_index(name)
    if index < 0:
        msg = f"there is no column {name!r}{where and ' ' + where}"
        raise SchemaError(msg, hint=near_names(name, batch.schema.names))
    return batch.column(index)


def event_times(batch: pa.RecordBatch, name: str) -> Int64Array:
    """Return an event-time column as int64 nanoseconds, without a copy.

    Parameters
    ----------
    batch
        A batch whose column `name` is ``timestamp[ns]`` and holds no nulls.
    name
        The event-time column.

    Examples
    --------
    >>> b = pa.record_batch({"t": pa.array([5, 7], EVENT_TIME)})
    >>> event_times(b, "t").tolist()
    [5, 7]
    """
    array = column(batch, name)
    data = array.buffers()[1]
    if data is None:
        return np.empty(0, np.int64)
    # Ten times as fast as a view and its conversion, which is seen where batches are small.
    return np.frombuffer(data, np.int64, len(array), array.offset * 8)


def as_event_time(array: pa.Array, *, what: str = "the event-time column") -> pa.Array:
    """Return a column as ``timestamp[ns, UTC]``: a time without a zone is taken as UTC, text is read as ISO 8601.

    Raises
    ------
    SchemaError
        The column is neither a timestamp nor a date nor text. Text or a range that cannot be read becomes null.
    """
    kind = array.type
    if kind == EVENT_TIME:
        return array
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_text(array)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        msg = f"{what} is {kind}, not a timestamp"
        raise SchemaError(msg, hint="convert it first, for example with pl.from_epoch(column, time_unit='s')")
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("s"))
    try:
        return pc.cast(array.cast(pa.timestamp(array.type.unit)), pa.timestamp("ns")).cast(EVENT_TIME)
    except pa.ArrowInvalid:
        values: Any = array.cast(pa.timestamp(array.type.unit)).to_numpy(zero_copy_only=False)
        scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[array.type.unit]
        whole = values.view(np.int64)
        limit = (2**63 - 1) // scale
        bad = (whole > limit) | (whole < -limit) | np.isnat(values)
        return pa.array(np.where(bad, 0, whole) * scale, pa.int64(), mask=bad).cast(EVENT_TIME)


_TIME_FORMS = (
    "%+",  # RFC 3339: a zone, and as many digits of the second as there are
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)


def _from_text(array: pa.Array) -> pa.Array:
    """Return text as event times, each row for itself: guessing one form for all would depend on the batch."""
    import polars as pl

    text = pl.Series(array)
    times = pl.repeat(None, len(text), dtype=pl.Datetime("ns", "UTC"), eager=True)
    whole = times.cast(pl.Datetime("us", "UTC"))
    for form in _TIME_FORMS:
        if whole.null_count() == text.null_count():
            break
        whole = whole.fill_null(text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False))
        times = times.fill_null(text.str.to_datetime(form, time_unit="ns", time_zone="UTC", strict=False))
    # Nanoseconds wrap around outside 1677 to 2262, microseconds do not.
    fits = (times.dt.cast_time_unit("us") == whole).fill_null(value=False)
    return times.set(~fits, None).to_arrow().cast(EVENT_TIME)


def visible(schema: pa.Schema) -> pa.Schema:
    """Return a schema without eventide's own columns.

    Examples
    --------
    >>> visible(pa.schema([("a", pa.int64()), ("_watermark", pa.int64())])).names
    ['a']
    """
    return pa.schema([f for f in schema if not f.name.startswith("_")], metadata=schema.metadata)


def concat(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return batches of one schema as one batch; some may lack the watermark column.

    Examples
    --------
    >>> concat([pa.record_batch({"a": [1]}), pa.record_batch({"a": [2]})]).num_rows
    2
    """
    if len(batches) == 1:
        return batches[0]
    marked = [b.schema.get_field_index(WATERMARK_COLUMN) >= 0 for b in batches]
    if any(marked) and not all(marked):
        # A row that was not behind its watermark is on time whatever the window: the lowest mark says so.
        low = np.iinfo(np.int64).min
        batches = [
            b if m else b.append_column(WATERMARK_COLUMN, pa.array(np.full(b.num_rows, low), pa.int64()))
            for b, m in zip(batches, marked, strict=True)
        ]
    if hasattr(pa, "concat_batches"):
        return pa.concat_batches(batches)
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()  # pyarrow before 19
    return whole[0] if whole else batches[0]


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of `schema` without rows.

    Examples
    --------
    >>> empty(pa.schema([("a", pa.int64())])).num_rows
    0
    """
    return pa.RecordBatch.from_arrays([_no_values(f.type) for f in schema], schema=schema)


def _no_values(kind: pa.DataType) -> pa.Array:
    try:
        return pa.array([], kind)
    except pa.ArrowNotImplementedError:  # unions
        return pa.nulls(0, kind)

"""Columns of a batch as arrays of events: a row is an event, or a pulse with lists of what its events have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import DataError, SchemaError
from eventide.model.batch import Int64Array, column, concat

__all__ = ["EventColumns", "check_number", "event_columns", "events_of_rows", "is_list", "row_columns", "rows_where"]

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

_PIECE = 1 << 12
"""Bytes of a piece from which on it is worth its place in a list of pieces."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Arrays of one length by name, and which values of them are null."""

    values: dict[str, Array]
    nulls: dict[str, BoolArray]


def check_number(field: pa.Field, *, what: str, whole: bool = False) -> None:
    """Refuse a column that holds neither numbers nor lists of numbers.

    Raises
    ------
    SchemaError
        Always then.

    Examples
    --------
    >>> check_number(pa.field("tof", pa.list_(pa.int32())), what="an axis")
    """
    kind = field.type.value_type if is_list(field.type) else field.type
    number = pa.types.is_integer(kind) or (not whole and (pa.types.is_floating(kind) or pa.types.is_boolean(kind)))
    if not (number or (not whole and (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)))):
        msg = f"the column {field.name!r} holds {field.type}, of which {what} cannot be made"
        raise SchemaError(msg, hint="whole numbers are needed" if whole else "numbers, or lists of numbers, are needed")


def event_columns(batch: pa.RecordBatch, names: Sequence[str]) -> EventColumns:
    """Return columns as arrays of events, without a copy where a row is an event and none is null.

    Where some columns are lists, a row stands for as many events as its lists have entries, and its other columns
    hold for each of them; a null list has none.

    Parameters
    ----------
    batch
        Rows.
    names
        The columns.

    Raises
    ------
    DataError
        Two lists of a row are of different lengths.

    Examples
    --------
    >>> pulses = pa.record_batch({"period": [1, 2], "tof": [[5, 6], [7]]})
    >>> made = event_columns(pulses, ["period", "tof"])
    >>> made.values["period"].tolist(), made.values["tof"].tolist()
    ([1, 1, 2], [5, 6, 7])
    """
    arrays = {name: column(batch, name, where="for a histogram") for name in names}
    lengths = events_of_rows(batch, names)
    values, nulls = {}, {}
    for name, array in arrays.items():
        listed = is_list(array.type)
        flat = array.flatten() if listed else array
        made, none = _plain(flat)
        if lengths is not None and not listed:
            made, none = np.repeat(made, lengths), None if none is None else np.repeat(none, lengths)
        values[name] = made
        if none is not None:
            nulls[name] = none
    return EventColumns(values, nulls)


def events_of_rows(batch: pa.RecordBatch, names: Sequence[str]) -> Int64Array | None:
    """Return how many events each row stands for, int64, by the lists among columns; None: one each.

    Raises
    ------
    DataError
        Two lists of a row are of different lengths.

    Examples
    --------
    >>> pulses = pa.record_batch({"period": [1, 2], "tof": [[5, 6], None]})
    >>> events_of_rows(pulses, ["period", "tof"]).tolist(), events_of_rows(pulses, ["period"])
    ([2, 0], None)
    """
    lengths: Int64Array | None = None
    of = ""
    for name in names:
        array = column(batch, name, where="for a histogram")
        if not is_list(array.type):
            continue
        own = np.asarray(array.value_lengths().fill_null(0)).astype(np.int64)
        if lengths is None:
            lengths, of = own, name
        elif not np.array_equal(own, lengths):
            row = int(np.flatnonzero(own != lengths)[0])
            msg = f"the lists {of!r} and {name!r} of one row have {int(lengths[row])} and {int(own[row])} entries"
            raise DataError(msg, hint="each event needs an entry in both: leave such rows out before")
    return lengths


def row_columns(batch: pa.RecordBatch, names: Sequence[str]) -> EventColumns:
    """Return columns of which none is a list as arrays of rows.

    Examples
    --------
    >>> row_columns(pa.record_batch({"period": [1, 2], "tof": [[5, 6], [7]]}), ["period"]).values["period"].tolist()
    [1, 2]
    """
    values, nulls = {}, {}
    for name in names:
        values[name], none = _plain(column(batch, name, where="for a histogram"))
        if none is not None:
            nulls[name] = none
    return EventColumns(values, nulls)


def rows_where(batch: pa.RecordBatch, kept: BoolArray) -> pa.RecordBatch:
    """Return rows as `RecordBatch.filter` does; neighbours in one piece, where that has many bytes.

    Arrow's filter takes lists apart value by value, for many times what a copy costs.

    Parameters
    ----------
    batch
        Rows.
    kept
        For each row, whether it stays.

    Examples
    --------
    >>> rows_where(pa.record_batch({"tof": [[5, 6], [7], [8]]}), np.array([False, True, True])).to_pydict()
    {'tof': [[7], [8]]}
    """
    steps = np.flatnonzero(np.diff(kept, prepend=False, append=False))
    begins, ends = steps[::2].tolist(), steps[1::2].tolist()
    if not begins:
        return batch.slice(0, 0)
    if len(begins) > 1 and batch.nbytes < len(begins) * _PIECE:
        return batch.filter(pa.array(kept))
    return concat([batch.slice(begin, end - begin) for begin, end in zip(begins, ends, strict=True)])


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a type is one of lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _plain(array: pa.Array) -> tuple[Array, BoolArray | None]:
    none = None
    if array.null_count:
        none = np.asarray(array.is_null())
        array = array.fill_null(False if pa.types.is_boolean(array.type) else pa.scalar(0, pa.int64()).cast(array.type))
    if pa.types.is_temporal(array.type):
        array = array.view(pa.int64())
    return array.to_numpy(zero_copy_only=False), none

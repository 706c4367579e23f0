"""Columns of a batch as arrays of events: a row is an event, or a pulse with lists of what its events have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import DataError, SchemaError
from eventide.model.batch import column

__all__ = ["EventColumns", "check_number", "event_columns"]

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]


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
    kind = field.type.value_type if _is_list(field.type) else field.type
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
    lengths: Array | None = None
    of = ""
    for name, array in arrays.items():
        if not _is_list(array.type):
            continue
        own = np.asarray(array.value_lengths().fill_null(0))
        if lengths is None:
            lengths, of = own, name
        elif not np.array_equal(own, lengths):
            row = int(np.flatnonzero(own != lengths)[0])
            msg = f"the lists {of!r} and {name!r} of one row have {int(lengths[row])} and {int(own[row])} entries"
            raise DataError(msg, hint="each event needs an entry in both: leave such rows out before")
    values, nulls = {}, {}
    for name, array in arrays.items():
        listed = _is_list(array.type)
        flat = array.flatten() if listed else array
        made, none = _plain(flat)
        if lengths is not None and not listed:
            made, none = np.repeat(made, lengths), None if none is None else np.repeat(none, lengths)
        values[name] = made
        if none is not None:
            nulls[name] = none
    return EventColumns(values, nulls)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _plain(array: pa.Array) -> tuple[Array, BoolArray | None]:
    none = None
    if array.null_count:
        none = np.asarray(array.is_null())
        array = array.fill_null(False if pa.types.is_boolean(array.type) else pa.scalar(0, pa.int64()).cast(array.type))
    if pa.types.is_temporal(array.type):
        array = array.view(pa.int64())
    return array.to_numpy(zero_copy_only=False), none

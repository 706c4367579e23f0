"""One input of a join: its columns, its watermark, and how its rows are taken in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.keys import key_groups, key_hashes
from eventide.model.batch import WATERMARK_COLUMN, Int64Array, event_times, visible
from eventide.model.machine import LATE, Emit
from eventide.model.state import ALL_GROUPS, GROUP_COLUMN, State, group_array, select_groups
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = [
    "LATE_RIGHT",
    "PORTS",
    "Arrival",
    "BoolArray",
    "Side",
    "earlier",
    "load_state",
    "rows_where",
    "save_watermarks",
]

BoolArray = npt.NDArray[np.bool_]

LATE_RIGHT = "late_right"
"""The port of events of the right input that came too late."""

PORTS = ("left", "right")
_TIMES = "watermarks"


class Arrival(NamedTuple):
    """Rows of a batch, their event times, and the watermark that each met (None: the side's own)."""

    rows: pa.RecordBatch
    times: Int64Array
    marks: Int64Array | None


def earlier(time: int, by: int) -> int:
    """Return ``time - by`` within the range of times; the ends of time stay where they are.

    Examples
    --------
    >>> earlier(10, 3), earlier(MAX_TIME, 3) == MAX_TIME
    (7, True)
    """
    if time in (MIN_TIME, MAX_TIME):
        return time
    return min(max(time - by, MIN_TIME), MAX_TIME)


def rows_where(batch: pa.RecordBatch, mask: BoolArray) -> pa.RecordBatch:
    """Return the rows of a batch for which the mask is true."""
    return batch.filter(pa.array(mask))


@dataclass(slots=True)
class Side:
    """One input of a join.

    Parameters
    ----------
    port
        0 for left, 1 for right.
    schema
        Schema of the input; columns of eventide's own are left out.
    keys
        Key columns.
    event_time
        The event-time column.
    groups
        Key groups that the machine owns; rows of others are passed over.
    watermark
        Watermark of this input, ns.
    taken
        How many rows were taken in, for the ledger.
    """

    port: int
    schema: pa.Schema
    keys: tuple[str, ...]
    event_time: str
    groups: range
    watermark: int = MIN_TIME
    taken: int = 0

    def __post_init__(self) -> None:
        self.schema = visible(self.schema)
        self.keys = tuple(self.keys)

    def arrive(self, batch: pa.RecordBatch) -> Arrival:
        """Return the rows of a batch that belong to the groups owned, without eventide's own columns."""
        index = batch.schema.get_field_index(WATERMARK_COLUMN)
        marks: Int64Array | None = None if index < 0 else batch.column(index).to_numpy(zero_copy_only=False)
        rows = batch.select(self.schema.names) if batch.num_columns != len(self.schema) else batch
        if self.groups != ALL_GROUPS:
            group = self.group_of(rows)
            own = (group >= self.groups.start) & (group < self.groups.stop)
            if not own.all():
                rows = rows_where(rows, own)
                marks = None if marks is None else marks[own]
        return Arrival(rows, self.times(rows), marks)

    def times(self, rows: pa.RecordBatch) -> Int64Array:
        """Return the event times of rows, ns."""
        return event_times(rows, self.event_time)

    def group_of(self, rows: pa.RecordBatch) -> npt.NDArray[np.int32]:
        """Return the key group of each row."""
        groups: npt.NDArray[np.int32] = key_groups(key_hashes(rows, self.keys))
        return groups

    def matchable(self, rows: pa.RecordBatch) -> BoolArray | None:
        """Return which rows have no null in a key, or None when none has: null equals nothing."""
        mask: BoolArray | None = None
        for key in self.keys:
            array = rows.column(key)
            if array.null_count:
                valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
                mask = valid if mask is None else mask & valid
        return mask

    def drop_late(self, arrival: Arrival) -> tuple[Arrival, list[Emit]]:
        """Take out the rows behind the watermark of their own input and return them as late.

        A row is judged by the watermark that it met, or the one in force before the step.
        """
        if not len(arrival.times):
            return arrival, []
        if arrival.marks is None:
            late = arrival.times < self.watermark
        else:
            late = arrival.times < np.maximum(arrival.marks, self.watermark)
        if not late.any():
            self.taken += arrival.rows.num_rows
            return arrival, []
        rest = rows_where(arrival.rows, ~late)
        self.taken += rest.num_rows
        return Arrival(rest, arrival.times[~late], None), [self.late(rows_where(arrival.rows, late))]

    def late(self, rows: pa.RecordBatch) -> Emit:
        """Return late rows on their port, as they came."""
        return Emit(LATE_RIGHT if self.port else LATE, rows)

    def advance(self, watermark: int) -> bool:
        """Take over a watermark and tell whether it has moved."""
        moved = watermark > self.watermark
        self.watermark = max(watermark, self.watermark)
        return moved

    def table(self, rows: pa.RecordBatch, **columns: pa.Array) -> pa.Table:
        """Return rows as a state table, with their key groups and further columns of eventide's own."""
        arrays = [*rows.columns, group_array(self.group_of(rows)), *columns.values()]
        return pa.table(arrays, names=[*self.schema.names, GROUP_COLUMN, *columns])

    def untable(self, table: pa.Table) -> tuple[pa.RecordBatch, dict[str, pa.Array]]:
        """Return the rows of a state table and its further columns."""
        batches = table.combine_chunks().to_batches()
        if not batches:
            return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in self.schema], schema=self.schema), {}
        names = [n for n in table.column_names if n not in self.schema.names and n != GROUP_COLUMN]
        rows = pa.RecordBatch.from_arrays([batches[0].column(n) for n in self.schema.names], schema=self.schema)
        return rows, {name: batches[0].column(name) for name in names}


def save_watermarks(sides: Sequence[Side]) -> State:
    """Return the watermarks of both sides as a state table that belongs to no key."""
    marks = pa.array([side.watermark for side in sides], pa.int64())
    return {_TIMES: pa.table({"watermark": marks})}


def load_state(sides: Sequence[Side], state: State) -> State:
    """Take over the watermarks and return the tables of the groups owned."""
    for side, watermark in zip(sides, state[_TIMES].column("watermark").to_pylist(), strict=True):
        side.watermark = watermark
    return select_groups(state, sides[0].groups)

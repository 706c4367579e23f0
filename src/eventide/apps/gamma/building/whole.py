"""Rows that wait until all that belong together have come, or the watermark says that no more will."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.numbers import integers_of
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.ordering import late_rows
from eventide.model.batch import Int64Array, concat, empty, event_times, visible
from eventide.model.state import ALL_GROUPS, GROUP_COLUMN, group_array

__all__ = ["Gathered", "Gathering"]

BoolArray = npt.NDArray[np.bool_]


class Gathered(NamedTuple):
    """Rows that wait, and by their groups: which group each is of, and the first time and number of rows of each."""

    rows: pa.RecordBatch
    times: Int64Array
    ids: Int64Array
    of: Int64Array
    first: Int64Array
    counts: Int64Array


class Gathering:
    """Rows that wait for the others of their groups, in any order.

    Parameters
    ----------
    schema
        Of the rows; columns of eventide's own are left out.
    event_time
        The event-time column.
    number
        The column of whole numbers that says which rows belong together.
    groups
        Key groups that are owned.

    Examples
    --------
    >>> rows = pa.record_batch({"t": pa.array([5, 9, 7], pa.timestamp("ns", "UTC")), "n": [1, 2, 1]})
    >>> waiting = Gathering(rows.schema, "t", number="n", groups=ALL_GROUPS)
    >>> waiting.add(rows, watermark=0)
    >>> found = waiting.look()
    >>> found.counts.tolist(), found.first.tolist()
    ([2, 1], [5, 9])
    >>> waiting.take(found, found.counts == 2).column("n").to_pylist(), waiting.rows.num_rows
    ([1, 1], 1)
    """

    def __init__(self, schema: pa.Schema, event_time: str, *, number: str, groups: range) -> None:
        self._schema, self._time, self._number, self._groups = visible(schema), event_time, number, groups
        self.rows = self._nothing = empty(self._schema)
        self.taken = 0

    def add(self, batch: pa.RecordBatch, *, watermark: int) -> pa.RecordBatch | None:
        """Take rows and return those that are behind the watermark, or None."""
        if self._groups != ALL_GROUPS:
            groups = key_groups(key_hashes(batch, ()))
            batch = batch.filter(pa.array((groups >= self._groups.start) & (groups < self._groups.stop)))
        if not batch.num_rows:
            return None
        late = late_rows(batch, event_times(batch, self._time), watermark)
        rows, out = batch.select(self._schema.names), None
        if late is not None:
            rows, out = rows.filter(pa.array(~late)), rows.filter(pa.array(late))
        self.taken += rows.num_rows
        if rows.num_rows:
            self.rows = concat([self.rows, rows]) if self.rows.num_rows else rows
        return out

    def look(self) -> Gathered:
        """Return the rows that wait by their groups; a row without a number is a group by itself."""
        column = self.rows.column(self._number)
        ids = integers_of(column)
        times = event_times(self.rows, self._time)
        begins = np.ones(ids.size, bool)
        if column.null_count:
            none = np.asarray(column.is_null())
            lost = np.cumsum(none) * none
            order = np.lexsort((lost, ids))
            begins[1:] = (np.diff(ids[order]) != 0) | (np.diff(lost[order]) != 0)
        else:
            order = np.argsort(ids, kind="stable")
            begins[1:] = np.diff(ids[order]) != 0
        of = np.empty(ids.size, np.int64)
        of[order] = np.cumsum(begins) - 1
        starts = np.flatnonzero(begins)
        first = np.minimum.reduceat(times[order], starts) if ids.size else np.empty(0, np.int64)
        return Gathered(self.rows, times, ids, of, first, np.diff(np.append(starts, ids.size)))

    def take(self, found: Gathered, groups: BoolArray) -> pa.RecordBatch:
        """Return the rows of some groups, as they came, and let go of them."""
        if groups.all():
            self.rows = self._nothing
            return found.rows
        rows = found.rows.filter(pa.array(groups[found.of]))
        self.let_go(found, groups)
        return rows

    def let_go(self, found: Gathered, groups: BoolArray) -> None:
        """Forget the rows of some groups."""
        self.rows = self._nothing if groups.all() else found.rows.filter(pa.array(~groups[found.of]))

    def snapshot(self) -> pa.Table:
        """Return the rows that wait, with the key group of each."""
        groups = group_array(key_groups(key_hashes(self.rows, ())))
        return pa.Table.from_batches([self.rows]).append_column(GROUP_COLUMN, groups)

    def restore(self, table: pa.Table) -> None:
        """Take over the rows of a snapshot, in place of those held."""
        batches = table.select(self._schema.names).cast(self._schema).combine_chunks().to_batches()
        self.rows = batches[0] if batches else empty(self._schema)

"""Event-time order: a total order of rows, and a buffer that gives rows back in it.

The order is by event time, then by every other column as the schema lists them, ascending, null first (text by
its bytes, floats by the total order of IEEE 754). Only rows that are equal in every column have no order
among each other, and those cannot be told apart. So whatever follows does not depend on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.kernel.hashing import key_groups, key_hashes
from eventide.model.batch import WATERMARK_COLUMN, Int64Array, concat, empty, event_times, visible
from eventide.model.state import GROUP_COLUMN, group_array
from eventide.model.time import MAX_TIME

__all__ = ["EventTimeBuffer", "in_order", "late_rows", "total_order"]

BoolArray = npt.NDArray[np.bool_]

_SMALL = 4096
_SIGN = np.int64(2**63 - 1)


def total_order(batch: pa.RecordBatch, event_time: str) -> Int64Array | None:
    """Return the row numbers of a batch in total order, or None when it is in order already.

    Parameters
    ----------
    batch
        Rows, without columns of eventide's own.
    event_time
        The event-time column.

    Examples
    --------
    >>> b = pa.record_batch({"t": pa.array([2, 1, 1], pa.timestamp("ns", "UTC")), "v": [0, 7, 5]})
    >>> total_order(b, "t").tolist()
    [2, 1, 0]
    """
    times = event_times(batch, event_time)
    steps = np.diff(times)
    if steps.size == 0 or steps.min() > 0:
        return None
    order: Int64Array | None = None
    if steps.min() < 0:
        order = np.argsort(times, kind="stable")
        steps = np.diff(times[order])
    tie = steps == 0
    if not tie.any():
        return order
    start = np.arange(times.size, dtype=np.int64) if order is None else order
    ordered = _break_ties(batch, start, tie, skip=event_time)
    return None if order is None and np.array_equal(ordered, start) else ordered


def _break_ties(batch: pa.RecordBatch, order: Int64Array, tie: BoolArray, *, skip: str) -> Int64Array:
    """Sort runs of equal time by one column after the other; only rows still tied are looked at again."""
    order = order.copy()
    for name in batch.schema.names:
        if name == skip:
            continue
        first = np.concatenate(([False], tie))
        where = np.flatnonzero(first | np.concatenate((tie, [False])))
        if not where.size:
            break
        run = np.cumsum(~first[where])
        rows = order[where]
        key = _sort_key(batch.column(name).take(pa.array(rows)))
        same = (run[1:] == run[:-1]) & (key[1:] == key[:-1])
        if ((run[1:] == run[:-1]) & (key[1:] < key[:-1])).any():
            by = np.lexsort((key, run))
            order[where] = rows[by]
            key = key[by]
            same = (run[1:] == run[:-1]) & (key[1:] == key[:-1])
        tie = np.zeros(order.size - 1, np.bool_)
        tie[where[1:][same] - 1] = True
    return order


def _sort_key(array: pa.Array) -> Int64Array:
    """Return int64 numbers that sort as the values do and are equal where those are identical."""
    kind = array.type
    plain = pa.types.is_integer(kind) or pa.types.is_temporal(kind) or pa.types.is_boolean(kind)
    if array.null_count == 0 and (plain or pa.types.is_floating(kind)):
        return _plain_key(array)
    if plain or pa.types.is_floating(kind):
        values = _plain_key(array.drop_null())
        out = np.zeros(len(array), np.int64)
        out[np.asarray(array.is_valid())] = np.unique(values, return_inverse=True)[1] + 1
        return out
    if pa.types.is_dictionary(kind):
        array = array.cast(kind.value_type)
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        return _text_key(array)
    import polars as pl

    ranks: Int64Array = pl.Series(array).rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    return ranks


def _text_key(array: pa.Array) -> Int64Array:
    coded = array.dictionary_encode()
    rank = np.empty(len(coded.dictionary) + 1, np.int64)
    rank[np.asarray(pc.sort_indices(coded.dictionary)).astype(np.int64)] = np.arange(1, rank.size)
    rank[-1] = 0
    codes = coded.indices.fill_null(len(coded.dictionary)) if array.null_count else coded.indices
    out: Int64Array = rank[np.asarray(codes)]
    return out


def _plain_key(array: pa.Array) -> Int64Array:
    kind = array.type
    if pa.types.is_floating(kind):
        bits: Int64Array = array.to_numpy(zero_copy_only=False).astype(np.float64).view(np.int64)
        return np.where(bits < 0, bits ^ _SIGN, bits)
    if pa.types.is_boolean(kind):
        return np.asarray(array, dtype=np.int64)
    if pa.types.is_temporal(kind):
        width = kind.bit_width
        array = array.view(pa.int64() if width == 64 else pa.int32())
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    if values.dtype == np.uint64:
        return (values ^ np.uint64(2**63)).view(np.int64)
    return values.astype(np.int64, copy=False)


def in_order(batch: pa.RecordBatch, event_time: str) -> pa.RecordBatch:
    """Return a batch in total order.

    Examples
    --------
    >>> b = pa.record_batch({"t": pa.array([2, 1], pa.timestamp("ns", "UTC"))})
    >>> event_times(in_order(b, "t"), "t").tolist()
    [1, 2]
    """
    order = total_order(batch, event_time)
    return batch if order is None else batch.take(pa.array(order))


def late_rows(batch: pa.RecordBatch, times: Int64Array, watermark: int) -> BoolArray | None:
    """Return which rows were behind the watermark that they met, or None when none was.

    Parameters
    ----------
    batch
        Rows, perhaps with the column ``_watermark``.
    times
        Their event times, ns.
    watermark
        The watermark in force before the batch, ns: what a row without a mark of its own is judged by.

    Examples
    --------
    >>> b = pa.record_batch({"t": pa.array([5, 9], pa.timestamp("ns", "UTC"))})
    >>> late_rows(b, event_times(b, "t"), 7).tolist()
    [True, False]
    """
    index = batch.schema.get_field_index(WATERMARK_COLUMN)
    if index < 0:
        late = times < watermark
    else:
        # A mark is never below the machine's own watermark unless it says "was not behind any".
        late = times < np.maximum(batch.column(index).to_numpy(zero_copy_only=False), watermark)
    return late if late.any() else None


@dataclass(slots=True)
class _Chunk:
    rows: pa.RecordBatch
    times: Int64Array
    whole: int


@dataclass(slots=True)
class EventTimeBuffer:
    """Rows that wait until the watermark has passed them, then come out in total order.

    Parameters
    ----------
    schema
        Schema of the rows; columns of eventide's own are left out.
    event_time
        The event-time column.
    keys
        Key columns, which decide the key group of each row in a snapshot.

    Examples
    --------
    >>> rows = pa.record_batch({"t": pa.array([30, 10, 20], pa.timestamp("ns", "UTC"))})
    >>> buffer = EventTimeBuffer(rows.schema, "t")
    >>> buffer.add(rows, watermark=0)
    >>> event_times(buffer.release(25), "t").tolist(), buffer.rows, buffer.earliest
    ([10, 20], 1, 30)
    """

    schema: pa.Schema
    event_time: str
    keys: Sequence[str] = ()
    _chunks: list[_Chunk] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schema = visible(self.schema)

    @property
    def rows(self) -> int:
        """Number of rows that wait."""
        return sum(c.rows.num_rows for c in self._chunks)

    @property
    def earliest(self) -> int:
        """Event time of the earliest row that waits, ns; `MAX_TIME` when none does."""
        return min((int(c.times[0]) for c in self._chunks), default=MAX_TIME)

    def add(self, batch: pa.RecordBatch, *, watermark: int) -> pa.RecordBatch | None:
        """Take rows and return those that are late, as they came, or None.

        Parameters
        ----------
        batch
            Rows; the column ``_watermark`` says, where it is present, which watermark each row met.
        watermark
            The watermark in force before the batch, ns.
        """
        times = event_times(batch, self.event_time)
        late = late_rows(batch, times, watermark)
        rows = batch if batch.num_columns == len(self.schema) else batch.select(self.schema.names)
        out = None
        if late is not None:
            out = rows.filter(pa.array(late))
            rows, times = rows.filter(pa.array(~late)), times[~late]
        self._keep(rows, times)
        return out

    def _keep(self, rows: pa.RecordBatch, times: Int64Array) -> None:
        if not times.size:
            return
        last = self._chunks[-1] if self._chunks else None
        # Small chunks are merged with ones of their size, so that there are few and each row moves seldom.
        while last is not None and max(last.times.size, times.size) < _SMALL and 2 * times.size >= last.times.size:
            rows = concat([last.rows, rows])
            times = np.concatenate((last.times, times))
            self._chunks.pop()
            last = self._chunks[-1] if self._chunks else None
        if (np.diff(times) < 0).any():
            order = np.argsort(times, kind="stable")
            rows, times = rows.take(pa.array(order)), times[order]
        self._chunks.append(_Chunk(rows, times, times.size))

    def release(self, watermark: int) -> pa.RecordBatch | None:
        """Return the rows before the watermark in total order, or None; at `MAX_TIME` all that wait."""
        out: list[pa.RecordBatch] = []
        kept: list[_Chunk] = []
        for chunk in self._chunks:
            if chunk.times[0] >= watermark < MAX_TIME:
                kept.append(chunk)
                continue
            cut = chunk.times.size if watermark >= MAX_TIME else int(np.searchsorted(chunk.times, watermark))
            out.append(chunk.rows.slice(0, cut))
            if cut < chunk.times.size:
                kept.append(_rest(chunk, cut))
        self._chunks = kept
        return in_order(concat(out), self.event_time) if out else None

    def snapshot(self) -> pa.Table:
        """Return the rows that wait, with the key group of each."""
        rows = concat([c.rows for c in self._chunks]) if self._chunks else empty(self.schema)
        groups = group_array(key_groups(key_hashes(rows, self.keys)))
        return pa.Table.from_batches([rows]).append_column(GROUP_COLUMN, groups)

    def restore(self, table: pa.Table) -> None:
        """Take over the rows of a snapshot, in place of those held."""
        self._chunks = []
        for batch in table.select(self.schema.names).cast(self.schema).combine_chunks().to_batches():
            self._keep(batch, event_times(batch, self.event_time))


def _rest(chunk: _Chunk, cut: int) -> _Chunk:
    rows, times = chunk.rows.slice(cut), chunk.times[cut:]
    if 2 * times.size < chunk.whole:
        # A slice would keep the whole batch in memory.
        index = pa.array(np.arange(times.size))
        return _Chunk(rows.take(index), times.copy(), times.size)
    return _Chunk(rows, times, chunk.whole)

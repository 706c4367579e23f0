"""State per key in columns: values and rings as numpy arrays over slots, rows and maps as Arrow columns."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import UsageError
from eventide.kernel.keyed.segments import distinct, ranges, stable_order
from eventide.kernel.keys import KeyIndex
from eventide.model.batch import concat, empty
from eventide.model.keyed import BufferState, ListState, MapState, ValueState

__all__ = ["ArrayStore", "ListStore", "MapStore", "Store", "make_store"]

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_SMALL = 4096


class ArrayStore:
    """A value, or a ring of values, per key: an array over slots.

    Raises
    ------
    UsageError
        The type is not a number, a truth value or a time.

    Examples
    --------
    >>> store = ArrayStore(ValueState("float64", -1.0))
    >>> store.grow(2)
    >>> store.array.tolist()
    [-1.0, -1.0]
    """

    def __init__(self, spec: ValueState | BufferState) -> None:
        try:
            self.dtype = np.dtype(spec.dtype)
        except TypeError:  # the names of text types cannot be read back
            self.dtype = np.dtype(object)
        if self.dtype.kind not in "biufmM":
            msg = f"a state of type {spec.dtype!r} cannot be kept per key"
            raise UsageError(msg, hint="use a number, 'bool' or 'datetime64[ns]'; text goes into a map or a list state")
        self.size = spec.size if isinstance(spec, BufferState) else 0
        self.default = np.array(spec.default, self.dtype)
        self.array = np.empty((0, self.size) if self.size else 0, self.dtype)

    def grow(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        have = self.array.shape[0]
        if capacity > have:
            array = np.empty((capacity, *self.array.shape[1:]), self.dtype)
            array[:have] = self.array
            array[have:] = self.default
            self.array = array

    def clear(self, slots: Int32Array) -> None:
        """Set the default again."""
        self.array[slots] = self.default

    def blank(self, slots: Int32Array) -> BoolArray:
        """Return which keys have the default."""
        values = self.array[slots]
        same = (values == self.default) | ((values != values) & (self.default != self.default))
        out: BoolArray = same.all(axis=1) if self.size else same
        return out

    def save(self, slots: Int32Array) -> pa.Array:
        """Return the state of keys as an Arrow column."""
        values = self.array[slots]
        flat = values.reshape(-1)
        if self.dtype.kind in "mM":
            flat = flat.view(np.int64)
        column = pa.array(flat)
        return pa.FixedSizeListArray.from_arrays(column, self.size) if self.size else column

    def load(self, slots: Int32Array, column: pa.Array) -> None:
        """Take over what `save` returned."""
        flat = (column.flatten() if self.size else column).to_numpy(zero_copy_only=False)
        if self.dtype.kind in "mM":
            flat = flat.view(self.dtype)
        self.array[slots] = flat.reshape((len(slots), *self.array.shape[1:]))


class ListStore:
    """Rows per key, in the order they were added.

    Rows lie sorted by slot in one batch; new ones wait in a tail, which is merged in when it has grown as
    large as the rest, so that a row moves a logarithmic number of times.

    Examples
    --------
    >>> store = ListStore(ListState(pa.schema([("v", pa.int64())])))
    >>> store.grow(3)
    >>> store.append(np.array([2, 0, 2]), pa.record_batch({"v": [1, 2, 3]}))
    >>> slots, rows = store.rows(np.array([2]))
    >>> slots.tolist(), rows.column("v").to_pylist()
    ([2, 2], [1, 3])
    """

    def __init__(self, spec: ListState) -> None:
        self.schema = spec.schema
        self._main = empty(self.schema)
        self._starts = np.zeros(0, np.int64)
        self._stops = np.zeros(0, np.int64)
        self._tail: list[tuple[Int32Array, pa.RecordBatch]] = []

    def grow(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        more = capacity - self._starts.size
        if more > 0:
            self._starts = np.pad(self._starts, (0, more))
            self._stops = np.pad(self._stops, (0, more))

    def append(self, slots: Int32Array, rows: pa.RecordBatch) -> None:
        """Add rows."""
        if not len(slots):
            return
        self._tail.append((np.asarray(slots, np.int32), rows))
        waiting = sum(len(s) for s, _ in self._tail)
        if waiting > max(_SMALL, int((self._stops - self._starts).sum())) or len(self._tail) > 64:
            self._merge()

    def rows(self, slots: Int32Array) -> tuple[Int32Array, pa.Table]:
        """Return the rows of some keys by slot, then as they were added, and the slot of each."""
        keys = distinct(slots)
        starts, stops = self._starts[keys], self._stops[keys]
        owners = [np.repeat(keys, stops - starts)]
        parts = [self._main.take(pa.array(ranges(starts, stops)))]
        if self._tail:
            wanted = np.zeros(self._starts.size, np.bool_)
            wanted[keys] = True
            for tail_slots, tail in self._tail:
                hit = wanted[tail_slots]
                if hit.any():
                    owners.append(tail_slots[hit])
                    parts.append(tail if hit.all() else tail.filter(pa.array(hit)))
        owner = np.concatenate(owners)
        table = pa.Table.from_batches(parts, schema=self.schema)
        if len(parts) > 1:
            order = stable_order(owner)
            owner, table = owner[order], table.take(pa.array(order))
        return owner, table

    def _merge(self) -> None:
        owner, table = self.rows(np.arange(self._starts.size, dtype=np.int32))
        self._tail = []
        self._main = concat(table.combine_chunks().to_batches() or [empty(self.schema)])
        counts = np.bincount(owner, minlength=self._starts.size)
        self._stops = np.cumsum(counts)
        self._starts = self._stops - counts

    def clear(self, slots: Int32Array) -> None:
        """Forget the rows of some keys."""
        self._stops[slots] = self._starts[slots]
        if self._tail:
            gone = np.zeros(self._starts.size, np.bool_)
            gone[slots] = True
            kept = [(s, b, ~gone[s]) for s, b in self._tail]
            self._tail = [(s[k], b if k.all() else b.filter(pa.array(k))) for s, b, k in kept if k.any()]
        live = int((self._stops - self._starts).sum())
        if self._main.num_rows > max(_SMALL, 2 * live):
            self._merge()

    def blank(self, slots: Int32Array) -> BoolArray:
        """Return which keys have no rows."""
        tail = np.concatenate([np.empty(0, np.int32), *(s for s, _ in self._tail)])
        out: BoolArray = (self._starts[slots] == self._stops[slots]) & ~np.isin(slots, tail)
        return out

    def save(self, slots: Int32Array) -> tuple[Int32Array, pa.Table]:
        """Return the slot and the columns of all rows of keys."""
        return self.rows(slots)

    def load(self, slots: Int32Array, table: pa.Table) -> None:
        """Take over what `save` returned."""
        for batch in table.select(self.schema.names).cast(self.schema).combine_chunks().to_batches():
            self.append(slots, batch)


class MapStore:
    """Values by map keys, per key: an index of (slot, map key) over a log of values.

    A null value takes the entry out.

    Examples
    --------
    >>> store = MapStore(MapState(pa.string(), pa.int64()))
    >>> store.grow(2)
    >>> store.put(np.array([1, 1]), keys=pa.array(["a", "b"]), values=pa.array([5, 6]))
    >>> store.get(np.array([1, 0]), pa.array(["b", "b"])).to_pylist()
    [6, None]
    """

    def __init__(self, spec: MapState) -> None:
        self.schema = pa.schema([("_slot", pa.int32()), ("key", spec.key)])
        self.value = spec.value
        self._index = KeyIndex(self.schema, ("_slot", "key"))
        self._owner = np.full(0, -1, np.int32)
        self._place = np.zeros(0, np.int64)
        self._log: list[pa.Array] = [pa.array([], spec.value)]
        self._length = 0

    def grow(self, capacity: int) -> None:
        """Nothing to do: entries have numbers of their own."""

    def _entries(self, slots: Int32Array, keys: pa.Array) -> pa.RecordBatch:
        columns = [pa.array(np.asarray(slots, np.int32)), keys.cast(self.schema.field("key").type)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def put(self, slots: Int32Array, *, keys: pa.Array, values: pa.Array) -> None:
        """Set values; of several for one entry the last wins."""
        if not len(slots):
            return
        ids = self._index.slots(self._entries(slots, keys))
        more = self._index.capacity - self._owner.size
        if more > 0:
            self._owner = np.pad(self._owner, (0, more), constant_values=-1)
            self._place = np.pad(self._place, (0, more))
        self._owner[ids] = slots
        self._place[ids] = self._length + np.arange(len(ids))
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        self._log.append(values.cast(self.value))
        self._length += len(values)
        if values.null_count:
            gone = distinct(ids[self._null(ids)])
            self._drop(gone)
        self._tidy()

    def _null(self, ids: Int32Array) -> BoolArray:
        return np.asarray(self._at(self._place[ids]).is_null())

    def _at(self, places: Int64Array, missing: BoolArray | None = None) -> pa.Array:
        if len(self._log) > 1:
            self._log = [pa.concat_arrays(self._log)]
        return self._log[0].take(pa.array(places, mask=missing))

    def get(self, slots: Int32Array, keys: pa.Array) -> pa.Array:
        """Return values, null where there is none."""
        ids = self._index.lookup(self._entries(slots, keys))
        missing = ids < 0
        places = self._place[np.where(missing, 0, ids)] if self._place.size else np.zeros(len(ids), np.int64)
        return self._at(places, missing)

    def _drop(self, ids: Int32Array) -> None:
        self._index.release(ids.astype(np.int32))
        self._owner[ids] = -1

    def clear(self, slots: Int32Array) -> None:
        """Forget the entries of some keys."""
        if self._owner.size:
            self._drop(self._of(slots))
            self._tidy()

    def blank(self, slots: Int32Array) -> BoolArray:
        """Return which keys have no entries."""
        return ~np.isin(slots, self._owner)

    def _of(self, slots: Int32Array) -> Int32Array:
        return np.flatnonzero(np.isin(self._owner, np.asarray(slots, np.int32))).astype(np.int32)

    def _tidy(self) -> None:
        if self._length > _SMALL + 2 * self._index.size:
            live = np.flatnonzero(self._owner >= 0)
            self._log = [self._at(self._place[live])]
            self._place[live] = np.arange(live.size)
            self._length = int(live.size)

    def save(self, slots: Int32Array) -> tuple[Int32Array, pa.Table]:
        """Return the slot, the map key and the value of all entries of keys."""
        ids = self._of(slots)
        key = self._index.key_columns(ids)[1]
        return self._owner[ids], pa.table({"key": key, "value": self._at(self._place[ids])})

    def load(self, slots: Int32Array, table: pa.Table) -> None:
        """Take over what `save` returned."""
        flat = table.combine_chunks()
        for batch in flat.to_batches():
            self.put(slots, keys=batch.column("key"), values=batch.column("value"))


Store: TypeAlias = ArrayStore | ListStore | MapStore


def make_store(spec: Any) -> Store:
    """Return the store of a declared state."""
    if isinstance(spec, ValueState | BufferState):
        return ArrayStore(spec)
    if isinstance(spec, ListState):
        return ListStore(spec)
    return MapStore(spec)

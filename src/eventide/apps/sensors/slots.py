"""Keyed state as data: one row of named arrays per key, addressed by a dense key slot.

A detector judges each row against the state of the row's key. Keys are mapped to the slots
0, 1, 2 ... once per batch, so that the state is a handful of arrays that a compiled loop indexes, and
a snapshot is an Arrow table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import CheckpointError

__all__ = ["Array", "Field", "Float64Array", "Int64Array", "KeySlots", "SlotState", "rounds"]

Array = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

Field = tuple[type[np.float64] | type[np.int64], int]
"""Kind and width of one piece of state per key: width 0 is one number, more is a row of numbers."""


class SlotState:
    """Named arrays with one row per key slot, zero until first written.

    Parameters
    ----------
    fields
        Name to (dtype, width).

    Examples
    --------
    >>> state = SlotState({"count": (np.int64, 0), "recent": (np.float64, 3)})
    >>> state.reserve(2)
    >>> state["recent"].shape
    (2, 3)
    >>> state.snapshot().column_names
    ['count', 'recent']
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = dict(fields)
        self._rows = 0
        self._arrays: dict[str, Array] = {name: _zeros(field, 0) for name, field in self._fields.items()}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> Array:
        """Return the array of one field; it may have more rows than there are slots in use."""
        return self._arrays[name]

    def arrays(self) -> tuple[Array, ...]:
        """Return all arrays in the order of the fields."""
        return tuple(self._arrays.values())

    def reserve(self, rows: int) -> None:
        """Make room for the slots 0 to `rows` - 1; arrays double, so that growing costs little per key."""
        if rows <= self._rows:
            return
        self._rows = rows
        have = len(next(iter(self._arrays.values())))
        if rows <= have:
            return
        size = max(rows, 2 * have)
        for name, field in self._fields.items():
            grown = _zeros(field, size)
            grown[:have] = self._arrays[name]
            self._arrays[name] = grown

    def snapshot(self) -> pa.Table:
        """Return the state as a table: one row per slot, rows of numbers as fixed-size lists."""
        columns = {}
        for name, (_, width) in self._fields.items():
            values = self._arrays[name][: self._rows]
            flat = pa.array(values.reshape(-1).copy())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, width) if width else flat
        return pa.table(columns)

    def restore(self, table: pa.Table) -> None:
        """Replace the state by a snapshot.

        Raises
        ------
        CheckpointError
            The table is not a snapshot of a state of these fields.
        """
        if table.column_names != list(self._fields):
            msg = f"the snapshot holds {table.column_names}, this detector keeps {list(self._fields)}"
            raise CheckpointError(msg, hint="restore it with the detector and the options that wrote it")
        arrays: dict[str, Array] = {}
        for name, (kind, width) in self._fields.items():
            column = table.column(name).combine_chunks()
            expected = pa.list_(pa.from_numpy_dtype(kind), width) if width else pa.from_numpy_dtype(kind)
            if column.type != expected:
                msg = f"the snapshot's {name!r} is {column.type}, this detector keeps {expected}"
                raise CheckpointError(msg, hint="restore it with the detector and the options that wrote it")
            flat = column.flatten() if width else column
            values = flat.to_numpy(zero_copy_only=False).copy()
            arrays[name] = values.reshape(-1, width) if width else values
        self._arrays = arrays
        self._rows = table.num_rows


class KeySlots:
    """The mapping from keys to slots, in order of first sight.

    Examples
    --------
    >>> keys = KeySlots()
    >>> keys.slots(pa.array(["b", "a", "b"])).tolist()
    [0, 1, 0]
    >>> keys.names
    ['b', 'a']
    """

    def __init__(self) -> None:
        self._slot: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """The keys, by slot."""
        return list(self._slot)

    def slots(self, keys: pa.Array) -> Int64Array:
        """Return the slot of each key (text without nulls); new keys get the next free slots."""
        encoded = keys if pa.types.is_dictionary(keys.type) else keys.dictionary_encode()
        found = [self._slot.setdefault(key, len(self._slot)) for key in encoded.dictionary.to_pylist()]
        index = encoded.indices.to_numpy(zero_copy_only=False)
        slots: Int64Array = np.asarray(found, dtype=np.int64)[index] if len(index) else np.empty(0, np.int64)
        return slots

    def snapshot(self) -> pa.Table:
        """Return the keys in the order of their slots."""
        return pa.table({"key": pa.array(self.names, pa.string())})

    def restore(self, table: pa.Table) -> None:
        """Replace the mapping by a snapshot."""
        self._slot = {key: slot for slot, key in enumerate(table.column("key").to_pylist())}


def rounds(slots: Int64Array) -> Iterator[Int64Array]:
    """Yield row numbers in rounds: the first row of every slot, then every second row, and so on.

    Within a round no slot occurs twice, so that a step can be done for all its rows at once; each
    slot's rows come in their order. This is how a detector runs on numpy alone.

    Examples
    --------
    >>> [r.tolist() for r in rounds(np.array([5, 5, 3, 5, 3]))]
    [[2, 0], [4, 1], [3]]
    """
    if not len(slots):
        return
    by_slot = np.argsort(slots, kind="stable")
    ordered = slots[by_slot]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[first, len(ordered)])
    rank = np.arange(len(ordered)) - np.repeat(first, sizes)
    by_rank = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank))
    yield from np.split(by_slot[by_rank].astype(np.int64), ends[:-1])


def _zeros(field: Field, rows: int) -> Array:
    kind, width = field
    return np.zeros((rows, width) if width else rows, dtype=kind)

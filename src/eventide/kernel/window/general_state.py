"""The state of open windows as Arrow tables, and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.keys import KeyIndex
from eventide.kernel.window.general_entries import Entries, sort_pairs
from eventide.kernel.window.general_firing import Firing
from eventide.model.batch import Int64Array
from eventide.model.state import GROUP_COLUMN, State, group_array

__all__ = ["LARGE", "clock_table", "load_standing", "load_windows", "save_standing", "save_windows"]

LARGE = 4_096
"""Windows from which on they are written in narrow columns."""

_NUMBERS = ("start", "end", "pending", "index", "stamp")
_FLAGS = ("crossed", "finished")


def clock_table(watermark: int, clock: int) -> pa.Table:
    """Return the two clocks of a machine as a table."""
    return pa.table({"watermark": pa.array([watermark], pa.int64()), "clock": pa.array([clock], pa.int64())})


def save_windows(entries: Entries, keys: KeyIndex, accumulators: Accumulators) -> State:
    """Return the open windows as a table ``windows``, one row each.

    Many windows are written in narrow columns, which differ from lane to lane: then the key groups are in the name.
    """
    slots = entries.slots()
    many = slots.size >= LARGE
    key = entries.key[slots].astype(np.int32)
    columns: dict[str, pa.Array] = {GROUP_COLUMN: group_array(keys.groups_of(key))}
    columns |= {f"key.{name}": array for name, array in keys.snapshot(key).items()}
    for name in (*_NUMBERS, *_FLAGS):
        columns[name] = pa.array(getattr(entries, name)[slots])
    for number in range(entries.state.shape[1]):
        columns[f"trigger.{number}"] = pa.array(np.ascontiguousarray(entries.state[slots, number]))
    small = slots.astype(np.int32)
    held = accumulators.compact(small) if many else accumulators.snapshot(small)
    columns |= {f"aggregate.{name}": array for name, array in held.items()}
    name = f"windows/{keys.groups.start}-{keys.groups.stop}" if many else "windows"
    return {name: pa.table(columns)}


def load_windows(state: State, firing: Firing, keys: KeyIndex) -> None:
    """Open the windows of a state; those of other key groups are left out."""
    for name, table in state.items():
        if name == "windows" or name.startswith("windows/"):
            _load_windows(table.combine_chunks(), firing, keys)


def _load_windows(table: pa.Table, firing: Firing, keys: KeyIndex) -> None:
    entries = firing.entries
    key = keys.restore({n: table.column(f"key.{n}") for n in keys.keys}, table.num_rows).astype(np.int64)
    start = _numbers(table, "start")
    rows = np.flatnonzero(key >= 0)
    rows = rows[sort_pairs(key[rows], start[rows])]
    slots = firing.open(key[rows], start[rows], _numbers(table, "end")[rows])
    for name in _NUMBERS:
        getattr(entries, name)[slots] = _numbers(table, name)[rows]
    for name in _FLAGS:
        getattr(entries, name)[slots] = table.column(name).to_numpy()[rows]
    for number in range(entries.state.shape[1]):
        entries.state[slots, number] = _numbers(table, f"trigger.{number}")[rows]
    all_slots = np.full(table.num_rows, -1, np.int32)
    all_slots[rows] = slots
    prefix = "aggregate."
    held = {n.removeprefix(prefix): _array(table, n) for n in table.column_names if n.startswith(prefix)}
    firing.accumulators.restore(all_slots, held)


def save_standing(firing: Firing, keys: KeyIndex) -> pa.Table:
    """Return the panes that would have to be taken back, as a table."""
    panes, entries = firing.panes, firing.entries
    if panes.standing is None:
        rows = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in panes.schema], schema=panes.schema)
    else:
        rows = panes.standing
    slots = panes.standing_slots
    groups = keys.groups_of(entries.key[slots].astype(np.int32))
    table = pa.Table.from_batches([rows])
    table = table.append_column("_window", pa.array(entries.start[slots]))
    return table.append_column(GROUP_COLUMN, group_array(groups))


def load_standing(table: pa.Table, firing: Firing, keys: KeyIndex) -> None:
    """Take over the panes of a table that belong to windows held here."""
    if table.num_rows == 0:
        return
    table = table.combine_chunks()
    key = keys.restore({n: table.column(n) for n in keys.keys}, table.num_rows).astype(np.int64)
    start = _numbers(table, "_window")
    rows = np.flatnonzero(key >= 0)
    if rows.size == 0:
        return
    batch = table.select(firing.panes.schema.names).take(pa.array(rows)).combine_chunks().to_batches()[0]
    slots = firing.entries.find(key[rows], start[rows])
    firing.panes.stand(slots, pa.RecordBatch.from_arrays(batch.columns, schema=firing.panes.schema))


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _numbers(table: pa.Table, name: str) -> Int64Array:
    values: Int64Array = table.column(name).to_numpy()
    return values

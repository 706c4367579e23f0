"""State is data: what an operator remembers, as Arrow tables that any number of workers can share out again.

A key belongs to one of `KEY_GROUPS` key groups by a hash of its values that is the same on every machine
and in every version. State tables that belong to keys carry the group of each row in `GROUP_COLUMN`, so
that a snapshot taken by two workers can be restored by three.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import pyarrow as pa

__all__ = ["ALL_GROUPS", "GROUP_COLUMN", "KEY_GROUPS", "State", "merge_states", "select_groups"]

KEY_GROUPS = 256
"""Number of key groups: the finest share of state that a worker can own."""

ALL_GROUPS = range(KEY_GROUPS)

GROUP_COLUMN = "_group"

State: TypeAlias = dict[str, pa.Table]
"""Named tables. A table with `GROUP_COLUMN` (int32) belongs to keys; one without is the same for every worker."""


def select_groups(state: State, groups: range) -> State:
    """Return the part of `state` that belongs to the key groups in `groups` (a contiguous range).

    Examples
    --------
    >>> t = pa.table({"_group": pa.array([1, 200], pa.int32()), "n": [5, 6]})
    >>> select_groups({"counts": t}, range(0, 128))["counts"].column("n").to_pylist()
    [5]
    """
    if groups == ALL_GROUPS:
        return state
    out: State = {}
    for name, table in state.items():
        if GROUP_COLUMN in table.column_names:
            group = table.column(GROUP_COLUMN).to_numpy()
            table = table.filter(pa.array((group >= groups.start) & (group < groups.stop)))
        out[name] = table
    return out


def merge_states(states: Iterable[State]) -> State:
    """Return the states of several workers as one; tables without groups are taken from the first.

    Examples
    --------
    >>> one = {"counts": pa.table({"_group": pa.array([1], pa.int32()), "n": [5]})}
    >>> two = {"counts": pa.table({"_group": pa.array([2], pa.int32()), "n": [6]})}
    >>> merge_states([one, two])["counts"].num_rows
    2
    """
    out: State = {}
    for state in states:
        for name, table in state.items():
            if name not in out:
                out[name] = table
            elif GROUP_COLUMN in table.column_names:
                out[name] = pa.concat_tables([out[name], table])
    return out


def group_array(groups: np.ndarray) -> pa.Array:
    """Return key groups as the Arrow column of a state table."""
    return pa.array(groups.astype(np.int32, copy=False), pa.int32())

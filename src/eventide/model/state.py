"""State is data: what an operator remembers, as Arrow tables that any number of workers can share out again.

A key belongs to one of `KEY_GROUPS` key groups by a hash of its values that is the same on every machine
and in every version. State tables that belong to keys carry the group of each row in `GROUP_COLUMN`, so
that a snapshot taken by two workers can be restored by three.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa

__all__ = ["ALL_GROUPS", "GROUP_COLUMN", "KEY_GROUPS", "State", "StateMerger", "merge_states", "select_groups"]

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


class StateMerger:
    """Merges the states of several workers, one snapshot after another.

    Where every worker returns the very tables that it returned before, so does `merge`: whoever writes the state
    can see that this part has not changed.

    Examples
    --------
    >>> table = pa.table({"_group": pa.array([1], pa.int32()), "n": [5]})
    >>> merger = StateMerger()
    >>> once = merger.merge([{"counts": table}, {"counts": table}])["counts"]
    >>> merger.merge([{"counts": table}, {"counts": table}])["counts"] is once
    True
    """

    def __init__(self) -> None:
        self._before: dict[str, tuple[list[weakref.ref[pa.Table]], pa.Table]] = {}

    def merge(self, states: Sequence[State]) -> State:
        """Return the states as one, as `merge_states` does."""
        if len(states) == 1:
            return dict(states[0])
        out: State = {}
        for name in dict.fromkeys(name for state in states for name in state):
            parts = [state[name] for state in states if name in state]
            refs, merged = self._before.get(name, ([], None))
            same = len(refs) == len(parts) and all(ref() is part for ref, part in zip(refs, parts, strict=True))
            if merged is None or not same:
                merged = merge_states([{name: part} for part in parts])[name]
            # Kept only as long as the workers keep their tables: else it would hold on to copies of large state.
            forget = partial(self._forget, name)
            self._before[name] = [weakref.ref(part, forget) for part in parts], merged
            out[name] = merged
        return out

    def _forget(self, name: str, gone: weakref.ref[pa.Table]) -> None:
        refs, _ = self._before.get(name, ([], None))
        if any(ref is gone for ref in refs):
            del self._before[name]


def group_array(groups: np.ndarray) -> pa.Array:
    """Return key groups as the Arrow column of a state table."""
    return pa.array(groups.astype(np.int32, copy=False), pa.int32())

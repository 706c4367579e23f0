"""The panes of a machine as tables of its state: what has not changed is the very same table the next time.

A block of one pane with many groups is a table ``pane/SKIP/PANE/LOW-HIGH`` of its own: `SKIP` windows missed, the key
groups LOW to HIGH of the machine that wrote it; ``/rest`` follows where it has waited since a restore (`waiting`).
Others are put together, 64 panes at a time, in tables ``panes/N`` that have a column for what is in that name and one
for the key group.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import plain_array
from eventide.kernel.window.blocks import Block
from eventide.model.state import GROUP_COLUMN, State, group_array

__all__ = ["LARGE", "SavedPanes", "columns_of", "groups_of", "pane_of"]

LARGE = 4_096
"""Groups from which on a pane is a table of its own."""

_MOST_TABLES = 256
_TOGETHER = 64


class SavedPanes:
    """Makes the tables, and keeps those that may still be true."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, ...], pa.Table]] = {}

    def tables(self, blocks: list[list[Block]], *, groups: range, since: int) -> State:
        """Return the tables of all panes.

        Parameters
        ----------
        blocks
            By the number of windows that their events have missed.
        groups
            The key groups of the machine.
        since
            Panes before this one are done.
        """
        state: State = {}
        before, self._kept = self._kept, {}
        together: dict[str, list[tuple[int, Block]]] = {}
        alone = [b for held in blocks for b in held if b.stop - b.first == 1 and b.size >= LARGE]
        chosen = {id(b) for b in sorted(alone, key=lambda b: -b.size)[:_MOST_TABLES]}
        for skip, held in enumerate(blocks):
            for block in held:
                if id(block) in chosen:
                    state[f"pane/{skip}/{block.first}/{groups.start}-{groups.stop}"] = block.save()
                else:
                    together.setdefault(f"panes/{block.first // _TOGETHER}", []).append((skip, block))
        for name, members in together.items():
            stamps = tuple(s for skip, block in members for s in (skip, block.stamp, max(block.first, since)))
            kept = before.get(name)
            if kept is None or kept[0] != stamps:
                kept = stamps, pa.concat_tables([_table(block, skip, since) for skip, block in members])
            if kept[1].num_rows:
                self._kept[name] = kept
                state[name] = kept[1]
        return state


def _table(block: Block, skip: int, since: int) -> pa.Table:
    groups = block.groups(max(block.first, since), block.stop)
    columns = {
        GROUP_COLUMN: group_array(block.keys.groups_of(groups.keys)),
        "skip": pa.array(np.full(groups.slots.size, skip), pa.int64()),
        "pane": pa.array(groups.panes),
    }
    columns |= {f"key.{n}": a for n, a in block.keys.snapshot(groups.keys).items()}
    columns |= {f"state.{n}": a for n, a in block.accumulators.snapshot(groups.slots).items()}
    return pa.table(columns)


def pane_of(name: str) -> tuple[int, int] | None:
    """Return skip and pane of a table of one pane, None for another table.

    Examples
    --------
    >>> pane_of("pane/0/-12/0-256"), pane_of("panes/3")
    ((0, -12), None)
    """
    kind, *parts = name.split("/")
    return (int(parts[0]), int(parts[1])) if kind == "pane" else None


def groups_of(name: str) -> range:
    """Return the key groups of a table of one pane.

    Examples
    --------
    >>> groups_of("pane/0/-12/128-256")
    range(128, 256)
    """
    low, high = name.split("/")[3].split("-")
    return range(int(low), int(high))


def columns_of(table: pa.Table, prefix: str) -> dict[str, pa.Array]:
    """Return the columns with some prefix to their names, without it."""
    names = [n for n in table.column_names if n.startswith(prefix)]
    return {n[len(prefix) :]: plain_array(table.column(n)) for n in names}

"""Large panes of a restored state that wait to be read: a run goes on at once, and takes its state back meanwhile.

A pane is read whole when one of its windows closes, and else in parts, one with every step. New events of the pane are
added to a block of their own until then; as sums have no order, the results have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from eventide.kernel.window.saved import groups_of, pane_of
from eventide.model.state import State

__all__ = ["PART_ROWS", "WAITS", "Place", "WaitingPanes"]

Place = tuple[int, int]
"""The windows that the events of a pane have missed, and the pane."""

PART_ROWS = 32_768
"""Groups that are read with one step: some 20 ms."""

WAITS = 65_536
"""Groups from which on a table waits."""


class WaitingPanes:
    """The tables that wait, one a pane at most.

    Parameters
    ----------
    groups
        The key groups of the machine.

    Examples
    --------
    >>> waiting = WaitingPanes(range(256))
    >>> table = pa.table({"key.k": range(100_000)})
    >>> [place for place, _ in waiting.sort({"pane/0/7/0-256": table, "pane/0/7/0-256/rest": table.slice(50_000)})]
    [(0, 7)]
    >>> waiting.take((0, 7)).num_rows, waiting.take((0, 7), whole=True).num_rows, bool(waiting)
    (32768, 67232, False)
    """

    def __init__(self, groups: range) -> None:
        self._groups = groups
        self._tables: dict[Place, pa.Table] = {}

    def __bool__(self) -> bool:
        return bool(self._tables)

    @property
    def places(self) -> list[Place]:
        """What waits."""
        return list(self._tables)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, which lie in files."""
        return sum(table.nbytes for table in self._tables.values())

    def sort(self, state: State) -> Iterator[tuple[Place, pa.Table]]:
        """Keep what can wait of a state, and return the other tables of panes, to be read at once.

        A table can wait that is all the machine's own; of several of one pane (a state that was saved while one
        waited) the largest.
        """
        by_place: dict[Place, list[tuple[bool, pa.Table]]] = {}
        for name, table in state.items():
            place = pane_of(name)
            if place is not None:
                own = groups_of(name)
                whole = self._groups.start <= own.start and own.stop <= self._groups.stop
                by_place.setdefault(place, []).append((whole and table.num_rows >= WAITS, table))
        for place, tables in by_place.items():
            largest = max(tables, key=lambda each: each[1].num_rows)
            for each in tables:
                if each is largest and each[0]:
                    self._tables[place] = each[1]
                else:
                    yield place, each[1]

    def take(self, place: Place, *, whole: bool = False) -> pa.Table:
        """Return the next part of a pane, or all that is left of it: it does not wait any more."""
        table = self._tables.pop(place)
        if whole or table.num_rows <= PART_ROWS:
            return table
        self._tables[place] = table.slice(PART_ROWS)
        return table.slice(0, PART_ROWS)

    def tables(self) -> Iterable[tuple[str, pa.Table]]:
        """Return what waits as tables of a state: the very ones that were restored as long as nothing was taken."""
        own = f"{self._groups.start}-{self._groups.stop}"
        return [(f"pane/{skip}/{pane}/{own}/rest", table) for (skip, pane), table in self._tables.items()]

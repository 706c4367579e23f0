"""What one operator of a run counted: events that came in, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from eventide.model.machine import MAIN

__all__ = ["Counts"]

_STATEFUL = ("Window", "Join", "Process")


@dataclass(slots=True)
class Counts:
    """Events of one operator: what came in, what went out by port, and what became of the rest.

    An operator is a source, a sink, a node with state, or a chain of nodes without. What comes out of a node with
    state (results, panes, pairs) are other events than those that went in: of such an operator `taken` says how
    many were taken into its windows or state.

    Parameters
    ----------
    label, kind
        Name of the node (the last one of a chain) and what it is.
    rows_in, rows_out
        Events that came in, and that left by the main port.
    filtered
        Events for which a filter was not true.
    late
        Events that came after their window had been closed for good.
    quarantined
        Events that could not be processed.
    duplicates
        Events that left by the port ``duplicates``.
    taken
        Events taken into windows, joins or keyed state; duplicates found there are not counted again.
    changed
        By function (`map_batches`, `flat_map`): how many more rows it returned than it was given; negative: fewer.
    ports
        Events that left by each port of a node with state.
    feeds
        The operators, and their ports, from which events come in.

    Examples
    --------
    >>> Counts("filter-1", "Filter", rows_in=10, rows_out=7, filtered=2).balance
    1
    """

    label: str
    kind: str
    rows_in: int = 0
    rows_out: int = 0
    filtered: int = 0
    late: int = 0
    quarantined: int = 0
    duplicates: int = 0
    taken: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    feeds: tuple[tuple[str, str], ...] = ()

    @property
    def stateful(self) -> bool:
        """Whether this is an operator with windows or state."""
        return self.kind in _STATEFUL

    @property
    def made(self) -> int:
        """Rows that functions made, beyond those they were given."""
        return sum(n for n in self.changed.values() if n > 0)

    @property
    def dropped(self) -> int:
        """Rows that functions did not return."""
        return -sum(n for n in self.changed.values() if n < 0)

    @property
    def balance(self) -> int:
        """How many events are missing; 0 when the operator adds up, negative when there are too many."""
        onward = self.taken if self.stateful else self.rows_out
        gone = self.filtered + self.late + self.quarantined + self.duplicates + self.dropped
        return self.rows_in + self.made - onward - gone

    def sent(self, port: str) -> int:
        """Return how many events left by a port."""
        return self.rows_out if port == MAIN else self.ports.get(port, 0)

    def copy(self) -> Counts:
        """Return a copy that does not change any more."""
        return replace(self, changed=dict(self.changed), ports=dict(self.ports))

    def plus(self, other: Counts) -> Counts:
        """Return the sum with what the same operator has counted in another process.

        Examples
        --------
        >>> Counts("a", "Filter", rows_in=2).plus(Counts("a", "Filter", rows_in=3)).rows_in
        5
        """
        out = self.copy()
        for f in fields(self):
            mine = getattr(out, f.name)
            if isinstance(mine, int):
                setattr(out, f.name, mine + getattr(other, f.name))
        for name in ("changed", "ports"):
            mine, theirs = getattr(out, name), getattr(other, name)
            setattr(out, name, {key: mine.get(key, 0) + theirs.get(key, 0) for key in {**mine, **theirs}})
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the sums included."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain |= {"changed": dict(self.changed), "ports": dict(self.ports), "feeds": [list(f) for f in self.feeds]}
        return {**plain, "made": self.made, "dropped": self.dropped, "balance": self.balance}

    def go_on(self, saved: Counts) -> None:
        """Count on from what an earlier run counted."""
        for f in fields(self):
            if f.name not in ("label", "kind", "changed", "ports", "feeds"):
                setattr(self, f.name, getattr(saved, f.name))
        self.changed = dict(saved.changed)
        self.ports = dict(saved.ports)

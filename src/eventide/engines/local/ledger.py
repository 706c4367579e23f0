"""The ledger: what came in at every operator of a run, and what became of it. It must add up.

Both ends of every operator are counted apart: events where they arrive, and again where they leave, are filtered,
are late, go to quarantine, are duplicates, or are taken into a window or state. So an operator that loses an event
shows, and so does an edge between two operators. The numbers are saved with each checkpoint and go on from there:
after a crash they are those of a run that was never disturbed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from eventide.model.machine import MAIN

__all__ = ["Counts", "Ledger"]

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


_FIELDS = tuple(f.name for f in fields(Counts))


@dataclass(frozen=True, slots=True)
class Ledger:
    """The counts of all operators of a pipeline at one moment.

    Parameters
    ----------
    operators
        Inputs before users.
    kept
        How many entries were made in quarantine, as counted there.

    Examples
    --------
    >>> read = Counts("read-0", "Read", rows_in=3, rows_out=3)
    >>> write = Counts("write-1", "Write", rows_in=2, rows_out=2, feeds=(("read-0", "main"),))
    >>> Ledger((read, write)).check()
    ['write-1 received 2 events of the 3 that read-0 sent']
    """

    operators: tuple[Counts, ...] = ()
    kept: int = 0

    @classmethod
    def of(cls, counts: Iterable[Counts], *, kept: int) -> Ledger:
        """Return the ledger of counts that go on changing."""
        return cls(tuple(c.copy() for c in counts), kept)

    def __iter__(self) -> Iterator[Counts]:
        """Go through the operators."""
        return iter(self.operators)

    def __len__(self) -> int:
        """Return the number of operators."""
        return len(self.operators)

    def __getitem__(self, label: str) -> Counts:
        """Return an operator by its name."""
        for counts in self.operators:
            if counts.label == label:
                return counts
        raise KeyError(label)

    def check(self) -> list[str]:
        """Return in words what does not add up; nothing, when all does."""
        wrong = [_unbalanced(c) for c in self.operators if c.balance]
        by_label = {c.label: c for c in self.operators}
        for counts in self.operators:
            if not counts.feeds:
                continue
            sent = sum(by_label[label].sent(port) for label, port in counts.feeds if label in by_label)
            if sent != counts.rows_in:
                names = " and ".join(label if port == MAIN else f"{label}.{port}" for label, port in counts.feeds)
                wrong.append(f"{counts.label} received {counts.rows_in:,} events of the {sent:,} that {names} sent")
        quarantined = sum(c.quarantined for c in self.operators)
        if quarantined != self.kept:
            wrong.append(f"{quarantined:,} events were sent to quarantine, {self.kept:,} have come there")
        return wrong

    @property
    def balanced(self) -> bool:
        """Whether everything adds up."""
        return not self.check()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for a checkpoint."""
        return {"kept": self.kept, "operators": [c.to_dict() for c in self.operators]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ledger:
        """Return the ledger that `to_dict` wrote; that of a checkpoint without one is empty.

        Examples
        --------
        >>> Ledger.from_dict(Ledger((Counts("a", "Read", rows_in=2),), 1).to_dict())["a"].rows_in
        2
        """
        operators = []
        for plain in data.get("operators", ()):
            known = {name: plain[name] for name in _FIELDS if name in plain}
            known["feeds"] = tuple((str(label), str(port)) for label, port in plain.get("feeds", ()))
            operators.append(Counts(**known))
        return cls(tuple(operators), int(data.get("kept", 0)))


def _unbalanced(counts: Counts) -> str:
    onward = f"{counts.taken:,} taken" if counts.stateful else f"{counts.rows_out:,} out"
    parts = [f"{counts.rows_in:,} in"]
    parts += [f"{n:,} {name}" for name in ("made",) if (n := getattr(counts, name))]
    rest = [onward]
    names = ("filtered", "late", "quarantined", "duplicates", "dropped")
    rest += [f"{n:,} {name}" for name in names if (n := getattr(counts, name))]
    missing = counts.balance
    verdict = f"{missing:,} missing" if missing > 0 else f"{-missing:,} too many"
    return f"{counts.label}: {' and '.join(parts)}, but {', '.join(rest)}: {verdict}"

"""The ledger: what came in at every operator of a run, and what became of it. It must add up.

Both ends of every operator are counted apart: events where they arrive, and again where they leave, are filtered,
are late, go to quarantine, are duplicates, or are taken into a window or state. So an operator that loses an event
shows, and so does an edge between two operators. The numbers are saved with each checkpoint and go on from there:
after a crash they are those of a run that was never disturbed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from eventide.engines.local.counts import Counts
from eventide.model.machine import MAIN

__all__ = ["Ledger"]

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

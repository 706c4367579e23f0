"""What the workload was promised at any point of its trace, and what may be there beside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from eventide.testing.powerloss.trace import Marked, Operation

__all__ = ["Frame", "Oracle", "Step"]

NEVER = 1 << 62


@dataclass(slots=True)
class Step:
    """One step of the workload.

    Parameters
    ----------
    kind, facts
        What it did.
    process
        Number of the process that did it.
    begun, done
        Where in the trace it began and returned.
    outcome
        What it returned.
    """

    kind: str
    facts: dict[str, Any]
    process: int
    begun: int
    done: int = NEVER
    outcome: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Frame:
    """Events that were appended together.

    Parameters
    ----------
    first, count
        Which events.
    offset
        The offset they got.
    begun
        Where in the trace the append began.
    promised
        Where they were promised to be durable (and, in a transaction, visible).
    transaction
        The transaction they belong to; 0: none.
    """

    first: int
    count: int
    offset: int
    begun: int
    promised: int
    transaction: int


class Oracle:
    """The promises of a trace.

    Parameters
    ----------
    trace
        A trace of the workload.
    """

    def __init__(self, trace: Iterable[Operation]) -> None:
        self.steps: dict[int, Step] = {}
        self._numbers: dict[int, int] = {}  # prepared transaction to the workload's own number for it
        self.marks: dict[str, list[int]] = defaultdict(list)
        for at, operation in enumerate(trace):
            if isinstance(operation, Marked):
                self._take(at, operation.name, operation.facts)
        self._by_kind: dict[str, list[Step]] = defaultdict(list)
        for step in self.steps.values():
            self._by_kind[step.kind].append(step)
        self._all_frames: dict[tuple[str, str, int, int], list[Frame]] = {}

    def _take(self, at: int, name: str, facts: dict[str, Any]) -> None:
        if name == "begin":
            rest = {k: v for k, v in facts.items() if k not in ("step", "kind")}
            self.steps[facts["step"]] = Step(facts["kind"], rest, facts["step"] // 1_000_000, at)
        elif name == "done":
            step = self.steps[facts["step"]]
            step.done, step.outcome = at, facts
        elif name == "number":
            self._numbers[facts["number"]] = facts["transaction"]
        log = facts.get("log") or (self.steps[facts["step"]].facts.get("log") if "step" in facts else None)
        self.marks[str(log or "strict")].append(at)

    def of(self, *kinds: str, **facts: Any) -> Iterator[Step]:
        """Yield the steps of some kinds that have these facts, in order."""
        steps = self._by_kind[kinds[0]]
        if len(kinds) > 1:
            steps = sorted((s for kind in kinds for s in self._by_kind[kind]), key=lambda s: s.begun)
        wanted = facts.items()
        for step in steps:
            if all(step.facts.get(k) == v for k, v in wanted):
                yield step

    # -- topics

    def lives(self, log: str, topic: str) -> list[tuple[Step, Step | None]]:
        """Return when a topic was made and deleted."""
        found: list[tuple[Step, Step | None]] = []
        for step in self.of("create", "delete", log=log, topic=topic):
            if step.kind == "delete":
                found[-1] = (found[-1][0], step)
            elif not found or found[-1][1] is not None:
                found.append((step, None))
        return found

    def topics(self, log: str, cut: int) -> tuple[set[str], set[str]]:
        """Return the topics that must be there, and those that may be."""
        must, may = set(), set()
        for topic in {s.facts["topic"] for s in self.of("create", log=log)}:
            for made, deleted in self.lives(log, topic):
                if made.begun < cut and (deleted is None or deleted.done >= cut):
                    may.add(topic)
                    if made.done < cut and (deleted is None or deleted.begun >= cut):
                        must.add(topic)
        return must, may

    # -- events

    def frames(self, log: str, topic: str, partition: int, *, cut: int) -> list[Frame]:
        """Return what was appended to a partition before a point of the trace, by offset."""
        lives = [made for made, _ in self.lives(log, topic) if made.begun < cut]
        since = lives[-1].begun if lives else 0
        key = (log, topic, partition, since)
        if key not in self._all_frames:
            self._all_frames[key] = self._frames(log, topic, partition, since=since)
        return [f for f in self._all_frames[key] if f.begun < cut]

    def _frames(self, log: str, topic: str, partition: int, *, since: int) -> list[Frame]:
        flushes = list(self.of("flush", "close log", log=log))
        found = []
        for step in self.of("append", log=log, topic=topic, partition=partition):
            if step.begun < since:
                continue
            facts, transaction = step.facts, step.facts.get("transaction", 0)
            if transaction:
                promised = min((s.done for s in self._decisions(transaction, "commit")), default=NEVER)
            elif facts["durable"]:
                promised = step.done
            else:
                ours = (f.done for f in flushes if f.begun > step.done and f.process == step.process)
                promised = min(ours, default=NEVER)
            place = step.outcome["offset"], step.begun
            found.append(Frame(facts["first"], facts["count"], *place, promised, transaction))
        return sorted(found, key=lambda f: f.offset)

    def _decisions(self, transaction: int, kind: str) -> Iterator[Step]:
        yield from self.of(kind, transaction=transaction)
        for number, name in self._numbers.items():
            if name == transaction:
                yield from self.of(f"decide {kind}", number=number)

    def may_be_visible(self, transaction: int, cut: int) -> bool:
        """Tell whether the commit of a transaction had begun."""
        return any(s.begun < cut for s in self._decisions(transaction, "commit"))

    def prepared(self, log: str, cut: int) -> tuple[set[int], set[int]]:
        """Return the transactions that must be waiting for a decision, and those that may be, by their numbers."""
        must, may = set(), set()
        for step in self.of("prepare", log=log):
            number = step.outcome["number"]
            decisions = [s for s in self.of("decide commit", "decide abort", log=log) if s.facts["number"] == number]
            if step.begun < cut and not any(s.done < cut for s in decisions):
                may.add(number)
                if step.done < cut and not any(s.begun < cut for s in decisions):
                    must.add(number)
        return must, may

    def transaction_of(self, number: int) -> int:
        """Return the workload's own number of a prepared transaction."""
        return self._numbers.get(number, -1)

    def last(self, cut: int, *kinds: str, **facts: Any) -> tuple[Step | None, Step | None]:
        """Return the last of some steps that was over, and one that was under way."""
        over = under_way = None
        for step in self.of(*kinds, **facts):
            if step.done < cut:
                over = step
            elif step.begun < cut:
                under_way = step
        return over, under_way

    def earliest(self, topic: str, cut: int) -> tuple[int, int]:
        """Return the least and the largest offset with which a topic may begin."""
        over, under_way = self.last(cut, "retain", topic=topic)
        low = over.outcome["earliest"] if over else 0
        return low, under_way.outcome["earliest"] if under_way else low

"""The part of a pipeline behind the cut, for some key groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide.engines._dataflow.cut import Edge
from eventide.engines._dataflow.elements import Element, Output
from eventide.engines._dataflow.packing import pack, tables_of, unpack
from eventide.engines._dataflow.refused import Refused
from eventide.engines._dataflow.remembered import count_on, go_on, remember
from eventide.engines.local.plan import Plan
from eventide.engines.local.tasks import Flow, Target, Task
from eventide.model.protocols import Delivery
from eventide.model.time import MIN_TIME

__all__ = ["Bucket"]


class _Kept:
    """The sink of a bucket: keeps batches until the bucket makes an output of them."""

    delivery: Delivery = "exactly_once"

    def __init__(self, label: str, out: list[tuple[str, pa.RecordBatch]]) -> None:
        self._label, self._out = label, out

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Nothing has to be opened."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Keep a batch."""
        self._out.append((self._label, batch))

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """The engine keeps what is here."""
        return {}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Nothing has to be done."""

    def close(self) -> None:
        """Nothing has to be closed."""


class Bucket:
    """Runs everything behind the cut; made by `Dataflow.bucket`. A function of its elements in order.

    Parameters
    ----------
    plan
        Of the whole pipeline, of which only the part behind the cut runs here.
    edges
        What is cut.
    number
        Which bucket this is.
    state
        What `state` returned, to go on from; None: from the beginning.
    """

    def __init__(self, plan: Plan, edges: list[Edge], *, number: int, state: bytes | None) -> None:
        self._plan, self._number = plan, number
        labels = plan.pipeline.labels
        self._entries = [Target(plan.tasks[labels[id(e.node)]], e.port) for e in edges]
        self._tasks = _reached(plan, [t.task for t in self._entries])
        self._written: list[tuple[str, pa.RecordBatch]] = []
        for label, task in plan.sinks.items():
            task.sink = _Kept(label, self._written)
        assert isinstance(plan.quarantine, Refused)
        self._refused = plan.quarantine
        self._waiting: dict[int, bytes] = {}  # elements that came before their turn
        self._next = self._outputs = 0
        self._ended = False
        self._before: list[dict[str, Any]] | None = None  # counts of the head
        if state is not None:
            self._restore(state)

    @property
    def ended(self) -> bool:
        """Whether all sinks have met the end of their input."""
        return all(task.ended for task in self._plan.sinks.values())

    def push(self, element: Element) -> list[Output]:
        """Take an element, and those after it that came early; one that was taken already is ignored.

        Raises
        ------
        EventideError
            An operator failed.
        """
        if element.seq >= self._next:
            self._waiting[element.seq] = element.data
        out = []
        while (data := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            out += self._take(data)
        return out

    def _take(self, data: bytes) -> list[Output]:
        facts, tables = unpack(data)
        refused = tables.pop() if facts["refused"] else None
        self._before = facts.get("counts") or self._before
        parts = iter(tables)
        for edge, watermark, clock, end, partition, rows in facts["flows"]:
            batch = tables_of(next(parts)) if rows else None
            task, port = self._entries[edge]
            task.push(port, Flow(batch, watermark, clock, end, partition))
        return self._output(refused)

    def _output(self, refused: pa.Table | None) -> list[Output]:
        written = self._written.copy()
        self._written.clear()
        mine = self._refused.fetch()
        bad = [b for b in (refused, mine) if b is not None]
        news, self._ended = self.ended != self._ended, self.ended
        if not written and not bad and not news:
            return []
        facts = {
            "sinks": [label for label, _ in written],
            "ended": self._ended,
            "counts": self._counts(),
            "head": self._before,
            "watermark": self._watermark(),
        }
        out = Output(self._number, self._outputs, pack(facts, [*(b for _, b in written), *bad]))
        self._outputs += 1
        return [out]

    def _watermark(self) -> int:
        marks = [m for t in self._tasks.values() if (m := getattr(t, "watermark", None)) is not None]
        return min(marks, default=MIN_TIME)

    def _counts(self) -> list[dict[str, Any]]:
        return [t.counts.to_dict() for t in self._tasks.values()]

    def state(self) -> bytes:
        """Return everything that must be remembered, as bytes."""
        saved, tables = remember(self._tasks)
        waiting = pa.table(
            {
                "seq": pa.array(list(self._waiting), pa.int64()),
                "data": pa.array([bytes(d) for d in self._waiting.values()], pa.large_binary()),
            }
        )
        facts = {
            **saved,
            "next": self._next,
            "outputs": self._outputs,
            "ended": [label for label, task in self._plan.sinks.items() if task.ended],
            "counts": self._counts(),
            "head": self._before,
        }
        return pack(facts, [*tables, waiting])

    def _restore(self, state: bytes) -> None:
        facts, tables = unpack(state)
        go_on(self._tasks, facts, tables)
        count_on({label: t.counts for label, t in self._tasks.items()}, facts["counts"])
        waiting = tables[-1]
        self._waiting = dict(zip(waiting["seq"].to_pylist(), waiting["data"].to_pylist(), strict=True))
        self._next, self._outputs, self._before = facts["next"], facts["outputs"], facts["head"]
        for label in facts["ended"]:
            self._plan.sinks[label].ended = True
        self._ended = self.ended


def _reached(plan: Plan, first: list[Task]) -> dict[str, Task]:
    """Return the tasks that get anything from some tasks, themselves included, in the order of the plan."""
    seen: set[int] = set()
    waiting = list(first)
    while waiting:
        task = waiting.pop()
        if id(task) not in seen:
            seen.add(id(task))
            waiting += [t.task for targets in task.targets.values() for t in targets]
    return {label: task for label, task in plan.tasks.items() if id(task) in seen}

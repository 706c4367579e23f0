"""The part of a pipeline before the cut: it reads the sources and makes the elements of the buckets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from eventide.engines._dataflow.cut import Edge
from eventide.engines._dataflow.elements import Element
from eventide.engines._dataflow.packing import pack, unpack
from eventide.engines._dataflow.refused import Refused
from eventide.engines._dataflow.remembered import count_on, go_on, remember
from eventide.engines.local.counts import Counts
from eventide.engines.local.plan import Plan
from eventide.engines.local.tasks import Flow, Saved, Target, Task, send
from eventide.kernel.exchange import hashes_of, own_rows
from eventide.model.protocols import Position, SourceReader
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["Head"]


class _Cut:
    """Takes what would go over the cut; the port is the number of the edge."""

    def __init__(self) -> None:
        self.counts = Counts("", "")
        self.targets: dict[str, list[Target]] = {}
        self.taken: list[tuple[int, Flow]] = []

    def push(self, port: int, flow: Flow) -> None:
        """Take a flow."""
        self.taken.append((port, flow))

    def save(self) -> Saved:
        """Nothing is remembered."""
        return Saved()

    def load(self, saved: Saved) -> None:
        """Nothing is remembered."""


class Head:
    """Reads all sources of a pipeline, in turns; made by `Dataflow.head`.

    Parameters
    ----------
    plan
        Of the whole pipeline, of which only the part before the cut runs here.
    edges
        What is cut.
    buckets
        The key groups of each bucket.
    batch_rows
        Most events that one source brings at a time.
    tick_seconds
        How often processing time is told, where anything listens to it.
    clock
        What the clock says, ns since 1970; None is that of the system.
    state
        What `state` returned, to go on from; None: from the beginning.
    """

    def __init__(
        self,
        plan: Plan,
        edges: list[Edge],
        buckets: list[range],
        *,
        batch_rows: int,
        tick_seconds: float,
        clock: Callable[[], int] | None = None,
        state: bytes | None,
    ) -> None:
        self._plan, self._edges, self._buckets = plan, edges, buckets
        self._rows, self._tick_seconds, self._now = batch_rows, tick_seconds, clock or time.time_ns
        self._cut = _Cut()
        self._tasks = _connect(plan, edges, self._cut)
        assert isinstance(plan.quarantine, Refused)
        self._refused = plan.quarantine
        self._positions: dict[str, dict[str, Position]] = {label: {} for label in plan.sources}
        self._done: set[str] = set()
        self._seq = 0
        self._told = 0.0
        self._watermarks: dict[int, int] = {}
        if state is not None:
            self._restore(state)
        self._readers: dict[str, SourceReader] = {}
        try:
            for label, source in plan.sources.items():
                if label not in self._done:
                    self._readers[label] = reader = source.open(self._positions[label])
                    began = reader.began() if hasattr(reader, "began") else {}
                    self._positions[label] = {**began, **self._positions[label]}
        except BaseException:
            self.close()
            raise

    @property
    def finished(self) -> bool:
        """Whether all sources have ended, and `read` has said so to the buckets."""
        return len(self._done) == len(self._plan.sources)

    def read(self, timeout: float = 0.1) -> list[Element]:
        """Return the next elements, one for each bucket; none when nothing has come within so many seconds."""
        until = time.monotonic() + timeout
        while not self.finished:
            for label in [label for label in self._readers if label not in self._done]:
                self._read(label, timeout / len(self._readers))
            if self._plan.ticks and time.monotonic() - self._told >= self._tick_seconds:
                self._tell()
            elements = self._elements()
            if elements or time.monotonic() >= until:
                return elements
        return []

    def _read(self, label: str, timeout: float) -> None:
        reader = self._readers[label]
        chunks = reader.read(max_rows=self._rows, timeout=timeout)
        for chunk in chunks:
            self._plan.reads[label].take(chunk, self._clock())
            self._positions[label][chunk.partition] = chunk.position
        if not chunks and reader.finished:
            self._done.add(label)
            send(self._plan.entries[label], Flow(None, MAX_TIME, self._clock(), end=True))

    def _clock(self) -> int:
        return self._now() if self._plan.ticks else MIN_TIME

    def _tell(self) -> None:
        self._told = time.monotonic()
        for label, targets in self._plan.entries.items():
            if label not in self._done:
                send(targets, Flow(None, MIN_TIME, self._clock()))

    def _elements(self) -> list[Element]:
        """Share out what has crossed the cut."""
        taken, self._cut.taken = self._cut.taken, []
        refused = self._refused.fetch()
        flows: list[list[tuple[Any, ...]]] = [[] for _ in self._buckets]
        parts: list[list[pa.RecordBatch]] = [[] for _ in self._buckets]
        for edge, flow in taken:
            if not self._news(edge, flow):
                continue
            shared = self._shared(self._edges[edge].keys, flow.batch)
            for bucket, batch in enumerate(shared):
                rows = batch is not None and batch.num_rows > 0
                flows[bucket].append((edge, flow.watermark, flow.clock, flow.end, flow.partition, rows))
                if rows:
                    parts[bucket].append(batch)
        if not flows[0] and refused is None:
            return []
        out = []
        for bucket, part in enumerate(parts):
            facts: dict[str, Any] = {"flows": flows[bucket], "refused": False}
            if bucket == 0:
                facts |= {"refused": refused is not None, "counts": self._counts()}
                part += [refused] if refused is not None else []
            out.append(Element(bucket, self._seq, pack(facts, part)))
        self._seq += 1
        return out

    def _news(self, edge: int, flow: Flow) -> bool:
        """Whether a flow says anything that the one before has not."""
        before, self._watermarks[edge] = self._watermarks.get(edge), flow.watermark
        rows = flow.batch is not None and flow.batch.num_rows > 0
        return rows or flow.end or flow.clock > MIN_TIME or before != flow.watermark

    def _shared(self, keys: tuple[str, ...], batch: pa.RecordBatch | None) -> list[pa.RecordBatch | None]:
        """Return the rows of each bucket; without a key all belong to the first."""
        if batch is None or not batch.num_rows or not keys or len(self._buckets) == 1:
            return [batch, *(None for _ in self._buckets[1:])]
        hashes = hashes_of(batch, keys)
        return [own_rows(batch, hashes, groups) for groups in self._buckets]

    def _counts(self) -> list[dict[str, Any]]:
        reads = [self._plan.reads[label].counts for label in self._plan.sources]
        return [c.to_dict() for c in (*reads, *(t.counts for t in self._tasks.values()))]

    def state(self) -> bytes:
        """Return where reading stands, as bytes."""
        assert not self._cut.taken, "elements wait"
        saved, tables = remember(self._tasks)
        facts = {
            "positions": self._positions,
            "done": sorted(self._done),
            "seq": self._seq,
            **saved,
            "counts": self._counts(),
        }
        return pack(facts, tables)

    def _restore(self, state: bytes) -> None:
        facts, tables = unpack(state)
        self._positions |= {label: dict(at) for label, at in facts["positions"].items()}
        self._done, self._seq = set(facts["done"]), facts["seq"]
        go_on(self._tasks, facts, tables)
        reads = {label: read.counts for label, read in self._plan.reads.items()}
        count_on({**reads, **{label: t.counts for label, t in self._tasks.items()}}, facts["counts"])

    def close(self) -> None:
        """Let go of the sources."""
        for reader in self._readers.values():
            reader.close()


def _connect(plan: Plan, edges: list[Edge], cut: _Cut) -> dict[str, Task]:
    """Lead what crosses the cut to `cut`; return the tasks before it."""
    labels = plan.pipeline.labels
    crossing = {(labels[id(e.node)], e.port): number for number, e in enumerate(edges)}
    tasks = {id(task): label for label, task in plan.tasks.items()}

    def redirected(targets: list[Target]) -> list[Target]:
        out = []
        for target in targets:
            number = crossing.get((tasks[id(target.task)], target.port))
            out.append(target if number is None else Target(cut, number))
        return out

    before: dict[str, Task] = {}
    for label in plan.entries:
        plan.entries[label] = plan.reads[label].targets = redirected(plan.entries[label])
    reached = [t.task for targets in plan.entries.values() for t in targets]
    while reached:
        task = reached.pop()
        if task is cut or tasks[id(task)] in before:
            continue
        before[tasks[id(task)]] = task
        task.targets = {port: redirected(targets) for port, targets in task.targets.items()}
        reached += [t.task for targets in task.targets.values() for t in targets]
    return {label: before[label] for label in plan.tasks if label in before}

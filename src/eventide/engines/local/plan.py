"""From a graph to tasks: sources and sinks opened by name, schemas checked, stateless chains fused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pyarrow as pa

from eventide import registry
from eventide.engines.local.chain import MapStage, Stage, polars_stage
from eventide.engines.local.counts import Counts
from eventide.engines.local.lanes import Lane, Workers, shares
from eventide.engines.local.ledger import Ledger
from eventide.engines.local.options import LocalOptions
from eventide.engines.local.quarantine import Quarantine
from eventide.engines.local.spare import Spare
from eventide.engines.local.split import SplitStage
from eventide.engines.local.tasks import (
    AssignTask,
    ChainTask,
    MachineTask,
    ReadTask,
    Target,
    Task,
    UnionTask,
    WriteTask,
)
from eventide.errors import EventideError
from eventide.kernel.build import build_machine
from eventide.kernel.watermarks import PartitionWatermark
from eventide.model.batch import visible
from eventide.model.graph import (
    AssignTime,
    Filter,
    Join,
    KeyBy,
    MapBatches,
    Node,
    Process,
    Project,
    Read,
    Ref,
    Union,
    Window,
    Write,
    inputs,
    walk,
)
from eventide.model.machine import MAIN
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import Sink, Source
from eventide.model.schema import Schemas, infer, keys_of
from eventide.model.state import ALL_GROUPS
from eventide.model.time import EVENT_TIME, MIN_TIME
from eventide.model.trigger import listens

__all__ = ["Plan", "plan"]

_STATELESS = (Filter, Project, MapBatches, KeyBy)


@dataclass(slots=True)
class Plan:
    """A pipeline ready to run.

    Parameters
    ----------
    pipeline
        What was planned.
    schemas
        Of every node and port.
    sources
        The source of each read, by label.
    entries
        Where the events of each read go, by label.
    reads
        What takes the chunks of each read, by label.
    tasks
        Every task by label, inputs before users.
    sinks
        The sink tasks by label.
    workers
        The threads of the lanes.
    quarantine
        Where rejected input goes.
    ticks
        Whether anything listens to the processing-time clock.
    queries
        Whether a Polars query is run, whose fixed cost wants large batches.
    splits
        Whether threads share the rows of a batch in some chain.
    early
        By label of a read, what may be begun of its batches before their turn comes.
    """

    pipeline: Pipeline
    schemas: Schemas
    sources: dict[str, Source]
    quarantine: Quarantine
    entries: dict[str, list[Target]] = field(default_factory=dict)
    reads: dict[str, ReadTask] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    sinks: dict[str, WriteTask] = field(default_factory=dict)
    workers: Workers = field(default_factory=lambda: Workers(1))
    spare: Spare = field(default_factory=lambda: Spare(1, Workers(1)))
    ticks: bool = False
    queries: bool = False
    splits: bool = False
    early: dict[str, SplitStage] = field(default_factory=dict)

    def ledger(self) -> Ledger:
        """Return what every operator has counted up to now, and before the checkpoint that the run goes on from."""
        return Ledger.of(self._counts(), kept=self.quarantine.total)

    def go_on(self, ledger: Ledger) -> None:
        """Count on from the ledger of a checkpoint."""
        saved = {c.label: c for c in ledger}
        for counts in self._counts():
            if counts.label in saved:
                counts.go_on(saved[counts.label])
        self.quarantine.before = ledger.kept

    def _counts(self) -> list[Counts]:
        return [*(t.counts for t in self.reads.values()), *(t.counts for t in self.tasks.values())]


def plan(pipeline: Pipeline, options: LocalOptions, *, dry: bool = False, quarantine: Quarantine | None = None) -> Plan:
    """Return the plan of a pipeline.

    Parameters
    ----------
    pipeline
        The graph.
    options
        How it will run.
    dry
        Only find and check schemas and plug-ins: no machine is built, no sink is opened.
    quarantine
        Where rejected input goes; left out, to the topic that the options say.

    Raises
    ------
    EventideError
        A plug-in does not exist, a column is missing, a type does not fit.
    """
    labels = pipeline.labels
    nodes = pipeline.nodes
    sources = {labels[id(n)]: _source(n) for n in nodes if isinstance(n, Read)}
    reads = {id(n): sources[labels[id(n)]].schema() for n in nodes if isinstance(n, Read)}
    schemas = infer(pipeline, reads)
    out = Plan(pipeline, schemas, sources, quarantine or Quarantine(options.quarantine, pipeline.name))
    sinks = {id(n): _sink(n, f"{pipeline.name}/{labels[id(n)]}") for n in nodes if isinstance(n, Write)}
    if dry:
        return out
    stateful = any(isinstance(n, Window | Join | Process) for n in nodes)
    parted = any(isinstance(n, MapBatches) and getattr(n.function, "in_parts", False) for n in nodes)
    lanes = options.lane_count if stateful or parted else 1
    out.workers = Workers(max(lanes if parted else lanes - 1, options.key_lanes) if lanes > 1 else 1)
    out.spare = Spare(lanes, out.workers)
    try:
        _Builder(out, options, sinks).build()
    except BaseException:
        out.workers.close()
        raise
    return out


def _where(node: Node, label: str) -> str:
    return f"{label} ({node.origin})" if node.origin else label


def _source(node: Read) -> Source:
    try:
        return node.source if node.source is not None else registry.open_source(node.uri, dict(node.options))
    except EventideError as error:
        raise _located(error, node) from error.__cause__


def _sink(node: Write, owner: str) -> Sink:
    try:
        sink: Sink = node.sink if node.sink is not None else registry.open_sink(node.uri, dict(node.options))
    except EventideError as error:
        raise _located(error, node) from error.__cause__
    if hasattr(sink, "owned"):
        sink.owned(owner)
    return sink


def _located(error: EventideError, node: Read | Write) -> EventideError:
    if not node.origin:
        return error
    return type(error)(f"{error.message} ({registry.shown(node.uri)}, {node.origin})", hint=error.hint)


def _cannot(spare: Spare) -> bool:
    """What a machine says that cannot share the rows of a batch among threads."""
    return False


class _Builder:
    """Makes the tasks of one plan, following the graph from its inputs."""

    def __init__(self, plan: Plan, options: LocalOptions, sinks: dict[int, Sink]) -> None:
        self.plan = plan
        self.options = options
        self.sinks = sinks
        self.labels = plan.pipeline.labels
        self.users: dict[tuple[int, str], list[tuple[Node, int]]] = {}
        for node in plan.pipeline.nodes:
            for port, ref in enumerate(inputs(node)):
                self.users.setdefault((id(ref.node), ref.port), []).append((node, port))
        self.made: dict[int, Task] = {}

    def build(self) -> None:
        """Make a task for every node (one for a whole chain) and connect them."""
        for node in reversed(self.plan.pipeline.nodes):  # users first, so that targets exist
            if isinstance(node, Read):
                self._read(node)
            elif not self._follows_chain(node):
                self._make(node)
        for node in self.plan.pipeline.nodes:
            if isinstance(node, AssignTime):
                self._early(node)
        ordered = [n for n in self.plan.pipeline.nodes if id(n) in self.made]
        self.plan.tasks = {self.made[id(n)].counts.label: self.made[id(n)] for n in ordered}
        for node in ordered:
            counts = self.made[id(node)].counts
            counts.feeds = tuple((self._sender(ref), ref.port) for ref in inputs(node))

    def _read(self, node: Read) -> None:
        label = self.labels[id(node)]
        targets = self.plan.entries[label] = self._targets(node, MAIN)
        self.plan.reads[label] = ReadTask(Counts(label, "Read"), self.plan.quarantine.put, targets)

    def _early(self, node: AssignTime) -> None:
        """See whether work on batches of a read may be begun early: where they come to it as they were read."""
        read = node.input.node
        told = isinstance(read, Read) and self._schema(node.input).field(node.event_time.column).type == EVENT_TIME
        if not told or len(self.users[id(read), MAIN]) > 1:
            return
        for task, _ in self.made[id(node)].targets.get(MAIN, []):
            if isinstance(task, ChainTask) and task.stages and isinstance(task.stages[0], SplitStage):
                task.early = True
                self.plan.early[self.labels[id(read)]] = task.stages[0]
                return  # one: what is begun is for one task

    def _sender(self, ref: Ref) -> str:
        """Return under which name the events of a port are counted; a chain has the name of its last node."""
        task = self.made.get(id(ref.node))
        return task.counts.label if task is not None else self.labels[id(ref.node)]

    def _follows_chain(self, node: Node) -> bool:
        """Whether a stateless node is the continuation of the one it reads."""
        if not isinstance(node, _STATELESS):
            return False
        before = node.input
        alone = len(self.users[id(before.node), before.port]) == 1
        return isinstance(before.node, _STATELESS) and alone

    def _targets(self, node: Node, port: str) -> list[Target]:
        return [Target(self.made[id(user)], index) for user, index in self.users.get((id(node), port), [])]

    def _make(self, node: Node) -> None:
        label = self.labels[id(node)]
        counts = Counts(label, type(node).__name__)
        where = _where(node, label)
        last: Node = node
        task: Task
        if isinstance(node, AssignTime):
            self.plan.ticks |= node.event_time.idle > 0
            task = AssignTask(counts, node.event_time, self._partitions(node), self.plan.quarantine.put)
        elif isinstance(node, Union):
            task = UnionTask(counts, [MIN_TIME] * len(node.inputs), [False] * len(node.inputs))
        elif isinstance(node, Write):
            task = WriteTask(counts, self.sinks[id(node)], where)
            self.plan.sinks[label] = task
        elif isinstance(node, Window | Join | Process):
            task = self._machine(node, counts, where)
        else:
            assert not isinstance(node, Read)
            chain = self._chain(node)
            last = chain[-1]
            counts.label = self.labels[id(last)]
            task = ChainTask(counts, self._stages(chain, counts))
        ports = {p for n, p in self.users if n == id(last)}
        task.targets = {p: self._targets(last, p) for p in sorted(ports)}
        self.made[id(node)] = task

    def _partitions(self, node: AssignTime) -> dict[str, PartitionWatermark]:
        time = node.event_time
        names = [
            f"{self.labels[id(n)]}/{p}"
            for n in walk(node)
            if isinstance(n, Read)
            for p in self.plan.sources[self.labels[id(n)]].partitions()
        ]
        return {name: PartitionWatermark(time.lateness, time.max_jump) for name in names}

    def _machine(self, node: Window | Join | Process, counts: Counts, where: str) -> MachineTask:
        schemas = tuple(self._schema(r) for r in inputs(node))
        whole = build_machine(node, schemas)
        if getattr(whole, "share", _cannot)(self.plan.spare) or self._lanes(node) == 1:
            lanes = [Lane(whole, ALL_GROUPS)]
        else:
            lanes = [Lane(build_machine(node, schemas, groups=g), g) for g in shares(self._lanes(node))]
        keys = tuple(keys_of(r) for r in inputs(node))
        self.plan.ticks |= isinstance(node, Process) or (isinstance(node, Window) and listens(node.trigger))
        return MachineTask(counts, lanes, self.plan.workers, keys, where)

    def _lanes(self, node: Window | Join | Process) -> int:
        """Without a key all events belong together, and more than one lane would have nothing to do."""
        return self.options.key_lanes if keys_of(inputs(node)[0]) else 1

    def _schema(self, ref: Ref) -> pa.Schema:
        return visible(self.plan.schemas[id(ref.node), ref.port])

    def _chain(self, node: Filter | Project | MapBatches | KeyBy) -> list[Filter | Project | MapBatches | KeyBy]:
        chain = [node]
        while True:
            users = self.users.get((id(chain[-1]), MAIN), [])
            if len(users) != 1 or not isinstance(users[0][0], _STATELESS):
                return chain
            chain.append(users[0][0])

    def _stages(self, chain: list[Filter | Project | MapBatches | KeyBy], counts: Counts) -> list[Stage]:
        stages: list[Stage] = []
        group: list[Filter | Project] = []
        for node in [*chain, None]:
            if isinstance(node, Filter | Project):
                group.append(node)
                continue
            if group:
                schemas = [self.plan.schemas[id(n), MAIN] for n in group]
                where = _where(group[0], ", ".join(self.labels[id(n)] for n in group))
                stages.append(polars_stage(group, schemas, counts=counts, where=where))
                self.plan.queries = True
                group = []
            if isinstance(node, MapBatches):
                schema = self.plan.schemas[id(node), MAIN]
                label = self.labels[id(node)]
                stages.append(MapStage(node, schema, counts=counts, label=label, where=_where(node, label)))
        return self._split(stages) if self.plan.spare.others else stages

    def _split(self, stages: list[Stage]) -> list[Stage]:
        """Put together neighbouring functions that may be given parts of batches."""
        out: list[Stage] = []
        for apart, some in itertools.groupby(stages, lambda s: isinstance(s, MapStage) and s.in_parts):
            group = list(some)
            if apart:
                self.plan.splits = True
                out.append(SplitStage([s for s in group if isinstance(s, MapStage)], self.plan.spare))
            else:
                out += group
        return out

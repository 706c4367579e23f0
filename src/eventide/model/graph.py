"""The closed graph: the ten kinds of node that every pipeline is made of and every engine executes.

An engine implements these cases and no more; an operator composes them and needs no engine. Nodes are
immutable and refer to their inputs by `Ref` (a node and the port it is read from).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

from eventide.model.aggregate import Aggregate
from eventide.model.bound import bound
from eventide.model.machine import MAIN, Machine
from eventide.model.time import EventTime
from eventide.model.trigger import Accumulation, Trigger
from eventide.model.window import WindowSpec
from eventide.registry import shown

if TYPE_CHECKING:
    import polars as pl

    from eventide.model.keyed import KeyedProcess, PortSchema
    from eventide.model.protocols import Sink, Source

__all__ = [
    "WINDOW_END",
    "WINDOW_START",
    "AsofJoin",
    "AssignTime",
    "Filter",
    "IntervalJoin",
    "Join",
    "JoinSpec",
    "KeyBy",
    "MachineFactory",
    "MapBatches",
    "Node",
    "Process",
    "ProcessContext",
    "Project",
    "Read",
    "Ref",
    "Union",
    "Window",
    "WindowJoin",
    "Write",
    "describe",
    "graph_hash",
    "inputs",
    "walk",
]

WINDOW_START = "window_start"
WINDOW_END = "window_end"

BatchFunction: TypeAlias = "Callable[[pa.RecordBatch], pa.RecordBatch | list[pa.RecordBatch] | None]"


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """A node and the port of it that is read."""

    node: Node
    port: str = MAIN


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A source by address (``scheme://...``) or as an object."""

    uri: str
    options: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class AssignTime:
    """Declare the event time; watermarks are made here, one per partition of the source."""

    input: Ref
    event_time: EventTime
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """Polars expressions; `keep` adds them to the columns that are there, else they replace them."""

    input: Ref
    exprs: tuple[pl.Expr, ...]
    keep: bool
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """Rows for which a Polars expression is true."""

    input: Ref
    predicate: pl.Expr
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class MapBatches:
    """A pure function of one batch. The schema is declared or found by calling it on an empty batch."""

    input: Ref
    function: BatchFunction
    schema: pa.Schema | None = None
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class KeyBy:
    """Columns that say which events belong together."""

    input: Ref
    keys: tuple[str, ...]
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Windows of a (keyed) stream, when their panes fire, and what is computed of them.

    Output columns: the keys, ``window_start``, ``window_end``, the aggregates; with a trigger of one's own
    or an allowed lateness also ``pane_index`` (int64), ``pane_timing`` ("early", "on_time", "late"); when
    retracting also ``retraction`` (bool). The event time of the output is ``window_start`` unless
    `timestamp` asks for a column ``event_time`` (end of window minus 1 ns, earliest or latest event).
    Port ``late`` has the events that came too late, as they were.
    """

    input: Ref
    window: WindowSpec
    aggregates: tuple[tuple[str, Aggregate], ...]
    trigger: Trigger | None = None
    accumulation: Accumulation = "accumulating"
    allowed_lateness: int = 0
    timestamp: Literal["start", "end", "earliest", "latest"] = "start"
    name: str = ""
    origin: str = ""


MachineFactory: TypeAlias = Callable[["ProcessContext"], Machine]


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """What a process is told when it is built: its input schemas, keys, event-time column and key groups."""

    schemas: tuple[pa.Schema, ...]
    keys: tuple[str, ...]
    event_time: str
    groups: range


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A process of one's own over keyed state and timers.

    `process` is a `KeyedProcess` (columnar callbacks over declared state, wrapped into a machine by the
    engine; `order` says how it gets its events) or a factory of machines. `schemas` has the output schema
    of each port, or a function that makes it of the input's; `event_time` names the event-time column of
    the main output ("" when it has none).
    """

    input: Ref
    process: KeyedProcess | MachineFactory
    schemas: Mapping[str, PortSchema]
    order: Literal["event_time", "arrival"] = "event_time"
    event_time: str = ""
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class WindowJoin:
    """Pairs with equal keys in the same window (tumbling or sliding)."""

    window: WindowSpec


@dataclass(frozen=True, slots=True)
class IntervalJoin:
    """Pairs with equal keys and right time within [left + lower, left + upper], ns."""

    lower: int
    upper: int


@dataclass(frozen=True, slots=True)
class AsofJoin:
    """For each left event the nearest right one of the same key in one direction, within `tolerance` ns (0: any)."""

    tolerance: int
    direction: Literal["backward", "forward", "nearest"] = "backward"


JoinSpec: TypeAlias = WindowJoin | IntervalJoin | AsofJoin


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Two keyed streams. `how` "left" keeps left events without a partner, with nulls.

    Output: the keys, the left columns, the right columns (`suffix` added where names meet; the right
    stream's keys are left out); a window join adds ``window_start`` and ``window_end``. The event time is
    the left one; ports ``late`` and ``late_right`` have events behind the watermark.
    """

    left: Ref
    right: Ref
    spec: JoinSpec
    how: Literal["inner", "left"] = "inner"
    suffix: str = "_right"
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """Several streams of one schema as one."""

    inputs: tuple[Ref, ...]
    name: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """A sink by address (``scheme://...``) or as an object."""

    input: Ref
    uri: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sink: Sink | None = None
    name: str = ""
    origin: str = ""


Node: TypeAlias = Read | AssignTime | Project | Filter | MapBatches | KeyBy | Window | Process | Join | Union | Write


def inputs(node: Node) -> tuple[Ref, ...]:
    """Return what a node reads, left first."""
    if isinstance(node, Read):
        return ()
    if isinstance(node, Join):
        return (node.left, node.right)
    if isinstance(node, Union):
        return node.inputs
    return (node.input,)


def walk(*ends: Node) -> list[Node]:
    """Return every node that the ends depend on, inputs before users, each once.

    Examples
    --------
    >>> r = Read("log://a")
    >>> [type(n).__name__ for n in walk(Write(Ref(r), "log://b"))]
    ['Read', 'Write']
    """
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, Iterator[Ref]]] = []
    for end in ends:
        if id(end) in seen:
            continue
        seen.add(id(end))
        stack.append((end, iter(inputs(end))))
        while stack:
            node, rest = stack[-1]
            ref = next(rest, None)
            if ref is None:
                order.append(node)
                stack.pop()
            elif id(ref.node) not in seen:
                seen.add(id(ref.node))
                stack.append((ref.node, iter(inputs(ref.node))))
    return order


def _text(value: Any) -> str:
    if hasattr(value, "meta"):  # a Polars expression
        return str(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(_text(v) for v in value) + ")"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, pa.Schema):
        return "{" + ", ".join(f"{f.name}: {f.type}" for f in value) + "}"
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if isinstance(value, Ref) or "source" in type(value).__name__.lower() or "sink" in type(value).__name__.lower():
        return ""
    return str(value)


def describe(node: Node) -> dict[str, str]:
    """Return a node's own settings as text, for display and for the graph's identity.

    Examples
    --------
    >>> describe(Read("log://a"))["uri"]
    'log://a'
    """
    return {n: shown(getattr(node, n)) if n == "uri" else _text(getattr(node, n)) for n in _settings(node)}


def _settings(node: Node) -> list[str]:
    skip = {"input", "inputs", "left", "right", "name", "origin", "source", "sink"}
    return [n for n in type(node).__dataclass_fields__ if n not in skip]


def graph_hash(*ends: Node) -> str:
    """Return a SHA-256 of the shape and the settings of a graph, in hex.

    Functions count by name, not by their code; a run's manifest records code versions beside it. What is bound to
    them counts, see `eventide.model.bound`.

    Examples
    --------
    >>> graph_hash(Read("log://a")) == graph_hash(Read("log://a"))
    True
    """
    nodes = walk(*ends)
    index = {id(n): i for i, n in enumerate(nodes)}
    digest = hashlib.sha256()
    for node in nodes:
        refs = [(index[id(r.node)], r.port) for r in inputs(node)]
        digest.update(f"{type(node).__name__} {refs} {describe(node)}\n".encode())
        if carried := bound({name: getattr(node, name) for name in _settings(node)}):
            digest.update(f"{carried}\n".encode())
    return digest.hexdigest()

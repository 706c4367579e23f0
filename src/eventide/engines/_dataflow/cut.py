"""Where a pipeline is cut for a distributed engine: in front of the first operators with a key.

What lies before the cut is stateless but for watermarks and runs where the sources are read. What lies behind it runs
in buckets, each of which owns a range of key groups and sees all events of its keys. That takes operators behind the
cut that agree on the key. Where they do not, or where one has no key, all events meet in one bucket: the results are
the same, but one task of the engine makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eventide.model.graph import (
    AssignTime,
    Filter,
    Join,
    KeyBy,
    MapBatches,
    Node,
    Process,
    Project,
    Ref,
    Union,
    Window,
    Write,
    inputs,
)
from eventide.model.pipeline import Pipeline
from eventide.model.schema import keys_of

__all__ = ["Edge", "edges_of", "notes", "one_bucket"]

_STATEFUL = (Window, Join, Process)


@dataclass(frozen=True, slots=True)
class Edge:
    """A connection that is cut: from a port of a node before to an input of a node behind, and the key columns."""

    ref: Ref
    node: Node
    port: int
    keys: tuple[str, ...]


def edges_of(pipeline: Pipeline) -> list[Edge]:
    """Return the connections that are cut, in the order of the nodes.

    Examples
    --------
    >>> import eventide as ev
    >>> counted = ev.read("log://a").event_time("t").key_by("id").window(ev.tumbling("5s")).aggregate(n=ev.count())
    >>> [(e.port, e.keys) for e in edges_of(counted.write("log://b"))]
    [(0, ('id',))]
    """
    behind = _behind(pipeline)
    out = []
    for node in pipeline.nodes:
        if id(node) in behind:
            for port, ref in enumerate(inputs(node)):
                if id(ref.node) not in behind:
                    out.append(Edge(ref, node, port, keys_of(ref) if isinstance(node, _STATEFUL) else ()))
    return out


def _behind(pipeline: Pipeline) -> set[int]:
    out: set[int] = set()
    for node in pipeline.nodes:
        if isinstance(node, (*_STATEFUL, Write)) or any(id(r.node) in out for r in inputs(node)):
            out.add(id(node))
    return out


def one_bucket(pipeline: Pipeline) -> str:
    """Return why all events must meet in one bucket; "" where buckets can share the keys.

    Examples
    --------
    >>> import eventide as ev
    >>> counted = ev.read("log://a").event_time("t").window(ev.tumbling("5s")).aggregate(n=ev.count())
    >>> one_bucket(counted.write("log://b"))
    'window-2 has no key'
    """
    return next(_reasons(pipeline), "")


def notes(pipeline: Pipeline) -> list[str]:
    """Return what is slower on a distributed engine than it might be.

    Examples
    --------
    >>> import eventide as ev
    >>> timed = ev.read("generator://events", rows=9).event_time("timestamp")
    >>> notes(timed.window(ev.tumbling("1s")).aggregate(n=ev.count()).write("memory://counts"))
    ['one task works on all keys, because window-2 has no key']
    """
    why = one_bucket(pipeline)
    return [f"one task works on all keys, because {why}"] if why else []


def _reasons(pipeline: Pipeline) -> Iterator[str]:
    labels, behind = pipeline.labels, _behind(pipeline)
    for node in pipeline.nodes:
        if isinstance(node, Union) and id(node) in behind and any(id(r.node) not in behind for r in inputs(node)):
            yield f"{labels[id(node)]} brings results and events together"
        if not isinstance(node, _STATEFUL):
            continue
        for ref in inputs(node):
            keys = keys_of(ref)
            if not keys:
                yield f"{labels[id(node)]} has no key"
            elif id(ref.node) in behind and (why := _other_key(ref, keys, labels)):
                yield f"{labels[id(node)]} has the key {', '.join(keys)} {why}"


def _other_key(ref: Ref, keys: tuple[str, ...], labels: dict[int, str]) -> str:
    """Return why what comes from behind the cut may not be where these keys belong."""
    while not isinstance(ref.node, _STATEFUL):
        node = ref.node
        if isinstance(node, Project) and not _keeps(node, keys):
            return f"that {labels[id(node)]} computes"
        if not isinstance(node, Filter | Project | KeyBy | AssignTime):
            kind = "a function makes" if isinstance(node, MapBatches) else "several streams bring"
            return f"in events that {kind} ({labels[id(node)]})"
        ref = node.input
    before = keys_of(ref)
    return "" if before == keys else f"after {labels[id(ref.node)]} with the key {', '.join(before) or 'none'}"


def _keeps(node: Project, keys: tuple[str, ...]) -> bool:
    """Tell whether a projection leaves key columns as they are."""
    made = {e.meta.output_name(raise_if_undetermined=False): e for e in node.exprs}
    if None in made:
        return False
    for key in keys:
        if key in made:
            if not (made[key].meta.is_column() and made[key].meta.root_names() == [key]):
                return False
        elif not node.keep:
            return False
    return True

"""A pipeline: one or more sinks and everything they depend on, under a name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from eventide.errors import PipelineError
from eventide.model.graph import Node, Write, describe, graph_hash, inputs, walk
from eventide.registry import shown

__all__ = ["Pipeline", "label", "pipeline"]


def label(node: Node, index: int) -> str:
    """Return the name of a node in messages and metrics: its own, else its kind and place in the graph.

    Examples
    --------
    >>> from eventide.model.graph import Read
    >>> label(Read("log://a"), 0)
    'read-0'
    """
    return node.name or f"{type(node).__name__.lower()}-{index}"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What `ev.run` runs.

    Parameters
    ----------
    writes
        The ends of the graph.
    name
        Under which checkpoints and metrics are kept.
    """

    writes: tuple[Write, ...]
    name: str = "pipeline"

    @property
    def nodes(self) -> list[Node]:
        """Every node, inputs before users."""
        return walk(*self.writes)

    @property
    def labels(self) -> dict[int, str]:
        """The name of each node, by the node's `id`.

        Raises
        ------
        PipelineError
            Two nodes have one name: state and metrics, which are kept by name, would be mixed up.
        """
        nodes = self.nodes
        found = {id(n): label(n, i) for i, n in enumerate(nodes)}
        seen: dict[str, Node] = {}
        for node in nodes:
            name = found[id(node)]
            if name in seen:
                where = f"{seen[name].origin or 'first'}; {node.origin or 'second'}"
                msg = f"two nodes of the pipeline are named {name!r} ({where})"
                raise PipelineError(msg, hint="state and metrics are kept by name: give each node one of its own")
            seen[name] = node
        return found

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the graph's shape and settings."""
        return graph_hash(*self.writes)

    def __add__(self, other: Pipeline) -> Pipeline:
        """Return both as one pipeline, under the name of the first."""
        return pipeline(self, other, name=self.name)

    def named(self, name: str) -> Pipeline:
        """Return the pipeline under another name."""
        return replace(self, name=name)

    def describe(self) -> list[dict[str, object]]:
        """Return the graph as plain data: one entry a node, with its inputs.

        Examples
        --------
        >>> import eventide as ev
        >>> [n["name"] for n in ev.read("log://a").write("log://b").describe()]
        ['read-0', 'write-1']
        """
        labels = self.labels
        return [
            {
                "name": labels[id(node)],
                "kind": type(node).__name__,
                "inputs": [labels[id(r.node)] + ("" if r.port == "main" else f".{r.port}") for r in inputs(node)],
                "settings": describe(node),
                "origin": node.origin,
            }
            for node in self.nodes
        ]

    def mermaid(self) -> str:
        """Return the graph as a Mermaid flowchart.

        Examples
        --------
        >>> import eventide as ev
        >>> print(ev.read("log://a").write("log://b").mermaid())
        flowchart LR
          n0["read-0<br/>log://a"]
          n1["write-1<br/>log://b"]
          n0 --> n1
        """
        nodes = self.nodes
        index = {id(n): i for i, n in enumerate(nodes)}
        lines = ["flowchart LR"]
        for i, node in enumerate(nodes):
            detail = next((v for v in describe(node).values() if v), "").replace('"', "'")
            lines.append(f'  n{i}["{label(node, i)}<br/>{detail[:60]}"]')
        for i, node in enumerate(nodes):
            for ref in inputs(node):
                arrow = "-->" if ref.port == "main" else f"-- {ref.port} -->"
                lines.append(f"  n{index[id(ref.node)]} {arrow} n{i}")
        return "\n".join(lines)


def pipeline(*parts: Pipeline, name: str = "") -> Pipeline:
    """Return several pipelines as one, so that what they share runs once.

    Raises
    ------
    PipelineError
        Nothing was given, or two sinks have one name or write to one address.

    Examples
    --------
    >>> import eventide as ev
    >>> events = ev.read("log://a")
    >>> both = ev.pipeline(events.write("log://b"), events.write("log://c"), name="copies")
    >>> len(both.writes)
    2
    """
    for part in parts:
        if not isinstance(part, Pipeline):
            msg = f"{type(part).__name__} is not a pipeline"
            raise PipelineError(msg, hint="end the stream with .write('log://topic'): without a sink it does nothing")
    writes = tuple(dict.fromkeys(w for p in parts for w in p.writes))
    if not writes:
        msg = "a pipeline needs at least one sink"
        raise PipelineError(msg, hint="end a stream with .write('log://topic') and pass what it returns")
    seen: dict[str, Write] = {}
    for write in writes:
        for key in (
            write.name and f"the name {write.name!r}",
            write.sink is None and f"the address {shown(write.uri)!r}",
        ):
            if key and key in seen:
                msg = f"two sinks have {key} ({seen[key].origin or 'first'}; {write.origin or 'second'})"
                raise PipelineError(msg, hint="write both through .union(), or give each sink an address of its own")
            if key:
                seen[key] = write
    return Pipeline(writes, name or (parts[0].name if parts else "pipeline"))

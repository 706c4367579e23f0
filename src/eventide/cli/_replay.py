"""Quarantined input once more: a pipeline whose sources bring it instead of what they read.

What a source could not decode is decoded again by that source; rows without a believable event time go in again
where they were refused. Which entries a replay takes is written down before it begins, and the marks that they
were replayed are one more sink of it. So a replay that is cut off is finished by the next one, and nothing is
replayed twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import pyarrow as pa

from eventide import registry
from eventide.cli._again import Again, AgainSource, Rows
from eventide.cli._quarantined import MARKS, REPLAY
from eventide.connectors.memory import MemorySource
from eventide.errors import PipelineError, UsageError, near_names
from eventide.model.graph import AssignTime, Join, Node, Process, Read, Ref, Union, Window, Write
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import BadInput, Source
from eventide.model.schema import infer
from eventide.model.time import duration

__all__ = ["Taken", "redirected", "replayed", "straight_to", "taken", "with_state"]

_AGAIN = ".again"
_LATENESS = duration("3650d", what="lateness")
"""Entries of the quarantine are in no order of time; ten years are what event times leave room for."""


@dataclass(slots=True)
class Taken:
    """Which source of a replay brings what.

    Parameters
    ----------
    sources
        By the name of each source, and of each node that assigns event time with ``.again`` behind it.
    rows
        The rows of the table of entries that some source brings.
    left
        How many entries none can bring, by the reason.
    """

    sources: dict[str, AgainSource] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)


def taken(made: Pipeline, entries: pa.Table, *, strays: bool = False) -> Taken:
    """Return which source of a pipeline's replay brings which entries.

    Parameters
    ----------
    made
        The pipeline, as it is now.
    entries
        What is in quarantine.
    strays
        Whether events whose time leapt too far ahead come too; nothing judges them a second time.
    """
    sources = {id(n): _source(n) for n in made.nodes if isinstance(n, Read)}
    schemas = infer(made, {n: s.schema() for n, s in sources.items()})
    decoders: dict[str, tuple[pa.Schema, Again | None]] = {}
    for node in made.nodes:
        label = made.labels[id(node)]
        if isinstance(node, Read):
            source = sources[id(node)]
            decoders[label] = source.schema(), cast("Again", source) if hasattr(source, "again") else None
        elif isinstance(node, AssignTime):
            schema = schemas[id(node.input.node), node.input.port]
            decoders[label + _AGAIN] = schema, Rows(schema)
    out = Taken()
    items: dict[str, list[BadInput]] = {label: [] for label in decoders}
    names = ("operator", "data", "position", "reason")
    columns = (entries[n].to_pylist() for n in names)
    for row, (operator, data, position, reason) in enumerate(zip(*columns, strict=True)):
        label = operator if operator in decoders else f"{operator}{_AGAIN}"
        why = ""
        if label not in decoders:
            why = f"the pipeline has no source and no event time {operator!r}"
        elif decoders[label][1] is None:
            why = f"the source {operator!r} cannot decode again"
        elif not strays and reason.endswith("(max_jump)"):
            why = "the event time leapt too far ahead; --strays takes them too"
        if why:
            out.left[why] = out.left.get(why, 0) + 1
        else:
            out.rows.append(row)
            items[label].append(BadInput(data, position, reason))
    out.sources = {label: AgainSource(s, items[label], decoder) for label, (s, decoder) in decoders.items()}
    return out


def _source(node: Read) -> Source:
    source: Source = node.source if node.source is not None else registry.open_source(node.uri, dict(node.options))
    return source


def with_state(made: Pipeline) -> list[str]:
    """Return the names of the nodes that keep state."""
    return [made.labels[id(n)] for n in made.nodes if isinstance(n, Window | Join | Process)]


def replayed(
    made: Pipeline, sources: Mapping[str, AgainSource], marks: pa.Table, *, own: Collection[str] = ()
) -> Pipeline:
    """Return the pipeline that replays: other sources, the same nodes under the same names, and the marks.

    Parameters
    ----------
    made
        The pipeline.
    sources
        What brings the entries, by the name of the node.
    marks
        That they were replayed.
    own
        Names of the sinks that are the replay's own.

    Raises
    ------
    UsageError
        A sink cannot be written to beside the pipeline itself.
    """
    labels = made.labels
    new: dict[int, Node] = {}
    for node in made.nodes:
        label = labels[id(node)]
        refs = {f.name: _renewed(getattr(node, f.name), new) for f in fields(node)}
        copy: Any = replace(node, name=label, **{n: r for n, r in refs.items() if r is not None})
        if isinstance(node, Read):
            copy = replace(copy, source=sources[label])
        elif isinstance(node, AssignTime):
            rows = Read("quarantine://", source=sources[label + _AGAIN], name=label + _AGAIN)
            both = Union((copy.input, Ref(rows)), name=f"{label}.both")
            time = replace(node.event_time, lateness=_LATENESS, max_jump=0, idle=0)
            copy = replace(copy, input=Ref(both), event_time=time)
        elif isinstance(node, Write):
            copy = _beside(copy, label, name=f"{made.name}/{label}{REPLAY}", own=label in own)
        new[id(node)] = copy
    writes = [cast("Write", new[id(w)]) for w in made.writes]
    return _marked(made, writes, marks)


def straight_to(made: Pipeline, sources: Mapping[str, AgainSource], marks: pa.Table, *, uri: str) -> Pipeline:
    """Return the pipeline that writes what can be decoded now to a sink, without any step of the pipeline.

    Raises
    ------
    PipelineError
        The entries are of sources with different columns.
    """
    some = {label: s for label, s in sources.items() if s.items} or dict(list(sources.items())[:1])
    schemas = {label: s.schema() for label, s in some.items()}
    first = next(iter(schemas.values()))
    if any(not s.equals(first) for s in schemas.values()):
        msg = f"the entries of {', '.join(schemas)} have different columns and cannot go to one sink"
        raise PipelineError(msg, hint="choose those of one with --operator")
    reads = tuple(Ref(Read("quarantine://", source=s, name=label)) for label, s in some.items())
    all_ = reads[0] if len(reads) == 1 else Ref(Union(reads))
    write = _beside(Write(all_, uri), "", name=f"{made.name}/into{REPLAY}", own=True)
    return _marked(made, [write], marks)


def _marked(made: Pipeline, writes: list[Write], marks: pa.Table) -> Pipeline:
    read = Read("quarantine://", source=MemorySource(marks), name="replay.marks")
    options = {"name": f"{made.name}{REPLAY}", "event_time": "timestamp"}
    write = Write(Ref(read), f"log://{MARKS}", options=options, name="replay.marked")
    return Pipeline((*writes, write), made.name + REPLAY)


def _renewed(value: Any, new: Mapping[int, Node]) -> Any:
    if isinstance(value, Ref):
        return Ref(new[id(value.node)], value.port)
    if isinstance(value, tuple) and value and all(isinstance(v, Ref) for v in value):
        return tuple(Ref(new[id(v.node)], v.port) for v in value)
    return None


def _beside(node: Write, label: str, *, name: str, own: bool) -> Write:
    """Return a sink that can be written to while the pipeline itself writes there, under a name of its own."""
    sink = node.sink if node.sink is not None else registry.open_sink(node.uri, dict(node.options))
    if getattr(sink, "shared", False) and node.sink is None:
        return replace(node, options={**node.options, "name": name})
    if own:
        return node
    msg = f"{node.uri or type(sink).__name__} ({label}) cannot take a replay beside what the pipeline wrote there"
    raise UsageError(msg, hint=f"give the replay a place of its own: --sink {label}=URI")


def redirected(made: Pipeline, sinks: Sequence[str]) -> tuple[Pipeline, dict[str, str]]:
    """Return a pipeline some of whose sinks write elsewhere, and their names and addresses.

    Parameters
    ----------
    made
        The pipeline.
    sinks
        ``name=address``, or for the only sink its address.

    Raises
    ------
    UsageError
        There is no sink of that name.
    """
    names = {made.labels[id(w)]: w for w in made.writes}
    elsewhere: dict[str, str] = {}
    for given in sinks:
        name, equals, uri = given.partition("=")
        if name not in names or not equals:
            name, uri = next(iter(names)), given
            if len(names) > 1:
                msg = f"--sink {given!r} names no sink of {made.name}"
                raise UsageError(msg, hint=near_names(given.partition("=")[0], names) + "; write it as NAME=URI")
        elsewhere[name] = uri
    writes = tuple(
        replace(w, uri=elsewhere[n], sink=None, options={}, name=n) if n in elsewhere else replace(w, name=n)
        for n, w in names.items()
    )
    return replace(made, writes=writes), elsewhere

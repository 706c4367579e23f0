"""What a failure does to the results of a pipeline: the weakest of its sources, its sinks and what is kept.

A sink says itself what it promises (`eventide.model.protocols.Sink.delivery`). It can keep that only where a
checkpoint says from where to go on, and where its sources can be read again from there: a source that
cannot has ``replayable = False``. What it had read since the last checkpoint is lost in a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from eventide import registry
from eventide.model.graph import Join, Process, Read, Window, Write, walk
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import Delivery, Sink, Source

__all__ = ["Guarantee", "Promise", "SinkGuarantee", "SourceGuarantee", "guarantee"]

Promise: TypeAlias = Literal["exactly_once", "idempotent", "at_least_once", "at_most_once", "none"]
"""A delivery, or: some events may be lost (at most once), or some lost and some counted twice (none)."""

_ORDER: tuple[Promise, ...] = ("exactly_once", "idempotent", "at_least_once", "at_most_once", "none")
_STATEFUL = (Window, Join, Process)


@dataclass(frozen=True, slots=True)
class SourceGuarantee:
    """Whether a source can be read again from a position."""

    name: str
    uri: str
    replayable: bool


@dataclass(frozen=True, slots=True)
class SinkGuarantee:
    """What a sink promises by itself (`delivery`), what holds in this pipeline, and why it is less."""

    name: str
    uri: str
    delivery: Delivery
    guarantee: Promise
    why: str = ""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What holds for a whole pipeline, and for each of its ends."""

    guarantee: Promise
    sources: tuple[SourceGuarantee, ...]
    sinks: tuple[SinkGuarantee, ...]


def guarantee(pipeline: Pipeline, *, checkpoints: bool = True) -> Guarantee:
    """Return what a failure does to the results of a pipeline. Nothing is opened, read or written.

    Parameters
    ----------
    pipeline
        The graph.
    checkpoints
        Whether the run keeps checkpoints.

    Raises
    ------
    EventideError
        There is no such connector, or an option of it is wrong.

    Examples
    --------
    >>> import eventide as ev
    >>> piped = ev.read("-", schema={"n": "int64"}).write("memory://n") + ev.read("generator://g").write("-")
    >>> found = guarantee(piped)
    >>> found.guarantee, [(s.delivery, s.guarantee) for s in found.sinks]
    ('at_most_once', [('exactly_once', 'at_most_once'), ('at_least_once', 'at_least_once')])
    """
    labels = pipeline.labels
    sources = {
        id(n): SourceGuarantee(labels[id(n)], n.uri, bool(getattr(_source(n), "replayable", True)))
        for n in pipeline.nodes
        if isinstance(n, Read)
    }
    sinks = []
    for node in pipeline.nodes:
        if not isinstance(node, Write):
            continue
        before = walk(node)
        lost = [sources[id(n)] for n in before if isinstance(n, Read) and not sources[id(n)].replayable]
        delivery = _sink(node).delivery
        stateful = any(isinstance(n, _STATEFUL) for n in before)
        held, why = _held(delivery, [f"{s.name} ({s.uri})" for s in lost], checkpoints=checkpoints, stateful=stateful)
        sinks.append(SinkGuarantee(labels[id(node)], node.uri, delivery, held, why))
    whole = max((s.guarantee for s in sinks), key=_ORDER.index)
    return Guarantee(whole, tuple(sources.values()), tuple(sinks))


def _held(delivery: Delivery, lost: list[str], *, checkpoints: bool, stateful: bool) -> tuple[Promise, str]:
    """Return what is left of a sink's promise, and why."""
    if lost:
        why = f"{lost[0]} cannot be read again: what it had brought since the last checkpoint is lost in a crash"
        if not checkpoints:
            return "at_most_once", f"{lost[0]} cannot be read again: what it had brought is lost in a crash"
        # A window that goes back to the checkpoint may come out a second time, without the events that are lost.
        twice = stateful and delivery == "at_least_once"
        return ("none", f"{why}, and results may come twice") if twice else ("at_most_once", why)
    if not checkpoints and delivery == "exactly_once":
        return "at_least_once", "no checkpoints are kept: a run that is begun again writes everything again"
    return delivery, ""


def _source(node: Read) -> Source:
    made: Source = node.source if node.source is not None else registry.open_source(node.uri, dict(node.options))
    return made


def _sink(node: Write) -> Sink:
    made: Sink = node.sink if node.sink is not None else registry.open_sink(node.uri, dict(node.options))
    return made

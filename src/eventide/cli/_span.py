"""A part of the log: what ``--from`` and ``--until`` leave of a topic, by offset or by event time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventide import registry
from eventide.errors import UsageError
from eventide.log import Frame, Log, Reader
from eventide.model.graph import Node, Read, Ref, Write
from eventide.model.pipeline import Pipeline
from eventide.model.protocols import Chunk, Position, Source
from eventide.model.time import MAX_TIME, MIN_TIME, instant

__all__ = ["Span", "SpanReader", "SpanSource", "only_span"]


@dataclass(frozen=True, slots=True)
class Span:
    """From where (included) to where (left out): an offset, an event time, or "" for no bound.

    Examples
    --------
    >>> Span("100", "2026-01-01").bounds
    ((100, None), (None, 1767225600000000000))
    """

    start: str = ""
    until: str = ""

    @property
    def bounds(self) -> tuple[tuple[int | None, int | None], tuple[int | None, int | None]]:
        """Offset and event time (ns) of both ends; the words earliest and latest are no bound here."""
        return _bound(self.start, "--from"), _bound(self.until, "--until")

    @property
    def first(self) -> str | int:
        """What a reader of the log takes as its start: a word, or an event time in ns."""
        (_, time), _ = self.bounds
        return self.start if self.start in _WORDS else "earliest" if time is None else time

    def rows(self, batch: pa.RecordBatch, base: int, event_time: str | None) -> pa.RecordBatch:
        """Return the events of a batch that lie in the span; its first has the offset `base`."""
        (low, begin), (high, end) = self.bounds
        a = 0 if low is None else min(max(low - base, 0), batch.num_rows)
        b = batch.num_rows if high is None else min(max(high - base, a), batch.num_rows)
        batch = batch.slice(a, b - a)
        if (begin is not None or end is not None) and event_time is not None:
            low_time, high_time = MIN_TIME if begin is None else begin, MAX_TIME if end is None else end
            times = batch.column(event_time).cast(pa.int64())
            batch = batch.filter(pc.and_(pc.greater_equal(times, low_time), pc.less(times, high_time)))
        return batch


_WORDS = ("earliest", "latest")


def _bound(text: str, option: str) -> tuple[int | None, int | None]:
    if not text or text in _WORDS:
        return None, None
    if text.isdigit():
        return int(text), None
    try:
        return None, instant(text)
    except UsageError:
        msg = f"{option} {text!r} is neither an offset nor a time"
        raise UsageError(msg, hint="for example 5000, 2026-05-01 or 2026-05-01T12:00:00Z") from None


def only_span(made: Pipeline, span: Span) -> Pipeline:
    """Return a pipeline that reads only a span of its topics.

    Parameters
    ----------
    made
        The pipeline.
    span
        With an end, the run ends there, or with what the log holds when it begins.

    Raises
    ------
    UsageError
        The pipeline reads no topic, or one without event time while the span has times.
    """
    if not any(_reads_log(n) for n in made.nodes):
        msg = f"--from and --until: {made.name} reads nothing from a log:// topic"
        raise UsageError(msg, hint="write the input to a topic first: eventide log import TOPIC FILE")
    new: dict[int, Node] = {}
    for node in made.nodes:
        if isinstance(node, Read):
            new[id(node)] = _cut(node, span) if _reads_log(node) else node
            continue
        refs = {f.name: _renewed(getattr(node, f.name), new) for f in fields(node)}
        new[id(node)] = replace(node, **{n: r for n, r in refs.items() if r is not None})
    writes = [new[id(w)] for w in made.writes]
    return replace(made, writes=tuple(w for w in writes if isinstance(w, Write)))


def _reads_log(node: Node) -> bool:
    return isinstance(node, Read) and node.source is None and registry.split_uri(node.uri)[0] == "log"


def _renewed(value: Any, new: Mapping[int, Node]) -> Any:
    if isinstance(value, Ref):
        return Ref(new[id(value.node)], value.port)
    if isinstance(value, tuple) and value and all(isinstance(v, Ref) for v in value):
        return tuple(Ref(new[id(v.node)], v.port) for v in value)
    return None


def _cut(node: Read, span: Span) -> Read:
    _, address, asked = registry.split_uri(node.uri)
    options = {**asked, **node.options}
    inner = registry.open_source(node.uri, dict(node.options))
    with Log(_root(options), create=False) as log:
        topic = log.topic(address.partition("://")[2])
    if topic.event_time is None and any(time is not None for _, time in span.bounds):
        msg = f"topic {topic.name!r} has no event time to begin or end at"
        raise UsageError(msg, hint="give offsets: --from 0 --until 1000")
    follow = bool(options.get("follow", True)) and not span.until
    source = SpanSource(inner, topic.name, span, root=_root(options), event_time=topic.event_time, follow=follow)
    # The options stand in the graph's identity, so that a checkpoint of one span is not taken for another's.
    return replace(node, source=source, options={**node.options, "from": span.start, "until": span.until})


def _root(options: Mapping[str, Any]) -> str:
    return str(options.get("log") or os.environ.get("EVENTIDE_LOG") or ".eventide/log")


class SpanSource:
    """The events of a topic that lie in a span."""

    def __init__(
        self, inner: Source, topic: str, span: Span, *, root: str, event_time: str | None, follow: bool
    ) -> None:
        self._inner, self._topic, self._span = inner, topic, span
        self._root, self._event_time, self._follow = root, event_time, follow

    def schema(self) -> pa.Schema:
        """Return the topic's schema."""
        return self._inner.schema()

    def partitions(self) -> list[str]:
        """Return the partitions that are read."""
        return self._inner.partitions()

    def open(self, positions: Mapping[str, Position]) -> SpanReader:
        """Open at the span's beginning, or where a checkpoint says."""
        log = Log(self._root, create=False)
        try:
            chosen = [int(p) for p in self.partitions()]
            reader = log.reader(self._topic, partitions=chosen, start=self._span.first, schema=self.schema())
            (low, _), _ = self._span.bounds
            begin = {} if low is None else dict.fromkeys(chosen, low)
            reader.seek(begin | {int(p): int(at["offset"]) for p, at in positions.items()})
        except BaseException:
            log.close()
            raise
        return SpanReader(log, reader, self._span, event_time=self._event_time, follow=self._follow)


class SpanReader:
    """Reads frames and leaves out what lies outside the span."""

    def __init__(self, log: Log, reader: Reader, span: Span, *, event_time: str | None, follow: bool) -> None:
        self._log, self._reader, self._span, self._event_time = log, reader, span, event_time
        _, (high, _) = span.bounds
        ends = {p: reader.positions[p] + waiting for p, waiting in reader.backlog().items()}
        self._ends = None if follow else {p: end if high is None else min(high, end) for p, end in ends.items()}
        self._over = False

    @property
    def finished(self) -> bool:
        """Whether the end of the span has been read."""
        if self._ends is None:
            return False
        return self._over or all(at >= self._ends[p] for p, at in self._reader.positions.items())

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events."""
        if self.finished:
            return []
        frames = self._reader.read(max_rows, timeout=timeout if self._ends is None else 0.0)
        self._over = self._ends is not None and not frames
        return [self._chunk(f) for f in frames if self._ends is None or f.base_offset < self._ends[f.partition]]

    def _chunk(self, frame: Frame) -> Chunk:
        end = frame.base_offset + frame.batch.num_rows
        if self._ends is not None:
            end = min(end, self._ends[frame.partition])
        whole = frame.batch.slice(0, max(0, end - frame.base_offset))
        batch = self._span.rows(whole, frame.base_offset, self._event_time)
        return Chunk(str(frame.partition), batch, {"offset": end}, clock=MIN_TIME)

    def backlog(self) -> int:
        """Return how many events wait."""
        if self._ends is None:
            return sum(self._reader.backlog().values())
        return sum(max(0, self._ends[p] - at) for p, at in self._reader.positions.items())

    def release(self, owner: str, positions: Mapping[str, Position]) -> None:
        """Let retention have what lies before these positions: nothing at or after them is deleted for `owner`."""
        held = {int(p): int(at["offset"]) for p, at in positions.items()}
        self._log.hold(owner, self._reader.topic.name, held)

    def forget(self, owner: str) -> None:
        """Take back what `release` held for an owner."""
        self._log.unhold(owner)

    def close(self) -> None:
        """Close the log."""
        self._reader.close()
        self._log.close()

"""Make a topic again from exported files: the same partitions, offsets, frames and append times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from eventide.errors import DataError, EventideError, UsageError
from eventide.log.exported import Exported, TopicFacts, exported_files, frames_of, read_facts
from eventide.log.meta import Meta
from eventide.log.open_partitions import OpenPartitions
from eventide.log.topic import TopicInfo

if TYPE_CHECKING:
    from eventide.log.log import Log
    from eventide.log.transaction import Transaction

__all__ = ["import_topic"]


def import_topic(
    log: Log,
    source: Path,
    name: str | None,
    *,
    meta: Meta,
    partitions: OpenPartitions,
    progress: Callable[[int, int], None] | None,
) -> Exported:
    """Make a topic from what `export_topic` wrote; it appears whole, or is taken away again.

    Parameters
    ----------
    log, meta, partitions
        The log, its database and its open partitions.
    source
        The file, or the folder of files.
    name
        What the topic shall be called; None: as it was.
    progress
        Is told how many offsets are done, of how many.

    Raises
    ------
    DataError
        These are no exported files, they do not belong together, or they are damaged.
    UsageError
        There is a topic of that name.
    """
    files = exported_files(source)
    if not files:
        msg = f"{source} is not what `log export` writes as .arrow or .parquet"
        raise DataError(msg, hint="other files are appended as new events: eventide log import TOPIC FILE")
    facts, schema = _same_topic(files)
    name = name or facts[0].topic
    if any(t.name == name for t in log.topics()):
        msg = f"there is a topic {name!r} in {log.path}"
        raise UsageError(msg, hint="import it under another name, or delete that one first: eventide log delete")
    one = facts[0]
    topic = log.create_topic(
        name, schema,
        event_time=one.event_time, partitions=one.partitions, segment_bytes=one.segment_bytes, retention=one.retention,
    )  # fmt: skip
    topic = replace(topic, evolution=one.evolution)
    work = _Import(log, partitions, topic, facts=facts, progress=progress)
    try:
        with meta.commit() as db:
            meta.put_schema(db, topic)
        for path in files:
            work.add(path)
        work.finish()
    except BaseException:
        with contextlib.suppress(EventideError):  # what failed first is what matters
            work.give_up()
            log.delete_topic(name)
        raise
    return Exported(topic=name, files=files, events=work.events, frames=work.frames)


def _same_topic(files: list[Path]) -> tuple[list[TopicFacts], pa.Schema]:
    found = [read_facts(path) for path in files]
    known = [f for f in found if f is not None]
    first, schema = known[0]
    seen: set[int] = set()
    for path, (facts, other) in zip(files, known, strict=True):
        alike = (facts.topic, facts.partitions, facts.event_time) == (first.topic, first.partitions, first.event_time)
        if not alike or not other.equals(schema) or seen & facts.starts.keys():
            msg = f"{path} does not belong to the same export as {files[0]}"
            raise DataError(msg, hint="import one export at a time")
        seen |= facts.starts.keys()
    return [facts for facts, _ in known], schema


class _Import:
    """One transaction for the events, and one that is aborted for offsets without events."""

    def __init__(
        self,
        log: Log,
        partitions: OpenPartitions,
        topic: TopicInfo,
        *,
        facts: list[TopicFacts],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._open, self._topic, self._progress = partitions, topic, progress
        self._starts = {p: offset for f in facts for p, offset in f.starts.items()}
        self._ends = {p: offset for f in facts for p, offset in f.ends.items()}
        self._events: Transaction = log.transaction()
        self._gaps: Transaction = log.transaction()
        self.events = self.frames = self._done = 0

    def _reach(self, partition: int, offset: int) -> None:
        """Use up the offsets before one: their events were aborted, or are not in the files."""
        writer = self._open.writer(self._topic, partition, first_offset=self._starts[partition])
        if offset > writer.end:
            self._done += offset - writer.end
            self._gaps.skip(writer, offset - writer.end)
        elif offset < writer.end:
            msg = f"offset {offset} of partition {partition} comes after offset {writer.end}"
            raise DataError(msg, hint="export the topic again")

    def add(self, path: Path) -> None:
        """Append the frames of a file."""
        for place, batch in frames_of(path, self._topic.schema):
            if place.partition not in self._starts:
                msg = f"{path}: partition {place.partition} is none that it says it holds"
                raise DataError(msg, hint="export the topic again")
            self._reach(place.partition, place.base_offset)
            writer = self._open.writer(self._topic, place.partition)
            self._events.put(writer, batch, append_time=place.append_time)
            self.events += place.rows
            self.frames += 1
            self._done += place.rows
            if self._progress is not None:
                self._progress(self._done, sum(self._ends.values()) - sum(self._starts.values()))

    def finish(self) -> None:
        """Show everything."""
        for p, end in self._ends.items():
            if end:
                self._reach(p, end)
        self._gaps.abort()
        self._events.commit()
        for p, end in self._ends.items():
            if end:
                self._open.writer(self._topic, p, first_offset=self._starts[p]).sync()  # offsets at the end count too

    def give_up(self) -> None:
        """Hide everything."""
        self._gaps.abort()
        self._events.abort()

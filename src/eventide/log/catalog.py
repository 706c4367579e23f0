"""Which topics a log has: their rows in the database and their folders, made and removed together."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pyarrow as pa

from eventide.errors import LogError, UnknownNameError, UsageError, near_names
from eventide.log.evolution import evolved
from eventide.log.failure import reaching
from eventide.log.head import Head
from eventide.log.layout import partition_path, segment_offsets, segment_path, sync_folder
from eventide.log.lock import is_held
from eventide.log.meta import Meta
from eventide.log.recovery import scan_end
from eventide.log.topic import PartitionInfo, TopicInfo

__all__ = ["add_topic", "describe_topic", "evolve_topic", "find_topic", "remove_topic"]


def add_topic(root: Path, meta: Meta, wanted: TopicInfo, *, exist_ok: bool) -> TopicInfo:
    """Make a topic and return it, or the one that is there if `exist_ok` and it is the same.

    Raises
    ------
    UsageError
        The topic exists (and is different).
    LogError
        Its folder holds events of a topic that the database does not know.
    """
    found = meta.topics(wanted.name)
    if not found:
        if _was_deleted(root / wanted.name):
            _bury(root, wanted.name)
        for p in range(wanted.partitions):
            folder = partition_path(root, wanted.name, p)
            if segment_offsets(folder):
                msg = f"{folder} holds events, but the database of the log does not know topic {wanted.name!r}"
                raise LogError(msg, hint=f"move {root / wanted.name} away, or use another name")
            with reaching(folder, "made"):
                folder.mkdir(parents=True, exist_ok=True)
                Head(folder, create=True)
                sync_folder(folder)
        with reaching(root, "synced"):
            sync_folder(root / wanted.name)
            sync_folder(root)
        if meta.add_topic(wanted):
            return wanted
        found = meta.topics(wanted.name)  # another process was faster
    there = found[0]
    same = there.schema.equals(wanted.schema) and there.event_time == wanted.event_time
    same = same and there.partitions == wanted.partitions
    if exist_ok and same:
        return there
    what = "exists" if same else "exists with another schema, event time or number of partitions"
    msg = f"topic {there.name!r} {what}; {root}"
    raise UsageError(msg, hint="exist_ok=True takes it as it is" if same else "use another name, or delete_topic first")


def evolve_topic(root: Path, meta: Meta, name: str, *, schema: pa.Schema) -> TopicInfo:
    """Give a topic another schema and return it; see `evolved` for what may change."""
    with meta.commit() as db:  # between looking and changing nobody else may change it
        topic = find_topic(root, meta, name)
        new = evolved(topic, schema)
        if new is not topic:
            meta.put_schema(db, new)
    return new


def find_topic(root: Path, meta: Meta, name: str) -> TopicInfo:
    """Return a topic.

    Raises
    ------
    UnknownNameError
        There is none of that name; the hint names near ones.
    """
    found = meta.topics(name)
    if not found:
        msg = f"there is no topic {name!r} in the log {root}"
        raise UnknownNameError(msg, hint=near_names(name, [t.name for t in meta.topics()]))
    return found[0]


def remove_topic(root: Path, meta: Meta, topic: TopicInfo) -> None:
    """Remove a topic whose partitions the caller holds the locks of."""
    for p in range(topic.partitions):
        Head(partition_path(root, topic.name, p), create=True).mark_deleted()
    meta.drop_topic(topic.name)
    _bury(root, topic.name)


def _was_deleted(folder: Path) -> bool:
    """Tell whether a topic that the database does not know lies here because its deletion was cut short."""
    heads = [path.parent for path in folder.glob("*/head")]
    return bool(heads) and all(Head(p).deleted and not is_held(p / "writer.lock") for p in heads)


def _bury(root: Path, name: str) -> None:
    with reaching(root / name, "moved away"):
        (root / name).rename(root / f".deleted-{name}-{time.time_ns()}")
        sync_folder(root)
    for folder in root.glob(".deleted-*"):
        shutil.rmtree(folder, ignore_errors=True)


def describe_topic(root: Path, topic: TopicInfo) -> list[PartitionInfo]:
    """Return what each partition of a topic holds."""
    found = []
    for p in range(topic.partitions):
        folder = partition_path(root, topic.name, p)
        offsets = segment_offsets(folder)
        size = 0
        for base in offsets:
            try:
                size += segment_path(folder, base).stat().st_size
            except FileNotFoundError:  # retention was faster
                continue
        head = Head(folder)
        end = head.end if head.trusted else scan_end(folder, known=head.promised)
        earliest = offsets[0] if offsets else end
        end = max(end, earliest)  # what was aborted may be deleted before any reader had to pass it
        found.append(PartitionInfo(partition=p, earliest=earliest, latest=end, bytes=size, segments=len(offsets)))
    return found

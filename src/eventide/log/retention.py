"""Delete the oldest segments of a partition: first say which, then do it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from eventide.log.failure import reaching
from eventide.log.holds import held
from eventide.log.layout import index_path, partition_path, segment_offsets, segment_path, sync_folder
from eventide.log.meta import Meta
from eventide.log.segment import SegmentView, frames
from eventide.log.topic import Retention, TopicInfo
from eventide.model.time import MIN_TIME

__all__ = ["OldSegment", "old_segments", "retain_partition"]

_AT_ONCE = 64
"""So many files are deleted under one write lock of the database; others get it in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldSegment:
    """A segment that need not be kept.

    Parameters
    ----------
    topic, partition
        Where it lies.
    base_offset, end_offset
        Its first offset, and the offset after its last event.
    bytes
        Size of its file.
    reason
        Which limit it is beyond: ``"max_bytes"``, ``"max_age"`` or ``"max_event_age"``.
    """

    topic: str
    partition: int
    base_offset: int
    end_offset: int
    bytes: int
    reason: str


def old_segments(
    root: Path,
    topic: TopicInfo,
    partition: int,
    *,
    retention: Retention,
    protect: int | None = None,
    now: int | None = None,
) -> list[OldSegment]:
    """Return what a partition need not keep: whole segments, oldest first, never the last.

    Parameters
    ----------
    root, topic, partition
        The partition.
    retention
        Limits.
    protect
        Keep everything from this offset on.
    now
        Processing time, ns since 1970; None: the clock.
    """
    folder = partition_path(root, topic.name, partition)
    offsets = segment_offsets(folder)
    sizes = [segment_path(folder, base).stat().st_size for base in offsets]
    total = sum(sizes)
    newest = (
        _newest_event_time(folder, offsets) if retention.max_event_age is not None and len(offsets) > 1 else MIN_TIME
    )
    now = time.time_ns() if now is None else now
    old = []
    for base, following, size in zip(offsets, offsets[1:], sizes, strict=False):
        if protect is not None and following > protect:
            break
        reason = _reason(folder, following, retention, total=total, newest=newest, now=now)
        if not reason:
            break
        old.append(
            OldSegment(
                topic=topic.name, partition=partition, base_offset=base, end_offset=following, bytes=size, reason=reason
            )
        )
        total -= size
    return old


def _reason(folder: Path, following: int, retention: Retention, *, total: int, newest: int, now: int) -> str:
    """Return the limit that the segment before `following` is beyond, or nothing."""
    if retention.max_bytes is not None and total > retention.max_bytes:
        return "max_bytes"
    view = SegmentView(folder, following)
    facts = view.facts
    view.close()
    if retention.max_age is not None and facts.created < now - retention.max_age:
        return "max_age"
    if retention.max_event_age is not None and MIN_TIME < facts.time_before < newest - retention.max_event_age:
        return "max_event_age"
    return ""


def retain_partition(
    root: Path,
    topic: TopicInfo,
    partition: int,
    *,
    meta: Meta,
    retention: Retention,
    protect: int | None,
    now: int | None,
    dry_run: bool,
) -> list[OldSegment]:
    """Delete what a partition need not keep and nobody holds; return what went, or with `dry_run` would go.

    Offsets go on, and what is left has no hole. Readers that have a deleted segment open read it to its end.
    """
    folder = partition_path(root, topic.name, partition)
    gone: list[OldSegment] = []
    while True:
        with meta.commit() as db, reaching(folder, "cleared of old segments"):  # no hold can come in between
            kept = [o for o in (protect, held(db, topic.name, partition)) if o is not None]
            guard = min(kept, default=None)
            old = old_segments(root, topic, partition, retention=retention, protect=guard, now=now)
            if dry_run:
                return old
            for segment in old[:_AT_ONCE]:
                segment_path(folder, segment.base_offset).unlink(missing_ok=True)
                sync_folder(folder)  # one by one: a loss of power could else bring an older one back, before a hole
                index_path(folder, segment.base_offset).unlink(missing_ok=True)
                gone.append(segment)
        if len(old) <= _AT_ONCE:
            return gone


def _newest_event_time(folder: Path, offsets: list[int]) -> int:
    view = SegmentView(folder, offsets[-1])
    newest = view.facts.time_before
    for _, header in frames(view.fd, view.first, offsets[-1]):
        newest = max(newest, header.max_time)
    view.close()
    return newest

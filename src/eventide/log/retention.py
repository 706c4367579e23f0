"""Delete the oldest segments of a partition."""

from __future__ import annotations

import time
from pathlib import Path

from eventide.log.layout import index_path, segment_offsets, segment_path, sync_folder
from eventide.log.segment import SegmentView, frames
from eventide.log.topic import Retention
from eventide.model.time import MIN_TIME

__all__ = ["apply_retention"]


def apply_retention(folder: Path, retention: Retention, *, protect: int | None = None, now: int | None = None) -> int:
    """Delete what a partition need not keep and return how many segments went.

    Oldest first, whole segments, never the last: offsets go on, and what is left has no hole. Readers
    that have a deleted segment open read it to its end.

    Parameters
    ----------
    folder
        The partition's folder.
    retention
        Limits.
    protect
        Keep everything from this offset on.
    now
        Processing time, ns since 1970; None: the clock.
    """
    offsets = segment_offsets(folder)
    sizes = [segment_path(folder, base).stat().st_size for base in offsets]
    total = sum(sizes)
    newest = (
        _newest_event_time(folder, offsets) if retention.max_event_age is not None and len(offsets) > 1 else MIN_TIME
    )
    now = time.time_ns() if now is None else now
    gone = 0
    for base, following, size in zip(offsets, offsets[1:], sizes, strict=False):
        if protect is not None and following > protect:
            break
        view = SegmentView(folder, following)
        facts = view.facts
        view.close()
        too_big = retention.max_bytes is not None and total > retention.max_bytes
        too_old = retention.max_age is not None and facts.created < now - retention.max_age
        behind = retention.max_event_age is not None and MIN_TIME < facts.time_before < newest - retention.max_event_age
        if not (too_big or too_old or behind):
            break
        segment_path(folder, base).unlink(missing_ok=True)
        index_path(folder, base).unlink(missing_ok=True)
        total -= size
        gone += 1
    if gone:
        sync_folder(folder)
    return gone


def _newest_event_time(folder: Path, offsets: list[int]) -> int:
    view = SegmentView(folder, offsets[-1])
    newest = view.facts.time_before
    for _, header in frames(view.fd, view.first, offsets[-1]):
        newest = max(newest, header.max_time)
    view.close()
    return newest

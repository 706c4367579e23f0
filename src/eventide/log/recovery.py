"""Find the true end of a partition and cut off a torn tail.

What was written and never acknowledged is written again: after a failed sync the operating system may show
bytes that are not on the disk, and calls them clean, so that a second sync would not write them.

What counts as torn: the file ends inside a frame, or only zeros follow (reserved space), or the bad
frame lies after everything that was ever acknowledged as durable. A bad frame before that point was
promised to somebody: that is corruption, and it is reported, not repaired.
"""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path

from eventide.errors import LogCorruptError
from eventide.log import frame
from eventide.log.head import Head
from eventide.log.index import SparseIndex
from eventide.log.layout import index_path, segment_offsets, segment_path, sync_file, sync_folder
from eventide.log.producers import ProducerTable
from eventide.log.segment import frames, read_header, tail_is_empty, write_at
from eventide.log.tail import Tail
from eventide.model.time import MIN_TIME

__all__ = ["repair", "scan_end"]

_LOG = logging.getLogger("eventide.log")


def repair(folder: Path, head: Head, *, index_bytes: int) -> Tail | int:
    """Return the tail of a partition after cutting off what is torn.

    Only the holder of the writer's lock may call this.

    Returns
    -------
    The tail, or where there is no segment the offset at which the first one must begin.

    Raises
    ------
    LogCorruptError
        Events that were acknowledged are damaged, or segments are missing.
    """
    for spare in folder.glob("*.new"):
        spare.unlink(missing_ok=True)
    offsets = segment_offsets(folder)
    if not offsets and head.end:
        msg = f"{folder} has no segment although {head.end} events were appended"
        raise LogCorruptError(msg, hint="restore the .seg files from a copy")
    if not head.fresh:
        _check_older(folder, offsets, head)
    offsets = segment_offsets(folder)
    while offsets:
        tail = _open_tail(folder, offsets[-1], head, index_bytes=index_bytes)
        if tail is not None:
            if head.promised > tail.end:
                _LOG.warning("%s: %d acknowledged events are gone from its end", folder, head.promised - tail.end)
            return tail
        lost = offsets.pop()
        _drop(folder, lost)
        if not offsets:
            _LOG.warning("%s: the only segment was cut inside its header", folder)
            return lost  # its name still says which offsets were given out before
    return 0


def _check_older(folder: Path, offsets: list[int], head: Head) -> None:
    """Check the sealed segments that may not have reached the disk, and see to it that they do."""
    following_of = dict(itertools.pairwise(offsets))
    unsure = [base for base, following in following_of.items() if following > head.promised]
    for base in unsure:
        path = segment_path(folder, base)
        fd = os.open(path, os.O_RDWR)
        try:
            found = read_header(fd, path)
            end = base if found is None else _end(fd, found[2], base)
            if end == following_of[base] and head.trusted:
                _write_again(fd, 0, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        if end != following_of[base]:
            if end < head.promised:
                msg = (
                    f"{path} is damaged at offset {end}, before offset {head.promised} that was acknowledged as durable"
                )
                raise LogCorruptError(msg, hint="restore this file from a copy")
            for later in offsets[offsets.index(base) + 1 :]:
                _LOG.warning("%s: segment %d follows a hole and was never durable; set aside", folder, later)
                _drop(folder, later)
            return


def _end(fd: int, first: int, base: int) -> int:
    end = base
    for _, header in frames(fd, first, base, check_from=0):
        end = header.end_offset
    return end


def _drop(folder: Path, base: int) -> None:
    path = segment_path(folder, base)
    path.replace(path.with_suffix(".seg.cut"))
    index_path(folder, base).unlink(missing_ok=True)
    sync_folder(folder)


def _open_tail(folder: Path, base: int, head: Head, *, index_bytes: int) -> Tail | None:
    path = segment_path(folder, base)
    fd = os.open(path, os.O_RDWR)
    try:
        found = read_header(fd, path)
        if found is None:
            os.close(fd)
            return None
        facts, schema, first = found
        index = SparseIndex.load(index_path(folder, base), index_bytes)
        known = index.before_offset(head.promised) if head.trusted else None
        sure, again = known[1] if known else 0, first
        tail = Tail(
            fd, base, first, base, first, MIN_TIME, facts.time_before,
            SparseIndex(index_bytes), ProducerTable(facts.producers), schema,
        )  # fmt: skip
        for position, header in frames(fd, first, base, check_from=sure):
            tail.index.note(header.base_offset, position, tail.segment_time)
            tail.segment_time = max(tail.segment_time, header.max_time)
            if header.producer:
                tail.producers.add(header.producer, header.sequence, header.base_offset)
            tail.position, tail.end = position + header.size, header.end_offset
            again = again if tail.end > head.promised else tail.position
        _cut(tail, path, head)
        if tail.end > head.promised and head.trusted:
            _write_again(fd, again, tail.position)
        if tail.end > head.promised or base >= head.promised:
            sync_folder(folder)  # its name may be as new as its events
    except BaseException:
        os.close(fd)
        raise
    if (tail.index.offsets, tail.index.positions) != (index.offsets, index.positions):
        tail.index.save(index_path(folder, base))
    return tail


def _cut(tail: Tail, path: Path, head: Head) -> None:
    size = os.fstat(tail.fd).st_size
    if size <= tail.position:
        if size < tail.position:  # the padding of the last frame is missing, not the frame
            os.ftruncate(tail.fd, tail.position)
        return
    promised = tail.end < head.promised or (head.fresh and _frame_follows(tail.fd, tail.position))
    if promised and not tail_is_empty(tail.fd, tail.position):
        msg = f"{path} is damaged at byte {tail.position} (offset {tail.end}), before events that were acknowledged"
        raise LogCorruptError(msg, hint="restore this file from a copy; verify() lists all damage of the log")
    os.ftruncate(tail.fd, tail.position)
    sync_file(tail.fd)


def _write_again(fd: int, begin: int, end: int) -> None:
    """Write bytes of a file over themselves and sync them: it works, or the disk says that it does not."""
    step = 1 << 20
    for at in range(begin, end, step):
        write_at(fd, [os.pread(fd, min(step, end - at), at)], at)
    sync_file(fd)


def _frame_follows(fd: int, position: int) -> bool:
    """Tell whether an intact frame begins anywhere after `position`: then what is bad is not the end."""
    raw = os.pread(fd, os.fstat(fd).st_size - position, position)
    at = raw.find(frame.MAGIC, 1)
    while at >= 0:
        header = frame.parse(memoryview(raw)[at:])
        if (
            header is not None
            and at + header.start + header.length <= len(raw)
            and frame.intact(header, memoryview(raw)[at:])
        ):
            return True
        at = raw.find(frame.MAGIC, at + 1)
    return False


def scan_end(folder: Path, *, known: int = 0) -> int:
    """Return the offset after the last whole frame of a partition, for a reader that cannot trust the head.

    Parameters
    ----------
    folder
        The partition's folder.
    known
        An offset before which everything was acknowledged as durable; nothing there is looked at.
    """
    end = known
    offsets = segment_offsets(folder)
    for base, following in itertools.zip_longest(offsets, offsets[1:]):
        if following is not None and following <= known:
            continue
        path = segment_path(folder, base)
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return end
        try:
            found = read_header(fd, path)
            if found is not None:
                end = max(end, _end(fd, found[2], base))
        finally:
            os.close(fd)
        if end != following:  # what follows a hole was never durable: the next writer sets it aside
            break
    return end

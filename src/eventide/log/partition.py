"""The one writer of one partition: frames in, offsets out, durable by the chosen policy."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Literal

import pyarrow as pa

from eventide.errors import LogError
from eventide.log import frame
from eventide.log.head import Head
from eventide.log.layout import index_path, segment_offsets, segment_path, sync_file
from eventide.log.lock import FileLock
from eventide.log.producers import ProducerTable
from eventide.log.recovery import repair
from eventide.log.segment import SegmentFacts, frames, read_header, write_at
from eventide.log.tail import Tail, new_tail
from eventide.log.topic import TopicInfo
from eventide.model.time import MIN_TIME

__all__ = ["Fsync", "PartitionWriter"]

Fsync = Literal["each", "group", "os"]
_MAX_GROWTH = 16 << 20


class PartitionWriter:
    """Append frames to a partition. Safe to use from several threads; `Log` keeps one per partition.

    Parameters
    ----------
    folder
        The partition's folder.
    topic, partition
        Where it belongs.
    fsync
        ``"each"``: an append returns when its events are on the disk. ``"group"``: they are within
        some milliseconds, `sync` waits for it. ``"os"``: whenever the operating system likes.
    index_bytes
        Distance of index entries, bytes.

    Raises
    ------
    LogLockedError
        Somebody else writes this partition.
    LogCorruptError
        Acknowledged events are damaged.
    """

    def __init__(self, folder: Path, topic: TopicInfo, *, partition: int, fsync: Fsync, index_bytes: int) -> None:
        self.topic, self.partition = topic, partition
        self._folder, self._fsync, self._index_bytes = folder, fsync, index_bytes
        self._mutex = threading.Lock()  # order of frames
        self._sync_mutex = threading.Lock()  # one sync at a time, while appends go on
        self._failed: OSError | None = None
        self._closed = False
        self._unsynced: list[tuple[int, int]] = []  # descriptor and end of sealed segments that were not synced yet
        self._lock = FileLock(folder / "writer.lock", what=f"partition {partition} of topic {topic.name!r}")
        try:
            self._head = Head(folder, create=True)
            found = repair(folder, self._head, index_bytes=index_bytes)
            tail = found if isinstance(found, Tail) else self._new_tail(found, MIN_TIME, ProducerTable())
        except BaseException:
            self._lock.release()
            raise
        self._take(tail)
        sync_file(self._fd)
        self._head.renew(self._end, promised=self._end)

    def _new_tail(self, base: int, time_before: int, producers: ProducerTable) -> Tail:
        topic = self.topic
        facts = SegmentFacts(
            topic.name, self.partition, base, topic.event_time, time.time_ns(), time_before, producers.state()
        )
        return new_tail(self._folder, facts, topic.schema, index_bytes=self._index_bytes)

    def _take(self, tail: Tail) -> None:
        self._fd, self._base, self._position, self._end = tail.fd, tail.base_offset, tail.position, tail.end
        self._first, self._index, self._producers = tail.first, tail.index, tail.producers
        self._segment_time, self._time_before = tail.segment_time, tail.time_before
        self._reserved = os.fstat(self._fd).st_size
        self._index_fd = os.open(index_path(self._folder, self._base), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @property
    def end(self) -> int:
        """Offset of the next event, durable or not."""
        return self._end

    @property
    def durable_end(self) -> int:
        """Offset before which everything is on the disk."""
        return self._head.promised

    def append(self, batch: pa.RecordBatch, *, producer: int = 0, sequence: int = frame.NO_SEQUENCE) -> int:
        """Append a batch that has the topic's schema and return the offset of its first event.

        A sequence that its producer appended before is dropped and its first offset returned.

        Raises
        ------
        LogError
            The disk refused; or the sequence is so old that the log no longer knows it.
        """
        if not batch.num_rows:
            return self._end
        body = frame.encode(batch, self.topic.event_time)
        with self._mutex:
            self._check()
            if producer:
                known = self._known(producer, sequence)
                if known is not None:
                    return known
            base = self._write(body, producer=producer, sequence=sequence)
            end = self._end
            if self._fsync == "os":
                self._head.publish(end, promised=self._head.promised)
            elif self._fsync == "each":
                self._sync_to(end)
                self.show()
        return base

    def append_pending(self, batch: pa.RecordBatch, *, transaction: int) -> int:
        """Append a batch of a transaction: neither synced nor shown to readers; return its first offset."""
        body = frame.encode(batch, self.topic.event_time)
        with self._mutex:
            self._check()
            return self._write(body, transaction=transaction)

    def sync(self, *, show: bool = True) -> int:
        """Make everything appended so far durable, show it to readers, and return the offset after it.

        Parameters
        ----------
        show
            False keeps it from readers until `show` (a transaction commits in between).

        Raises
        ------
        LogError
            The disk refused.
        """
        with self._mutex:
            self._check()
            end = self._end
        self._sync_to(end)
        if show:
            self.show()
        return end

    def show(self) -> None:
        """Show everything durable to readers."""
        with self._sync_mutex:
            if self._head.end < self._head.promised:
                self._head.publish(self._head.promised, promised=self._head.promised)

    def sync_sealed(self) -> None:
        """Make the sealed segments durable (policy ``"os"``, in the background)."""
        with self._sync_mutex:
            sealed, self._unsynced = self._unsynced, []
            for fd, end in sealed:
                sync_file(fd)
                os.close(fd)
                self._head.publish(self._head.end, promised=end)

    def _sync_to(self, end: int) -> None:
        with self._sync_mutex:
            if end <= self._head.promised:
                return
            try:
                while self._unsynced:
                    sync_file(self._unsynced[0][0])
                    os.close(self._unsynced.pop(0)[0])
                sync_file(self._fd)
            except OSError as error:
                # After a failed sync nobody knows what is on the disk: only a scan at the next opening can tell.
                self._failed = error
                self._check()
            self._head.publish(self._head.end, promised=end)

    def _check(self) -> None:
        if self._closed:
            msg = f"partition {self.partition} of topic {self.topic.name!r} is closed for writing"
            raise LogError(msg, hint="open the log again")
        if self._failed is not None:
            msg = f"writing to {segment_path(self._folder, self._base)} failed: {self._failed}"
            raise LogError(
                msg, hint="free space or replace the disk, then open the log again; nothing acknowledged is lost"
            )

    def _known(self, producer: int, sequence: int) -> int | None:
        offset = self._producers.offset(producer, sequence)
        if offset is not None or not self._producers.is_old(producer, sequence):
            return offset
        for base in reversed(segment_offsets(self._folder)):
            path = segment_path(self._folder, base)
            fd = os.open(path, os.O_RDONLY)
            try:
                found = read_header(fd, path)
                for _, header in frames(fd, found[2], base) if found else ():
                    if (header.producer, header.sequence) == (producer, sequence):
                        return header.base_offset
            finally:
                os.close(fd)
        msg = f"sequence {sequence} is older than the latest of its producer and no longer in topic {self.topic.name!r}"
        raise LogError(msg, hint="number the batches of a producer upwards, and repeat only what is recent")

    def _write(
        self, body: frame.Body, *, transaction: int = 0, producer: int = 0, sequence: int = frame.NO_SEQUENCE
    ) -> int:
        base = self._end
        pieces = frame.seal(body, base, transaction=transaction, producer=producer, sequence=sequence)
        try:
            if self._position + body.size > self.topic.segment_bytes and self._position > self._first:
                self._roll()
            self._reserve(self._position + body.size)
            write_at(self._fd, pieces, self._position)
        except OSError as error:
            # What was written lies behind the end and is overwritten by the next append or cut at the next opening.
            path = segment_path(self._folder, self._base)
            msg = f"cannot append {body.rows} events to {path} at offset {base}: {error}"
            raise LogError(msg, hint="free some space; what was appended before is safe") from error
        entry = self._index.note(base, self._position, self._segment_time)
        if entry is not None:
            with contextlib.suppress(OSError):  # the index is advice
                os.write(self._index_fd, entry)
        self._position, self._end = self._position + body.size, base + body.rows
        self._segment_time = max(self._segment_time, body.max_time)
        if producer:
            self._producers.add(producer, sequence, base)
        return base

    def _reserve(self, size: int) -> None:
        """Make the file long enough: a sync that need not record a new size is about a tenth faster."""
        if size <= self._reserved:
            return
        growth = min(max(self._reserved, 1 << 20), _MAX_GROWTH)
        target = max(size, min(self._reserved + growth, self.topic.segment_bytes))
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, self._reserved, target - self._reserved)
            except OSError:
                # A full disk may still hold this frame; some file systems cannot reserve at all.
                os.ftruncate(self._fd, size)
                target = size
        else:
            os.ftruncate(self._fd, target)
        self._reserved = target

    def _roll(self) -> None:
        """Seal the segment and begin the next one."""
        with self._sync_mutex:
            time_before = max(self._time_before, self._segment_time)
            following = self._new_tail(self._end, time_before, self._producers)  # if this fails nothing has changed
            os.ftruncate(self._fd, self._position)
            os.close(self._index_fd)
            if self._head.promised < self._end:
                self._unsynced.append((self._fd, self._end))
            else:
                os.close(self._fd)
            self._take(following)

    def close(self) -> None:
        """Make everything durable, give back reserved space and let the partition go."""
        with self._mutex:
            if self._closed:
                return
            try:
                if self._failed is None:
                    self._sync_to(self._end)
                    self.show()
                    os.ftruncate(self._fd, self._position)
            finally:
                self._closed = True
                for fd in (*(fd for fd, _ in self._unsynced), self._fd, self._index_fd):
                    os.close(fd)
                self._unsynced = []
                self._lock.release()

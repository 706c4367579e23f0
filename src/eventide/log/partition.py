"""The one writer of one partition: frames in, offsets out, durable by the chosen policy."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Literal, NoReturn

import pyarrow as pa

from eventide.errors import LogError
from eventide.log import frame
from eventide.log.failure import disk_error, reaching
from eventide.log.head import Head
from eventide.log.layout import index_path, segment_offsets, segment_path, sync_file
from eventide.log.lock import FileLock
from eventide.log.producers import ProducerTable
from eventide.log.recovery import repair
from eventide.log.segment import SegmentFacts, frames, read_header, write_at
from eventide.log.tail import Tail, new_tail
from eventide.log.topic import TopicInfo, conform
from eventide.model.time import MIN_TIME

__all__ = ["Fsync", "PartitionWriter"]

Fsync = Literal["each", "group", "os"]
_MAX_GROWTH = 16 << 20
_FAILED = "free space or replace the disk, then open the log again; nothing acknowledged is lost"


class PartitionWriter:
    """Append frames to a partition. Safe to use from several threads; `Log` keeps one per partition.

    After a write or a sync that failed nobody knows what the disk holds, and a second sync may lie. So this
    writer then acknowledges nothing any more; opening the partition again finds out.

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
    first_offset
        Where a partition that has never held an event begins.

    Raises
    ------
    LogLockedError
        Somebody else writes this partition.
    LogUnavailableError
        The disk refused.
    LogCorruptError
        Acknowledged events are damaged.
    """

    def __init__(
        self,
        folder: Path,
        topic: TopicInfo,
        *,
        partition: int,
        fsync: Fsync,
        index_bytes: int,
        first_offset: int = 0,
    ) -> None:
        self.topic, self.partition = topic, partition
        self._folder, self._fsync, self._index_bytes = folder, fsync, index_bytes
        self._mutex = threading.Lock()  # order of frames
        self._sync_mutex = threading.Lock()  # one sync at a time, while appends go on
        self._failed: OSError | None = None
        self._closed = False
        self._unsynced: list[tuple[int, int]] = []  # descriptor and end of sealed segments that were not synced yet
        self._fd = self._index_fd = -1
        with reaching(folder, "opened for writing"):
            self._lock = FileLock(folder / "writer.lock", what=f"partition {partition} of topic {topic.name!r}")
            try:
                self._open(first_offset)
            except BaseException:
                self._let_go()
                raise

    def _open(self, first_offset: int) -> None:
        self._head = Head(self._folder, create=True)
        found = repair(self._folder, self._head, index_bytes=self._index_bytes)
        if isinstance(found, Tail):
            self._take(found)
            sync_file(self._fd)
        else:
            self._take(self._new_tail(found or first_offset, MIN_TIME, ProducerTable()))
        self._head.renew(self._end, promised=self._end)
        if isinstance(found, Tail) and not found.schema.equals(self.topic.schema):
            self._roll()

    def _new_tail(self, base: int, time_before: int, producers: ProducerTable) -> Tail:
        topic = self.topic
        facts = SegmentFacts(
            topic.name, self.partition, base, topic.event_time, time.time_ns(), time_before, producers.state()
        )
        return new_tail(self._folder, facts, topic.schema, index_bytes=self._index_bytes)

    def _take(self, tail: Tail) -> None:
        self._fd, self._index_fd = tail.fd, -1
        self._base, self._position, self._end = tail.base_offset, tail.position, tail.end
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

    def evolve(self, topic: TopicInfo) -> None:
        """Go on with another version of the topic: what follows is written with its schema, in a new segment.

        Raises
        ------
        LogUnavailableError
            The disk refused; the partition must be opened again.
        """
        with self._mutex:
            self._check()
            if topic.evolution.version <= self.topic.evolution.version:
                return
            self.topic = topic
            try:
                self._roll()
            except OSError as error:
                self._fail(error)

    def append(self, batch: pa.RecordBatch, *, producer: int = 0, sequence: int = frame.NO_SEQUENCE) -> int:
        """Append a batch that has the topic's schema and return the offset of its first event.

        A sequence that its producer appended before is dropped and its first offset returned.

        Raises
        ------
        LogUnavailableError
            The disk refused, now or before.
        LogError
            The sequence is so old that the log no longer knows it.
        """
        if not batch.num_rows:
            return self._end
        body = frame.encode(batch, self.topic.event_time)
        with self._mutex:
            self._check()
            body = self._current(body, batch)
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

    def append_pending(self, batch: pa.RecordBatch, *, transaction: int, append_time: int = 0) -> int:
        """Append a batch of a transaction: neither synced nor shown to readers; return its first offset.

        Parameters
        ----------
        batch, transaction
            The events, and the number of the transaction.
        append_time
            When they were first appended elsewhere, ns since 1970; 0: now.
        """
        body = frame.encode(batch, self.topic.event_time)
        with self._mutex:
            self._check()
            return self._write(self._current(body, batch), transaction=transaction, append_time=append_time)

    def skip(self, rows: int, *, transaction: int) -> int:
        """Use up offsets without events: a frame of a transaction that never commits; return the offset after it."""
        nothing = frame.encode(pa.RecordBatch.from_pylist([], schema=self.topic.schema))
        with self._mutex:
            self._check()
            return self._write(nothing._replace(rows=rows), transaction=transaction) + rows

    def _current(self, body: frame.Body, batch: pa.RecordBatch) -> frame.Body:
        """Return the body in the schema of this segment, which may have changed since the batch was made to fit."""
        if batch.schema.equals(self.topic.schema):
            return body
        return frame.encode(conform(batch, self.topic), self.topic.event_time)

    def sync(self) -> int:
        """Make everything appended so far durable, show it to readers, and return the offset after it.

        Raises
        ------
        LogUnavailableError
            The disk refused, now or before.
        """
        with self._mutex:
            self._check()
            end = self._end
        self._sync_to(end)
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
            self._check()
            try:
                self._sync_unsynced()
            except OSError as error:
                self._fail(error)

    def _sync_unsynced(self) -> None:
        while self._unsynced:
            fd, end = self._unsynced[0]
            sync_file(fd)
            self._head.publish(self._head.end, promised=end)
            os.close(self._unsynced.pop(0)[0])

    def _sync_to(self, end: int) -> None:
        with self._sync_mutex:
            if end <= self._head.promised:
                return
            self._check()  # the operating system tells of a failed sync once: the next one would seem to work
            try:
                self._sync_unsynced()
                sync_file(self._fd)
            except OSError as error:
                self._fail(error)
            # A segment that was sealed meanwhile may have made later events durable already.
            self._head.publish(self._head.end, promised=max(end, self._head.promised))

    def _check(self) -> None:
        if self._closed:
            msg = f"partition {self.partition} of topic {self.topic.name!r} is closed for writing"
            raise LogError(msg, hint="open the log again")
        if self._failed is not None:
            path = segment_path(self._folder, self._base)
            raise disk_error(self._failed, f"writing to {path} failed", hint=_FAILED) from self._failed

    def _fail(self, error: OSError, what: str = "") -> NoReturn:
        """Take note that the disk refused, and say so; from now on `_check` says it."""
        self._failed = error
        path = segment_path(self._folder, self._base)
        raise disk_error(error, what or f"writing to {path} failed", hint=_FAILED) from error

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
        self,
        body: frame.Body,
        *,
        transaction: int = 0,
        producer: int = 0,
        sequence: int = frame.NO_SEQUENCE,
        append_time: int = 0,
    ) -> int:
        base = self._end
        pieces = frame.seal(
            body, base, transaction=transaction, producer=producer, sequence=sequence, append_time=append_time
        )
        try:
            if self._position + body.size > self.topic.segment_bytes and self._position > self._first:
                self._roll()
            self._reserve(self._position + body.size)
            write_at(self._fd, pieces, self._position)
        except OSError as error:
            # What was written lies behind the end and is cut at the next opening.
            path = segment_path(self._folder, self._base)
            self._fail(error, f"cannot append {body.rows} events to {path} at offset {base}")
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
            following = self._new_tail(self._end, time_before, self._producers)
            try:
                os.ftruncate(self._fd, self._position)
            except OSError:
                os.close(following.fd)
                raise
            os.close(self._index_fd)
            if self._head.promised < self._end:
                self._unsynced.append((self._fd, self._end))
            else:
                os.close(self._fd)
            self._take(following)

    def close(self) -> None:
        """Make everything durable, give back reserved space and let the partition go.

        Raises
        ------
        LogUnavailableError
            The disk refused; also when it refused before, in the background, and nobody was told.
        """
        with self._mutex:
            if self._closed:
                return
            try:
                if self._failed is None:
                    self._sync_to(self._end)
                    self.show()
                    with reaching(segment_path(self._folder, self._base), "cut to its length"):
                        os.ftruncate(self._fd, self._position)
                elif self._fsync != "each":
                    self._check()
            finally:
                self._let_go()

    def _let_go(self) -> None:
        self._closed = True
        descriptors = [*(fd for fd, _ in self._unsynced), self._fd, self._index_fd]
        self._unsynced, self._fd, self._index_fd = [], -1, -1
        for fd in descriptors:
            if fd >= 0:
                with contextlib.suppress(OSError):  # what counts was synced before
                    os.close(fd)
        self._lock.release()

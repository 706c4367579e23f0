"""Reading one partition, frame by frame, from any position."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from eventide.errors import LogError
from eventide.log.evolution import seen_as
from eventide.log.failure import disk_error
from eventide.log.frame import Frame, FrameHeader
from eventide.log.head import Head
from eventide.log.index import SparseIndex
from eventide.log.layout import index_path, segment_offsets, segment_path
from eventide.log.meta import ABORTED
from eventide.log.recovery import scan_end
from eventide.log.segment import SegmentView, frames, header_is_torn, tail_is_empty
from eventide.log.states import TransactionStates
from eventide.model.time import MAX_TIME

__all__ = ["PartitionCursor", "find_time"]


class PartitionCursor:
    """A reading position in one partition; not to be shared by threads.

    Parameters
    ----------
    folder
        The partition's folder.
    topic, partition
        Names for results and errors.
    states
        What became of transactions.
    schema
        What batches shall have, whatever version of the topic they were written with; None: as they are stored.
    verify
        Check the checksum of every frame that is read.

    Raises
    ------
    LogError
        There is no such partition.
    """

    def __init__(
        self,
        folder: Path,
        *,
        topic: str,
        partition: int,
        states: TransactionStates,
        schema: pa.Schema | None = None,
        verify: bool = False,
    ) -> None:
        self.partition, self._schema = partition, schema
        self._folder, self._topic, self._states, self._verify = folder, topic, states, verify
        try:
            self._head = Head(folder)
        except FileNotFoundError:
            msg = f"partition {partition} of topic {topic!r} has no head file in {folder}"
            raise LogError(msg, hint="open the log for writing once to repair it") from None
        self._view: SegmentView | None = None
        self._byte = 0  # where the frame that holds `position` begins
        self._base = 0  # the offset at which it begins
        self.position = 0
        self._scanned = 0
        self._as_stored = True

    @property
    def end(self) -> int:
        """Offset after the last event that may be read (of open and aborted transactions too)."""
        if self._head.trusted:
            return self._head.end
        self._scanned = scan_end(self._folder, known=max(self._scanned, self._head.promised))
        return self._scanned

    @property
    def still(self) -> bool:
        """Whether `read` would find nothing, as far as a look at shared memory tells."""
        return self._head.still(self.position)

    @property
    def bell(self) -> tuple[int, int]:
        """What rings when there may be more (see `eventide.log.bell`)."""
        return self._head.bell

    def earliest(self) -> int:
        """Return the first offset that the partition still has."""
        offsets = segment_offsets(self._folder)
        return offsets[0] if offsets else self.end

    def seek(self, offset: int) -> None:
        """Go to an offset, which may lie inside a frame or at the end."""
        if offset < 0:
            msg = f"offset {offset} of partition {self.partition} of topic {self._topic!r} is negative"
            raise LogError(msg, hint="offsets begin at 0")
        self.position = offset
        self._leave()

    def _leave(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    def _gone(self) -> LogError:
        where = f"offset {self.position} of partition {self.partition} of topic {self._topic!r}"
        if self._head.deleted:
            return LogError(f"{where} is gone: the topic was deleted", hint="stop this reader")
        earliest = self.earliest()
        hint = (
            f"go on from the earliest offset, {earliest}, or keep events longer (retention, or its `protect` argument)"
        )
        return LogError(f"{where} was deleted by retention; the earliest is {earliest}", hint=hint)

    def _enter(self) -> bool:
        """Open the segment that holds `position` and find its frame."""
        offsets = segment_offsets(self._folder)
        base = max((o for o in offsets if o <= self.position), default=-1)
        if base < 0:
            if offsets or self._head.deleted:
                raise self._gone()
            return False
        view = self._open(base)
        if view is None:
            return False
        self._as_stored = self._schema is None or view.schema.equals(self._schema)
        near = SparseIndex.load(index_path(self._folder, base), 1).before_offset(self.position)
        if near is None or view.header(near[1], near[0]) is None:
            near = (base, view.first)
        self._base, self._byte = near
        for byte, header in frames(view.fd, near[1], near[0]):
            self._base, self._byte = header.base_offset, byte
            if header.end_offset > self.position:
                break
            self._base, self._byte = header.end_offset, byte + header.size
        self._view = view
        return True

    def _open(self, base: int) -> SegmentView | None:
        """Open a segment; None when it is the last one and was cut inside its header."""
        try:
            if base == segment_offsets(self._folder)[-1] and header_is_torn(self._folder, base):
                return None
            return SegmentView(self._folder, base)
        except (FileNotFoundError, IndexError):
            raise self._gone() from None

    def _next_segment(self, view: SegmentView) -> bool:
        """Go on to the segment that begins where this one ends; False when this is the last and it ends here."""
        if segment_path(self._folder, self._base).exists() and self._base > view.base_offset:
            following = self._open(self._base)
            if following is None:
                return False
            self._leave()
            self._view, self._byte = following, following.first
            self._as_stored = self._schema is None or following.schema.equals(self._schema)
            return True
        if self._base == view.base_offset and view.replaced:
            self._leave()  # the topic evolved before anything was written to this segment
            return self._enter()
        offsets = segment_offsets(self._folder)
        if self._head.deleted or (offsets and self._base < offsets[0]):
            raise self._gone()
        if view.header(self._byte, self._base) is not None:
            return True  # the writer appended it since we looked
        if offsets and offsets[-1] > self._base:
            raise view.corrupt(self._byte, self._base, f"no frame and no segment begins with offset {self._base}")
        if not tail_is_empty(view.fd, self._byte):
            raise view.corrupt(self._byte, self._base, "there is no frame where one was appended")
        return False

    def read(self, max_rows: int) -> Frame | None:
        """Return the next frame, or the part of it that fits; None when there is nothing (yet).

        Raises
        ------
        LogCorruptError
            Bytes are not what was written.
        LogUnavailableError
            The disk refused.
        LogError
            The position was deleted, or a value does not fit the type the reader was opened with.
        """
        try:
            return self._read(max_rows)
        except FileNotFoundError:
            raise
        except OSError as error:
            msg = f"offset {self.position} of partition {self.partition} of topic {self._topic!r} cannot be read"
            raise disk_error(error, f"{msg} from {self._folder}", hint="check the disk, then read again") from error

    def _read(self, max_rows: int) -> Frame | None:
        end = self.end
        while self.position < end:
            if self._view is None and not self._enter():
                return None
            view = self._view
            assert view is not None
            header = view.header(self._byte, self._base)
            if header is None:
                if not self._next_segment(view):
                    return None
                continue
            if header.transaction:
                state = self._state(view, header)
                if not state:
                    return None
                if state == ABORTED:
                    self._pass(header)
                    continue
            return self._take(view, header, max_rows)
        return None

    def _state(self, view: SegmentView, header: FrameHeader) -> int:
        """Return what became of the transaction of a frame; 0 to wait in front of it."""
        state = self._states.state(header.transaction)
        if state == ABORTED and not view.path.exists():
            raise self._gone()  # perhaps it was committed, and forgotten together with its segment
        return state

    def _pass(self, header: FrameHeader) -> None:
        self._byte += header.size
        self._base = self.position = header.end_offset

    def _batch(self, view: SegmentView, header: FrameHeader, *, verify: bool) -> pa.RecordBatch | None:
        batch = view.batch(self._byte, header, verify=verify)
        if batch is None and segment_offsets(self._folder)[-1:] != [view.base_offset]:
            raise view.corrupt(self._byte, self._base, "the file ends inside this frame")
        return batch

    def _take(self, view: SegmentView, header: FrameHeader, max_rows: int) -> Frame | None:
        batch = self._batch(view, header, verify=self._verify)
        if batch is None:
            return None
        skip = self.position - header.base_offset
        base = self.position
        if skip or header.rows - skip > max_rows:
            batch = batch.slice(skip, max_rows)
        if not self._as_stored and self._schema is not None:
            batch = seen_as(batch, self._schema, topic=self._topic)
        if skip + batch.num_rows == header.rows:
            self._pass(header)
        else:
            self.position = base + batch.num_rows
        timed = header.min_time != MAX_TIME or header.max_time >= header.min_time
        return Frame(
            partition=self.partition,
            base_offset=base,
            batch=batch,
            min_event_time=header.min_time if timed else None,
            max_event_time=header.max_time if timed else None,
            append_time=header.append_time,
        )

    def close(self) -> None:
        """Close the files; frames stay valid."""
        self._leave()


def find_time(folder: Path, time: int, *, end: int) -> int:
    """Return the offset of the first frame that may hold an event at or after an event time.

    Every event of that time or later lies at or after it, however disordered the partition is.

    Parameters
    ----------
    folder
        The partition's folder.
    time
        Event time, ns since 1970.
    end
        Offset after the last event: the answer when all are older.
    """
    offsets = segment_offsets(folder)
    if offsets and header_is_torn(folder, offsets[-1]):
        offsets.pop()
    low, high = 0, len(offsets)
    while high - low > 1:  # the last segment before which everything is older
        middle = (low + high) // 2
        view = SegmentView(folder, offsets[middle])
        older = view.facts.time_before < time
        view.close()
        low, high = (middle, high) if older else (low, middle)
    for base in offsets[low:]:
        try:
            view = SegmentView(folder, base)
        except FileNotFoundError as error:
            msg = f"{folder}: segment {base} was deleted while its time was looked up"
            raise LogError(msg, hint="look it up again") from error
        near = SparseIndex.load(index_path(folder, base), 1).before_time(time)
        if near is None or view.header(near[1], near[0]) is None:
            near = (base, view.first)
        for _, header in frames(view.fd, near[1], near[0]):
            if header.base_offset >= end:
                return end
            if header.max_time >= time:
                return header.base_offset
        view.close()
    return end

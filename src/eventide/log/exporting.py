"""Write a topic, or a part of it, to files that can be read by anybody and imported frame for frame."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eventide.errors import LogError, UsageError
from eventide.log.exported import FRAMES, TOPIC, Exported, FramePlace, TopicFacts
from eventide.log.failure import reaching
from eventide.log.frame import Frame
from eventide.log.layout import sync_folder
from eventide.log.reader import Reader
from eventide.log.topic import TopicInfo
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["ExportFormat", "Span", "export_topic"]

ExportFormat = Literal["arrow", "parquet"]
Telling = Callable[[int, int], None]
_KINDS: dict[str, ExportFormat] = {".arrow": "arrow", ".parquet": "parquet"}
_UNDECIDED_SECONDS = 1.0
_GROUP_ROWS = 1 << 17


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a topic: from an offset or an event time (ns) on, to before another.

    Examples
    --------
    >>> Span(until_offset=5).timed
    False
    """

    from_offset: int = 0
    until_offset: int | None = None
    from_time: int | None = None
    until_time: int | None = None

    @property
    def timed(self) -> bool:
        """Whether event times bound it."""
        return self.from_time is not None or self.until_time is not None


class _File(Protocol):
    def write(self, frame: Frame) -> None: ...
    def close(self) -> None: ...


class _ArrowFile:
    """One record batch for each frame."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, frame: Frame) -> None:
        place = FramePlace(frame.partition, frame.base_offset, frame.batch.num_rows, frame.append_time)
        self._writer.write_batch(frame.batch, custom_metadata={FRAMES: msgspec.json.encode(place)})

    def close(self) -> None:
        self._writer.close()
        self._file.close()


class _ParquetFile:
    """Row groups of a good size; the footer says where the frames were."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema, self._waiting, self._rows = schema, list[pa.RecordBatch](), 0
        self._places: list[FramePlace] = []
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_compliant_nested_type=False)
        if not hasattr(self._writer, "add_key_value_metadata"):
            self._writer.close()
            msg = f"{path}: this pyarrow ({pa.__version__}) cannot write the offsets of a topic into a Parquet file"
            raise LogError(msg, hint="install pyarrow 17 or later, or export to .arrow")

    def write(self, frame: Frame) -> None:
        place = FramePlace(frame.partition, frame.base_offset, frame.batch.num_rows, frame.append_time)
        self._places.append(place)
        self._waiting.append(frame.batch)
        self._rows += frame.batch.num_rows
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            batches = [pa.RecordBatch.from_arrays(b.columns, schema=self._schema) for b in self._waiting]
            self._writer.write_table(pa.Table.from_batches(batches))
        self._waiting, self._rows = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.add_key_value_metadata({FRAMES: msgspec.json.encode(self._places)})
        self._writer.close()


def export_topic(
    reader: Reader,
    target: Path,
    *,
    kind: ExportFormat | None = None,
    span: Span,
    progress: Telling | None,
) -> Exported:
    """Write what a reader finds to files; each appears whole when all is written.

    Parameters
    ----------
    reader
        Of the partitions that are exported, where each begins.
    target
        A file that ends in ``.arrow`` or ``.parquet``, replaced if it is there; anything else is a folder, which
        gets a file for every partition.
    kind
        ``"arrow"`` or ``"parquet"``; None: as the file's name says, else Arrow.
    span
        The part; `reader` begins at or before it.
    progress
        Is told how many offsets are done, of how many.

    Raises
    ------
    LogError
        The disk refused; what was there before is as it was.
    UsageError
        The span has times and the topic has none, or the format is neither.

    Examples
    --------
    >>> import tempfile
    >>> from eventide.log import Log
    >>> folder = tempfile.mkdtemp()
    >>> with Log(folder) as log:
    ...     _ = log.create_topic("a", pa.schema([("x", pa.int64())]))
    ...     _ = log.append("a", pa.record_batch({"x": [1, 2, 3]}))
    ...     _ = log.export("a", f"{folder}/a.arrow")
    ...     done = log.import_(f"{folder}/a.arrow", "b")
    ...     print(done.events, log.reader("b").read() == log.reader("a").read())
    3 True
    """
    each = target.suffix not in _KINDS
    kind = kind or _KINDS.get(target.suffix, "arrow")
    if kind not in _KINDS.values() or (not each and _KINDS[target.suffix] != kind):
        msg = f"{target}: a topic cannot be exported as {kind!r} under that name"
        raise UsageError(
            msg, hint="as 'arrow' or 'parquet', in a file named so; other formats are written by a pipeline"
        )
    topic = reader.topic
    if span.timed and topic.event_time is None:
        msg = f"topic {topic.name!r} has no event time to begin or end at"
        raise UsageError(msg, hint="give offsets")
    for p, at in reader.positions.items():
        reader.seek({p: max(at, span.from_offset)})
    starts = reader.positions
    ends = {p: starts[p] + waiting for p, waiting in reader.backlog().items()}
    ends = {p: max(starts[p], min(e, e if span.until_offset is None else span.until_offset)) for p, e in ends.items()}
    groups = [[p] for p in starts] if each else [list(starts)]
    made: list[Path] = []
    tally = _Tally(sum(ends.values()) - sum(starts.values()), progress)
    with reaching(target, "written"), ExitStack() as spares:
        (target if each else target.parent).mkdir(parents=True, exist_ok=True)
        for group in groups:
            path = target / f"{topic.name}-{group[0]}.{kind}" if each else target
            bounds = {p: starts[p] for p in group}, {p: ends[p] for p in group}
            spare = path.with_name(f".{path.name}.part")
            spares.callback(spare.unlink, missing_ok=True)
            file = _create(spare, topic, bounds, kind=kind)
            try:
                for p in group:
                    for frame in _frames(reader, p, end=ends[p], span=span, tally=tally):
                        file.write(frame)
            finally:
                file.close()
            made.append(path)
        for path in made:
            _keep(path.with_name(f".{path.name}.part"), path)
        sync_folder(made[0].parent)
    return Exported(topic=topic.name, files=made, events=tally.events, frames=tally.frames, undecided=tally.undecided)


class _Tally:
    def __init__(self, total: int, progress: Telling | None) -> None:
        self.total, self._progress = total, progress
        self.events = self.frames = self.done = self.undecided = 0

    def passed(self, rows: int) -> None:
        self.done += rows
        if self._progress is not None:
            self._progress(self.done, self.total)


def _create(path: Path, topic: TopicInfo, bounds: tuple[dict[int, int], dict[int, int]], *, kind: str) -> _File:
    facts = TopicFacts(
        topic=topic.name, event_time=topic.event_time, partitions=topic.partitions, segment_bytes=topic.segment_bytes,
        retention=topic.retention, evolution=topic.evolution, starts=bounds[0], ends=bounds[1],
    )  # fmt: skip
    schema = topic.schema.with_metadata({**(topic.schema.metadata or {}), TOPIC: msgspec.json.encode(facts)})
    return _ArrowFile(path, schema) if kind == "arrow" else _ParquetFile(path, schema)


def _keep(spare: Path, path: Path) -> None:
    fd = os.open(spare, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    spare.replace(path)


def _frames(reader: Reader, partition: int, *, end: int, span: Span, tally: _Tally) -> Iterator[Frame]:
    waited_from = time.monotonic()
    while (at := reader.positions[partition]) < end:
        frame = reader.next_frame(partition)
        if frame is None:
            if reader.positions[partition] >= end:
                break  # the rest was aborted
            if time.monotonic() - waited_from > _UNDECIDED_SECONDS:
                tally.undecided += end - reader.positions[partition]
                break
            time.sleep(0.01)
            continue
        waited_from = time.monotonic()
        if frame.end_offset > end:
            frame = msgspec.structs.replace(frame, batch=frame.batch.slice(0, max(0, end - frame.base_offset)))
        for piece in _inside(frame, span, reader.topic.event_time):
            tally.events += piece.batch.num_rows
            tally.frames += 1
            yield piece
        tally.passed(min(reader.positions[partition], end) - at)


def _inside(frame: Frame, span: Span, event_time: str | None) -> list[Frame]:
    """Return what lies between the span's times, as stretches of offsets without a gap."""
    if not frame.batch.num_rows:
        return []
    if not span.timed or event_time is None:
        return [frame]
    low = MIN_TIME if span.from_time is None else span.from_time
    high = MAX_TIME if span.until_time is None else span.until_time
    column = frame.batch.column(event_time).cast(pa.int64())
    times = column.fill_null(MIN_TIME).to_numpy()
    inside = (times >= low) & (times < high)
    if column.null_count:
        inside &= column.is_valid().to_numpy(zero_copy_only=False)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [
        msgspec.structs.replace(
            frame, base_offset=frame.base_offset + int(a), batch=frame.batch.slice(int(a), int(b - a))
        )
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]

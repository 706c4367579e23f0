"""What an exported file says about itself, beside the events: enough to make the topic again, frame for frame.

In Arrow files every record batch is one frame and has its partition, offset and append time as metadata;
in Parquet files the footer lists them. The topic's facts stand in the schema's metadata in both. Any
program can read the events; only this one needs the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from eventide.errors import DataError
from eventide.log.topic import Evolution, Retention

__all__ = ["FRAMES", "TOPIC", "Exported", "FramePlace", "TopicFacts", "exported_files", "frames_of", "read_facts"]

TOPIC, FRAMES = b"eventide.topic", b"eventide.frames"
_SUFFIXES = (".arrow", ".parquet")


class TopicFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The topic that a file was exported from.

    Parameters
    ----------
    topic, event_time, partitions, segment_bytes, retention, evolution
        As in `TopicInfo`.
    starts, ends
        For every partition in the file the offset it begins with, and the offset after its end.
    """

    topic: str
    event_time: str | None
    partitions: int
    segment_bytes: int
    retention: Retention
    evolution: Evolution
    starts: dict[int, int]
    ends: dict[int, int]


class FramePlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a frame stood, how many rows it has, and when it was appended, ns since 1970."""

    partition: int
    base_offset: int
    rows: int
    append_time: int


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported or imported.

    Parameters
    ----------
    topic
        The topic.
    files
        The files.
    events, frames
        How much.
    undecided
        Events at the ends of partitions that were left out, because of a transaction that was not decided.
    """

    topic: str
    files: list[Path]
    events: int
    frames: int
    undecided: int = 0


def exported_files(source: Path) -> list[Path]:
    """Return the files of an export: the file itself, or those in a folder; empty when it is none.

    Examples
    --------
    >>> exported_files(Path("nowhere.arrow"))
    []
    """
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    found = [f for f in files if f.suffix in _SUFFIXES and f.is_file() and f.name[0] != "."]
    try:
        return found if found and all(read_facts(f) is not None for f in found) else []
    except DataError:
        return []


def read_facts(path: Path) -> tuple[TopicFacts, pa.Schema] | None:
    """Return the facts of an exported file and the schema of its events; None when it is some other file.

    Raises
    ------
    DataError
        The file is damaged, or not complete.
    """
    try:
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
        else:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                schema = reader.schema
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(
            msg, hint="an export that was broken off leaves no file of that name: was it copied whole?"
        ) from error
    found = dict(schema.metadata or {})
    raw = found.pop(TOPIC, None)
    if raw is None:
        return None
    try:
        facts = msgspec.json.decode(raw, type=TopicFacts)
    except msgspec.DecodeError as error:
        msg = f"{path}: what it says about its topic cannot be read: {error}"
        raise DataError(msg, hint="was it made by a newer eventide?") from error
    found.pop(FRAMES, None)
    return facts, schema.with_metadata(found or None)


def frames_of(path: Path, schema: pa.Schema) -> Iterator[tuple[FramePlace, pa.RecordBatch]]:
    """Return every frame of an exported file, in its order.

    Parameters
    ----------
    path
        The file.
    schema
        Schema of the events.

    Raises
    ------
    DataError
        The file does not hold what it says.
    """
    found = _parquet_frames(path) if path.suffix == ".parquet" else _arrow_frames(path)
    for place, batch in found:
        if batch.num_rows != place.rows:
            msg = f"{path}: {batch.num_rows} events where offset {place.base_offset} says {place.rows}"
            raise DataError(msg, hint="export the topic again")
        yield place, pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def _arrow_frames(path: Path) -> Iterator[tuple[FramePlace, pa.RecordBatch]]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        for i in range(reader.num_record_batches):
            batch, metadata = reader.get_batch_with_custom_metadata(i)
            raw = dict(metadata or {}).get(FRAMES)
            if raw is None:
                msg = f"{path}: batch {i} does not say where it stood"
                raise DataError(msg, hint="export the topic again")
            yield msgspec.json.decode(raw, type=FramePlace), batch


def _parquet_frames(path: Path) -> Iterator[tuple[FramePlace, pa.RecordBatch]]:
    with pq.ParquetFile(path) as file:
        raw = (file.metadata.metadata or {}).get(FRAMES)
        if raw is None:
            msg = f"{path} does not say where its events stood"
            raise DataError(msg, hint="export the topic again")
        places = msgspec.json.decode(raw, type=list[FramePlace])
        batches = file.iter_batches(batch_size=1 << 16)
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for place in places:
            while rows < place.rows:
                batch = next(batches, None)
                if batch is None:
                    msg = f"{path} ends before offset {place.base_offset + place.rows} of partition {place.partition}"
                    raise DataError(msg, hint="export the topic again")
                waiting.append(batch)
                rows += batch.num_rows
            whole = pa.Table.from_batches(waiting).combine_chunks()
            yield place, whole.slice(0, place.rows).combine_chunks().to_batches()[0]
            waiting = whole.slice(place.rows).to_batches()
            rows -= place.rows

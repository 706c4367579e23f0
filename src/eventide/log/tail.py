"""The last segment of a partition, as its writer holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from eventide.log.index import SparseIndex
from eventide.log.producers import ProducerTable
from eventide.log.segment import SegmentFacts, create_segment
from eventide.model.time import MIN_TIME

__all__ = ["Tail", "new_tail"]


@dataclass(slots=True)
class Tail:
    """The last segment of a partition, ready to be appended to.

    Parameters
    ----------
    fd
        The segment file, open for reading and writing.
    base_offset
        Its first offset.
    position, end
        Where the next frame goes: byte of the file and offset.
    first
        Position of its first frame.
    segment_time
        Largest event time in this segment, ns.
    time_before
        Largest event time in the segments before, ns.
    index, producers, schema
        Its sparse index, the producers' sequences so far, and its schema.
    """

    fd: int
    base_offset: int
    position: int
    end: int
    first: int
    segment_time: int
    time_before: int
    index: SparseIndex
    producers: ProducerTable
    schema: pa.Schema


def new_tail(folder: Path, facts: SegmentFacts, schema: pa.Schema, *, index_bytes: int) -> Tail:
    """Make a segment and return it as the tail; it is durable.

    Parameters
    ----------
    folder
        The partition's folder.
    facts, schema
        What the segment says about itself.
    index_bytes
        Distance of index entries, bytes.
    """
    fd, first = create_segment(folder, facts, schema)
    base = facts.base_offset
    return Tail(
        fd=fd,
        base_offset=base,
        position=first,
        end=base,
        first=first,
        segment_time=MIN_TIME,
        time_before=facts.time_before,
        index=SparseIndex(index_bytes),
        producers=ProducerTable(facts.producers),
        schema=schema,
    )

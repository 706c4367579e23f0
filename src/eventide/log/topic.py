"""Topics: what the log knows about each, and the check that a batch fits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from eventide.errors import SchemaError, near_names
from eventide.model.time import EVENT_TIME

__all__ = [
    "SEGMENT_BYTES",
    "Evolution",
    "PartitionInfo",
    "Retention",
    "TopicInfo",
    "conform",
    "stored_schema",
    "widens",
]

SEGMENT_BYTES = 128 << 20
"""Size at which a segment is sealed and the next one begun, unless the topic says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long a topic keeps its events. Whole segments go, oldest first, and never the last one.

    Parameters
    ----------
    max_bytes
        Bytes a partition may hold; None: no limit.
    max_age
        Age of the newest event in a segment at which it goes, ns of processing time since it was
        appended; None: no limit.
    max_event_age
        The same in event time, ns behind the newest event time of the partition (so that a replay of
        old data is treated like the day it was taken); None: no limit.

    Examples
    --------
    >>> Retention(max_bytes=10**9).max_age is None
    True
    """

    max_bytes: int | None = None
    max_age: int | None = None
    max_event_age: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """What became of a topic's schema since the topic was made.

    Parameters
    ----------
    version
        How often it changed.
    added
        Columns that were added: a batch may leave them out, its events then have nulls.
    widened
        Columns that got a wider type: a batch may still bring a narrower one.
    """

    version: int = 0
    added: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic of a log.

    Parameters
    ----------
    name
        Its name.
    schema
        Schema of its events, as stored (dictionary columns as their values).
    event_time
        Its event-time column, ``timestamp[ns, UTC]``, or None.
    partitions
        Number of partitions.
    segment_bytes
        Size at which a segment is sealed.
    retention
        How long events are kept.
    created
        When it was made, ns since 1970.
    evolution
        How its schema changed since then.
    """

    name: str
    schema: pa.Schema
    event_time: str | None = None
    partitions: int = 1
    segment_bytes: int = SEGMENT_BYTES
    retention: Retention = field(default_factory=Retention)
    created: int = 0
    evolution: Evolution = field(default_factory=Evolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionInfo:
    """What one partition holds.

    Parameters
    ----------
    partition
        Its number.
    earliest, latest
        Offset of the first event it still has, and the offset after the last one readers may see.
    bytes, segments
        Size of its segment files, bytes, and their number.
    """

    partition: int
    earliest: int
    latest: int
    bytes: int
    segments: int


def stored_schema(schema: pa.Schema, *, topic: str, event_time: str | None) -> pa.Schema:
    """Return the schema in which a topic stores its events: dictionary columns become their values.

    Raises
    ------
    SchemaError
        Two columns share a name, the event-time column is missing or of another type, or a dictionary
        lies inside another type.

    Examples
    --------
    >>> stored_schema(pa.schema([("k", pa.dictionary(pa.int32(), pa.string()))]), topic="a", event_time=None)
    k: string
    """
    repeated = {name for name in schema.names if schema.names.count(name) > 1}
    if repeated:
        msg = f"topic {topic!r}: there are two columns {sorted(repeated)[0]!r}"
        raise SchemaError(msg, hint="give every column a name of its own")
    if event_time is not None:
        if event_time not in schema.names:
            msg = f"topic {topic!r}: there is no event-time column {event_time!r}"
            raise SchemaError(msg, hint=near_names(event_time, schema.names))
        if schema.field(event_time).type != EVENT_TIME:
            kind = schema.field(event_time).type
            msg = f"topic {topic!r}: event-time column {event_time!r} is {kind}, not {EVENT_TIME}"
            raise SchemaError(msg, hint="convert it with eventide.model.batch.as_event_time")
    fields = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema]
    for f in fields:
        if _holds_dictionary(f.type):
            msg = f"topic {topic!r}: column {f.name!r} holds a dictionary inside {f.type}"
            raise SchemaError(msg, hint="cast it to plain values: the log stores dictionaries only as their values")
    return pa.schema(fields, metadata=schema.metadata)


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return any(_holds_dictionary(kind.field(i).type) for i in range(kind.num_fields))


def widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Tell whether every value of one type is the same value in another, longer one.

    Examples
    --------
    >>> widens(pa.int32(), pa.int64()), widens(pa.float64(), pa.float32()), widens(pa.int32(), pa.float64())
    (True, False, False)
    """
    if old == pa.float32():
        return bool(new == pa.float64())
    for alike in (pa.types.is_signed_integer, pa.types.is_unsigned_integer):
        if alike(old) and alike(new):
            return bool(new.bit_width > old.bit_width)
    return False


def conform(batch: pa.RecordBatch, topic: TopicInfo) -> pa.RecordBatch:
    """Return a batch with exactly the topic's schema, without a copy where the types are the same.

    Columns may come in any order and dictionary columns are stored as their values. What was added to the
    topic later may be missing, and what was widened may be of a narrower type: programs of before go on.

    Raises
    ------
    SchemaError
        A column is missing, unknown, of another type, or holds nulls where none are allowed.

    Examples
    --------
    >>> topic = TopicInfo(name="a", schema=pa.schema([("x", pa.int64())]))
    >>> conform(pa.record_batch({"x": [1]}), topic).num_rows
    1
    """
    schema = topic.schema
    if batch.schema.equals(schema):
        return batch
    names = batch.schema.names
    for name in names:
        if name not in schema.names or names.count(name) > 1:
            msg = (
                f"topic {topic.name!r} has no column {name!r}" if name not in schema.names else f"two columns {name!r}"
            )
            raise SchemaError(msg, hint=near_names(name, schema.names))
    columns = [_conform_column(batch, f, topic) for f in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _conform_column(batch: pa.RecordBatch, wanted: pa.Field, topic: TopicInfo) -> pa.Array:
    at = batch.schema.get_field_index(wanted.name)
    if at < 0:
        if wanted.name in topic.evolution.added:
            return pa.nulls(batch.num_rows, wanted.type)
        msg = f"topic {topic.name!r}: column {wanted.name!r} ({wanted.type}) is missing from the batch"
        raise SchemaError(msg, hint=f"the batch has: {', '.join(batch.schema.names)}")
    values = batch.column(at)
    if pa.types.is_dictionary(values.type) and values.type.value_type == wanted.type:
        values = values.dictionary_decode()
    if wanted.name in topic.evolution.widened and widens(values.type, wanted.type):
        values = values.cast(wanted.type)
    if values.type != wanted.type:
        msg = f"topic {topic.name!r}: column {wanted.name!r} is {values.type} in the batch, {wanted.type} in the topic"
        raise SchemaError(msg, hint=f"cast it to {wanted.type}, or append to a topic of another schema")
    if values.null_count and not wanted.nullable:
        msg = f"topic {topic.name!r}: column {wanted.name!r} holds {values.null_count} nulls and must hold none"
        raise SchemaError(msg, hint="fill or drop the nulls")
    return values

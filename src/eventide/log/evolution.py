"""How the schema of a topic may change, and batches of one version seen through another.

Every segment says in its header the schema its frames were written with, so old segments are never
rewritten. A column may be added (it must allow nulls: events of before have none) or take a wider type.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from eventide.errors import LogError, SchemaError
from eventide.log.topic import Evolution, TopicInfo, stored_schema, widens

__all__ = ["evolved", "seen_as"]


def evolved(topic: TopicInfo, schema: pa.Schema) -> TopicInfo:
    """Return a topic with another schema, the same object if that changes nothing.

    The columns that are there keep their places; new ones follow in the order of `schema`.

    Parameters
    ----------
    topic
        The topic as it is.
    schema
        All columns it shall have.

    Raises
    ------
    SchemaError
        A column would be removed, get another type that is not wider, stop or begin to allow nulls, or a new
        one does not allow them.

    Examples
    --------
    >>> topic = TopicInfo(name="a", schema=pa.schema([("x", pa.int32())]))
    >>> evolved(topic, pa.schema([("note", pa.string()), ("x", pa.int64())])).schema
    x: int64
    note: string
    """
    wanted = stored_schema(schema, topic=topic.name, event_time=topic.event_time)
    fields, widened = [], []
    for old in topic.schema:
        if old.name not in wanted.names:
            msg = f"topic {topic.name!r}: column {old.name!r} ({old.type}) is missing from the new schema"
            raise SchemaError(msg, hint="a topic keeps its columns: give all of them, and what is new")
        new = wanted.field(old.name)
        _check_change(topic.name, old, new)
        widened += [old.name] if new.type != old.type else []
        fields.append(old.with_type(new.type))
    added = [f for f in wanted if f.name not in topic.schema.names]
    for f in added:
        if not f.nullable:
            msg = f"topic {topic.name!r}: new column {f.name!r} ({f.type}) allows no nulls, but older events have none"
            raise SchemaError(msg, hint=f"let it be nullable: pa.field({f.name!r}, ..., nullable=True)")
    if not added and not widened:
        return topic
    history = Evolution(
        version=topic.evolution.version + 1,
        added=(*topic.evolution.added, *(f.name for f in added)),
        widened=tuple(dict.fromkeys((*topic.evolution.widened, *widened))),
    )
    return replace(topic, schema=pa.schema([*fields, *added], metadata=topic.schema.metadata), evolution=history)


def _check_change(topic: str, old: pa.Field, new: pa.Field) -> None:
    if new.type != old.type and not widens(old.type, new.type):
        msg = f"topic {topic!r}: column {old.name!r} is {old.type} and cannot become {new.type}"
        raise SchemaError(
            msg, hint="types may only widen: integers to longer ones, float32 to float64; else add a column"
        )
    if new.nullable != old.nullable:
        was, is_ = ("allows nulls", "none") if old.nullable else ("allows no nulls", "them")
        msg = f"topic {topic!r}: column {old.name!r} {was}, the new schema allows {is_}"
        raise SchemaError(msg, hint="whether a column may hold nulls cannot be changed")


def seen_as(batch: pa.RecordBatch, schema: pa.Schema, *, topic: str) -> pa.RecordBatch:
    """Return a batch of one version of a topic in the schema of another version.

    Columns that the batch lacks are null, those that the schema lacks are left out, values take the
    schema's types.

    Parameters
    ----------
    batch
        The events as they are stored.
    schema
        What the reader was opened with.
    topic
        Its name, for the error.

    Raises
    ------
    LogError
        A column was widened after the reader was opened, and now holds a value that its old type cannot.

    Examples
    --------
    >>> seen_as(pa.record_batch({"x": [1], "y": [2]}), pa.schema([("z", pa.string()), ("x", pa.int64())]), topic="a")
    pyarrow.RecordBatch
    z: string
    x: int64
    ----
    z: [null]
    x: [1]
    """
    columns = []
    for f in schema:
        at = batch.schema.get_field_index(f.name)
        if at < 0:
            columns.append(pa.nulls(batch.num_rows, f.type))
            continue
        column = batch.column(at)
        columns.append(column if column.type == f.type else _cast(column, f, topic))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, wanted: pa.Field, topic: str) -> pa.Array:
    if widens(column.type, wanted.type):
        return column.cast(wanted.type)
    try:
        narrow = column.cast(wanted.type)
    except pa.ArrowInvalid:  # an integer that does not fit
        pass
    else:
        if not pa.types.is_floating(column.type) or _same_numbers(narrow.cast(column.type), column):
            return narrow
    msg = (
        f"column {wanted.name!r} of topic {topic!r} was widened from {wanted.type} to {column.type}, "
        f"and now holds values that {wanted.type} cannot"
    )
    raise LogError(msg, hint="open the reader again: it then delivers the new type")


def _same_numbers(one: pa.Array, two: pa.Array) -> bool:
    a, b = (c.fill_null(0.0).to_numpy(zero_copy_only=False) for c in (one, two))
    return bool(np.array_equal(a, b, equal_nan=True))

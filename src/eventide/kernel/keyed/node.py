"""A keyed process as a node of the graph whose outputs have the columns of its input and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, cast

import pyarrow as pa

from eventide.errors import PipelineError, SchemaError, near_names
from eventide.model.graph import Process, Ref
from eventide.model.stream import Stream, origin

if TYPE_CHECKING:
    from eventide.model.keyed import KeyedProcess, PortSchema

__all__ = ["field_of", "process_node", "same", "with_fields"]


def same(source: pa.Schema) -> pa.Schema:
    """Return the schema of the input: the port passes events on as they are.

    Examples
    --------
    >>> same(pa.schema([("a", pa.int64())])).names
    ['a']
    """
    return source


def with_fields(*fields: pa.Field, what: str) -> Callable[[pa.Schema], pa.Schema]:
    """Return the rule "the columns of the input, then these".

    Raises
    ------
    SchemaError
        (when the rule is applied) The input has a column of such a name already.

    Examples
    --------
    >>> with_fields(pa.field("n", pa.int64()), what="count")(pa.schema([("a", pa.int64())])).names
    ['a', 'n']
    """

    def rule(source: pa.Schema) -> pa.Schema:
        for field in fields:
            if field.name in source.names:
                msg = f"{what} adds a column {field.name!r}, and there is one already"
                raise SchemaError(msg, hint=f"rename yours first: .select(pl.exclude({field.name!r}), ...)")
        return pa.schema([*source, *fields])

    return rule


def field_of(source: pa.Schema, name: str, *, what: str) -> pa.Field:
    """Return a field by name.

    Raises
    ------
    SchemaError
        There is no such column; the hint names near ones.
    """
    if name not in source.names:
        msg = f"there is no column {name!r} for {what}"
        raise SchemaError(msg, hint=near_names(name, source.names))
    return source.field(name)


def process_node(
    stream: Stream,
    process: KeyedProcess,
    *,
    ports: Mapping[str, PortSchema],
    name: str,
    order: Literal["event_time", "arrival"] = "event_time",
) -> Stream:
    """Return the main output of a keyed process that keeps the event-time column of its input.

    Raises
    ------
    PipelineError
        The stream has no event time.
    """
    if not stream.time:
        msg = f"{name}() needs event time, and this stream has none ({origin()})"
        raise PipelineError(msg, hint="call .event_time('column', lateness='30s') before it")
    node = Process(stream.ref, process, cast("Mapping[str, pa.Schema]", ports), order, stream.time, "", origin())
    return Stream(Ref(node), stream.keys, stream.time)

"""Which columns every node of a graph has: found, and checked, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eventide.errors import EventideError, SchemaError, near_names
from eventide.model.aggregate import Aggregate
from eventide.model.batch import empty
from eventide.model.graph import (
    WINDOW_END,
    WINDOW_START,
    AssignTime,
    Filter,
    Join,
    KeyBy,
    MapBatches,
    Node,
    Process,
    Project,
    Read,
    Ref,
    Union,
    Window,
    Write,
    inputs,
)
from eventide.model.join_schema import join_schema
from eventide.model.keyed import port_schemas
from eventide.model.machine import LATE, MAIN
from eventide.model.pipeline import Pipeline
from eventide.model.stream import time_column
from eventide.model.time import EVENT_TIME

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Schemas", "aggregate_type", "arrow_schema", "infer", "keys_of", "polars_frame", "window_schema"]

Schemas = dict[tuple[int, str], pa.Schema]
"""Schema by the `id` of a node and a port of it."""


def keys_of(ref: Ref) -> tuple[str, ...]:
    """Return the key columns in force at a place in the graph.

    Examples
    --------
    >>> import eventide as ev
    >>> keys_of(ev.read("log://a").key_by("id").ref)
    ('id',)
    """
    node = ref.node
    if isinstance(node, KeyBy):
        return node.keys
    if isinstance(node, Read):
        return ()
    if isinstance(node, Union):
        first = keys_of(node.inputs[0])
        return first if all(keys_of(r) == first for r in node.inputs) else ()
    return keys_of(inputs(node)[0])


def polars_frame(schema: pa.Schema) -> pl.DataFrame:
    """Return an empty Polars frame with the columns of `schema`."""
    import polars as pl

    frame = pl.from_arrow(pa.Table.from_batches([], schema=schema))
    assert isinstance(frame, pl.DataFrame)
    return frame


def arrow_schema(frame: pl.DataFrame) -> pa.Schema:
    """Return the Arrow schema of a Polars frame, with plain strings and binaries."""
    return pa.schema([(f.name, _plain(f.type)) for f in frame.head(0).to_arrow().schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        return pa.string()
    if pa.types.is_large_binary(kind) or str(kind) == "binary_view":
        return pa.binary()
    if pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, _plain(f.type)) for f in kind])
    return kind


def _need(schema: pa.Schema, columns: Iterable[str], where: str) -> None:
    for name in columns:
        if name not in schema.names:
            msg = f"there is no column {name!r} {where}"
            raise SchemaError(msg, hint=near_names(name, schema.names))


def aggregate_type(aggregate: Aggregate, schema: pa.Schema) -> pa.DataType:
    """Return the type of an aggregate's result.

    Raises
    ------
    SchemaError
        A column is missing or of a type that the aggregate cannot take.

    Examples
    --------
    >>> from eventide.model.aggregate import mean
    >>> aggregate_type(mean("v"), pa.schema([("v", pa.int32())]))
    DataType(double)
    """
    kind = aggregate.kind
    _need(schema, aggregate.columns, f"for {aggregate}")
    types = [schema.field(c).type for c in aggregate.columns]
    if kind in ("count", "n_unique"):
        return pa.int64()
    if kind == "expression":
        return _expression_type(aggregate, schema)
    if kind in ("min", "max"):
        _must(types[0], numeric=True, temporal=True, text=True, where=str(aggregate))
        return types[0]
    if kind in ("first", "last"):
        return types[0]
    if kind in ("collect", "top_k"):
        return pa.list_(types[0])
    if kind == "linear_fit":
        for t in types:
            _must(t, numeric=True, temporal=True, text=False, where=str(aggregate))
        return pa.struct([("slope", pa.float64()), ("intercept", pa.float64()), ("r2", pa.float64())])
    for t in types:
        _must(t, numeric=True, temporal=False, text=False, where=str(aggregate))
    return pa.int64() if kind == "sum" and not pa.types.is_floating(types[0]) else pa.float64()


def _must(kind: pa.DataType, *, numeric: bool, temporal: bool, text: bool, where: str) -> None:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    time = pa.types.is_temporal(kind)
    letters = pa.types.is_string(kind)
    if (numeric and number) or (temporal and time) or (text and letters):
        return
    msg = f"{where} cannot be computed of {kind}"
    raise SchemaError(msg, hint="convert the column first: .with_columns(pl.col('x').cast(pl.Float64))")


def _expression_type(aggregate: Aggregate, schema: pa.Schema) -> pa.DataType:
    import polars as pl

    frame = polars_frame(schema)
    try:
        out = frame.lazy().group_by(pl.lit(1).alias("_group")).agg(aggregate.params["expr"].alias("_value")).collect()
    except pl.exceptions.PolarsError as error:
        msg = f"the expression {aggregate.params['expr']} cannot be computed: {_first_line(error)}"
        raise SchemaError(msg, hint="known columns: " + ", ".join(schema.names)) from None
    return arrow_schema(out.select("_value")).field(0).type


def window_schema(node: Window, schema: pa.Schema, keys: tuple[str, ...]) -> pa.Schema:
    """Return the schema of a window's results (see `Window`).

    Examples
    --------
    >>> import eventide as ev
    >>> w = ev.read("log://a").event_time("t").window(ev.tumbling("1m")).aggregate(n=ev.count())
    >>> window_schema(w.ref.node, pa.schema([("t", EVENT_TIME)]), ()).names
    ['window_start', 'window_end', 'n']
    """
    fields = [schema.field(k) for k in keys]
    fields += [pa.field(WINDOW_START, EVENT_TIME), pa.field(WINDOW_END, EVENT_TIME)]
    if node.timestamp != "start":
        fields.append(pa.field("event_time", EVENT_TIME))
    fields += [pa.field(name, aggregate_type(a, schema)) for name, a in node.aggregates]
    if node.trigger is not None or node.allowed_lateness > 0:
        fields += [pa.field("pane_index", pa.int64()), pa.field("pane_timing", pa.string())]
        if node.accumulation == "retracting":
            fields.append(pa.field("retraction", pa.bool_()))
    names = [f.name for f in fields]
    for name in names:
        if names.count(name) > 1:
            msg = f"the window would have two columns {name!r}"
            raise SchemaError(msg, hint="rename the aggregate: .aggregate(other_name=...)")
    return pa.schema(fields)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _project(node: Project | Filter, schema: pa.Schema) -> pa.Schema:
    import polars as pl

    frame = polars_frame(schema)
    try:
        if isinstance(node, Filter):
            kind = frame.select(node.predicate).dtypes[0]
            if kind != pl.Boolean:
                msg = f"filter() needs true or false, but {node.predicate} gives {kind}"
                raise SchemaError(msg, hint="compare it with something: pl.col('x') > 0")
            _must_be_row_by_row((node.predicate,), frame)
            return schema
        _must_be_row_by_row(node.exprs, frame)
        out = frame.lazy().with_columns(*node.exprs) if node.keep else frame.lazy().select(*node.exprs)
        made = arrow_schema(out.collect())
    except pl.exceptions.ColumnNotFoundError as error:
        name = _first_line(error).split('"')[1] if '"' in str(error) else _first_line(error)
        msg = f"there is no column {name!r} for {'filter' if isinstance(node, Filter) else 'the expressions'}"
        raise SchemaError(msg, hint=near_names(name, schema.names)) from None
    except pl.exceptions.PolarsError as error:
        msg = f"an expression cannot be computed: {_first_line(error)}"
        columns = ", ".join(f"{f.name}: {f.type}" for f in schema)
        raise SchemaError(msg, hint=f"the columns are {columns}") from None
    # Columns that only pass through keep their exact Arrow type, which Polars may not have (such as int8 dictionaries).
    kept = {n for n in made.names if n in schema.names and node.keep and n not in _outputs(node.exprs, frame)}
    return pa.schema([schema.field(f.name) if f.name in kept else f for f in made])


def _must_be_row_by_row(exprs: tuple[pl.Expr, ...], frame: pl.DataFrame) -> None:
    """Refuse an expression that looks at the whole batch: how events are cut into batches is not defined."""
    for expr in exprs:
        if expr.meta.root_names() and frame.select(expr).height:
            msg = f"the expression {expr} takes all rows of a batch together"
            raise SchemaError(msg, hint="put it into a window: .window(ev.tumbling('1m')).aggregate(x=...)")


def _outputs(exprs: tuple[pl.Expr, ...], frame: pl.DataFrame) -> set[str]:
    return set(frame.select(*exprs).columns)


def _map(node: MapBatches, schema: pa.Schema) -> pa.Schema:
    if node.schema is not None:
        return node.schema
    name = getattr(node.function, "__name__", "the function")
    try:
        out: Any = node.function(empty(schema))
    except Exception as error:
        msg = f"{name} failed on an empty batch, so its schema is not known: {_first_line(error)}"
        raise SchemaError(msg, hint="declare it: .map_batches(f, schema=pa.schema([...]))") from error
    first = out[0] if isinstance(out, list) and out else out
    if not isinstance(first, pa.RecordBatch):
        msg = f"{name} returned {type(first).__name__} for an empty batch, so its schema is not known"
        raise SchemaError(msg, hint="return a record batch, or declare it: .map_batches(f, schema=pa.schema([...]))")
    return first.schema


def _assign(node: AssignTime, schema: pa.Schema) -> pa.Schema:
    column = node.event_time.column
    _need(schema, [column], "for the event time")
    kind = schema.field(column).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_string(kind)):
        msg = f"the event-time column {column!r} is {kind}, not a timestamp"
        raise SchemaError(msg, hint=f"convert it first: .with_columns(pl.from_epoch({column!r}, time_unit='s'))")
    index = schema.get_field_index(column)
    return schema.set(index, pa.field(column, EVENT_TIME))


def _union(node: Union, parts: list[pa.Schema]) -> pa.Schema:
    for other in parts[1:]:
        if not other.equals(parts[0]):
            here = [f"{f.name}: {f.type}" for f in parts[0] if f not in other]
            there = [f"{f.name}: {f.type}" for f in other if f not in parts[0]]
            msg = f"union() of streams with different columns: {here} and {there}"
            raise SchemaError(msg, hint="bring them to the same columns with .select(...) first")
    return parts[0]


def _node(node: Node, known: Schemas, reads: Mapping[int, pa.Schema]) -> dict[str, pa.Schema]:
    if isinstance(node, Read):
        return {MAIN: reads[id(node)]}
    parts = [known[id(r.node), r.port] for r in inputs(node)]
    first = parts[0]
    if isinstance(node, AssignTime):
        return {MAIN: _assign(node, first)}
    if isinstance(node, Filter | Project):
        return {MAIN: _project(node, first)}
    if isinstance(node, MapBatches):
        return {MAIN: _map(node, first)}
    if isinstance(node, KeyBy):
        _need(first, node.keys, "to key by")
        return {MAIN: first}
    if isinstance(node, Union):
        return {MAIN: _union(node, parts)}
    if isinstance(node, Write):
        return {MAIN: first}
    _times(node, parts)
    if isinstance(node, Window):
        return {MAIN: window_schema(node, first, keys_of(node.input)), LATE: first}
    if isinstance(node, Process):
        return {LATE: first, **port_schemas(node.schemas, first)}
    return {MAIN: join_schema(node, (parts[0], parts[1]), _join_keys(node)), LATE: parts[0], "late_right": parts[1]}


def _join_keys(node: Join) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return keys_of(node.left), keys_of(node.right)


def _times(node: Node, parts: list[pa.Schema]) -> None:
    for ref, schema in zip(inputs(node), parts, strict=True):
        column = time_column(ref)
        if column not in schema.names or schema.field(column).type != EVENT_TIME:
            msg = f"the event-time column {column!r} is gone or was changed before {type(node).__name__.lower()}"
            raise SchemaError(msg, hint=f"keep it in select(): .select({column!r}, ...)")


def infer(pipeline: Pipeline, reads: Mapping[int, pa.Schema]) -> Schemas:
    """Return the schema of every node and port of a pipeline.

    Parameters
    ----------
    pipeline
        The graph.
    reads
        Schema of each source, by the `id` of its node.

    Raises
    ------
    SchemaError
        What does not fit, with the node and the line of the user's code that made it.
    """
    known: Schemas = {}
    labels = pipeline.labels
    for node in pipeline.nodes:
        try:
            made = _node(node, known, reads)
        except EventideError as error:
            where = labels[id(node)] + (f", {node.origin}" if node.origin else "")
            msg = f"{error.message} ({where})"
            raise type(error)(msg, hint=error.hint) from error.__cause__
        for port, schema in made.items():
            known[id(node), port] = schema
    return known

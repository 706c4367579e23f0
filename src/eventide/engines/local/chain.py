"""Fused chains of stateless nodes: what a batch goes through between two stateful ones.

Neighbouring filters and projections become one Polars query, because a query costs a fraction of a
millisecond however few the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa

from eventide.engines.local.counts import Counts
from eventide.errors import EventideError, RunError, SchemaError
from eventide.model.batch import WATERMARK_COLUMN, visible
from eventide.model.graph import Filter, MapBatches, Project

__all__ = ["MapStage", "Stage", "polars_stage"]

Stage: TypeAlias = Callable[[pa.RecordBatch], list[pa.RecordBatch]]


def polars_stage(nodes: list[Filter | Project], schemas: list[pa.Schema], *, counts: Counts, where: str) -> Stage:
    """Return one query of neighbouring filters and projections.

    Parameters
    ----------
    nodes
        In order.
    schemas
        The output schema of each.
    counts
        Where rows that the filters drop are counted.
    where
        The nodes' names, for errors.
    """
    import polars as pl

    if len(nodes) == 1 and isinstance(nodes[0], Filter):
        return _filter_stage(nodes[0].predicate, counts, where)
    target = schemas[-1]
    marked = target.append(pa.field(WATERMARK_COLUMN, pa.int64()))

    def stage(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        hidden = batch.schema.get_field_index(WATERMARK_COLUMN) >= 0
        frame = pl.from_arrow(batch)
        query = frame.lazy()  # type: ignore[union-attr]
        for node, schema in zip(nodes, schemas, strict=True):
            if isinstance(node, Filter):
                query = query.filter(node.predicate)
            else:
                # with_columns first, so that literals are as long as the rest
                names = [*schema.names, WATERMARK_COLUMN] if hidden else schema.names
                query = query.with_columns(*node.exprs).select(names)
        try:
            # The streaming engine, Polars' own choice, cuts what is in one piece already.
            table = query.collect(engine="in-memory").to_arrow()
        except pl.exceptions.PolarsError as error:
            raise _failed(error, where) from error
        counts.filtered += batch.num_rows - table.num_rows
        want = marked if hidden else target
        if not table.schema.equals(want):
            table = table.cast(want)
        batches: list[pa.RecordBatch] = table.combine_chunks().to_batches()
        return batches

    return stage


def _filter_stage(predicate: pl.Expr, counts: Counts, where: str) -> Stage:  # type: ignore[name-defined]  # noqa: F821
    """Return a lone filter: only the columns it names go through Polars, the rest is filtered as it is."""
    import polars as pl

    roots = list(dict.fromkeys(predicate.meta.root_names()))

    def stage(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        part = batch.select(roots) if roots and all(r in batch.schema.names for r in roots) else batch
        try:
            mask = pl.from_arrow(part).select(predicate).to_series()  # type: ignore[union-attr]
        except pl.exceptions.PolarsError as error:
            raise _failed(error, where) from error
        if len(mask) != batch.num_rows:
            counts.filtered += 0 if mask.item() else batch.num_rows
            return [batch] if mask.item() else []
        # What passes is counted where it leaves the chain: here only what the filter says is counted.
        counts.filtered += batch.num_rows - int(mask.sum() or 0)
        return [batch.filter(mask.to_arrow())]

    return stage


class MapStage:
    """A user's function with its result checked against the schema that was found.

    Parameters
    ----------
    node
        The node with the function.
    schema
        What it must return.
    counts, label
        Where it is counted, under which name, how many more rows than it was given it returned.
    where
        The node's name, for errors.
    """

    def __init__(self, node: MapBatches, schema: pa.Schema, *, counts: Counts, label: str, where: str) -> None:
        self._function, self._schema, self._where = node.function, schema, where
        # Of a function that is not ours nobody knows which row of the result comes from which row.
        self._follows = bool(getattr(node.function, "follows_rows", False))
        self.in_parts = bool(getattr(node.function, "in_parts", False))
        self._counts, self._label = counts, label
        counts.changed[label] = 0

    def __call__(self, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        """Return what the function makes of a batch."""
        made = self.make(batch)
        self.count(sum(b.num_rows for b in made) - batch.num_rows)
        return made

    def make(self, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        """Return what the function makes of a batch, uncounted."""
        if not self._follows and batch.schema.get_field_index(WATERMARK_COLUMN) >= 0:
            batch = batch.select(visible(batch.schema).names)
        try:
            made = self._function(batch)
        except EventideError:
            raise
        except Exception as error:
            raise _failed(error, self._where) from error
        batches = [] if made is None else made if isinstance(made, list) else [made]
        return [_fit(b, self._schema, self._where) for b in batches]

    def count(self, more: int) -> None:
        """Count how many more rows than it was given the function returned."""
        self._counts.changed[self._label] = self._counts.changed.get(self._label, 0) + more


def _fit(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    if not isinstance(batch, pa.RecordBatch):
        msg = f"{where} returned {type(batch).__name__}, not an Arrow record batch"
        raise SchemaError(msg, hint="return a pyarrow.RecordBatch, a list of them, or None")
    mark = batch.schema.get_field_index(WATERMARK_COLUMN)
    if mark >= 0:
        marks = batch.column(mark)
        return _fit(batch.select(visible(batch.schema).names), schema, where).append_column(WATERMARK_COLUMN, marks)
    if batch.schema.equals(schema):
        return batch
    if batch.schema.names != schema.names:
        msg = f"{where} returned the columns {batch.schema.names}, not {schema.names}"
        raise SchemaError(msg, hint="a function must return the same columns for every batch")
    try:
        return batch.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        msg = f"{where} returned columns that do not fit its schema: {error}"
        raise SchemaError(msg, hint="declare the schema: .map_batches(f, schema=...)") from error


def _failed(error: Exception, where: str) -> RunError:
    text = str(error).strip().splitlines()
    msg = f"{where} failed: {type(error).__name__}: {text[0] if text else ''}"
    return RunError(msg, hint="the cause is shown above with --debug, or as this error's __cause__")

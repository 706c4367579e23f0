"""Make any number of events of each one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa

from eventide.errors import SchemaError, UsageError
from eventide.model.batch import WATERMARK_COLUMN, column, visible

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["FlatMap", "flat_map"]

Rows: TypeAlias = "tuple[Any, pa.RecordBatch]"


@dataclass(frozen=True, slots=True)
class FlatMap:
    """The function behind `flat_map`, for a batch at a time; new rows carry the watermark that their parent met."""

    function: Callable[[pa.RecordBatch], Rows]
    keep: tuple[str, ...]
    schema: pa.Schema | None = None
    follows_rows: ClassVar[bool] = True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the new rows with the columns kept of the event that each comes from."""
        mark = batch.schema.get_field_index(WATERMARK_COLUMN)
        if mark >= 0:
            parents, made = self._rows(batch.select(visible(batch.schema).names))
            return made.append_column(WATERMARK_COLUMN, batch.column(mark).take(pa.array(parents)))
        return self._rows(batch)[1]

    def _rows(self, batch: pa.RecordBatch) -> Rows:
        if self.schema is not None and not batch.num_rows:
            made = pa.RecordBatch.from_pylist([], schema=self.schema)
            parents = np.empty(0, np.int64)
        else:
            parents, made = self._made(batch)
        kept = [column(batch, name, where="to keep in flat_map()").take(pa.array(parents)) for name in self.keep]
        twice = [name for name in self.keep if name in made.schema.names]
        if twice:
            msg = f"flat_map() made a column {twice[0]!r} that it also keeps"
            raise SchemaError(msg, hint=f"leave it out: keep={[n for n in self.keep if n not in twice]!r}")
        fields = [batch.schema.field(name) for name in self.keep]
        return parents, pa.RecordBatch.from_arrays([*kept, *made.columns], schema=pa.schema([*fields, *made.schema]))

    def _made(self, batch: pa.RecordBatch) -> tuple[Any, pa.RecordBatch]:
        out: Any = self.function(batch)
        name = getattr(self.function, "__name__", "the function")
        if not isinstance(out, tuple) or len(out) != 2 or not isinstance(out[1], pa.RecordBatch):
            msg = f"{name} of flat_map() returned {type(out).__name__}, not (parents, record batch)"
            raise SchemaError(msg, hint="parents has for each new row the number of the row that it comes from")
        parents, made = np.asarray(out[0], dtype=np.int64), out[1]
        if parents.shape != (made.num_rows,):
            msg = f"{name} of flat_map() returned {made.num_rows} rows and {parents.size} parents"
            raise SchemaError(msg, hint="parents has for each new row the number of the row that it comes from")
        if self.schema is not None and not made.schema.equals(self.schema):
            if made.schema.names != self.schema.names:
                msg = f"{name} of flat_map() returned the columns {made.schema.names}, not {self.schema.names}"
                raise SchemaError(msg, hint="return what schema= declares")
            made = made.cast(self.schema)
        return parents, made


def flat_map(
    stream: Stream,
    function: Callable[[pa.RecordBatch], Rows],
    *,
    schema: pa.Schema | None = None,
    keep: Sequence[str] | None = None,
) -> Stream:
    """Make any number of events of each one.

    Parameters
    ----------
    stream
        Any stream.
    function
        Takes a batch and returns ``(parents, rows)``: a record batch of new columns and, for each of its rows,
        the number of the row of the batch that it comes from.
    schema
        The new columns; left out, the function is called with an empty batch to find out.
    keep
        Columns that the new rows have of the event they come from; left out, its event time and keys.

    Raises
    ------
    SchemaError
        (when checked or run) The function returned something else, or a column is missing.

    Examples
    --------
    >>> import eventide as ev, pyarrow as pa, pyarrow.compute as pc
    >>> def hits(batch):
    ...     lists = batch.column("hits")
    ...     return pc.list_parent_indices(lists), pa.record_batch({"hit": pc.list_flatten(lists)})
    >>> pulses = ev.from_table({"pulse": [1, 2], "hits": [[5, 6], [7]]})
    >>> ev.fetch(pulses.pipe(ev.op.flat_map, hits, keep=["pulse"])).to_pydict()
    {'pulse': [1, 1, 2], 'hit': [5, 6, 7]}
    """
    if not callable(function):
        msg = f"flat_map() takes a function of a record batch, not {function!r}"
        raise UsageError(msg, hint="pass the function itself, without calling it")
    kept = dict.fromkeys([*filter(None, [stream.time]), *stream.keys]) if keep is None else dict.fromkeys(keep)
    return stream.map_batches(FlatMap(function, tuple(kept), schema))

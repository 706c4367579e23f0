"""Functions over batches that look at each row alone, of which the engine knows which row comes from which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from eventide.model.batch import WATERMARK_COLUMN

__all__ = ["RowWise"]


@dataclass(frozen=True, slots=True)
class RowWise:
    """A function for `Stream.map_batches` that makes at most one row of each row, of that row alone.

    Rows carry the watermark that their parents met, so which are late does not depend on batches.

    Parameters
    ----------
    function
        From a batch to another one and a mask (bool) of the rows that are in it; None for the mask: all are. It keeps
        their order.
    in_parts
        Whether the embedded engine may call it with parts of a batch, in several threads at a time: worth it for a
        function that takes many microseconds a row, and whose work is done without the interpreter's lock (in numpy,
        Arrow, Polars or compiled loops).

    Examples
    --------
    >>> import eventide as ev
    >>> import pyarrow.compute as pc
    >>> def small(batch):
    ...     kept = pc.less(batch.column("a"), 2)
    ...     return batch.filter(kept), kept
    >>> ev.fetch(ev.from_table({"a": [1, 2]}).map_batches(RowWise(small)))["a"].to_pylist()
    [1]
    """

    function: Callable[[pa.RecordBatch], tuple[pa.RecordBatch, pa.Array | None]]
    in_parts: bool = False
    follows_rows: ClassVar[bool] = True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return what the function does, and the watermarks."""
        mark = batch.schema.get_field_index(WATERMARK_COLUMN)
        if mark < 0:
            return self.function(batch)[0]
        marks = batch.column(mark)
        made, kept = self.function(batch.remove_column(mark))
        return made.append_column(WATERMARK_COLUMN, marks if kept is None else marks.filter(kept))

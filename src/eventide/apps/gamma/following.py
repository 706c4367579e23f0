"""Functions over batches of which the engine knows which row comes from which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from eventide.model.batch import WATERMARK_COLUMN

__all__ = ["Following"]


@dataclass(frozen=True, slots=True)
class Following:
    """A function whose rows carry the watermark that their parents met: which are late does not depend on batches.

    Parameters
    ----------
    function
        From a batch to another one, with a row for each row of the first or, where it says so with a mask, for some of
        them.

    Examples
    --------
    >>> import eventide as ev
    >>> import pyarrow.compute as pc
    >>> def small(batch):
    ...     kept = pc.less(batch.column("a"), 2)
    ...     return batch.filter(kept), kept
    >>> ev.fetch(ev.from_table({"a": [1, 2]}).map_batches(Following(small)))["a"].to_pylist()
    [1]
    """

    function: Callable[[pa.RecordBatch], tuple[pa.RecordBatch, pa.Array | None]]
    follows_rows: ClassVar[bool] = True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return what the function does, and the watermarks."""
        mark = batch.schema.get_field_index(WATERMARK_COLUMN)
        if mark < 0:
            return self.function(batch)[0]
        marks = batch.column(mark)
        made, kept = self.function(batch.remove_column(mark))
        return made.append_column(WATERMARK_COLUMN, marks if kept is None else marks.filter(kept))

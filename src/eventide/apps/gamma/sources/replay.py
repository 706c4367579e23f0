"""Files that are read from their beginning, as a source of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from eventide.errors import DataError
from eventide.model.protocols import Chunk, Position

__all__ = ["Replay"]


class Replay:
    """A bounded source of one partition, of what a function yields.

    Its position is a number of rows. To go on from there the function is called again and that many rows are passed
    over: what is read must not change meanwhile, and going on takes as long as reading did.

    Parameters
    ----------
    made
        Called for every opening; yields the same rows each time.
    schema
        Of the rows.

    Examples
    --------
    >>> import eventide as ev
    >>> rows = pa.record_batch({"a": [1, 2, 3]})
    >>> ev.fetch(ev.read(Replay(lambda: iter([rows]), rows.schema))).num_rows
    3
    """

    def __init__(self, made: Callable[[], Iterator[pa.RecordBatch]], schema: pa.Schema) -> None:
        self._made, self._schema = made, schema

    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return self._schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def open(self, positions: Mapping[str, Position]) -> _Reader:
        """Open at ``{"rows": n}``, or at the start."""
        return _Reader(self._made(), int(positions.get("0", {}).get("rows", 0)))


class _Reader:
    def __init__(self, batches: Iterator[pa.RecordBatch], skip: int) -> None:
        self._batches, self._left, self._rows = batches, skip, skip
        self._batch: pa.RecordBatch | None = None
        self.finished = False

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next rows of a batch."""
        while self._batch is None or not self._batch.num_rows:
            self._batch = next(self._batches, None)
            if self._batch is None:
                self.finished = True
                if self._left:
                    msg = f"a source that was read for {self._rows} rows has {self._left} fewer now"
                    raise DataError(msg, hint="the file has changed: begin with a new checkpoint folder")
                return []
            skipped = min(self._left, self._batch.num_rows)
            self._batch, self._left = self._batch.slice(skipped), self._left - skipped
        rows = self._batch.slice(0, max_rows)
        self._batch = self._batch.slice(rows.num_rows)
        self._rows += rows.num_rows
        return [Chunk("0", rows, {"rows": self._rows})]

    def backlog(self) -> int | None:
        """Nobody knows how many rows are left."""
        return None

    def close(self) -> None:
        """Let go of the file."""
        self.finished, self._batch = True, None
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

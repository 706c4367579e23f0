"""A night as a source: second after second, from any second on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from eventide.errors import UsageError
from eventide.model.protocols import Chunk, Position

__all__ = ["Seconds"]


class Seconds:
    """A bounded source of one partition whose batches are made second by second.

    Parameters
    ----------
    made
        Gives the rows of a second, always the same ones.
    seconds
        How many there are.
    schema
        Of the rows.

    Raises
    ------
    UsageError
        The number of seconds is negative.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.schema import POINTINGS
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> ev.fetch(ev.read(Seconds(Night(made(3)).pointings, 4, POINTINGS))).num_rows
    12
    """

    def __init__(self, made: Callable[[int], pa.RecordBatch], seconds: int, schema: pa.Schema) -> None:
        if seconds < 0:
            msg = f"there are no {seconds} seconds of a night"
            raise UsageError(msg, hint="give 0 or more")
        self._made, self._seconds, self._schema = made, seconds, schema

    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return self._schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def open(self, positions: Mapping[str, Position]) -> _Reader:
        """Open at ``{"second": n, "row": n}``, or at the start."""
        at = positions.get("0", {})
        return _Reader(self._made, self._seconds, second=int(at.get("second", 0)), row=int(at.get("row", 0)))


class _Reader:
    def __init__(self, made: Callable[[int], pa.RecordBatch], seconds: int, *, second: int, row: int) -> None:
        self._made, self._seconds, self._second, self._row = made, seconds, second, row
        self._batch: pa.RecordBatch | None = None
        self.finished = False

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next rows of a second."""
        while self._second < self._seconds:
            if self._batch is None:
                self._batch = self._made(self._second)
            rows = self._batch.slice(self._row, max_rows)
            self._row += rows.num_rows
            if self._row >= self._batch.num_rows:
                self._batch, self._second, self._row = None, self._second + 1, 0
            if rows.num_rows:
                return [Chunk("0", rows, {"second": self._second, "row": self._row})]
        self.finished = True
        return []

    def backlog(self) -> int | None:
        """Nobody knows how many rows are left."""
        return None

    def close(self) -> None:
        """Let go of the rows."""
        self.finished, self._batch = True, None

"""Small chunks that lie one behind the other, made one: a batch has a price however few rows it has."""

from __future__ import annotations

from collections.abc import Iterable

from eventide.model.batch import concat
from eventide.model.protocols import Chunk
from eventide.model.time import MIN_TIME

__all__ = ["joined", "joins"]

_BYTES = 1 << 25
_ROWS = 16_384
"""So many are copied where that saves a batch, and no more."""


def joins(rows: int, size: int, *, max_rows: int) -> bool:
    """Tell whether so many rows, and bytes, may be one batch.

    Examples
    --------
    >>> joins(100, 8_000, max_rows=1_000), joins(100, 8_000, max_rows=10)
    (True, False)
    """
    return rows <= min(max_rows, _ROWS) and size <= _BYTES


def joined(chunks: Iterable[Chunk], *, max_rows: int) -> list[Chunk]:
    """Return chunks in order, neighbours of one partition as one where both are small.

    Nothing that depends on time is moved: a chunk that brings a heartbeat, or another clock than the one before it,
    stays by itself.

    Parameters
    ----------
    chunks
        As a source brought them.
    max_rows
        What is made one has at most so many rows.

    Examples
    --------
    >>> import pyarrow as pa
    >>> one, two, three = (Chunk(p, pa.record_batch({"a": [n]}), n) for n, p in enumerate("aab"))
    >>> [(c.partition, c.batch.num_rows, c.position) for c in joined([one, two, three], max_rows=100)]
    [('a', 2, 1), ('b', 1, 2)]
    """
    runs: list[list[Chunk]] = []
    rows = size = 0
    for chunk in chunks:
        more, bigger = chunk.batch.num_rows, chunk.batch.nbytes
        fits = joins(rows + more, size + bigger, max_rows=max_rows)
        if runs and fits and _alike(runs[-1][-1], chunk):
            runs[-1].append(chunk)
            rows, size = rows + more, size + bigger
        else:
            runs.append([chunk])
            rows, size = more, bigger
    return [run[0] if len(run) == 1 else _one(run) for run in runs]


def _alike(before: Chunk, chunk: Chunk) -> bool:
    return (
        before.partition == chunk.partition
        and before.heartbeat == MIN_TIME
        and before.clock == chunk.clock
        and before.batch.schema.equals(chunk.batch.schema)
    )


def _one(run: list[Chunk]) -> Chunk:
    batches = [c.batch for c in run if c.batch.num_rows] or [run[0].batch]
    return run[-1]._replace(batch=concat(batches), bad=tuple(b for c in run for b in c.bad))

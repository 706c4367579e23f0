"""Which rows of a batch belong to a share of the key groups: how a lane takes its own out of a batch.

A machine skips rows of other groups by itself, but a test that half of all rows fail at random defeats the
processor's branch prediction in every loop after it. Taking the rows out first, without a branch, costs less.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.kernel.compiled import compiled, have_compiler
from eventide.kernel.keys import key_hashes
from eventide.model.batch import Int64Array

__all__ = ["Hashes", "hashes_of", "own_rows"]

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def take_loop(hashes: Hashes, low: int, high: int, out: Int64Array) -> int:
    """Write the numbers of the rows whose key group is in [low, high) and return how many there are; compiled."""
    count = 0
    shift = np.uint64(56)
    for i in range(hashes.size):
        group = np.int64(hashes[i] >> shift)
        out[count] = i
        count += int((group >= low) & (group < high))
    return count


@functools.cache
def _compiled_take() -> Callable[[Hashes, int, int, Int64Array], int]:
    return compiled(take_loop)


def hashes_of(batch: pa.RecordBatch, keys: Sequence[str]) -> Hashes:
    """Return the key hash of every row, uint64."""
    hashes: Hashes = key_hashes(batch, tuple(keys))
    return hashes


def own_rows(batch: pa.RecordBatch, hashes: Hashes, groups: range) -> pa.RecordBatch:
    """Return the rows of a batch that belong to some key groups, in order.

    Parameters
    ----------
    batch
        The events.
    hashes
        uint64, their key hashes, whose highest eight bits are the key group.
    groups
        A contiguous range of key groups.

    Examples
    --------
    >>> batch = pa.record_batch({"k": [1, 2, 3, 4]})
    >>> hashes = hashes_of(batch, ["k"])
    >>> parts = [own_rows(batch, hashes, g) for g in (range(0, 100), range(100, 256))]
    >>> sorted(v for p in parts for v in p.column("k").to_pylist())
    [1, 2, 3, 4]
    """
    if have_compiler():
        out = np.empty(hashes.size + 1, np.int64)
        rows = out[: _compiled_take()(hashes, groups.start, groups.stop, out)]
    else:
        group = (hashes >> np.uint64(56)).astype(np.int64)
        rows = np.flatnonzero((group >= groups.start) & (group < groups.stop))
    return batch.take(pa.array(rows))

"""Compiled walk through trees; `eventide.apps.gamma.models.forest` has the numpy twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled

__all__ = ["BLOCK", "walk_few_loop", "walk_loop"]

BLOCK = 128
"""Rows that go down a tree together."""

_VECTOR = 16


@compiled
def walk_loop(
    columns: Any,
    roots: npt.NDArray[np.uint32],
    depths: npt.NDArray[np.int64],
    place: npt.NDArray[np.uint32],
    threshold: Any,
    kid: npt.NDArray[np.uint32],
    value: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Add the values of the leaves that rows come to, tree after tree; `columns` has a row for each feature.

    A block of rows goes down a tree level by level: the rows do not wait for each other's loads, and the compiler does
    several at a time: what single precision looks up has 32 bits (`threshold` has the type of `columns`). `place` says
    where the values of a node's feature begin in a block. At a leaf a row stays, as a leaf is its own child and nothing
    is above its threshold.
    """
    at = np.zeros(BLOCK, np.uint32)  # numbers without a sign: none could count from the end of an array
    sums = np.zeros(BLOCK)
    block = np.zeros(BLOCK * columns.shape[0], columns.dtype)
    for begin in range(0, out.size, BLOCK):
        count = min(BLOCK, out.size - begin)
        for feature in range(columns.shape[0]):
            for i in range(count):
                block[feature * BLOCK + i] = columns[feature, begin + i]
        for i in range(count):
            sums[i] = out[begin + i]
        # Rows beyond the last one, of the block before, go along: loops of whole vectors are quicker.
        width = min(BLOCK, (count + _VECTOR - 1) // _VECTOR * _VECTOR)
        for tree in range(depths.size):
            root = roots[tree]
            for i in range(width):
                at[i] = root
            for _ in range(depths[tree]):
                for i in range(width):
                    node = at[i]
                    at[i] = kid[node] + np.uint32(block[place[node] + np.uint32(i)] > threshold[node])
            for i in range(width):
                sums[i] += value[at[i]]
        for i in range(count):
            out[begin + i] = sums[i]


@compiled
def walk_few_loop(
    rows: Any,
    roots: npt.NDArray[np.int64],
    deepest: int,
    feature: npt.NDArray[np.uint32],
    threshold: npt.NDArray[np.float64],
    kid: npt.NDArray[np.uint32],
    value: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Do the same row by row: one goes down all trees at once, so that now the trees do not wait for each other."""
    at = np.empty(roots.size, np.uint32)
    for row in range(rows.shape[0]):
        at[:] = roots
        for _ in range(deepest):
            for tree in range(roots.size):
                node = at[tree]
                at[tree] = kid[node] + np.uint32(rows[row, feature[node]] > threshold[node])
        for tree in range(roots.size):
            out[row] += value[at[tree]]

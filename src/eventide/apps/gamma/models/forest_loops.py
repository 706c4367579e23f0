"""Compiled walk through trees; `eventide.apps.gamma.models.forest` has the numpy twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled

__all__ = ["walk_few_loop", "walk_loop"]

_BLOCK = 128


@compiled
def walk_loop(
    rows: Any,
    roots: npt.NDArray[np.int64],
    depths: npt.NDArray[np.int64],
    feature: npt.NDArray[np.uint32],
    threshold: npt.NDArray[np.float64],
    kid: npt.NDArray[np.uint32],
    value: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Add the values of the leaves that rows come to, tree after tree.

    A block of rows goes down a tree level by level: the rows do not wait for each other's loads. At a leaf a row stays,
    as a leaf is its own child and nothing is above its threshold.
    """
    at = np.zeros(_BLOCK, np.uint32)  # numbers without a sign: none could count from the end of an array
    for begin in range(0, rows.shape[0], _BLOCK):
        count = min(_BLOCK, rows.shape[0] - begin)
        for tree in range(depths.size):
            for i in range(count):
                at[i] = roots[tree]
            for _ in range(depths[tree]):
                for i in range(count):
                    node = at[i]
                    at[i] = kid[node] + np.uint32(rows[begin + i, feature[node]] > threshold[node])
            for i in range(count):
                out[begin + i] += value[at[i]]


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

"""Pairs of rows with equal ids: a hash join in numba, a sort-based join in numpy, with one result.

Ids are int64: the key itself where it is one integer column, else a hash whose pairs are checked by the
caller. Many windows are joined in one call; each is a range of rows on either side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled, have_compiler

__all__ = ["Pairs", "equal_pairs", "expand", "numpy_pairs"]

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

_NARROW = 1 << 16


class Pairs(NamedTuple):
    """Row numbers of the two sides of each pair, -1 on the right for none, and the pairs of each window."""

    left: Int32Array
    right: Int32Array
    counts: Int64Array


def expand(low: Int64Array, counts: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return (row, position) for every position in the ranges [low, low + counts) of the rows, in order.

    Examples
    --------
    >>> rows, positions = expand(np.array([5, 9]), np.array([2, 1]))
    >>> rows.tolist(), positions.tolist()
    ([0, 0, 1], [5, 6, 9])
    """
    rows = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    first = ends - counts
    positions = np.arange(len(rows)) - first[rows] + low[rows]
    return rows, positions


def _sparse(left: Int64Array, right: Int64Array) -> tuple[Any, Any, Any]:
    """Return an order of the right rows, and for each left row where its partners begin in it and how many they are."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low = np.searchsorted(ordered, left, "left")
    return order, low, np.searchsorted(ordered, left, "right") - low


def _dense(left: Int64Array, right: Int64Array) -> tuple[Any, Any, Any] | None:
    """Do the same by counting, where the right ids lie close together; None where they do not."""
    if not len(right):
        return None
    lowest, highest = int(right.min()), int(right.max())
    if highest - lowest >= _NARROW:
        return None
    # numpy sorts 16-bit integers by radix, four times faster than wider ones.
    relative = (right - lowest).astype(np.uint16)
    per_id = np.bincount(relative, minlength=highest - lowest + 1)
    begins = np.cumsum(per_id) - per_id
    inside = (left >= lowest) & (left <= highest)
    at = np.where(inside, left, lowest) - lowest
    return np.argsort(relative, kind="stable"), begins[at], np.where(inside, per_id[at], 0)


def _one_window(left: Int64Array, right: Int64Array, valid: BoolArray, *, keep: bool) -> tuple[Any, Any]:
    order, low, counts = _dense(left, right) or _sparse(left, right)
    if len(valid):
        counts[~valid] = 0
    alone = counts == 0
    if keep:
        counts[alone] = 1
        low[alone] = -1
    rows, positions = expand(low, counts)
    if not len(order):
        return rows, positions
    return rows, np.where(positions < 0, -1, order[positions])


def numpy_pairs(left: Int64Array, right: Int64Array, valid: BoolArray, *, bounds: Int64Array, keep: bool) -> Pairs:
    """Do what `equal_pairs` does, without compiled code."""
    lefts: list[Any] = [np.empty(0, np.int32)]
    rights: list[Any] = [np.empty(0, np.int32)]
    counts = np.zeros(len(bounds), np.int64)
    for w, (l0, l1, r0, r1) in enumerate(bounds.tolist()):
        one, other = _one_window(left[l0:l1], right[r0:r1], valid[l0:l1], keep=keep)
        lefts.append(one + l0)
        rights.append(np.where(other < 0, -1, other + r0))
        counts[w] = len(one)
    return Pairs(
        np.concatenate(lefts).astype(np.int32, copy=False), np.concatenate(rights).astype(np.int32, copy=False), counts
    )


def _loop(
    left: Any, right: Any, valid: Any, bounds: Any, keep: bool
) -> Any:  # pragma: no cover - compiled; tested against numpy_pairs
    capacity = 64
    for w in range(len(bounds)):
        capacity += bounds[w, 1] - bounds[w, 0]
    capacity += capacity >> 1
    out_left = np.empty(capacity, np.int32)
    out_right = np.empty(capacity, np.int32)
    counts = np.zeros(len(bounds), np.int64)
    least = 1 if keep else 0
    n = 0
    for w in range(len(bounds)):
        l0, l1, r0, r1 = bounds[w, 0], bounds[w, 1], bounds[w, 2], bounds[w, 3]
        begun = n
        rows = r1 - r0
        lowest = np.int64(0)
        span = np.uint64(0)
        if rows > 0:
            lowest = right[r0]
            highest = right[r0]
            for j in range(r0, r1):
                lowest = min(lowest, right[j])
                highest = max(highest, right[j])
            span = np.uint64(highest) - np.uint64(lowest)
        # Ids that lie close together index the table directly; others are hashed into one half full at most.
        direct = span < np.uint64(8 * rows + 1024)
        bits = 1
        while (1 << bits) < 2 * rows:
            bits += 1
        size = np.int64(span) + np.int64(1) if direct else np.int64(1 << bits)
        shift = np.uint64(64 - bits)
        mask = size - 1
        # Right rows are brought together by place in the table: counted, then put one behind the other.
        places = np.empty(rows, np.int32)
        begins = np.zeros(size + 2, np.int32)
        ids = np.empty(0 if direct else size, np.int64)
        for j in range(rows):
            value = right[r0 + j]
            if direct:
                s = np.int64(np.uint64(value) - np.uint64(lowest))
            else:
                s = np.int64((np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while begins[s + 2] > 0 and ids[s] != value:
                    s = (s + 1) & mask
                ids[s] = value
            places[j] = s
            begins[s + 2] += 1
        for k in range(2, size + 2):
            begins[k] += begins[k - 1]
        together = np.empty(rows + 2, np.int32)
        for j in range(rows):
            s = places[j] + 1
            together[begins[s]] = r0 + j
            begins[s] += 1
        # First where the partners of each left row are, then room for all, then the pairs: two plain loops.
        firsts = np.empty(l1 - l0, np.int32)
        found = np.empty(l1 - l0, np.int32)
        total = 0
        for i in range(l1 - l0):
            value = left[l0 + i]
            s = size
            if direct:
                u = np.uint64(value) - np.uint64(lowest)
                s = np.int64(u) if u <= span else size
            else:
                s = np.int64((np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while begins[s] < begins[s + 1] and ids[s] != value:
                    s = (s + 1) & mask
            firsts[i] = begins[s]
            found[i] = begins[s + 1] - begins[s]
            if len(valid) > 0 and not valid[l0 + i]:
                found[i] = 0
            total += max(found[i], least)
        if n + total + 2 > len(out_left):
            grown = np.empty(2 * (n + total + 2), np.int32)
            grown[:n] = out_left[:n]
            out_left = grown
            grown = np.empty(2 * (n + total + 2), np.int32)
            grown[:n] = out_right[:n]
            out_right = grown
        for i in range(l1 - l0):
            first = firsts[i]
            several = found[i]
            # The first two are written whether they count or not: cheaper than a branch that is hard to foresee.
            out_left[n] = l0 + i
            out_right[n] = together[first] if several > 0 else -1
            out_left[n + 1] = l0 + i
            out_right[n + 1] = together[first + 1]
            for k in range(2, several):
                out_left[n + k] = l0 + i
                out_right[n + k] = together[first + k]
            n += max(several, least)
        counts[w] = n - begun
    return out_left[:n], out_right[:n], counts


@functools.cache
def _compiled_loop() -> Callable[..., Any]:
    return compiled(_loop)


def equal_pairs(
    left: Int64Array, right: Int64Array, valid: BoolArray | None = None, *, bounds: Int64Array, keep: bool
) -> Pairs:
    """Return the pairs of equal ids in each window.

    Parameters
    ----------
    left, right
        Ids of the rows of the two sides, all windows one after the other.
    valid
        Left rows that may match; None for all. (Right rows that may not must be left out.)
    bounds
        int64[windows, 4]: first row and one past the last on the left, then on the right, of each window;
        windows may share rows.
    keep
        Whether a left row without a partner gives a pair with -1.

    Returns
    -------
    Pairs
        Windows in order, in each the left rows in order, for each its right rows in order.

    Examples
    --------
    >>> ids, refs = np.array([7, 8]), np.array([8, 8, 9])
    >>> pairs = equal_pairs(ids, refs, bounds=np.array([[0, 2, 0, 3]]), keep=True)
    >>> list(zip(pairs.left.tolist(), pairs.right.tolist()))
    [(0, -1), (1, 0), (1, 1)]
    """
    mask = np.empty(0, np.bool_) if valid is None else valid
    if have_compiler():
        return Pairs(*_compiled_loop()(left, right, mask, bounds, keep))
    return numpy_pairs(left, right, mask, bounds=bounds, keep=keep)

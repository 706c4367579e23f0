"""Which event of its key a row is: how logic that goes event by event per key runs in few numpy steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.keyed.segments import stable_order

__all__ = ["rank", "rounds"]

Int64Array = npt.NDArray[np.int64]


def rank(slots: npt.NDArray[Any]) -> Int64Array:
    """Return for each row how many rows of the same key come before it.

    Parameters
    ----------
    slots
        The key of each row, integer.

    Examples
    --------
    >>> rank(np.array([4, 4, 7, 4])).tolist()
    [0, 1, 0, 2]
    """
    order = stable_order(slots)
    ordered = slots[order]
    first = np.ones(slots.size, np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    position = np.arange(slots.size)
    out = np.empty(slots.size, np.int64)
    out[order] = position - np.maximum.accumulate(np.where(first, position, 0))
    return out


def rounds(slots: npt.NDArray[Any]) -> Iterator[Int64Array]:
    """Yield row numbers so that no key is twice in one round and the rows of a key come in order.

    The number of rounds is that of the key with most rows; for such keys the cumulative operations of
    `eventide.kernel.keyed.segments` or a compiled loop are faster.

    Examples
    --------
    >>> [r.tolist() for r in rounds(np.array([4, 4, 7, 4]))]
    [[0, 2], [1], [3]]
    """
    turn = rank(slots)
    order = stable_order(turn)
    yield from np.split(order, np.flatnonzero(np.diff(turn[order])) + 1) if slots.size else ()

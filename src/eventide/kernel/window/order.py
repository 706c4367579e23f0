"""The order in which a window's groups are emitted: by the hash of the key, whatever the table looks like."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import have_compiler

__all__ = ["hash_order", "time_span"]


def hash_order(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the rows by hash, equal ones in the order they have.

    Examples
    --------
    >>> hash_order(np.array([5, 1, 3], np.uint64)).tolist()
    [1, 2, 0]
    """
    if hashes.size > 1 and have_compiler():
        from eventide.kernel.window.order_loops import by_hash

        low = int(hashes.min())
        width = (int(hashes.max()) - low).bit_length()
        bits = min(width, max(1, hashes.size.bit_length() - 1), 20)
        order = np.empty(hashes.size, np.int64)
        by_hash(hashes, np.uint64(low), np.uint64(width - bits), np.zeros((1 << bits) + 1, np.int64), order)
        return order
    return np.argsort(hashes, kind="stable").astype(np.int64)


def time_span(times: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the earliest and the latest of some times."""
    if have_compiler():
        from eventide.kernel.window.order_loops import span

        low, high = span(times)
        return int(low), int(high)
    return int(times.min()), int(times.max())

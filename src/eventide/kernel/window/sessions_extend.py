"""The common case of sessions, compiled: an event that only extends one open session of its key.

One pass over the rows in order of arrival, without sorting. What it leaves, events that begin a session or join
two, goes the general way, which takes all rows where there is no compiler. Both end with the same
sessions, because a session is the same whichever of its events came first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled
from eventide.kernel.window.general_entries import Entries
from eventide.model.batch import Int64Array

__all__ = ["extend_sessions"]


def _extend_loop(
    key: Int64Array,
    time: Int64Array,
    gap: int,
    first: Int64Array,
    order: Int64Array,
    start: Int64Array,
    end: Int64Array,
    pending: Int64Array,
    index: Int64Array,
    out: npt.NDArray[np.int32],
) -> int:
    taken = 0
    for i in range(key.size):
        out[i] = -1
        t = time[i]
        k = key[i]
        low = first[k]
        high = first[k + 1]
        # Events come roughly in order of time: the session is most often the last of the key.
        at = high - 1
        while at >= low and start[order[at]] >= t + gap:
            at -= 1
        if at < low:
            continue
        slot = order[at]
        if end[slot] <= t:
            continue
        if t < start[slot]:
            if at > low and end[order[at - 1]] > t:
                continue
            start[slot] = t
            index[slot] = 0
        if t + gap > end[slot]:
            # The next session begins at t + gap or later, or it would have been found.
            end[slot] = t + gap
            index[slot] = 0
        pending[slot] += 1
        out[i] = slot
        taken += 1
    return taken


@functools.cache
def _compiled_extend() -> Callable[..., int]:
    return compiled(_extend_loop)


def extend_sessions(
    entries: Entries, key: Int64Array, time: Int64Array, *, gap: int
) -> tuple[npt.NDArray[np.int32], int]:
    """Extend open sessions by the rows that touch just one.

    Parameters
    ----------
    entries
        The open sessions; start, end, pending and index are changed.
    key, time
        Of rows that are not behind the watermark, in order of arrival.
    gap
        ns.

    Returns
    -------
    The slot of each row, -1 for rows that are left, and how many were taken.
    """
    slots = entries.slots()
    held = entries.key[slots]
    first = np.zeros(max(int(key.max()), int(held[-1])) + 2, np.int64)
    np.cumsum(np.bincount(held, minlength=first.size - 1), out=first[1:])
    out = np.empty(key.size, np.int32)
    taken = _compiled_extend()(
        key, time, gap, first, slots, entries.start, entries.end, entries.pending, entries.index, out
    )  # fmt: skip
    return out, int(taken)

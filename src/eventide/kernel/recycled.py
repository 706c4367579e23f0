"""Memory for large results that is used again, once nobody looks at the one before."""

from __future__ import annotations

import weakref

import numpy as np
import numpy.typing as npt

__all__ = ["Recycled"]

_LARGER = 16


class Recycled:
    """A few pieces of memory that go round.

    New memory costs more than what is written to it: the system has to find, clear and map every page, and where it
    looks for huge ones first that can take longer than the work. A piece comes back by itself when the last array,
    Arrow buffer or table over it is gone, on whatever thread.

    Parameters
    ----------
    most
        How many pieces are kept that nobody looks at.

    Examples
    --------
    >>> memory = Recycled()
    >>> first = memory.take(1000)
    >>> where = first.ctypes.data
    >>> del first
    >>> memory.take(900).ctypes.data == where
    True
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._free: list[npt.NDArray[np.uint8]] = []

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """Return `size` bytes, uint8, that hold anything."""
        try:
            whole = self._free.pop()
        except IndexError:
            whole = np.empty(0, np.uint8)
        if not size <= whole.size <= _LARGER * size:
            whole = np.empty(2 * size, np.uint8)  # state grows, and what is never touched costs nothing
        taken = whole[:size]
        weakref.finalize(taken, self._back, whole).atexit = False
        return taken

    def _back(self, whole: npt.NDArray[np.uint8]) -> None:
        if len(self._free) < self._most:
            self._free.append(whole)

"""Memory for large arrays that are written all over: in huge pages, where the system has them."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["zeros"]

_HUGE = 2 << 20


def zeros(count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of zeros. Pages that are never touched take no memory.

    With pages of 4 kB nearly every count in a large histogram would wait for an address to be translated.

    Examples
    --------
    >>> zeros(3, np.int64).tolist()
    [0, 0, 0]
    """
    size = count * np.dtype(dtype).itemsize
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if size < _HUGE or advice is None:
        return np.zeros(count, dtype)
    memory = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(advice)
    except OSError:  # a kernel without huge pages
        return np.zeros(count, dtype)
    whole = np.frombuffer(memory, np.uint8)
    start = -whole.ctypes.data % _HUGE
    return whole[start : start + size].view(dtype)

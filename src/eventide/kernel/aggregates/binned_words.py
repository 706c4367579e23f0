"""The words of a binned sum and the arithmetic of its bounds, compiled; the format is told in `binned`.

Imported only behind `have_compiler()`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["bits_of", "bound_of", "float_of", "shift_bins", "top_of"]

# Where things lie in the words of a slot.
COUNT, FLAGS, BOUND1, BINS1, BOUND2, BINS2 = 0, 1, 2, 3, 7, 8
NAN, PLUS, MINUS, BIG = 1, 2, 4, 8
LOWEST = -33  # absolute index of the lowest bin: below, a magic constant would be subnormal
HUGE = 30  # absolute index above which a magic constant would overflow
STEP = 2.0**-32
MAGIC = 1.5 * 2.0**21  # times the bound: 1.5 * 2**52 units of the top bin
SPLIT = 134217729.0  # 2**27 + 1 (Dekker)


@compiled
def bits_of(x: Any) -> Any:
    """Return the bits of a double."""
    return np.float64(x).view(np.int64)


@compiled
def float_of(bits: Any) -> Any:
    """Return the double that has some bits."""
    return np.int64(bits).view(np.float64)


@compiled
def top_of(bound: float) -> int:
    """Return the absolute index of the top bin."""
    if bound < 0.0:
        return int(-bound)
    return ((int(bits_of(bound)) >> 52) - 1023 - 31) >> 5


@compiled
def bound_of(top: int) -> float:
    """Return the bound of a top bin: what is kept in its place where it would overflow is minus its index."""
    return -float(top) if top > HUGE else math.ldexp(1.0, 31 + 32 * top)


@compiled
def shift_bins(ints: Any, slot: Any, at: int, bins: Any, by: int) -> None:
    """Move the bins of a slot down, because the top bin rises; the lowest are dropped."""
    for k in range(bins - 1, -1, -1):
        ints[slot, at + k] = ints[slot, at + k - by] if k >= by else 0

"""Masks: which pixels are not counted. True is masked, one value for each pixel from `first` on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eventide.errors import UsageError

__all__ = ["dead", "hot", "mask_of"]

BoolArray = npt.NDArray[np.bool_]


def mask_of(count: int, *, first: int = 0, pixels: Sequence[int] = ()) -> BoolArray:
    """Return the mask of some pixels among `count`.

    Raises
    ------
    UsageError
        A pixel is not among them.

    Examples
    --------
    >>> mask_of(4, first=1, pixels=[1, 3]).tolist()
    [True, False, True, False]
    """
    out = np.zeros(count, np.bool_)
    for pixel in pixels:
        if not first <= pixel < first + count:
            msg = f"pixel {pixel} cannot be masked: there are those from {first} to {first + count - 1}"
            raise UsageError(msg, hint="leave it out, or check where the numbers of pixels begin")
        out[pixel - first] = True
    return out


def dead(counts: npt.ArrayLike, *, least: int = 1) -> BoolArray:
    """Return the mask of pixels with fewer than `least` counts.

    Examples
    --------
    >>> dead([0, 5, 1]).tolist()
    [True, False, False]
    """
    return np.asarray(np.asarray(counts) < least)


def hot(counts: npt.ArrayLike, *, times: float = 10.0) -> BoolArray:
    """Return the mask of pixels with more than `times` the median of those that counted anything.

    Examples
    --------
    >>> hot([0, 5, 4, 6, 500]).tolist()
    [False, False, False, False, True]
    """
    found = np.asarray(counts)
    live = found[found > 0]
    if not live.size:
        return np.zeros(found.shape, np.bool_)
    return np.asarray(found > times * float(np.median(live)))

"""The grid of a window join: panes, the smallest steps between window edges, and the windows made of them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled, have_compiler
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import Sliding, Tumbling

__all__ = ["Grid", "grid_of", "numpy_split", "split"]

_WIDEST = 1 << 16


def _split_loop(panes: Any, low: int, width: int) -> Any:  # pragma: no cover - compiled; tested against numpy_split
    ends = np.zeros(width, np.int64)
    for pane in panes:
        ends[pane - low] += 1
    total = 0
    for p in range(width):
        ends[p], total = total, total + ends[p]
    order = np.empty(len(panes), np.int64)
    for i in range(len(panes)):
        p = panes[i] - low
        order[ends[p]] = i
        ends[p] += 1
    return order, ends


@functools.cache
def _compiled_split() -> Callable[..., tuple[Int64Array, Int64Array]]:
    return compiled(_split_loop)


def numpy_split(panes: Int64Array, low: int, width: int) -> tuple[Int64Array, Int64Array]:
    """Do what `split` does, without compiled code, for panes in [low, low + width)."""
    relative = panes - low
    # numpy sorts 16-bit integers by radix, four times faster than wider ones.
    order = np.argsort(relative.astype(np.uint16), kind="stable")
    return order, np.cumsum(np.bincount(relative, minlength=width))


def split(panes: Int64Array) -> tuple[Int64Array | None, list[tuple[int, int, int]]]:
    """Return an order that brings rows of one pane together (None: they are), and (pane, first row, last row + 1).

    Examples
    --------
    >>> order, parts = split(np.array([4, 3, 4]))
    >>> order.tolist(), parts
    ([1, 0, 2], [(3, 0, 1), (4, 1, 3)])
    """
    low, high = int(panes.min()), int(panes.max())
    if low == high:
        return None, [(low, 0, len(panes))]
    if high - low < _WIDEST:
        one = _compiled_split() if have_compiler() else numpy_split
        order, ends = one(panes, low, high - low + 1)
        stops = ends.tolist()
        starts = [0, *stops[:-1]]
        return order, [(low + p, a, b) for p, (a, b) in enumerate(zip(starts, stops, strict=True)) if a < b]
    order = np.argsort(panes, kind="stable")
    cuts = [0, *(np.flatnonzero(np.diff(panes[order])) + 1).tolist(), len(panes)]
    return order, [(int(panes[order[a]]), a, b) for a, b in itertools.pairwise(cuts)]


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows of `size` every `slide`, cut into panes so that each row is kept once.

    A window is `per_window` panes long and one starts every `per_slide` panes. Window ``w`` starts at
    ``offset + w * slide``; pane ``p`` at ``offset + p * pane``. `shift` is 1 for windows ``(start, end]``: their
    rows lie where rows 1 ns earlier lie in ``[start, end)``.
    """

    size: int
    slide: int
    offset: int
    shift: int
    pane: int = field(init=False)
    per_window: int = field(init=False)
    per_slide: int = field(init=False)

    def __post_init__(self) -> None:
        pane = math.gcd(self.size, self.slide)
        for name, value in (("pane", pane), ("per_window", self.size // pane), ("per_slide", self.slide // pane)):
            object.__setattr__(self, name, value)

    def panes(self, times: Int64Array) -> Int64Array:
        """Return the pane of each time."""
        panes: Int64Array = (times - (self.offset + self.shift)) // self.pane
        return panes

    def span(self, window: int) -> tuple[int, int]:
        """Return the first pane of a window and one past its last."""
        first = window * self.per_slide
        return first, first + self.per_window

    def first_window(self, pane: int) -> int:
        """Return the earliest window that a pane is part of."""
        return -((self.per_window - 1 - pane) // self.per_slide)

    def last_window(self, pane: int) -> int:
        """Return the latest window that a pane is part of."""
        return pane // self.per_slide

    def closed(self, watermark: int) -> int:
        """Return the last window that has ended at a watermark."""
        return (watermark - self.shift - self.offset - self.size) // self.slide

    def start(self, window: int) -> int:
        """Return the start of a window, ns."""
        return self.offset + window * self.slide

    def open_from(self, watermark: int) -> int:
        """Return the earliest event time that a window open at `watermark` can hold, ns."""
        if watermark in (MIN_TIME, MAX_TIME):
            return watermark
        return max(self.start(self.closed(watermark) + 1) + self.shift, MIN_TIME)


def grid_of(window: Tumbling | Sliding) -> Grid:
    """Return the grid of a window spec.

    Examples
    --------
    >>> grid = grid_of(Sliding(10, 4))
    >>> grid.pane, grid.span(1), grid.first_window(3), grid.last_window(3)
    (2, (2, 7), 0, 1)
    """
    slide = window.slide if isinstance(window, Sliding) else window.size
    return Grid(window.size, slide, window.offset, int(window.closed == "right"))

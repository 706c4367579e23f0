"""The grid of a window join: panes, the smallest steps between window edges, and the windows made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import Sliding, Tumbling

__all__ = ["Grid", "grid_of"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows of `size` every `slide`, cut into panes so that each row is kept once.

    Window ``w`` starts at ``offset + w * slide``; pane ``p`` at ``offset + p * pane``. `shift` is 1 for windows
    ``(start, end]``: their rows lie where rows 1 ns earlier lie in ``[start, end)``.
    """

    size: int
    slide: int
    offset: int
    shift: int

    @property
    def pane(self) -> int:
        """Length of a pane, ns."""
        return math.gcd(self.size, self.slide)

    def panes(self, times: Int64Array) -> Int64Array:
        """Return the pane of each time."""
        panes: Int64Array = (times - (self.offset + self.shift)) // self.pane
        return panes

    def span(self, window: int) -> tuple[int, int]:
        """Return the first pane of a window and one past its last."""
        first = window * (self.slide // self.pane)
        return first, first + self.size // self.pane

    def first_window(self, pane: int) -> int:
        """Return the earliest window that a pane is part of."""
        return -((self.size // self.pane - 1 - pane) // (self.slide // self.pane))

    def last_window(self, pane: int) -> int:
        """Return the latest window that a pane is part of."""
        return pane // (self.slide // self.pane)

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

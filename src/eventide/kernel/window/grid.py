"""The arithmetic of aligned windows: which pane an instant lies in, which windows a pane belongs to.

Time is cut into panes of the greatest common divisor of size and slide, so that every window is a run of
whole panes (Li et al. 2005, "No pane, no gain", SIGMOD Record 34). Windows and panes are numbered from the
grid's offset. Windows closed on the right are those closed on the left, with all times one nanosecond less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import Sliding, Tumbling

__all__ = ["Grid", "grid_of"]

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of windows.

    Parameters
    ----------
    size, slide, pane
        Length of a window, distance of two starts, length of a pane; ns.
    origin
        An instant at which pane 0 and window 0 begin, ns, as an event's time is compared with it: one more
        than the grid's offset when windows are closed on the right.
    right
        1 when windows are closed on the right, else 0.
    """

    size: int
    slide: int
    pane: int
    origin: int
    right: int

    @property
    def per_window(self) -> int:
        """Panes in a window."""
        return self.size // self.pane

    @property
    def per_slide(self) -> int:
        """Panes between the starts of two windows."""
        return self.slide // self.pane

    @property
    def overlap(self) -> int:
        """The largest number of windows that a pane belongs to."""
        return -(-self.size // self.slide)

    @property
    def _low(self) -> int:
        """A watermark that closes nothing that ever was, low enough and yet far enough from the end of int64."""
        return MIN_TIME + self.origin + self.size + self.slide

    def pane_of(self, time: int) -> int:
        """Return the pane of an instant."""
        return (time - self.origin) // self.pane

    def panes_of(self, times: Int64Array) -> Int64Array:
        """Return the panes of instants."""
        return (times - self.origin) // self.pane

    def pane_start(self, pane: int) -> int:
        """Return the first instant of a pane, kept within int64."""
        return max(MIN_TIME, min(MAX_TIME, self.origin + pane * self.pane))

    def first_window(self, pane: int) -> int:
        """Return the first window that a pane belongs to."""
        return (pane - self.per_window + self.per_slide) // self.per_slide

    def last_window(self, pane: int) -> int:
        """Return the last window that a pane belongs to."""
        return pane // self.per_slide

    def closed(self, watermark: int) -> int:
        """Return the last window that a watermark closes: its end is not after the watermark."""
        return (max(watermark, self._low) - self.origin - self.size) // self.slide

    def closed_by(self, watermarks: Int64Array) -> Int64Array:
        """Return the last window that each watermark closes."""
        return (np.maximum(watermarks, self._low) - self.origin - self.size) // self.slide

    def due_at(self, closed: int) -> int:
        """Return the first watermark that closes more than the windows up to `closed`."""
        return self.origin + self.size + (closed + 1) * self.slide

    def first_on_time(self, closed: int) -> int:
        """Return the first pane none of whose windows is among those up to `closed`."""
        return closed * self.per_slide + self.per_window

    def start(self, window: int) -> int:
        """Return the start of a window as it is shown, ns."""
        return self.origin - self.right + window * self.slide

    def starts(self, windows: Int64Array) -> Int64Array:
        """Return the starts of windows as they are shown, ns."""
        return self.origin - self.right + windows * self.slide


def grid_of(window: Tumbling | Sliding) -> Grid:
    """Return the grid of tumbling or sliding windows.

    Examples
    --------
    >>> g = grid_of(Sliding(10, 4))
    >>> g.pane, g.per_window, g.overlap
    (2, 5, 3)
    >>> [g.start(w) for w in range(g.first_window(0), g.last_window(0) + 1)]
    [-8, -4, 0]
    """
    slide = window.slide if isinstance(window, Sliding) else window.size
    right = int(window.closed == "right")
    return Grid(window.size, slide, math.gcd(window.size, slide), window.offset + right, right)

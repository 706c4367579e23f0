"""Events wait for others of near pixels, and are counted with these.

Where tables and counters of all pixels together are larger than the cache, an event that is counted at once waits for
memory, once for every table. So events are first put into rooms, one for each range of pixels whose tables fit into
the cache; when a room is full, its events are a chunk like any other, but meet only those tables. Counts do not depend
on the order of events, so it does not matter that it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.kernel.histogram.axes import Axis, Edges, Pixels, Rows, axis_columns
from eventide.kernel.histogram.families import plain_calibration
from eventide.kernel.histogram.pages import zeros
from eventide.kernel.histogram.place import loops_of
from eventide.kernel.histogram.products import Product
from eventide.kernel.histogram.values import Calibrated, Column

__all__ = ["CHUNK", "MANY", "Nearness", "Rooms", "nearness_of"]

Int32Array = npt.NDArray[np.int32]
Count: TypeAlias = Callable[[Mapping[str, Int32Array]], None]

CHUNK = 1 << 15
"""Events of a chunk; a place on an axis takes four bytes."""

MANY = 1 << 16
"""Events that come at once from which on they are put into rooms."""

_LARGE = 1 << 26
"""Bytes of tables and counters, times how many there are beside the first, from which on rooms pay (measured)."""

_ROOM_TABLES = 1 << 19
_MOST_ROOMS = 2048
_MOST_BYTES = 1 << 27
_PAD = 80
"""Places between rooms, so that they do not all begin in the same line of the cache."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """What makes events near.

    Parameters
    ----------
    pixel, time
        The two columns.
    first
        The first pixel.
    shift
        A room is of ``1 << shift`` pixels.
    rooms
        How many there are; the last is of pixels that no table knows.
    """

    pixel: str
    time: str
    first: int
    shift: int
    rooms: int

    @property
    def size(self) -> int:
        """Events of a room."""
        size = CHUNK
        while size > 1024 and size * self.rooms * 8 > _MOST_BYTES:
            size //= 2
        return size


def nearness_of(products: Sequence[Product]) -> Nearness | None:
    """Return by what events should be put together for some products, or None where they are counted as they come.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import pixels, uniform
    >>> from eventide.kernel.histogram.products import product
    >>> flight = uniform("tof", 0, 1e8, 10)
    >>> images = [product(pixels("pixel", 0, 1_000_000), flight) for _ in range(3)]
    >>> nearness_of(images[:1]) is None
    True
    >>> large = nearness_of(images)
    >>> (large is None) or (large.pixel, large.time, large.shift, large.rooms)
    ('pixel', 'tof', 12, 246)
    """
    columns = {n for each in products for n in each.columns}
    axes = {id(axis): axis for each in products for axis in each.axes}.values()
    tables = [(axis, *_table(axis)) for axis in axes if _pixel(axis)]
    names = {_pixel(axis) for axis in axes} - {""}
    if loops_of("rooms_loops") is None or len(columns) != 2 or len(names) != 1 or any(p.weights for p in products):
        return None
    (pixel,) = names
    (time,) = columns - names
    first, end = min(t[1] for t in tables), max(t[1] + t[2] for t in tables)
    if not (first >= -(2**31) and end <= 2**31 - 1 and end - first < 2**31 - 1):
        return None
    count = end - first
    size = sum(t[2] * t[3] for t in tables)
    images = [4 * each.bins for each in products if any(isinstance(a, Pixels | Rows) for a in each.axes)]
    size += sum(images)
    if size * (sum(t[3] > 0 for t in tables) + len(images) - 1) < _LARGE:
        return None
    shift = max(0, (_ROOM_TABLES * count // size).bit_length() - 1)
    while (count >> shift) + 2 > _MOST_ROOMS:
        shift += 1
    return Nearness(pixel, time, first, shift, ((count - 1) >> shift) + 2)


def _pixel(axis: Axis) -> str:
    if isinstance(axis, Edges) and isinstance(axis.value, Column):
        return ""
    return axis_columns(axis)[0]


def _table(axis: Axis) -> tuple[int, int, int]:
    """Return the first pixel of an axis, how many there are, and the bytes of its table for each."""
    if isinstance(axis, Pixels):
        return axis.first, axis.bins, 0
    if isinstance(axis, Rows):
        return axis.first, axis.table.size, 4
    source = axis.value
    assert not isinstance(source, Column)
    if not isinstance(source, Calibrated):
        return source.first, source.constants.size, 4
    return source.first, source.difc.size, 4 if plain_calibration(source) else 32


class Rooms:
    """The events that wait.

    Parameters
    ----------
    near
        From `nearness_of`.
    count
        Takes columns of events, at most `CHUNK`, and counts them.
    """

    def __init__(self, near: Nearness, count: Count) -> None:
        self._near, self._count = near, count
        self._loops: Any = loops_of("rooms_loops")
        self._size = near.size
        self._waiting = zeros(near.rooms * (self._size + _PAD), np.uint64).reshape(near.rooms, self._size + _PAD)
        self._filled = np.zeros(near.rooms, np.uint32)
        self._pixel, self._time = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)

    def add(self, pixel: Int32Array, time: Int32Array) -> None:
        """Put events into rooms, and count those of full ones."""
        near, at = self._near, 0
        while at < pixel.size:
            at, full = self._loops.put(pixel, time, at, near.first, near.shift, self._waiting, self._size, self._filled)
            if full >= 0:
                self._count_all([full])

    def settle(self) -> None:
        """Count all events that wait."""
        together: list[int] = []
        events = 0
        for number in np.flatnonzero(self._filled).tolist():
            own = int(self._filled[number])
            if events + own > CHUNK:
                self._count_all(together)
                together, events = [], 0
            together.append(number)
            events += own
        if together:
            self._count_all(together)

    def _count_all(self, numbers: list[int]) -> None:
        """Count the events of rooms that make one chunk."""
        at = 0
        for number in numbers:
            own = int(self._filled[number])
            part = slice(at, at + own)
            self._loops.take(self._waiting[number, :own], self._pixel[part], self._time[part])
            self._filled[number] = 0
            at += own
        self._count({self._near.pixel: self._pixel[:at], self._near.time: self._time[:at]})

    def clear(self) -> None:
        """Forget all events that wait."""
        self._filled[:] = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return int(self._waiting.nbytes)

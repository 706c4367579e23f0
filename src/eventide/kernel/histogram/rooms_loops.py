"""Putting events with others of near pixels, compiled. Imported only behind `have_compiler()`; see `rooms`.

An event is one number of 64 bits here, pixel below and time above: what waits in a room is written one line of memory
after the other, and half as many lines are open as with a room for each column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["put", "take"]

_HALF = np.uint64(32)


@compiled
def put(pixel: Any, time: Any, begin: int, first: int, shift: int, waiting: Any, room: int, filled: Any) -> Any:
    """Put events from `begin` on into rooms; return where it stopped and which room is full then (-1: none).

    Parameters
    ----------
    pixel, time
        int32.
    begin
        The first event.
    first
        The first pixel of room 0.
    shift
        A room is of ``1 << shift`` pixels; the last one is of all that no other is for.
    waiting
        uint64 (rooms, more than `room`).
    room
        Events that a room holds.
    filled
        uint32, how many there are in each.
    """
    last, by, most, start = np.uint32(filled.size - 1), np.uint32(shift), np.uint32(room), np.int32(first)
    for i in range(begin, pixel.size):
        p = pixel[i]
        number = np.uint32(p - start) >> by
        number = number if number < last else last
        at = filled[number]
        waiting[np.uint64(number), np.uint64(at)] = np.uint64(np.uint32(p)) | (np.uint64(np.uint32(time[i])) << _HALF)
        at += np.uint32(1)
        filled[number] = at
        if at == most:
            return i + 1, np.int64(number)
    return pixel.size, -1


@compiled
def take(events: Any, pixel: Any, time: Any) -> None:
    """Write pixels and times of events that have waited."""
    for i in range(events.size):
        event = events[i]
        pixel[i] = np.int32(np.uint32(event))
        time[i] = np.int32(event >> _HALF)

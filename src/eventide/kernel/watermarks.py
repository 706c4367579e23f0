"""Watermarks of one source partition: bounded out-of-orderness, with protection against stray future times.

The watermark is the newest event time seen minus the allowed lateness. It is followed row by row, not batch
by batch, so that what counts as late does not depend on how the events were cut into batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.kernel.compiled import compiled, have_compiler
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["CONFIRM", "PartitionWatermark", "Passed", "Verdict"]

BoolArray = npt.NDArray[np.bool_]

CONFIRM = 100
"""So many events in a row beyond the largest believable jump are believed after all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the watermark says of a batch.

    Parameters
    ----------
    marks
        The watermark that each row met, ns, or None when no row was behind it.
    strays
        Rows that leap too far ahead, or None when there are none. `marks` counts them too.
    """

    marks: Int64Array | None
    strays: BoolArray | None


class Passed(NamedTuple):
    """What one pass over the times of a batch finds.

    Parameters
    ----------
    low, high
        The earliest and the latest, ns.
    newest
        The newest event time after the batch, ns.
    behind
        Whether a row was behind the watermark it met.
    """

    low: int
    high: int
    newest: int
    behind: bool


def follow_loop(times: Int64Array, newest: int, lateness: int) -> tuple[int, int, int, bool]:
    """Return the fields of `Passed`; compiled.

    The earliest and the latest of some times are found in vector instructions, and mostly they tell that no row can
    be behind. Only where they do not, rows are looked at one by one.
    """
    behind = False
    low = high = times[0]
    least = MIN_TIME + lateness  # below it there is no watermark yet; and times may lie further apart than int64 holds
    for begin in range(0, times.size, 128):
        part = times[begin : begin + 128]
        first = last = part[0]
        for i in range(part.size):
            first = min(first, part[i])
            last = max(last, part[i])
        low = min(low, first)
        high = max(high, last)
        most = max(newest, last)
        if not behind and most > least and first < most - lateness:
            for t in part:
                newest = max(newest, t)
                if newest > least and t < newest - lateness:
                    behind = True
        newest = most
    return low, high, newest, behind


def _follow(times: Int64Array, newest: int, lateness: int) -> Passed:
    if have_compiler():
        low, high, top, behind = _compiled_follow()(times, newest, lateness)
        return Passed(int(low), int(high), int(top), bool(behind))
    running = np.maximum(np.maximum.accumulate(times), newest)
    timed = running > MIN_TIME + lateness
    behind = bool((times[timed] < running[timed] - lateness).any())
    return Passed(int(times.min()), int(times.max()), int(running[-1]), behind)


@functools.cache
def _compiled_follow() -> Callable[[Int64Array, int, int], tuple[int, int, int, bool]]:
    return compiled(follow_loop)


@dataclass(slots=True)
class PartitionWatermark:
    """The watermark of one partition.

    Parameters
    ----------
    lateness
        How far behind the newest event an event may be, ns.
    max_jump
        How far ahead of the newest event an event may leap and be believed, ns; 0 is any distance.

    Examples
    --------
    >>> w = PartitionWatermark(lateness=5)
    >>> w.push(np.array([10, 20, 12], np.int64)).marks.tolist()
    [-9223372036854775807, 5, 15]
    >>> w.watermark
    15
    """

    lateness: int
    max_jump: int = 0
    newest: int = MIN_TIME
    streak: int = field(default=0)

    @property
    def watermark(self) -> int:
        """Event time before which no event is expected any more, ns."""
        return MIN_TIME if self.newest <= MIN_TIME + self.lateness else self.newest - self.lateness

    def heartbeat(self, time: int) -> None:
        """Take the source's promise that no event before `time` will come, ns.

        Examples
        --------
        >>> w = PartitionWatermark(lateness=5)
        >>> w.heartbeat(100)
        >>> w.watermark
        100
        """
        self.newest = max(self.newest, min(time, MAX_TIME - self.lateness) + self.lateness)

    def look(self, times: Int64Array) -> Passed:
        """Return what a batch of at least one row would do, without taking it.

        Examples
        --------
        >>> PartitionWatermark(lateness=5).look(np.array([20, 10], np.int64))
        Passed(low=10, high=20, newest=20, behind=True)
        """
        return _follow(times, self.newest, self.lateness)

    def push(self, times: Int64Array, *, others: int | None = None, passed: Passed | None = None) -> Verdict:
        """Take the event times of a batch in order of arrival.

        Parameters
        ----------
        times
            int64, ns.
        others
            The lowest watermark of the other partitions, if there are any: the stream's watermark is never
            above it.
        passed
            What `look` has said of these times just now, which saves a pass.
        """
        if not times.size:
            return Verdict(None, None)
        strays = self._strays(times) if self.max_jump else None
        trusted = times if strays is None else np.where(strays, MIN_TIME, times)
        before = self.newest
        if passed is None or strays is not None:
            passed = self.look(trusted)
        self.newest = passed.newest
        if not passed.behind or (others is not None and others <= MIN_TIME):
            return Verdict(None, strays)
        running = np.empty_like(times)
        running[0] = before
        np.maximum(np.maximum.accumulate(trusted[:-1]), before, out=running[1:])
        marks = np.where(running > MIN_TIME + self.lateness, running - self.lateness, MIN_TIME)
        if others is not None:
            np.minimum(marks, others, out=marks)
        return Verdict(marks if (times < marks).any() else None, strays)

    def _strays(self, times: Int64Array) -> BoolArray | None:
        """Return which rows leap too far ahead; the loop steps from leap to leap, not from row to row."""
        strays: BoolArray | None = None
        newest, start = self.newest, 0
        while start < times.size:
            rest = times[start:]
            running = (
                np.maximum(np.maximum.accumulate(rest), newest) if newest > MIN_TIME else np.maximum.accumulate(rest)
            )
            previous = np.concatenate(([newest], running[:-1]))
            # The first event ever has nothing to leap from. Times are compared as differences, which int64
            # holds for any two times a real stream has.
            leap = (previous > MIN_TIME) & (rest > previous) & (rest - previous > self.max_jump)
            if not leap.any():
                self.streak = 0
                break
            at = int(np.argmax(leap))
            if at:
                self.streak = 0
            newest = int(previous[at])
            self.streak += 1
            if self.streak >= CONFIRM:
                newest = int(rest[at])
                self.streak = 0
            else:
                strays = np.zeros(times.size, bool) if strays is None else strays
                strays[start + at] = True
            start += at + 1
        return strays

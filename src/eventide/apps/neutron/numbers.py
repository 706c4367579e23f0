"""The numbers of the messages of one source: which came before, and which are missing.

A message is known by its number, the pulse in it, and the time of that pulse: what is sent again has all three. A
source that begins to count anew has other times, so its messages are no duplicates.

Numbers are looked at in the order of their times once no message can come in between. Where a number is left out, those
in between are missing unless they come at most `within` of event time after the message that shows it; so messages
that overtake each other by less are not missing. A number that goes back otherwise is a new beginning of the count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.model.time import MAX_TIME

__all__ = ["Gap", "Numbers"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_NEAR = 16
_NOTHING = (np.empty(0, np.int64),) * 3


class Gap(NamedTuple):
    """Numbers that are missing, both ends included; times (ns) of the messages before and after."""

    first: int
    last: int
    before: int
    after: int


@dataclass(slots=True)
class Numbers:
    """What is remembered of one source.

    Parameters
    ----------
    within
        For how long, ns of event time.
    expected
        The next number, None before the first one.
    before
        Time of the last message that was looked at, ns.
    filled
        Numbers that were ahead of their place, which is still to come.

    Examples
    --------
    >>> seen = Numbers(within=10)
    >>> seen.take(np.array([7, 8, 8, 11]), np.zeros(4, np.int64), np.array([0, 1, 1, 2])).tolist()
    [False, False, True, False]
    >>> list(seen.settle(100))
    [Gap(first=9, last=10, before=1, after=2)]
    """

    within: int
    expected: int | None = None
    before: int = 0
    filled: set[int] = field(default_factory=set)
    _blocks: list[tuple[Int64Array, Int64Array, Int64Array]] = field(default_factory=list)
    _oldest: int = MAX_TIME
    _top: tuple[int, int] | None = None
    _known: set[tuple[int, int, int]] | None = None

    def take(self, numbers: Int64Array, pulses: Int64Array, times: Int64Array) -> BoolArray:
        """Remember pulses of messages, and return which of them came before.

        Parameters
        ----------
        numbers, pulses, times
            Number of the message, of the pulse in it, and time of the pulse, ns; of the same length, not empty.
        """
        more = numbers[1:] > numbers[:-1]
        more |= (numbers[1:] == numbers[:-1]) & (pulses[1:] > pulses[:-1])
        if more.all() and (self._top is None or (int(numbers[0]), int(pulses[0])) > self._top):
            # Ascending, and above all that is remembered: new, whatever the times are.
            self._remember(numbers, pulses, times)
            return np.zeros(numbers.size, np.bool_)
        if self._known is None:
            self._known = {each for block in self._blocks for each in zip(*(a.tolist() for a in block), strict=True)}
        known = self._known
        again = np.zeros(numbers.size, np.bool_)
        for at, each in enumerate(zip(numbers.tolist(), pulses.tolist(), times.tolist(), strict=True)):
            if each in known:
                again[at] = True
            else:
                known.add(each)
        self._remember(numbers[~again], pulses[~again], times[~again], known=True)
        return again

    def _remember(self, numbers: Int64Array, pulses: Int64Array, times: Int64Array, *, known: bool = False) -> None:
        if not numbers.size:
            return
        if not known and self._known is not None:
            self._known.update(zip(numbers.tolist(), pulses.tolist(), times.tolist(), strict=True))
        # Copies: what is given may be a view of a batch that has events in it.
        self._blocks.append((numbers.copy(), pulses.copy(), times.copy()))
        self._oldest = min(self._oldest, int(times.min()))
        top = _highest(numbers, pulses)
        self._top = top if self._top is None else max(self._top, top)

    def settle(self, watermark: int) -> Iterator[Gap]:
        """Yield what is missing before a watermark less `within`, and forget what came before.

        Parameters
        ----------
        watermark
            No message before this time, ns, comes any more; `MAX_TIME`: none at all.
        """
        limit = MAX_TIME if watermark >= MAX_TIME else watermark - self.within
        if self._oldest >= limit:
            return
        numbers, pulses, times = self.remembered()
        order = np.lexsort((pulses, numbers, times))
        numbers, pulses, times = numbers[order], pulses[order], times[order]
        cut = times.size if limit == MAX_TIME else int(np.searchsorted(times, limit))
        first = pulses == 0
        yield from self._walk(numbers[first], times[first], int(np.count_nonzero(first[:cut])))
        if self._known is not None:
            self._known.difference_update(zip(*(a[:cut].tolist() for a in (numbers, pulses, times)), strict=True))
        self._blocks, self._oldest, self._top = [], MAX_TIME, None
        rest = (numbers[cut:], pulses[cut:], times[cut:])
        if rest[0].size:
            self._blocks = [rest]
            self._oldest, self._top = int(rest[2][0]), _highest(rest[0], rest[1])

    def _walk(self, numbers: Int64Array, times: Int64Array, settled: int) -> Iterator[Gap]:
        if not settled:
            return
        if self.expected is None:
            self.expected = self._begin(numbers, times)
        here = numbers[:settled]
        if not self.filled and (here == self.expected + np.arange(here.size)).all():
            self.expected += here.size
            self.before = int(times[settled - 1])
            return
        for at in range(settled):
            number = int(numbers[at])
            if number in self.filled:
                self.filled.discard(number)
            else:
                if number < self.expected:
                    self.expected, self.filled = self._begin(numbers[at:], times[at:]), set()
                if number > self.expected:
                    ahead = self._ahead(numbers, times, at)
                    yield from self._gaps(number, ahead, int(times[at]))
                    self.filled.update(ahead)
                self.expected = number + 1
            self.before = int(times[at])

    def _begin(self, numbers: Int64Array, times: Int64Array) -> int:
        """Return the number that counting begins with: the first one, or a little lower one that was overtaken.

        One that is far lower is a new beginning of the count soon after.
        """
        soon = numbers[: int(np.searchsorted(times, int(times[0]) + self.within, side="right"))].tolist()
        return min(int(n) for n in soon if n > soon[0] - _NEAR - 4 * len(soon))

    def _ahead(self, numbers: Int64Array, times: Int64Array, at: int) -> list[int]:
        """Return the numbers between the one expected and the one at hand that are overtaken and come soon."""
        assert self.expected is not None
        end = int(np.searchsorted(times, int(times[at]) + self.within, side="right"))
        found: set[int] = set()
        for number in numbers[at + 1 : end].tolist():
            if number < self.expected and number not in self.filled:
                break  # counting begins anew there
            if self.expected <= number < numbers[at]:
                found.add(number)
        return sorted(found)

    def _gaps(self, number: int, ahead: list[int], after: int) -> Iterator[Gap]:
        assert self.expected is not None
        begin = self.expected
        for each in [*ahead, number]:
            if each > begin:
                yield Gap(begin, each - 1, self.before, after)
            begin = each + 1

    def remembered(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Return numbers, pulses and times of what is remembered."""
        if not self._blocks:
            return _NOTHING
        numbers, pulses, times = (np.concatenate(parts) for parts in zip(*self._blocks, strict=True))
        return numbers, pulses, times


def _highest(numbers: Int64Array, pulses: Int64Array) -> tuple[int, int]:
    most = numbers.max()
    return int(most), int(pulses[numbers == most].max())

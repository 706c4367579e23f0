"""What happens to anomalies: repeated alarms are held back and counted, runs of anomalies become incidents.

Both are state machines over the anomalies of many keys, in event-time order within each key. Their
answer does not depend on how the anomalies were cut into batches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.sensors.slots import Field, Float64Array, Int64Array, SlotState
from eventide.errors import UsageError

__all__ = ["Alarms", "Incidents", "Runs"]

_ALARM: dict[str, Field] = {"open": (np.int64, 0), "start": (np.int64, 0), "held": (np.int64, 0)}
_RUN: dict[str, Field] = {
    "n": (np.int64, 0),
    "start": (np.int64, 0),
    "end": (np.int64, 0),
    "peak": (np.float64, 0),
}


class Runs(NamedTuple):
    """Closed incidents as columns: key slot, first and last anomaly (ns), their number, highest score."""

    slot: Int64Array
    start: Int64Array
    end: Int64Array
    n: Int64Array
    peak: Float64Array

    @classmethod
    def joined(cls, one: Runs, two: Runs) -> Runs:
        """Return the rows of both."""
        columns: Any = (np.concatenate(pair) for pair in zip(one, two, strict=True))
        return cls(*columns)

    def select(self, rows: npt.NDArray[np.bool_] | Int64Array) -> Runs:
        """Return the rows where a mask is true, or those of given numbers in their order."""
        columns: Any = (column[rows] for column in self)
        return Runs(*columns)


class Alarms:
    """Let the first anomaly of a key pass and hold back further ones for a while.

    The while is counted from the anomaly that passed; those held back do not prolong it.

    Parameters
    ----------
    hold
        How long further anomalies of the key are held back, ns.

    Examples
    --------
    >>> alarms = Alarms(hold=10)
    >>> alarms.update(np.array([0, 0, 1, 0]), np.array([1, 5, 6, 11])).tolist()
    [True, False, True, True]
    >>> alarms.held().tolist()
    [0, 0]
    """

    def __init__(self, hold: int) -> None:
        _positive(hold, "hold")
        self._hold = hold
        self._state = SlotState(_ALARM)

    def update(self, slots: Int64Array, times: Int64Array) -> npt.NDArray[np.bool_]:
        """Return which anomalies pass; rows are anomalies in event-time order within each key."""
        self._state.reserve(int(slots.max(initial=-1)) + 1)
        passed = np.zeros(len(slots), np.bool_)
        order = np.argsort(slots, kind="stable")
        firsts = np.flatnonzero(np.diff(slots[order], prepend=-1))
        # The loops go from alarm to alarm, not from event to event: held-back rows are leapt over.
        for rows in np.split(order, firsts[1:]) if len(order) else []:
            slot, mine = slots[rows[0]], times[rows]
            at = 0
            while at < len(mine):
                if not self._state["open"][slot] or mine[at] - self._state["start"][slot] >= self._hold:
                    passed[rows[at]] = True
                    self._state["open"][slot], self._state["start"][slot] = 1, mine[at]
                    self._state["held"][slot] = 0
                    at += 1
                after = at + int(np.searchsorted(mine[at:], self._state["start"][slot] + self._hold))
                self._state["held"][slot] += after - at
                at = after
        return passed

    def held(self) -> Int64Array:
        """Return how many anomalies were held back since the last one that passed, by key slot."""
        return self._state["held"][: len(self._state)].copy()

    def snapshot(self) -> pa.Table:
        """Return the state, one row per key slot."""
        return self._state.snapshot()

    def restore(self, table: pa.Table) -> None:
        """Replace the state by a snapshot."""
        self._state.restore(table)


class Incidents:
    """Group the anomalies of a key that are less than a gap apart.

    Parameters
    ----------
    gap
        Two anomalies this far apart belong to different incidents, ns.

    Examples
    --------
    >>> incidents = Incidents(gap=10)
    >>> closed = incidents.update(np.array([0, 0, 0]), np.array([1, 5, 20]), np.array([1.5, 3.0, 2.0]))
    >>> closed.start.tolist(), closed.end.tolist(), closed.n.tolist(), closed.peak.tolist()
    ([1], [5], [2], [3.0])
    >>> incidents.advance(30).start.tolist()
    [20]
    """

    def __init__(self, gap: int) -> None:
        _positive(gap, "gap")
        self._gap = gap
        self._state = SlotState(_RUN)

    def update(self, slots: Int64Array, times: Int64Array, scores: Float64Array) -> Runs:
        """Take anomalies, in event-time order within each key; return the incidents that they close."""
        self._state.reserve(int(slots.max(initial=-1)) + 1)
        if not len(slots):
            return _no_runs()
        # Open incidents of the keys at hand take part as rows of their own.
        touched = np.unique(slots)
        old = self._runs(touched[self._state["n"][touched] > 0])
        rows = Runs.joined(old, _single(slots, times, scores))
        slot, start, end, n, peak = rows.select(np.lexsort((rows.start, rows.slot)))
        begins = np.r_[True, (slot[1:] != slot[:-1]) | (start[1:] - end[:-1] >= self._gap)]
        at = np.flatnonzero(begins)
        merged = Runs(
            slot[at],
            start[at],
            np.maximum.reduceat(end, at),
            np.add.reduceat(n, at),
            np.maximum.reduceat(peak, at),
        )
        last = np.r_[merged.slot[1:] != merged.slot[:-1], True]
        still_open = merged.select(last)
        for name, column in zip(("start", "end", "n", "peak"), still_open[1:], strict=True):
            self._state[name][still_open.slot] = column
        return merged.select(~last)

    def advance(self, watermark: int) -> Runs:
        """Return the incidents that no event at or after `watermark` (ns) can still join, and forget them."""
        count, end = self._state["n"][: len(self._state)], self._state["end"][: len(self._state)]
        done = np.flatnonzero((count > 0) & (end <= watermark - self._gap))
        closed = self._runs(done)
        self._state["n"][done] = 0
        return closed

    def finish(self) -> Runs:
        """Return the incidents that are still open, and forget them: the input has ended."""
        done = np.flatnonzero(self._state["n"][: len(self._state)])
        closed = self._runs(done)
        self._state["n"][done] = 0
        return closed

    def snapshot(self) -> pa.Table:
        """Return the state, one row per key slot."""
        return self._state.snapshot()

    def restore(self, table: pa.Table) -> None:
        """Replace the state by a snapshot."""
        self._state.restore(table)

    def _runs(self, slots: Int64Array) -> Runs:
        state = self._state
        return Runs(slots, state["start"][slots], state["end"][slots], state["n"][slots], state["peak"][slots])


def _single(slots: Int64Array, times: Int64Array, scores: Float64Array) -> Runs:
    return Runs(slots, times, times, np.ones(len(slots), np.int64), scores)


def _no_runs() -> Runs:
    whole = np.empty(0, np.int64)
    return _single(whole, whole, np.empty(0))


def _positive(value: int, name: str) -> None:
    if value <= 0:
        msg = f"the {name} must be more than zero, not {value} ns"
        raise UsageError(msg, hint=f"give the {name} as a duration, such as '12m'")

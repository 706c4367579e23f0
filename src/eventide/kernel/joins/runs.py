"""Rows kept sorted by key and time, in a few runs whose sizes fall off geometrically.

A new batch is sorted and becomes a run; runs of similar size are merged. So a row is moved a number of
times that grows with the logarithm of the state only, and a search looks into few runs (the idea of the
log-structured merge tree, O'Neil et al. 1996).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.joins.order import Slots, sort_order
from eventide.kernel.joins.side import BoolArray, rows_where
from eventide.model.batch import Int64Array, concat
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["Run", "Runs", "Trim", "concat_runs", "merge", "sorted_run"]


@dataclass(slots=True)
class Run:
    """Rows in order of slot, then time, then arrival.

    Parameters
    ----------
    rows
        The rows.
    slots, times
        Slot of the key and event time (ns) of each row.
    arrival
        Number of each row in order of arrival on its side.
    paired
        Whether each row has been put out.

    `newest` is the time of the newest row; no row that is yet to be put out is before `oldest`.
    """

    rows: pa.RecordBatch
    slots: Slots
    times: Int64Array
    arrival: Int64Array
    paired: BoolArray
    newest: int = field(init=False)
    oldest: int = field(init=False)

    def __post_init__(self) -> None:
        self.newest = int(self.times.max(initial=MIN_TIME))
        self.oldest = int(self.times.min(initial=MAX_TIME))

    def where(self, mask: BoolArray) -> Run:
        """Return the rows for which the mask is true."""
        if mask.all():
            return self
        rows = rows_where(self.rows, mask)
        return Run(rows, self.slots[mask], self.times[mask], self.arrival[mask], self.paired[mask])

    def reordered(self, order: npt.NDArray[np.int64]) -> Run:
        """Return the rows in another order."""
        rows = self.rows.take(pa.array(order))
        return Run(rows, self.slots[order], self.times[order], self.arrival[order], self.paired[order])

    def by_arrival(self) -> Run:
        """Return the rows in the order in which they came."""
        return self.reordered(np.argsort(self.arrival, kind="stable"))


def sorted_run(rows: pa.RecordBatch, slots: Slots, times: Int64Array, *, first: int) -> Run:
    """Return rows as a run; `first` is the arrival number of the first one."""
    arrival = np.arange(first, first + len(times))
    return Run(rows, slots, times, arrival, np.zeros(len(times), np.bool_)).reordered(sort_order(slots, times))


def concat_runs(runs: list[Run]) -> Run:
    """Return the rows of several runs one after the other; they are not in order."""
    return Run(
        concat([r.rows for r in runs]),
        np.concatenate([r.slots for r in runs]),
        np.concatenate([r.times for r in runs]),
        np.concatenate([r.arrival for r in runs]),
        np.concatenate([r.paired for r in runs]),
    )


def merge(runs: list[Run]) -> Run:
    """Return several runs, oldest first, as one."""
    if len(runs) == 1:
        return runs[0]
    both = concat_runs(runs)
    return both.reordered(sort_order(both.slots, both.times))


Trim = Callable[[Run], Run]


class Runs:
    """The runs of one side, oldest first."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    @property
    def count(self) -> int:
        """Number of rows kept."""
        return sum(len(run.times) for run in self.runs)

    def append(self, run: Run) -> None:
        """Keep a run."""
        if len(run.times):
            self.runs.append(run)

    def tidy(self, trim: Trim) -> None:
        """Merge runs of similar size; `trim` takes out of them the rows that are not needed any more."""
        while len(self.runs) > 1 and len(self.runs[-2].times) <= 2 * len(self.runs[-1].times):
            last = trim(merge([trim(r) for r in self.runs[-2:]]))
            self.runs[-2:] = [last] if len(last.times) else []

    def whole(self, trim: Trim) -> Run | None:
        """Merge all runs into one and return it, or None when no row is left."""
        if self.runs:
            one = trim(merge(self.runs))
            self.runs = [one] if len(one.times) else []
        return self.runs[0] if self.runs else None

    def drop(self, before: int) -> None:
        """Forget the runs whose newest row is before a time."""
        self.runs = [run for run in self.runs if run.newest >= before]

"""The search of the as-of join: for (slot, time) the nearest row in several sorted runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from eventide.kernel.joins.compare import greater_rows
from eventide.kernel.joins.order import Slots, positions, sort_order
from eventide.kernel.joins.runs import Run
from eventide.kernel.joins.side import BoolArray
from eventide.model.batch import Int64Array, concat
from eventide.model.graph import AsofJoin
from eventide.model.time import MAX_TIME

__all__ = ["Answer", "nearest_rows"]


class Answer(NamedTuple):
    """For each left row: whether its answer is final, the run (-1 for none), the row in it, and a deadline.

    A row whose answer is not final needs another look when right rows of its key have become known, or all
    right rows up to its deadline (ns).
    """

    final: BoolArray
    run: Int64Array
    at: Int64Array
    deadline: Int64Array


class _Found(NamedTuple):
    """For each left row the run (-1 for none), the row and the time of what one search found."""

    run: Int64Array
    at: Int64Array
    times: Int64Array


def _search(runs: list[Run], slots: Slots, times: Int64Array, *, ahead: bool) -> _Found:
    """Return the last row at or before each time, or with `ahead` the first at or after it."""
    best = _Found(*(np.full(len(times), fill, np.int64) for fill in (-1, 0, 0)))
    for number, run in enumerate(runs):
        if not len(run.times):
            continue
        place = positions(run.slots, run.times, of=(slots, times), right=not ahead) - (not ahead)
        at = np.clip(place, 0, len(run.times) - 1)
        hit = (place == at) & (run.slots[at] == slots)
        time = run.times[at]
        unset = best.run < 0
        closer = hit & (unset | ((time < best.times) if ahead else (time > best.times)))
        tied = np.flatnonzero(hit & ~unset & (time == best.times))
        if len(tied):
            closer[tied] = greater_rows(run.rows.take(pa.array(at[tied])), _rows_at(runs, best, tied))
        best.run[closer], best.at[closer], best.times[closer] = number, at[closer], time[closer]
    return best


def _rows_at(runs: list[Run], found: _Found, chosen: Int64Array) -> pa.RecordBatch:
    """Return the rows that were found for some left rows."""
    run, at = found.run[chosen], found.at[chosen]
    parts: list[pa.RecordBatch] = []
    numbers = np.empty(len(chosen), np.int64)
    begun = 0
    for number in np.unique(run).tolist():
        here = run == number
        parts.append(runs[number].rows.take(pa.array(at[here])))
        numbers[here] = np.arange(begun, begun + parts[-1].num_rows)
        begun += parts[-1].num_rows
    return concat(parts).take(pa.array(numbers))


def nearest_rows(spec: AsofJoin, runs: list[Run], slots: Slots, times: Int64Array, *, horizon: int) -> Answer:
    """Return the answer of an as-of join for left rows, and whether it is final.

    Parameters
    ----------
    spec
        Direction and tolerance.
    runs
        Right rows, one for each slot and time within a run.
    slots, times
        The left rows.
    horizon
        All right rows up to this time are known, ns.
    """
    order = sort_order(slots, times)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    final, run, at, deadline = _ordered(spec, runs, slots[order], times[order], horizon=horizon)
    return Answer(final[back], run[back], at[back], deadline[back])


def _ordered(spec: AsofJoin, runs: list[Run], slots: Slots, times: Int64Array, *, horizon: int) -> Answer:
    # Distances are differences: int64 holds those between any two times of a real stream.
    reach = np.full(len(times), spec.tolerance or MAX_TIME)
    known = times <= horizon
    if spec.direction != "forward":
        past = _search(runs, slots, times, ahead=False)
        past.run[(past.run < 0) | (times - past.times > reach)] = -1
        if spec.direction == "backward":
            return Answer(known, past.run, past.at, times)
        behind = past.run >= 0
        away = np.where(behind, times - past.times, reach)
    else:
        past, behind, away = None, np.zeros(len(times), np.bool_), reach
    # A row ahead as far as one behind would lose to it, so the last nanosecond need not be known.
    wait = away - behind
    deadline = np.where(times > MAX_TIME - wait, MAX_TIME, np.maximum(times + wait, times))
    coming = _search(runs, slots, times, ahead=True)
    ahead = (coming.run >= 0) & (coming.times <= horizon) & (coming.times - times <= reach)
    final = known & (ahead | (deadline <= horizon))
    if past is None:
        return Answer(final, np.where(ahead, coming.run, -1), coming.at, np.where(known, deadline, times))
    take = ahead & (~behind | (coming.times - times < away))
    run = np.where(take, coming.run, past.run)
    return Answer(final, run, np.where(take, coming.at, past.at), np.where(known, deadline, times))

"""The as-of join: for each left row the nearest right row of the same key, looking back, ahead, or both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa

from eventide.kernel.joins.compare import ties_lost
from eventide.kernel.joins.nearest import Answer, nearest_rows
from eventide.kernel.joins.order import positions
from eventide.kernel.joins.output import Output
from eventide.kernel.joins.runs import Run, Runs, merge, sorted_run
from eventide.kernel.joins.side import PORTS, Arrival, BoolArray, Side, load_state, rows_where, save_watermarks
from eventide.kernel.joins.slots import SharedSlots
from eventide.kernel.joins.waiting import Waiting, concat_waiting, tidy_waiting
from eventide.model.batch import Int64Array, concat
from eventide.model.graph import AsofJoin, Join
from eventide.model.machine import MAIN, Emit, Step
from eventide.model.state import State
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["AsofJoinMachine"]

_SLACK = 4096


class AsofJoinMachine:
    """Join each left row with the nearest right one of its key.

    Notes
    -----
    - ``backward`` takes the last right row at or before the left time, ``forward`` the first at or after it,
      ``nearest`` the closer of the two, at equal distance the earlier. With a tolerance a right row further
      away than that does not count.
    - Among right rows of one key and time the greatest counts: the values of the columns are compared in order,
      null lowest, NaN highest. So the result does not depend on the order of arrival.
    - A left row is answered as soon as no right row to come can change its answer: right rows before the right
      watermark are all known. ``backward``: the right watermark is beyond the left time. ``forward``: it is
      beyond the first right row found, or beyond the left time + tolerance. ``nearest``: beyond any right row
      that could be closer. Without tolerance a row that finds nothing ahead is answered at the end of the input.
    - ``how="inner"`` leaves out left rows without an answer; ``how="left"`` puts them out with nulls.
    - A row is late when it is behind the watermark of its own input that it met (the column ``_watermark`` where
      the batch has it, else the one in force before the step). So what is late does not depend on the other
      input.
    - Of the right rows those are kept that a left row waiting or to come may need: looking back, per key the last
      row at or before the earliest such time, if within the tolerance, and all later ones.
    - A null in a key equals nothing: such a left row comes out alone at once in a left join.
    - Results of one step are in order of arrival of the left rows.
    - The output watermark is the lower one of the left watermark and the earliest left row without an answer.
    """

    def __init__(self, node: Join, sides: tuple[Side, Side]) -> None:
        self._spec = cast("AsofJoin", node.spec)
        self._sides = sides
        self._output = Output(node, sides)
        self._keep = node.how == "left"
        self._slots = SharedSlots(sides)
        self._right = Runs()
        self._trimmed = 0
        self._looked = MIN_TIME
        self._waiting: list[Waiting] = []

    @property
    def taken(self) -> int:
        """How many events were taken in, for the ledger."""
        return sum(side.taken for side in self._sides)

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return min(self._sides[0].watermark, min((w.oldest for w in self._waiting), default=MAX_TIME))

    @property
    def _horizon(self) -> int:
        """Latest time up to which all right rows are known, ns."""
        known = self._sides[1].watermark
        return known if known in (MIN_TIME, MAX_TIME) else known - 1

    def push(self, step: Step) -> list[Emit]:
        """Take one step; see the class for what comes out."""
        side = self._sides[step.port]
        out: list[Emit] = []
        fresh = step.batch is not None and step.batch.num_rows > 0
        if step.batch is not None and fresh:
            out.extend(self._take_in(side, side.arrive(step.batch)))
        moved = side.advance(step.watermark)
        if (fresh and side.port == 0) or (moved and side.port == 1):
            out.extend(self._answer())
        self._tidy()
        return out

    def _take_in(self, side: Side, arrival: Arrival) -> Iterator[Emit]:
        (rows, times, _), late = side.drop_late(arrival)
        yield from late
        valid = side.matchable(rows)
        if valid is not None:
            if self._keep and side.port == 0:
                yield Emit(MAIN, self._output.alone(rows_where(rows, ~valid)))
            rows, times = rows_where(rows, valid), times[valid]
        if not len(times):
            return
        slots = self._slots.slots(side, rows)
        if side.port == 0:
            self._waiting.append(Waiting(rows, slots, times, times.copy()))
        else:
            self._right.append(_greatest(sorted_run(rows, slots, times, first=0)))

    def _answer(self) -> Iterator[Emit]:
        """Put out the left rows whose answer is final, after a look at those whose answer may have become so."""
        horizon = self._horizon
        touched = self._touched(horizon)
        asked = [(w, w.due(horizon, touched)) for w in self._waiting]
        parts = [w.where(due) for w, due in asked if due is not None]
        if not parts:
            return
        whole = concat_waiting(parts)
        answer = nearest_rows(self._spec, self._right.runs, whole.slots, whole.times, horizon=horizon)
        if answer.final.any():
            yield from self._results(whole.where(answer.final), answer)
        rest: list[Waiting] = []
        begun = 0
        for waiting, due in asked:
            if due is not None:
                looked = slice(begun, begun + int(due.sum()))
                begun = looked.stop
                waiting = waiting.after(due, answer.final[looked], answer.deadline[looked])
            if len(waiting.times):
                rest.append(waiting)
        self._waiting = tidy_waiting(rest)

    def _touched(self, horizon: int) -> BoolArray | None:
        """Return for each slot whether right rows have become known since the last look; None when looking back."""
        if self._spec.direction == "backward":
            return None
        touched = np.zeros(self._slots.capacity, np.bool_)
        for run in self._right.runs:
            touched[run.slots[(run.times > self._looked) & (run.times <= horizon)]] = True
        self._looked = horizon
        return touched

    def _results(self, left: Waiting, answer: Answer) -> Iterator[Emit]:
        run, at = answer.run[answer.final], answer.at[answer.final]
        found = run >= 0
        if not found.any():
            if self._keep:
                yield Emit(MAIN, self._output.alone(left.rows))
            return
        parts: list[pa.RecordBatch] = []
        numbers = np.full(len(at), -1)
        begun = 0
        for number in np.unique(run[found]).tolist():
            chosen = run == number
            parts.append(self._right.runs[number].rows.take(pa.array(at[chosen])))
            numbers[chosen] = np.arange(begun, begun + parts[-1].num_rows)
            begun += parts[-1].num_rows
        right = concat(parts)
        rows = None if self._keep or found.all() else np.flatnonzero(found)
        partner = numbers if rows is None else numbers[rows]
        yield Emit(MAIN, self._output.batch(left.rows, right, pairs=(rows, partner)))

    def _tidy(self) -> None:
        """Merge runs, and forget right rows that no left row can need any more."""
        if self._right.count > 2 * self._trimmed + _SLACK or self._sides[0].watermark == MAX_TIME:
            self._right.whole(self._trim)
            self._trimmed = self._right.count
        else:
            self._right.tidy(_greatest)
        kept: list[Waiting | Run] = [*self._waiting, *self._right.runs]
        self._slots.tidy(k.slots for k in kept)

    def _needed_from(self) -> Int64Array:
        """Return for each slot the earliest time of a left row that waits or may come."""
        since = np.full(self._slots.capacity, self._sides[0].watermark, np.int64)
        for waiting in self._waiting:
            np.minimum.at(since, waiting.slots, waiting.times)
        return since

    def _trim(self, run: Run) -> Run:
        """Return what may still be needed of all right rows."""
        run = _greatest(run)
        since = self._needed_from()[run.slots]
        if self._spec.direction == "forward":
            return run.where(run.times >= since)
        last = positions(run.slots, run.times, of=(run.slots, since), right=True) - 1
        keep = np.arange(len(since)) >= last
        # After the end of the left input only rows that wait for their answer need anything.
        if self._sides[0].watermark == MAX_TIME:
            keep &= since != MAX_TIME
        if self._spec.tolerance:
            low = np.where(since < MIN_TIME + self._spec.tolerance, MIN_TIME, since - self._spec.tolerance)
            keep &= run.times >= low
        return run.where(keep)

    def snapshot(self) -> State:
        """Return the left rows that wait, the right rows that may be needed, and the watermarks."""
        state = save_watermarks(self._sides)
        left, right = self._sides
        rows = concat_waiting(self._waiting).rows if self._waiting else _no_rows(left)
        state[PORTS[0]] = left.table(rows)
        runs = self._right.runs
        state[PORTS[1]] = right.table(self._trim(merge(runs)).rows if runs else _no_rows(right))
        return state

    def restore(self, state: State) -> None:
        """Take over a state; rows of other key groups are left out."""
        own = load_state(self._sides, state)
        left, right = self._sides
        self._slots = SharedSlots(self._sides)
        self._waiting = []
        self._right = Runs()
        self._looked = MIN_TIME
        rows, _ = left.untable(own[PORTS[0]])
        if rows.num_rows:
            times = left.times(rows)
            self._waiting = [Waiting(rows, self._slots.slots(left, rows), times, times.copy())]
        rows, _ = right.untable(own[PORTS[1]])
        if rows.num_rows:
            run = sorted_run(rows, self._slots.slots(right, rows), right.times(rows), first=0)
            self._right.append(_greatest(run))
        self._trimmed = self._right.count


def _greatest(run: Run) -> Run:
    """Return a run with one row, the greatest, for each slot and time."""
    return run.where(~ties_lost(run.rows, run.slots, run.times))


def _no_rows(side: Side) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in side.schema], schema=side.schema)

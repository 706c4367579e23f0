"""The interval join: pairs with equal keys whose times lie within a distance of each other."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa

from eventide.kernel.joins.order import positions, sort_order
from eventide.kernel.joins.output import Output
from eventide.kernel.joins.pairs import expand
from eventide.kernel.joins.runs import Run, Runs, concat_runs, sorted_run
from eventide.kernel.joins.side import PORTS, Arrival, Side, earlier, load_state, rows_where, save_watermarks
from eventide.kernel.joins.slots import SharedSlots
from eventide.model.batch import Int64Array, concat
from eventide.model.graph import IntervalJoin, Join
from eventide.model.machine import MAIN, Emit, Step
from eventide.model.state import State
from eventide.model.time import MAX_TIME

__all__ = ["IntervalJoinMachine"]

_PAIRS_AT_ONCE = 1 << 20
"""About so many pairs make one output batch."""


class _Match(NamedTuple):
    """For rows of a new run, the range of partners in an older run of the other side."""

    other: Run
    low: Int64Array
    counts: Int64Array


class IntervalJoinMachine:
    """Join two keyed streams where right time is within [left + lower, left + upper].

    Notes
    -----
    - A pair is put out as soon as its later row has come. ``how="left"`` puts out a left row without a partner,
      with nulls on the right, once the right watermark is beyond left + upper.
    - A left row is kept until the right watermark is beyond left + upper, a right row until the left watermark is
      beyond right - lower.
    - A row is late when it is behind the watermark of its own input that it met (the column ``_watermark`` where
      the batch has it, else the one in force before the step): partners of it may have been forgotten. So
      what is late does not depend on the other input.
    - A null in a key equals nothing: such a left row comes out alone at once in a left join.
    - Results of one step are ordered by the arrival of the new row, then by time and arrival of the partner; rows
      without a partner by arrival. The table of all results does not depend on the order of arrival.
    - The output watermark is the lower one of the left watermark and right watermark - upper.
    """

    def __init__(self, node: Join, sides: tuple[Side, Side]) -> None:
        spec = cast("IntervalJoin", node.spec)
        self._sides = sides
        self._output = Output(node, sides)
        self._keep = node.how == "left"
        self._lower, self._upper = spec.lower, spec.upper
        self._slots = SharedSlots(sides)
        self._runs = (Runs(), Runs())
        self._arrived = [0, 0]

    @property
    def taken(self) -> int:
        """How many events were taken in, for the ledger."""
        return sum(side.taken for side in self._sides)

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return min(self._sides[0].watermark, self._done(0))

    def _done(self, port: int) -> int:
        """Return the time before which the rows of a side have had all their partners, ns."""
        if port == 0:
            return earlier(self._sides[1].watermark, self._upper)
        return earlier(self._sides[0].watermark, -self._lower)

    def push(self, step: Step) -> list[Emit]:
        """Take one step; see the class for what comes out."""
        side = self._sides[step.port]
        out: list[Emit] = []
        if step.batch is not None and step.batch.num_rows:
            out.extend(self._take_in(side, side.arrive(step.batch)))
        side.advance(step.watermark)
        out.extend(self._settle())
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
        run = sorted_run(rows, self._slots.slots(side, rows), times, first=self._arrived[side.port])
        yield from self._pairs(side.port, run)
        self._runs[side.port].append(run)
        self._arrived[side.port] += len(times)

    def _pairs(self, port: int, run: Run) -> Iterator[Emit]:
        """Return the pairs of new rows with the rows of the other side."""
        low, high = (self._lower, self._upper) if port == 0 else (-self._upper, -self._lower)
        matches: list[_Match] = []
        total = np.zeros(len(run.times), np.int64)
        for other in self._runs[1 - port].runs:
            first = positions(other.slots, other.times, of=(run.slots, run.times + low), right=False)
            counts = positions(other.slots, other.times, of=(run.slots, run.times + high), right=True) - first
            if counts.any():
                matches.append(_Match(other, first, counts))
                total += counts
        if not matches:
            return
        numbers = run.arrival - self._arrived[port]
        by_arrival = np.empty_like(total)
        by_arrival[numbers] = total
        portion = (np.cumsum(by_arrival) - by_arrival) // _PAIRS_AT_ONCE
        if not portion[-1]:
            yield self._portion(port, run, matches)
            return
        for p in np.unique(portion).tolist():
            chosen = portion[numbers] == p
            part = [_Match(m.other, m.low, np.where(chosen, m.counts, 0)) for m in matches]
            if any(m.counts.any() for m in part):
                yield self._portion(port, run, part)

    def _portion(self, port: int, run: Run, matches: list[_Match]) -> Emit:
        mine: list[Int64Array] = []
        theirs: list[Int64Array] = []
        times: list[Int64Array] = []
        for other, low, counts in matches:
            one, partner = expand(low, counts)
            mine.append(one)
            theirs.append(partner)
            times.append(other.times[partner])
            if self._keep:
                (run if port == 0 else other).paired[one if port == 0 else partner] = True
        row = np.concatenate(mine)
        order = sort_order(run.arrival[row] - self._arrived[port], np.concatenate(times))
        if len(matches) == 1:
            partners, partner = matches[0].other.rows, theirs[0][order]
        else:
            taken = [m.other.rows.take(pa.array(p)) for m, p in zip(matches, theirs, strict=True)]
            partners, partner = concat(taken), order
        if port == 0:
            return Emit(MAIN, self._output.batch(run.rows, partners, pairs=(row[order], partner)))
        return Emit(MAIN, self._output.batch(partners, run.rows, pairs=(partner, row[order])))

    def _settle(self) -> Iterator[Emit]:
        """Put out left rows that stay alone, and forget rows that have had all their partners."""
        if self._keep:
            yield from self._alone(self._done(0))
        for port, runs in enumerate(self._runs):
            runs.drop(self._done(port))
            runs.tidy(functools.partial(self._trim, port=port))
        self._slots.tidy(run.slots for runs in self._runs for run in runs.runs)

    def _trim(self, run: Run, *, port: int) -> Run:
        return run.where(run.times >= self._done(port))

    def _alone(self, before: int) -> Iterator[Emit]:
        alone: list[Run] = []
        for run in self._runs[0].runs:
            if run.oldest >= before:
                continue
            mask = ~run.paired & (run.times < before)
            if mask.any():
                alone.append(run.where(mask))
                run.paired |= mask
            run.oldest = int(run.times[~run.paired].min(initial=MAX_TIME))
        if alone:
            yield Emit(MAIN, self._output.alone(concat_runs(alone).by_arrival().rows))

    def snapshot(self) -> State:
        """Return the rows that may still find partners, in order of arrival, and the watermarks."""
        state = save_watermarks(self._sides)
        for side, runs in zip(self._sides, self._runs, strict=True):
            whole = concat_runs(runs.runs) if runs.runs else self._no_rows(side)
            kept = self._trim(whole, port=side.port).by_arrival()
            state[PORTS[side.port]] = side.table(kept.rows, _paired=pa.array(kept.paired))
        return state

    @staticmethod
    def _no_rows(side: Side) -> Run:
        rows = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in side.schema], schema=side.schema)
        return sorted_run(rows, np.empty(0, np.int32), np.empty(0, np.int64), first=0)

    def restore(self, state: State) -> None:
        """Take over a state; rows of other key groups are left out."""
        own = load_state(self._sides, state)
        self._slots = SharedSlots(self._sides)
        for side, runs in zip(self._sides, self._runs, strict=True):
            rows, more = side.untable(own[PORTS[side.port]])
            runs.runs.clear()
            self._arrived[side.port] = rows.num_rows
            if rows.num_rows:
                run = sorted_run(rows, self._slots.slots(side, rows), side.times(rows), first=0)
                run.paired[:] = more["_paired"].to_numpy(zero_copy_only=False)[run.arrival]
                runs.append(run)

"""The window join: pairs with equal keys in the same tumbling or sliding window.

Rows wait in panes (the smallest steps between window edges), each once however many windows it is part
of. When the watermark, the lower one of the two inputs, reaches the end of windows, all windows that have
ended are joined in one call.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa

from eventide.kernel.joins.ids import Ids
from eventide.kernel.joins.output import Output, time_array
from eventide.kernel.joins.pairs import equal_pairs
from eventide.kernel.joins.panes import grid_of, split
from eventide.kernel.joins.side import PORTS, Arrival, BoolArray, Side, load_state, rows_where, save_watermarks
from eventide.model.batch import Int64Array, concat
from eventide.model.graph import Join, WindowJoin
from eventide.model.machine import MAIN, Emit, Step
from eventide.model.state import State
from eventide.model.time import MIN_TIME
from eventide.model.window import Sliding, Tumbling

__all__ = ["WindowJoinMachine"]

_ROWS_AT_ONCE = 1 << 18
"""About so many input rows are joined in one call, to bound the size of an output batch."""


class _Waiting(NamedTuple):
    """Rows that wait in a pane, and the first window that they may take part in."""

    first: int
    rows: pa.RecordBatch


class _Pending:
    """The rows of one side that wait, by pane."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.panes: dict[int, list[_Waiting]] = {}
        self.restricted = False

    def add(self, rows: pa.RecordBatch, panes: Int64Array, firsts: Int64Array | None) -> None:
        """Keep rows, each in its pane."""
        if firsts is None:
            self._add(rows, panes, MIN_TIME)
            return
        self.restricted |= bool((firsts != MIN_TIME).any())
        for first in np.unique(firsts).tolist():
            chosen = firsts == first
            self._add(rows_where(rows, chosen), panes[chosen], first)

    def _add(self, rows: pa.RecordBatch, panes: Int64Array, first: int) -> None:
        if not len(panes):
            return
        order, parts = split(panes)
        # Rows that came in order of time need no copy, only slices.
        if order is not None and (np.diff(panes) < 0).any():
            rows = rows.take(pa.array(order))
        for pane, start, stop in parts:
            self.panes.setdefault(pane, []).append(_Waiting(first, rows.slice(start, stop - start)))

    def count(self, low: int, high: int) -> int:
        """Return the number of rows in a range of panes."""
        return sum(w.rows.num_rows for p in range(low, high) for w in self.panes.get(p, ()))

    def held_back(self, low: int, high: int) -> bool:
        """Tell whether some row in a range of panes may not take part in all its windows."""
        return self.restricted and any(w.first != MIN_TIME for p in range(low, high) for w in self.panes.get(p, ()))

    def drop(self, panes: Iterable[int]) -> None:
        """Forget panes."""
        for pane in panes:
            del self.panes[pane]
        self.restricted = self.restricted and bool(self.panes)

    def concat(self, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
        """Return batches as one."""
        if len(batches) == 1:
            return batches[0]
        if not batches:
            return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in self.schema], schema=self.schema)
        return concat(batches)


class WindowJoinMachine:
    """Join two keyed streams in windows.

    Notes
    -----
    - The machine's watermark is the lower one of its inputs. A window closes, and its pairs are put out, when
      its end is at or behind that watermark (for windows ``(start, end]``: behind it).
    - A row is late when every window it lies in had closed at the watermark that the row met: the lower one
      of its own input's (the column ``_watermark`` where the batch has it, else the one in force before the
      step) and the other input's before the step. A row behind its watermark that still has an open window
      takes part in its open windows only.
    - ``how="left"`` puts out left rows without a partner, once per window, with nulls on the right.
    - A null in a key equals nothing: such rows pair with nothing, and are kept only on the left of a left join.
    - Results are ordered by window start, then by arrival on the left, then by arrival on the right. This
      depends neither on the cutting into batches nor on how the two inputs were interleaved.
    - The output watermark is the start of the earliest window that is still open.
    """

    def __init__(self, node: Join, sides: tuple[Side, Side]) -> None:
        self._sides = sides
        self._output = Output(node, sides)
        self._keep = node.how == "left"
        spec = cast("WindowJoin", node.spec)
        self._grid = grid_of(cast("Tumbling | Sliding", spec.window))
        self._ids = Ids(sides)
        self._pending = (_Pending(sides[0].schema), _Pending(sides[1].schema))

    @property
    def taken(self) -> int:
        """How many events were taken in, for the ledger."""
        return sum(side.taken for side in self._sides)

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._grid.open_from(self._combined)

    @property
    def _combined(self) -> int:
        return min(side.watermark for side in self._sides)

    def push(self, step: Step) -> list[Emit]:
        """Take one step; see the class for what comes out."""
        side, before = self._sides[step.port], self._combined
        out: list[Emit] = []
        if step.batch is not None and step.batch.num_rows:
            out = self._take_in(side, side.arrive(step.batch))
        if side.advance(step.watermark) and self._combined > before:
            out.extend(self._close(before))
        return out

    def _take_in(self, side: Side, arrival: Arrival) -> list[Emit]:
        rows, times, _ = arrival
        if not len(times):
            return []
        panes = self._grid.panes(times)
        late, firsts = self._late(side, arrival, panes)
        side.taken += rows.num_rows if late is None else int(np.count_nonzero(~late))
        out: list[Emit] = []
        keep: BoolArray | None = None
        if late is not None and late.any():
            out.append(side.late(rows_where(rows, late)))
            keep = ~late
        if side.port or not self._keep:
            valid = side.matchable(rows)
            if valid is not None:
                keep = valid if keep is None else keep & valid
        if keep is not None:
            rows, panes = rows_where(rows, keep), panes[keep]
            firsts = None if firsts is None else firsts[keep]
        self._pending[side.port].add(rows, panes, firsts)
        return out

    def _late(self, side: Side, arrival: Arrival, panes: Int64Array) -> tuple[BoolArray | None, Int64Array | None]:
        """Return which rows are late, and from which window on each row takes part where that is not all open ones."""
        grid, closed = self._grid, self._grid.closed(self._combined)
        per_slide = grid.per_slide
        if arrival.marks is None:
            limit = (closed + 1) * per_slide
            return (panes < limit, None) if int(panes.min()) < limit else (None, None)
        other = self._sides[1 - side.port].watermark
        # A watermark before the first event has closed no window of these rows, and keeps the sums in range.
        floor = max(self._combined, int(arrival.times.min()))
        met = np.maximum(np.minimum(arrival.marks, other), floor)
        closed_for = (met - (grid.shift + grid.offset + grid.size)) // grid.slide
        lowest = -((grid.per_window - 1 - panes) // per_slide)
        restricted = (closed_for >= lowest) & (closed_for > closed)
        firsts = np.where(restricted, closed_for + 1, MIN_TIME) if restricted.any() else None
        return panes // per_slide <= closed_for, firsts

    def _close(self, before: int) -> Iterator[Emit]:
        """Join the windows that have closed since the watermark was `before`."""
        grid = self._grid
        low, high = grid.closed(before) + 1, grid.closed(self._combined)
        if high < low:
            return
        for group in self._portions(self._ending(low, high)):
            yield from self._join(group)
        for pending in self._pending:
            pending.drop([p for p in pending.panes if grid.last_window(p) <= high])

    def _ending(self, low: int, high: int) -> list[int]:
        """Return the windows in a range that have rows on the left, in order."""
        windows: set[int] = set()
        for pane in self._pending[0].panes:
            first, last = self._grid.first_window(pane), self._grid.last_window(pane)
            windows.update(range(max(first, low), min(last, high) + 1))
        return sorted(windows)

    def _portions(self, windows: list[int]) -> Iterator[list[int]]:
        """Return runs of windows that are joined in one call; rows held back from a window need a call of their own."""
        portion: list[int] = []
        rows = 0
        for window in windows:
            span = self._grid.span(window)
            special = any(p.held_back(*span) for p in self._pending)
            if portion and (special or rows >= _ROWS_AT_ONCE):
                yield portion
                portion, rows = [], 0
            portion.append(window)
            rows += sum(p.count(*span) for p in self._pending)
            if special:
                rows = _ROWS_AT_ONCE
        if portion:
            yield portion

    def _join(self, windows: list[int]) -> Iterator[Emit]:
        spans = [self._grid.span(w) for w in windows]
        gathered = [self._gather(p, windows, spans) for p in self._pending]
        (left, left_bounds), (right, right_bounds) = gathered
        if not right.num_rows and not self._keep:
            return
        bounds = np.column_stack([left_bounds, right_bounds])
        valid = self._sides[0].matchable(left) if self._keep else None
        pairs = self._ids.pairs(left, right, lambda a, b: equal_pairs(a, b, valid, bounds=bounds, keep=self._keep))
        if not len(pairs.left):
            return
        starts = np.repeat(np.array([self._grid.start(w) for w in windows], np.int64), pairs.counts)
        more = [time_array(starts), time_array(starts + self._grid.size)]
        yield Emit(MAIN, self._output.batch(left, right, pairs=(pairs.left, pairs.right), more=more))

    @staticmethod
    def _gather(
        pending: _Pending, windows: list[int], spans: list[tuple[int, int]]
    ) -> tuple[pa.RecordBatch, Int64Array]:
        """Return the rows of some windows, pane by pane, and the range of rows of each window."""
        low, high = spans[0][0], spans[-1][1]
        only = windows[0] if len(windows) == 1 else None
        panes = sorted(p for p in pending.panes if low <= p < high)
        batches: list[pa.RecordBatch] = []
        ends = [0]
        for pane in panes:
            chosen = [w.rows for w in pending.panes[pane] if only is None or w.first <= only]
            batches += chosen
            ends.append(ends[-1] + sum(b.num_rows for b in chosen))
        rows = [(ends[bisect.bisect_left(panes, a)], ends[bisect.bisect_left(panes, b)]) for a, b in spans]
        return pending.concat(batches), np.array(rows, np.int64)

    def snapshot(self) -> State:
        """Return the rows that wait, in order of pane and arrival, and the watermarks."""
        state = save_watermarks(self._sides)
        for side, pending in zip(self._sides, self._pending, strict=True):
            waiting = [w for p in sorted(pending.panes) for w in pending.panes[p]]
            firsts = np.repeat([w.first for w in waiting], [w.rows.num_rows for w in waiting]).astype(np.int64)
            rows = pending.concat([w.rows for w in waiting])
            state[PORTS[side.port]] = side.table(rows, _first=pa.array(firsts, pa.int64()))
        return state

    def restore(self, state: State) -> None:
        """Take over a state; rows of other key groups are left out."""
        own = load_state(self._sides, state)
        for side, pending in zip(self._sides, self._pending, strict=True):
            rows, more = side.untable(own[PORTS[side.port]])
            pending.panes.clear()
            if rows.num_rows:
                firsts = more["_first"].to_numpy()
                panes = self._grid.panes(side.times(rows))
                pending.add(rows, panes, None if (firsts == MIN_TIME).all() else firsts)

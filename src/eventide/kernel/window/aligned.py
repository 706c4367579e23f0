"""The fast machine of tumbling and sliding windows that fire once, at the watermark.

Events go into panes (`grid`), panes lie in blocks (`blocks`), a window is emitted when the watermark of the
machine passes its end. A row's verdict, late or not, is by the watermark that it met, so that it does not
depend on how rows were cut into batches. Where windows overlap, an event may be late for the first of its
windows and on time for the others: it counts in those, and only an event that is late for all of them goes
to the port ``late``. Such events are kept apart in blocks of their own by the number of windows they missed.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import UsageError
from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.keys import KeyIndex
from eventide.kernel.keys_words import NO_MASK, Mask, buffer_view
from eventide.kernel.parts import Helpers
from eventide.kernel.window.blocks import MOST_PANES, Block, Groups
from eventide.kernel.window.filling import Filling
from eventide.kernel.window.fused import SUMMED, Results, fused
from eventide.kernel.window.grid import grid_of
from eventide.kernel.window.order import time_span
from eventide.kernel.window.results import ResultWriter
from eventide.kernel.window.roster import MOST_KEYS, Roster
from eventide.kernel.window.saved import SavedPanes, columns_of, pane_of
from eventide.kernel.window.waiting import Place, WaitingPanes
from eventide.model.aggregate import Aggregate
from eventide.model.batch import WATERMARK_COLUMN, visible
from eventide.model.graph import Window
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.schema import window_schema
from eventide.model.state import ALL_GROUPS, State, select_groups
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import Sliding, Tumbling

__all__ = ["AlignedWindowMachine", "is_aligned"]

Int64Array = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

_ROOM = 8_192
"""Groups that a block of several panes is meant for."""

_FEW_PANES = 16
"""A batch of up to so many panes is split among blocks of one pane."""

_MASKS = 4
"""Up to so many blocks take a batch by masks, more by sorting it."""

_MERGED = 16_384
"""Groups that several overlapping windows are merged into at once."""

_CROWDED = 400
"""Windows of more groups than this are merged one at a time."""

_NO_PANES = np.empty(0, np.int64)

_TRIES = 8
"""When the keys have changed so often in a row from one pane to the next, panes begin empty."""

_LARGE = 8 << 20


def is_aligned(node: Window) -> bool:
    """Tell whether this machine can run a window.

    Examples
    --------
    >>> from eventide.model.graph import Read, Ref
    >>> from eventide.model.time import EVENT_TIME
    >>> is_aligned(Window(Ref(Read("log://a")), Tumbling(10), ()))
    True
    """
    fires_once = node.trigger is None and node.allowed_lateness == 0
    return isinstance(node.window, Tumbling | Sliding) and fires_once and node.timestamp in ("start", "end")


class AlignedWindowMachine:
    """A machine for tumbling and sliding windows without a trigger of one's own and without allowed lateness.

    Results leave in the order of window start and key hash. A row that is late for all its windows leaves by
    the port ``late``; in overlapping windows it may be late for some and then counts in the others only.

    Parameters
    ----------
    node
        The window and its aggregates.
    schema
        Schema of the events.
    keys
        Key columns; none: one key.
    event_time
        The event-time column, without nulls.
    groups
        The key groups that the machine owns; rows of others are ignored.

    Raises
    ------
    UsageError
        The window needs another machine.

    Examples
    --------
    >>> from eventide.model.aggregate import count
    >>> from eventide.model.graph import Read, Ref
    >>> from eventide.model.time import EVENT_TIME
    >>> node = Window(Ref(Read("log://a")), Tumbling(10), (("n", count()),))
    >>> schema = pa.schema([("t", EVENT_TIME)])
    >>> machine = AlignedWindowMachine(node, schema=schema, keys=(), event_time="t")
    >>> events = pa.record_batch({"t": pa.array([1, 4, 30], EVENT_TIME)}, schema=schema)
    >>> machine.push(Step(0, 0, events, watermark=20))[0].batch.column("n").to_pylist()
    [2]
    """

    def __init__(
        self, node: Window, *, schema: pa.Schema, keys: Sequence[str], event_time: str, groups: range = ALL_GROUPS
    ) -> None:
        if not is_aligned(node) or not isinstance(node.window, Tumbling | Sliding):
            msg = f"{node.window} with this trigger or lateness is not a window of the aligned machine"
            raise UsageError(msg, hint="build the machine with eventide.kernel.window.build.window_machine")
        self._schema = visible(schema)
        self._names = self._schema.names
        self._keys = tuple(keys)
        self._aggregates: tuple[tuple[str, Aggregate], ...] = node.aggregates
        self._event_time = event_time
        self._groups = groups
        self._at_end = node.timestamp == "end"
        self._grid = grid_of(node.window)
        self._empty = Accumulators(self._aggregates, self._schema, event_time)
        self._sum = self._empty.another()
        self._fused = fused(self._schema, self._keys, self._empty)
        self._writer = ResultWriter(
            window_schema(node, self._schema, self._keys), self._grid, keys=self._make_keys(1), at_end=self._at_end
        )
        self._filling = Filling(self._fused, self._grid) if self._fused is not None else None
        self._spares: list[Block] = []
        self._taken = 0
        self._clear()

    def _clear(self) -> None:
        self._pass(MIN_TIME)
        self._blocks: list[list[Block]] = [[] for _ in range(self._grid.overlap)]
        self._fill = 0  # groups per pane of the last block that was dropped
        self._room = 256  # groups of the last window that was merged
        self._saved = SavedPanes()
        self._waiting = WaitingPanes(self._groups)
        self._rested = False  # whether a step has passed since the state was restored
        self._roster: Roster | None = None  # keys that panes begin with
        self._tries = 0  # how often in a row the roster did not fit
        self._dropped: list[Block] = []  # large and done; memory is given back by later steps

    def _pass(self, watermark: int) -> None:
        """Take note of a watermark, and of what it closes."""
        self._watermark = watermark
        self._closed = self._grid.closed(watermark)
        self._due_at = self._grid.due_at(self._closed)
        self._on_time = self._grid.first_on_time(self._closed)

    def share(self, helpers: Helpers) -> bool:
        """Use other threads for the rows of a large batch; False where this window has no part that can be shared.

        Each thread adds its rows to state of its own, which is merged when the window is read. As sums have no
        order, the results have the same bits. One machine then does the work of several lanes, without any
        exchange by key.

        Parameters
        ----------
        helpers
            The other threads.
        """
        if self._filling is None or not helpers.others:
            return False
        self._filling.share(helpers)
        return True

    # -- rows -----------------------------------------------------------------------------------------

    @property
    def taken(self) -> int | None:
        """How many events were taken in, for the ledger; None where a compiled pass would have to count them."""
        return self._taken if self._groups == ALL_GROUPS or self._fused is None else None

    def push(self, step: Step) -> list[Emit]:
        """Take one step: its rows by the watermark before it, then its watermark."""
        if self._dropped:
            self._dropped.pop()
        if self._waiting:
            self._take_back()
        late = None
        batch = step.batch
        if batch is not None and batch.num_rows:
            late = self._take(batch, step.span)
        watermark = MAX_TIME if step.end else step.watermark
        out: list[Emit] = []
        if watermark >= self._due_at:
            out = self._close(self._grid.closed(watermark))
            self._pass(watermark)
        elif watermark > self._watermark:
            self._watermark = watermark
        if late is not None:
            out.append(Emit(LATE, late))
        return out

    def _take(self, batch: pa.RecordBatch, span: tuple[int, int] | None) -> pa.RecordBatch | None:
        """Put the rows of a batch into their panes and return those that are late for all their windows."""
        schema = batch.schema
        times: Int64Array = buffer_view(batch.column(schema.get_field_index(self._event_time)), "i8")  # type: ignore[assignment]
        grid = self._grid
        low, high = span or time_span(times)
        first, last = grid.pane_of(low), grid.pane_of(high)
        marks = schema.get_field_index(WATERMARK_COLUMN)
        if marks < 0 and first >= self._on_time:
            self._put(batch, times, (first, last), 0, NO_MASK)
            return None
        if marks < 0:
            closed: Int64Array = np.full(times.size, self._closed)
        else:
            met: Int64Array = buffer_view(batch.column(marks), "i8")  # type: ignore[assignment]
            closed = np.maximum(grid.closed_by(met), self._closed)
        return self._judge(batch, times, closed)

    def _judge(self, batch: pa.RecordBatch, times: Int64Array, closed: Int64Array) -> pa.RecordBatch | None:
        grid = self._grid
        panes = grid.panes_of(times)
        first_window = (panes - grid.per_window + grid.per_slide) // grid.per_slide
        missed = np.where(closed >= first_window, closed + 1 - first_window, 0)
        late = closed >= panes // grid.per_slide
        for skip in np.unique(missed[~late]).tolist():
            chosen = (missed == skip) & ~late
            some = panes[chosen]
            self._put(batch, times, (int(some.min()), int(some.max())), skip, chosen)
        if not late.any():
            return None
        rows = batch.select(self._names).filter(pa.array(late))
        if self._groups != ALL_GROUPS:
            groups = key_groups(key_hashes(rows, self._keys))
            rows = rows.filter(pa.array((groups >= self._groups.start) & (groups < self._groups.stop)))
        return rows if rows.num_rows else None

    def _put(self, batch: pa.RecordBatch, times: Int64Array, span: tuple[int, int], skip: int, select: Mask) -> None:
        """Add the selected rows, which lie in the panes of `span` (its last included)."""
        held = self._blocks[skip]
        first, last = span
        if self._filling is not None and not select.size and last - first < _FEW_PANES:
            newest = held[-1:] if first == last else []
            if newest and newest[0].first <= first < newest[0].stop:  # the usual case, without a search
                self._filling.fill(newest, batch, times)
            else:
                self._filling.fill(self._cover(held, _NO_PANES, span, wide=False), batch, times)
            self._taken += times.size
            return
        for block in held:
            if block.first <= first and last < block.stop:
                self._taken += block.add(batch, times, select)
                return
        panes = self._grid.panes_of(times)
        low, high = time_span(times)
        wide = high - low >= self._grid.pane
        blocks = self._cover(held, panes[select] if select.size else panes, span, wide=wide)
        if len(blocks) > _MASKS:
            self._taken += self._put_sorted(batch, times, panes, select, blocks)
            return
        for block in blocks:
            inside = (panes >= block.first) & (panes < block.stop)
            self._taken += block.add(batch, times, inside & select if select.size else inside)

    @staticmethod
    def _put_sorted(
        batch: pa.RecordBatch, times: Int64Array, panes: Int64Array, select: Mask, blocks: list[Block]
    ) -> int:
        rows = np.flatnonzero(select) if select.size else np.arange(times.size)
        rows = rows[np.argsort(panes[rows], kind="stable")]
        batch, times, panes = batch.take(pa.array(rows)), times[rows], panes[rows]
        begins = np.searchsorted(panes, [b.first for b in blocks]).tolist()
        ends = np.searchsorted(panes, [b.stop for b in blocks]).tolist()
        return sum(
            block.add(batch.slice(a, b - a), times[a:b]) for block, a, b in zip(blocks, begins, ends, strict=True)
        )

    def _cover(self, held: list[Block], panes: Int64Array, span: tuple[int, int], *, wide: bool) -> list[Block]:
        """Return the blocks that hold some panes, in order; those that are missing are made and kept in `held`."""
        first, last = span
        present = range(first, last + 1) if last - first < _MASKS or not panes.size else np.unique(panes).tolist()
        width = 1
        if wide:
            # A batch that spans several panes is read once for a block of them all, or once for each block.
            density = self._fill or max(1, panes.size // (last - first + 1))
            width = min(MOST_PANES, 1 << max(0, (_ROOM // density).bit_length() - 1))
        out: list[Block] = []
        for pane in present:
            if out and pane < out[-1].stop:
                continue
            at = bisect.bisect_right(held, pane, key=_first_pane)
            if at == 0 or held[at - 1].stop <= pane:
                begin = pane // width * width
                end = begin + width
                if at > 0:
                    begin = max(begin, held[at - 1].stop)
                if at < len(held):
                    end = min(end, held[at].first)
                held.insert(at, self._block(begin, end))
                at += 1
            out.append(held[at - 1])
        return out

    def _block(self, first: int, stop: int) -> Block:
        if self._spares and stop - first == 1:
            start = self._grid.pane_start(first)
            return self._spares.pop().again(first, start=start, pane=self._grid.pane, roster=self._roster)
        room = min(self._fill + (self._fill >> 3), 1 << 24) * (stop - first)
        room = min(room, max(_ROOM, self._fill + (self._fill >> 3)))
        return self._new_block(first, stop, room=room, roster=self._roster)

    def _new_block(self, first: int, stop: int, *, room: int, roster: Roster | None = None) -> Block:
        return Block(
            first,
            stop,
            start=self._grid.pane_start(first),
            pane=self._grid.pane,
            make_keys=self._make_keys,
            accumulators=self._empty.another(),
            fused=self._fused,
            spares=self._spares,
            roster=roster,
            capacity=max(256, room),
        )

    def _make_keys(self, capacity: int) -> KeyIndex:
        return KeyIndex(self._schema, self._keys, self._groups, capacity=capacity)

    # -- results --------------------------------------------------------------------------------------

    def _close(self, closed: int) -> list[Emit]:
        """Emit the windows up to `closed`, and drop the blocks that no window needs any more."""
        for skip, pane in self._waiting.places:
            if self._grid.first_window(pane) + skip <= closed:
                self._restore_pane((skip, pane), self._waiting.take((skip, pane), whole=True))
        writer = self._writer
        if self._grid.overlap == 1:
            for block in self._blocks[0]:
                if block.first > closed:
                    break
                if block.stop - block.first == 1 and block.first > self._closed:
                    writer.add_window(block, block.first)
                else:
                    writer.add(block, block.groups(self._closed + 1, closed + 1))
        else:
            for first, stop in self._runs(self._due(closed)):
                found = self._summed(first) if stop - first == 1 else None
                if found is not None:
                    writer.add_results(found, first)
                    continue
                whole = self._merged(first, stop)
                if stop - first == 1:
                    writer.add_window(whole, first)
                else:
                    writer.add(whole, whole.groups(first, stop))
                whole.drop()
        for held in self._blocks:
            done = sum(1 for block in held if self._grid.last_window(block.stop - 1) <= closed)
            for block in held[:done]:
                self._done(block)
            del held[:done]
        results = writer.collect()
        return [] if results is None else [Emit(MAIN, results)]

    def _done(self, block: Block) -> None:
        """Learn from a block what the next ones will be like, and drop it."""
        self._fill = max(1, block.size // (block.stop - block.first))
        learns = self._fused is not None and self._tries < _TRIES and block.size <= MOST_KEYS
        if learns and block.roster is self._roster:  # blocks that are older than the roster do not judge it
            roster = block.next_roster()
            self._tries = 0 if roster is self._roster else self._tries + 1
            self._roster = roster
        if block.nbytes > _LARGE:
            self._dropped.append(block)
        else:
            block.drop()

    def _due(self, closed: int) -> Int64Array:
        """Return the windows up to `closed` that have events and were not emitted yet, in order."""
        due: set[int] = set()
        for skip, held in enumerate(self._blocks):
            for block in held:
                if block.stop - block.first == 1 and due.issuperset(self._windows_due(block.first, skip, closed)):
                    continue
                for pane in block.occupied().tolist():
                    due.update(self._windows_due(pane, skip, closed))
        return np.array(sorted(due), np.int64)

    def _windows_due(self, pane: int, skip: int, closed: int) -> range:
        """Return the windows of a pane that are due when those up to `closed` are."""
        oldest = max(self._grid.first_window(pane) + skip, self._closed + 1)
        return range(oldest, min(pane // self._grid.per_slide, closed) + 1)

    def _runs(self, due: Int64Array) -> list[tuple[int, int]]:
        """Cut due windows into runs that one block can hold; a run stops after its last window."""
        many = max(1, min(MOST_PANES, _MERGED // self._room))
        if self._fused is not None and self._room > _CROWDED:
            many = 1  # the compiled merge takes a window at a time
        out: list[tuple[int, int]] = []
        at = 0
        while at < due.size:
            first = int(due[at])
            stop = int(np.searchsorted(due, first + many))
            out.append((first, int(due[stop - 1]) + 1))
            at = stop
        return out

    def _summed(self, window: int) -> Results | None:
        """Return the results of a window in one pass, or None where its panes hold other keys than the roster."""
        grid, roster = self._grid, self._roster
        if self._fused is None or roster is None:
            return None
        low = window * grid.per_slide
        parts: list[Accumulators] = []
        for skip, held in enumerate(self._blocks):
            high = low + grid.per_window - skip * grid.per_slide
            for block in held:
                if block.first < high and block.stop > low:
                    if block.stop - block.first > 1 or block.roster is not roster or block.size != roster.size:
                        return None
                    parts.append(block.accumulators)
        if not 0 < len(parts) <= SUMMED:
            return None
        self._room = max(256, roster.size + (roster.size >> 3))
        return self._fused.summed(parts, self._sum, roster)

    def _merged(self, first: int, stop: int) -> Block:
        """Return the windows `first` to `stop` as a block whose panes are windows."""
        grid = self._grid
        alone = stop - first == 1
        if alone and self._spares:
            whole = self._spares.pop().again(first, start=0, pane=1, roster=self._roster)
        else:
            whole = Block(
                first,
                stop,
                start=0,
                pane=1,
                make_keys=self._make_keys,
                accumulators=self._empty.another(),
                fused=self._fused,
                spares=self._spares,
                roster=self._roster,
                capacity=self._room * (stop - first),
            )
        low = first * grid.per_slide
        for skip, held in enumerate(self._blocks):
            high = (stop - 1 - skip) * grid.per_slide + grid.per_window
            for block in held:
                if block.first >= high or block.stop <= low:
                    continue
                if alone and block.stop - block.first == 1:
                    whole.absorb_all(block)
                    continue
                groups = block.groups(low, high)
                if alone:
                    whole.absorb(block, groups, groups.panes)
                    continue
                oldest = (groups.panes - grid.per_window + grid.per_slide) // grid.per_slide + skip
                newest = np.minimum(groups.panes // grid.per_slide, stop - 1)
                # A group goes into several windows, but into one at a time.
                for windows in (oldest + k for k in range(grid.overlap - skip)):
                    rows = np.flatnonzero((windows >= first) & (windows <= newest))
                    whole.absorb(block, Groups(groups.slots[rows], windows[rows], groups.keys[rows]), windows[rows])
        self._room = max(256, (whole.size + (whole.size >> 3)) // (stop - first))
        return whole

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns: the start of the oldest window that may still be emitted."""
        if self._at_end or self._watermark in (MIN_TIME, MAX_TIME):
            return self._watermark
        return max(MIN_TIME, self._grid.start(self._closed + 1))

    # -- state ----------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of state held."""
        return self._waiting.nbytes + sum(block.nbytes for held in self._blocks for block in held)

    def snapshot(self) -> State:
        """Return the open panes, one row per key and pane, and the watermark."""
        since = (self._closed + 1) * self._grid.per_slide
        time = pa.table({"watermark": pa.array([self._watermark], pa.int64())})
        blocks = self._saved.tables(self._blocks, groups=self._groups, since=since)
        return {**blocks, **dict(self._waiting.tables()), "time": time}

    def restore(self, state: State) -> None:
        """Take over a state, in place of what is held."""
        self._clear()
        self._pass(state["time"].column("watermark")[0].as_py())
        for place, table in self._waiting.sort(state):
            self._restore_pane(place, table)
        large = {place: t.num_rows for place, t in ((pane_of(n), t) for n, t in state.items()) if place is not None}
        for name, table in select_groups(state, self._groups).items():
            if name.startswith("panes/"):
                self._restore_panes(self._restore_beside(table.combine_chunks(), large))
        self._fill = max(self._fill, 0, *large.values())

    def _restore_beside(self, table: pa.Table, large: Iterable[Place]) -> pa.Table:
        """Take over groups whose panes have a table of their own too, as after a restore; return the others."""
        for skip, pane in large:
            its = (table.column("skip").to_numpy() == skip) & (table.column("pane").to_numpy() == pane)
            if its.any():
                self._restore_pane((skip, pane), table.filter(pa.array(its)))
                table = table.filter(pa.array(~its))
        return table

    def _take_back(self) -> None:
        """Read a part of what waits; not with the first step, whose results are waited for."""
        if self._rested:
            place = self._waiting.places[0]
            self._restore_pane(place, self._waiting.take(place))
        self._rested = True

    def _restore_pane(self, place: Place, table: pa.Table) -> None:
        """Take over groups of a pane, which several machines may have written; it may have got events since."""
        skip, pane = place
        held = self._blocks[skip]
        at = bisect.bisect_right(held, pane, key=_first_pane)
        there = held[at - 1] if at > 0 and pane < held[at - 1].stop else None
        block = self._new_block(pane, pane + 1, room=max(table.num_rows, 0 if there else self._fill))
        block.load(columns_of(table, "key."), columns_of(table, "state."), table.num_rows)
        if there is None:
            held.insert(at, block)
        elif there.stop - there.first > 1:
            groups = block.groups(pane, pane + 1)
            there.absorb(block, groups, groups.panes)
        elif there.size < block.size:
            block.absorb_all(there)
            held[at - 1] = block
        else:
            there.absorb_all(block)

    def _restore_panes(self, table: pa.Table) -> None:
        """Take over groups of panes with few groups."""
        if not table.num_rows:
            return
        panes = table.column("pane").to_numpy()
        skips = table.column("skip").to_numpy()
        order = np.lexsort((panes, skips))
        table, panes, skips = table.take(pa.array(order)), panes[order], skips[order]
        distinct = 1 + int(np.count_nonzero((panes[1:] != panes[:-1]) | (skips[1:] != skips[:-1])))
        self._fill = max(1, table.num_rows // distinct)
        for skip in np.unique(skips).tolist():
            rows = np.flatnonzero(skips == skip)
            some = panes[rows]
            span = (int(some[0]), int(some[-1]))
            for block in self._cover(self._blocks[skip], some, span, wide=True):
                low, high = np.searchsorted(some, [block.first, block.stop]).tolist()
                part = table.slice(rows[0] + low, high - low)
                block.restore(columns_of(part, "key."), some[low:high], columns_of(part, "state."))


def _first_pane(block: Block) -> int:
    return block.first

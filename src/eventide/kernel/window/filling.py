"""Into the blocks of neighbouring panes by the compiled pass, with other threads where that pays."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from eventide.kernel.parts import Helpers
from eventide.kernel.window.blocks import Block
from eventide.kernel.window.fused import PANES, Fused, Rows
from eventide.kernel.window.grid import Grid
from eventide.kernel.window.order import time_span
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME

__all__ = ["SHARED_ROWS", "Filling"]

SHARED_ROWS = 32_768
"""Threads take so many rows at a time; fewer would cost more to hand over than they save."""

_MOST_ITEMS = 32
"""So many such items may wait, which bounds the memory that they keep."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """Rows that wait to be added, and the blocks of all panes between them, in order."""

    blocks: list[Block]
    rows: Rows
    times: Int64Array


class Filling:
    """Adds rows to blocks of one pane. Rows wait until another thread is free, or until their pane is read.

    Sums have no order; so whoever is free takes the next rows, the other threads into twins of the blocks, which
    are merged when a block is read. Nobody waits for a thread that has not begun.

    Parameters
    ----------
    fused
        The compiled pass.
    grid
        The panes.
    """

    def __init__(self, fused: Fused, grid: Grid) -> None:
        self._fused, self._grid = fused, grid
        self._helpers: Helpers | None = None
        self._waiting: list[_Item] = []
        self._taken: list[_Item] = []
        self._helping = 0  # threads that were asked and have not left
        self._change = threading.Condition()
        self._error: BaseException | None = None

    def share(self, helpers: Helpers) -> None:
        """Use other threads."""
        self._helpers = helpers if helpers.others else None

    def fill(self, blocks: list[Block], batch: pa.RecordBatch, times: Int64Array) -> None:
        """Add all rows of a batch.

        Parameters
        ----------
        blocks
            The blocks of all panes that the batch has rows of, in order.
        batch, times
            Events and their event times, ns.
        """
        rows = self._fused.rows_of(batch)
        if rows is None or any(block.stop - block.first > 1 for block in blocks):
            panes = self._grid.panes_of(times)
            for block in blocks:
                block.add(batch, times, (panes >= block.first) & (panes < block.stop))
            return
        helpers = self._helpers
        # To merge what another thread has added costs a pass over the keys.
        if helpers is None or times.size < 2 * SHARED_ROWS or sum(b.keys.size for b in blocks) > times.size // 16:
            self._add(blocks, rows, times)
            return
        for block in blocks:
            block.lend(self, helpers.others)
        words, values = rows
        for at in range(0, times.size, SHARED_ROWS):
            part = slice(at, at + SHARED_ROWS)
            low, high = time_span(times[part])
            first, last = self._grid.pane_of(low), self._grid.pane_of(high)
            some = [block for block in blocks if first <= block.first <= last]
            with self._change:
                self._waiting.append(_Item(some, (words[part], values[part]), times[part]))
                missing = helpers.others - self._helping if at == 0 else 0
                self._helping += missing
            for _ in range(missing):
                helpers.start(self._help)
        while len(self._waiting) > _MOST_ITEMS and (item := self._take(blocks[-1].first)) is not None:
            self._run(item, item.blocks)

    def finish(self, pane: int) -> None:
        """Add all rows of the panes up to this one that still wait, and wait for other threads that add some."""
        while (item := self._take(pane)) is not None:
            self._run(item, item.blocks)
        with self._change:
            self._change.wait_for(lambda: not any(item.blocks[0].first <= pane for item in self._taken))
        if self._error is not None:
            raise self._error

    def _take(self, pane: int) -> _Item | None:
        """Return the first rows that wait and may have some of the panes up to this one."""
        with self._change:
            for at, item in enumerate(self._waiting):
                if item.blocks[0].first <= pane:
                    self._taken.append(item)
                    return self._waiting.pop(at)
        return None

    def _run(self, item: _Item, blocks: list[Block]) -> None:
        try:
            self._add(blocks, item.rows, item.times)
        except BaseException as error:
            self._error = error  # before anybody who waits is told that these rows are done
            raise
        finally:
            with self._change:
                for block, twin in zip(item.blocks, blocks, strict=True):
                    if twin is not block:
                        block.give_back(twin)
                self._taken.remove(item)
                self._change.notify_all()

    def _help(self) -> None:
        """Take rows as long as any wait; in another thread. An error is raised where the rows are read."""
        while True:
            with self._change:
                if not self._waiting or self._error is not None:
                    self._helping -= 1
                    return
                item = self._waiting.pop(0)
                self._taken.append(item)
                twins = [block.take() for block in item.blocks]
            with suppress(BaseException):
                self._run(item, twins)

    def _add(self, blocks: list[Block], rows: Rows, times: Int64Array) -> None:
        if len(blocks) == 1:
            self._fused.add(rows, (blocks[0].keys, blocks[0].accumulators))
        else:
            starts = [self._grid.pane_start(block.first) for block in blocks]
            edges = [*starts, min(starts[-1] + self._grid.pane, MAX_TIME)]
            for at in range(0, len(blocks), PANES):
                held = [(b.keys, b.accumulators) for b in blocks[at : at + PANES]]
                self._fused.add_to_panes(rows, times, edges[at : at + PANES + 1], held)
        for block in blocks:
            block.changed()

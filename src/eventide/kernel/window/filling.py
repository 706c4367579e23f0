"""Into the blocks of neighbouring panes by the compiled pass, with other threads where that pays."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from eventide.kernel.keys_words import NO_MASK, Mask
from eventide.kernel.window.blocks import Block, Helpers, Pending
from eventide.kernel.window.fused import Fused, Rows
from eventide.kernel.window.grid import Grid
from eventide.model.batch import Int64Array

__all__ = ["SHARED_ROWS", "Sharing", "fill"]

SHARED_ROWS = 16_384
"""Below so many rows waking another thread costs more than it saves."""


_SLOWER, _FASTER = 0.95, 1.02
_LEAST, _MOST = 0.4, 2.5


@dataclass(slots=True)
class Sharing:
    """Other threads, and how many rows each takes for one row of the calling thread: so many that nobody waits.

    The calling thread has also to find panes and to emit results; the others must be scheduled. What that costs
    is learned from who waits for whom. The results do not depend on it, because sums have no order.

    Parameters
    ----------
    helpers
        The other threads.
    rate
        Rows of another thread for one of the calling thread.
    """

    helpers: Helpers
    rate: float = 1.0

    def edges(self, rows: int) -> list[int]:
        """Return where the rows of each thread begin, the calling one first, and where the last ones end."""
        others = self.helpers.others
        own = rows / (1.0 + self.rate * others)
        return [0, *(round(own + (rows - own) * i / others) for i in range(others)), rows]

    def learn(self, ready: bool) -> None:
        """Say whether another thread was ready when its rows were needed."""
        self.rate = min(max(self.rate * (_FASTER if ready else _SLOWER), _LEAST), _MOST)


def fill(
    blocks: list[Block],
    batch: pa.RecordBatch,
    times: Int64Array,
    *,
    fused: Fused,
    grid: Grid,
    sharing: Sharing | None,
) -> None:
    """Add all rows of a batch.

    Parameters
    ----------
    blocks
        The blocks of all panes that the batch has rows of, in order.
    batch, times
        Events and their event times, ns.
    fused
        The compiled pass.
    grid
        The panes.
    sharing
        Other threads, if there are any.
    """
    helpers = sharing.helpers if sharing is not None else None
    shared = helpers is not None and batch.num_rows >= SHARED_ROWS and all(b.shares(batch.num_rows) for b in blocks)
    if sharing is not None and shared and len(blocks) <= 4 * sharing.helpers.others:
        _share_rows(sharing, fused, batch, times, blocks=blocks, grid=grid)
        return
    parts = _parts(fused, batch, times, blocks=blocks, grid=grid)
    if helpers is not None and shared and parts[0].rows is not None:
        parts = _share_panes(helpers, parts)
    for part in parts:
        part.block.take_back()
    _add(parts)


class _Part(NamedTuple):
    """Rows of a batch that go to one block: all, or those that are selected; or just keys and values."""

    block: Block
    batch: pa.RecordBatch
    times: Int64Array
    select: Mask
    rows: Rows | None


def _parts(fused: Fused, batch: pa.RecordBatch, times: Int64Array, *, blocks: list[Block], grid: Grid) -> list[_Part]:
    """Return the rows of a batch by block."""
    rows = fused.rows_of(batch)
    if rows is None or any(block.stop - block.first > 1 for block in blocks):
        panes = grid.panes_of(times)
        return [_Part(b, batch, times, (panes >= b.first) & (panes < b.stop), None) for b in blocks]
    if len(blocks) == 1:
        return [_Part(blocks[0], batch, times, NO_MASK, rows)]
    first, stop = blocks[0].first, blocks[-1].stop
    by_pane = fused.split(rows, times, start=grid.pane_start(first), pane=grid.pane, panes=stop - first)
    return [_Part(b, batch, times, NO_MASK, by_pane[b.first - first]) for b in blocks]


def _add(parts: list[_Part]) -> None:
    for block, batch, times, select, rows in parts:
        if rows is not None:
            block.fill(rows)
        else:
            block.add(batch, times, select)


def _share_panes(helpers: Helpers, parts: list[_Part]) -> list[_Part]:
    """Let each other thread fill the blocks of some panes, always the same ones; return what remains."""
    threads = helpers.others + 1
    for other in range(1, threads):
        theirs = [part for part in parts if part.block.first % threads == other]
        for part in theirs:
            if helpers.others > 1:  # then it may be another thread than the last time
                part.block.take_back()
        pending = Pending(helpers.start(_add, theirs))
        for part in theirs:
            part.block.wait_for([pending], itself=True)
    return [part for part in parts if part.block.first % threads == 0]


def _share_rows(
    sharing: Sharing, fused: Fused, batch: pa.RecordBatch, times: Int64Array, *, blocks: list[Block], grid: Grid
) -> None:
    """Let each thread add some rows, the other threads to twins of the blocks."""
    helpers = sharing.helpers
    for block in blocks:
        block.take_back()
    cuts = [(batch.slice(a, b - a), times[a:b]) for a, b in itertools.pairwise(sharing.edges(batch.num_rows))]

    def parts(index: int, into: list[Block]) -> list[_Part]:
        return _parts(fused, *cuts[index], blocks=into, grid=grid)

    twins = [block.twins(helpers.others) for block in blocks]
    works = []
    for i in range(helpers.others):
        work = _Work(sharing, len(blocks))
        helpers.start(work.run, partial(parts, i + 1, [of[i] for of in twins]))
        works.append(work)
    _add(parts(0, blocks))
    for at, block in enumerate(blocks):
        block.wait_for([Pending(partial(work.wait, at)) for work in works])


class _Work:
    """What another thread adds to twins, oldest pane first: the oldest is the first that somebody wants to read."""

    def __init__(self, sharing: Sharing, blocks: int) -> None:
        self._sharing = sharing
        self._done = [threading.Event() for _ in range(blocks)]
        self._error: BaseException | None = None

    def run(self, parts: Callable[[], list[_Part]]) -> None:
        """Add everything; in the other thread."""
        try:
            for part, done in zip(parts(), self._done, strict=True):
                _add([part])
                done.set()
        except BaseException as error:
            self._error = error
            for done in self._done:
                done.set()

    def wait(self, at: int) -> None:
        """Wait until one twin has its rows."""
        done = self._done[at]
        self._sharing.learn(done.is_set())
        done.wait()
        if self._error is not None:
            raise self._error

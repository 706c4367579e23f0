"""Into the blocks of neighbouring panes by the compiled pass, with other threads where that pays."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pyarrow as pa

from eventide.kernel.keys_words import NO_MASK, Mask
from eventide.kernel.window.blocks import Block, Helpers, Pending
from eventide.kernel.window.fused import Fused, Rows
from eventide.kernel.window.grid import Grid
from eventide.model.batch import Int64Array

__all__ = ["SHARED_ROWS", "fill"]

SHARED_ROWS = 16_384
"""Below so many rows waking another thread costs more than it saves."""


def fill(
    blocks: list[Block],
    batch: pa.RecordBatch,
    times: Int64Array,
    *,
    fused: Fused,
    grid: Grid,
    helpers: Helpers | None,
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
    helpers
        Other threads, if there are any.
    """
    shared = helpers is not None and batch.num_rows >= SHARED_ROWS and all(b.shares(batch.num_rows) for b in blocks)
    if helpers is not None and shared and len(blocks) <= 2 * helpers.others:
        _share_rows(helpers, fused, batch, times, blocks=blocks, grid=grid)
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
    helpers: Helpers, fused: Fused, batch: pa.RecordBatch, times: Int64Array, *, blocks: list[Block], grid: Grid
) -> None:
    """Let each thread add some rows, the other threads to twins of the blocks."""
    others, rows = helpers.others, batch.num_rows
    for block in blocks:
        block.take_back()
    edges = [rows * i // (others + 1) for i in range(others + 2)]
    cuts = [(batch.slice(a, b - a), times[a:b]) for a, b in itertools.pairwise(edges)]

    def add(index: int, into: list[Block]) -> None:
        _add(_parts(fused, *cuts[index], blocks=into, grid=grid))

    twins = [block.twins(others) for block in blocks]
    pending = [Pending(helpers.start(add, i + 1, [t[i] for t in twins])) for i in range(others)]
    add(0, blocks)
    for block in blocks:
        block.wait_for(pending)

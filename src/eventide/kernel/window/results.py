"""From groups of blocks to batches of results, by window and key hash."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eventide.kernel.keys import KeyIndex
from eventide.kernel.keys_words import Mask
from eventide.kernel.window.blocks import Block, Groups
from eventide.kernel.window.fused import Results
from eventide.kernel.window.grid import Grid
from eventide.kernel.window.order import hash_order, permuted
from eventide.model.batch import Int64Array, concat
from eventide.model.time import EVENT_TIME

__all__ = ["ResultWriter"]

_SORT_AFTER = 65_536


class ResultWriter:
    """Writes the results of windows, in the order in which they are added.

    Parameters
    ----------
    schema
        Of the results.
    grid
        The windows.
    keys
        Any key index of the machine: what it knows is the types of the keys.
    at_end
        Results have a column with the last instant of their window.
    """

    def __init__(self, schema: pa.Schema, grid: Grid, *, keys: KeyIndex, at_end: bool) -> None:
        self._schema = schema
        self._grid = grid
        self._keys = keys
        self._at_end = at_end
        self._batches: list[pa.RecordBatch] = []
        self._windows: list[int] = []
        self._results: list[Results] = []

    def add_window(self, block: Block, window: int) -> None:
        """Add a whole block of one window."""
        found = block.results() if block.size <= _SORT_AFTER else None
        if found is None:
            self.add(block, block.groups(block.first, block.stop))
        else:
            self.add_results(found, window)

    def add_results(self, found: Results, window: int) -> None:
        """Add the results of one window."""
        if found.words.size:
            self._windows.append(window)
            self._results.append(found)

    def add(self, block: Block, groups: Groups) -> None:
        """Add some groups of a block whose panes are windows."""
        self._finish()
        if groups.slots.size:
            self._batches.append(self._batch(block, groups, groups.panes))

    def collect(self) -> pa.RecordBatch | None:
        """Return all that was added since the last call, None when that is nothing."""
        self._finish()
        batches, self._batches = self._batches, []
        if len(batches) > 1:
            return concat(batches)
        return batches[0] if batches else None

    def _finish(self) -> None:
        """Make one batch of the results that wait: an array costs some microseconds, however short it is."""
        results, windows = self._results, self._windows
        if not results:
            return
        self._results, self._windows = [], []
        sizes = [found.words.size for found in results]
        words = _joined([found.words for found in results])
        columns = [self._keys.column_of(words)]
        for parts in zip(*(found.columns for found in results), strict=True):
            numbers = _joined([part[0] for part in parts])
            columns.append(pa.array(numbers, mask=_joined_masks([part[1] for part in parts], sizes)))
        self._batches.append(self._placed(columns, np.repeat(np.array(windows, np.int64), sizes)))

    def _batch(self, block: Block, groups: Groups, windows: Int64Array) -> pa.RecordBatch:
        hashes = block.keys.hashes_of(groups.keys)
        single = block.stop - block.first == 1
        if single:
            order = hash_order(hashes)
        else:
            order = np.lexsort((hashes, windows)).astype(np.int64)
        if order.size <= _SORT_AFTER:
            slots, keys, windows = groups.slots[order], groups.keys[order], windows[order]
            columns = block.accumulators.finish(slots, self._grid.starts(windows))
            columns = [*block.keys.key_columns(keys), *columns]
        else:
            # State is wide, results are narrow: many groups are read as they lie and the results brought in order.
            columns = block.accumulators.finish(groups.slots, self._grid.starts(windows))
            columns = [permuted(c, order) for c in (*block.keys.key_columns(groups.keys), *columns)]
            windows = windows if single else windows[order]
        return self._placed(columns, windows)

    def _placed(self, columns: list[pa.Array], windows: Int64Array) -> pa.RecordBatch:
        """Return results with the columns that tell their windows."""
        starts = self._grid.starts(windows)
        ends = starts + self._grid.size
        times = [pa.array(starts).view(EVENT_TIME), pa.array(ends).view(EVENT_TIME)]
        if self._at_end:
            times.append(pa.array(ends + (self._grid.right - 1)).view(EVENT_TIME))
        at = len(self._keys.keys)
        return pa.RecordBatch.from_arrays([*columns[:at], *times, *columns[at:]], schema=self._schema)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _joined_masks(masks: list[Mask], sizes: list[int]) -> Mask | None:
    if not any(mask.size for mask in masks):
        return None
    return np.concatenate([m if m.size else np.zeros(n, np.bool_) for m, n in zip(masks, sizes, strict=True)])

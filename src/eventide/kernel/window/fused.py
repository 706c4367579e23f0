"""The fastest way into a window: one compiled pass for keys of one 64-bit word and moments of one column.

Count, sum, mean, variance and standard deviation of a float64 column by an integer-like key are what most
windows compute. Other aggregates and keys take a pass each (`Block.add`); the results have the same bits.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.binned import Moments
from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.aggregates.moments import OfMoments
from eventide.kernel.aggregates.row_count import RowCount
from eventide.kernel.compiled import have_compiler
from eventide.kernel.hashing import hash_words
from eventide.kernel.keys import KeyIndex
from eventide.kernel.keys_words import NO_MASK, Mask, buffer_view
from eventide.kernel.window.order import hash_order
from eventide.kernel.window.roster import Roster
from eventide.model.batch import Int64Array
from eventide.model.time import MAX_TIME

__all__ = ["PANES", "PART", "SUMMED", "Fused", "Held", "Results", "Rows", "fused"]

PANES = 4
"""The compiled pass fills so many panes at a time."""

PART = 1_024
"""Rows that it takes at a time; every block must have room for so many keys."""

SUMMED = 8
"""Blocks that it sums at a time."""

Rows: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Keys and values."""

Held: TypeAlias = tuple[KeyIndex, Accumulators]

Slots: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Results:
    """Results of one window: words of the keys, and of every aggregate the numbers and which of them are null."""

    words: Int64Array
    columns: list[tuple[np.ndarray[Any, Any], Mask]]


@dataclass(frozen=True, slots=True)
class Fused:
    """Names of the key and the value column of windows that the compiled pass can fill.

    A block that it fills may hold keys without rows: those that it began with (`Roster`).
    """

    key: str
    value: str

    def rows_of(self, batch: pa.RecordBatch) -> Rows | None:
        """Return the keys and values of a batch, or None where there are nulls among them."""
        find = batch.schema.get_field_index
        keys, values = batch.column(find(self.key)), batch.column(find(self.value))
        if keys.null_count or values.null_count:
            return None
        return buffer_view(keys, "i8"), buffer_view(values, "f8")  # type: ignore[return-value]

    def add(self, rows: Rows, into: Held) -> None:
        """Add rows that all lie in one pane.

        Parameters
        ----------
        rows
            Keys and values.
        into
            The keys and the state of the block of the pane.
        """
        loops = _loops()
        words, values = rows
        index, accumulators = into
        groups, table, moments = index.groups, index.word_table, _stores(accumulators)[1]
        row = 0
        while True:
            row = loops.add_rows_in_pane(
                words, values, row, groups.start, groups.stop, moments.order, *table.arrays, *moments.arrays
            )
            if row < 0:
                return
            table.grow()
            accumulators.resize(index.capacity)

    def add_to_panes(self, rows: Rows, times: Int64Array, edges: Sequence[int], into: Sequence[Held]) -> None:
        """Add rows of several panes.

        Parameters
        ----------
        rows, times
            Keys and values, and their event times, ns. Times outside the panes are left out.
        edges
            Where up to four panes begin, and the end of the last.
        into
            The keys and the state of the block of each pane.
        """
        loops = _loops()
        words, values = rows
        groups = into[0][0].groups
        held = [(index.word_table, _stores(accumulators)[1]) for index, accumulators in into]
        bounds = np.array([*edges, *[MAX_TIME] * (PANES + 1 - len(edges))], np.int64)
        row = 0
        while True:
            # Four panes always, the first in place of those that are missing: one compiled function for all.
            arrays = [(*table.arrays, *moments.arrays) for table, moments in held]
            arrays += arrays[:1] * (PANES - len(held))
            full = loops.add_rows(
                words, values, times, row, bounds, groups.start, groups.stop, held[0][1].order,
                *zip(*arrays, strict=True),
            )  # fmt: skip
            if full < 0:
                return
            row, k = divmod(full, PANES)
            index, accumulators = into[k]
            held[k][0].grow()
            accumulators.resize(index.capacity)

    def merge(self, into: Held, other: Held, *, same: int = 0) -> bool:
        """Add all that another block holds and return True; or False, with nothing done, when nulls are there.

        Parameters
        ----------
        into, other
            Keys and state of two blocks of one pane.
        same
            So many keys have the same slots in both.
        """
        index, accumulators = into
        theirs = other[0].word_table
        words = theirs.dense
        other_counts, other_moments = _stores(other[1])
        if words is None or other_counts.nulls:
            return False
        moments = _stores(accumulators)[1]
        table = index.word_table
        if same:
            _loops().add_same(same, moments.order, *moments.arrays, *other_moments.arrays)
        row = same
        while row < words.size:
            row = _loops().add_groups(words, row, *table.arrays, moments.order, *moments.arrays, *other_moments.arrays)
            if row < words.size:
                table.grow()
                accumulators.resize(index.capacity)
        return True

    def rows(self, accumulators: Accumulators, slots: Slots) -> Int64Array:
        """Return how many rows slots have met."""
        return _stores(accumulators)[0].rows(slots)

    def results(self, index: KeyIndex, accumulators: Accumulators, order: Slots | None) -> Results | None:
        """Return the results of a block of one pane by key hash, or None where it holds a null key.

        Parameters
        ----------
        index, accumulators
            The keys and the state of the block.
        order
            All slots by key hash, where that is known.
        """
        words = index.word_table.dense
        if words is None:
            return None
        if order is None:
            order = hash_order(hash_words(words)).astype(np.int32)
        return _results(words, accumulators, order)

    def summed(self, parts: Sequence[Accumulators], into: Accumulators, roster: Roster) -> Results | None:
        """Return the results of up to `SUMMED` blocks together that hold the keys of a roster, or None where nulls are.

        Parameters
        ----------
        parts
            Their state.
        into
            Memory for the sum.
        roster
            The keys.
        """
        if any(_stores(part)[0].nulls for part in parts):
            return None
        if into.capacity < roster.size:
            into.resize(roster.size)
        moments = _stores(into)[1]
        arrays = [_stores(part)[1].arrays for part in parts]
        arrays += arrays[:1] * (SUMMED - len(arrays))  # one compiled function for any number
        _loops().sum_same(roster.size, moments.order, *moments.arrays, len(parts), *zip(*arrays, strict=True))
        return _results(roster.words, into, roster.order)

    def clear(self, index: KeyIndex, accumulators: Accumulators) -> None:
        """Make the state of a block empty and keep its memory."""
        index.word_table.clear()
        for store in _stores(accumulators):
            store.clear()


@functools.cache
def _loops() -> ModuleType:
    """Return the compiled loops; an import statement in each call would take as long as 50 rows."""
    return importlib.import_module("eventide.kernel.window.fused_loops")


def _results(words: Int64Array, accumulators: Accumulators, order: Slots) -> Results:
    rows = _stores(accumulators)[0].rows(order)
    if rows.size and rows.min() == 0:
        order = order[rows > 0]
        rows = rows[rows > 0]
    found = (one.results(order) if isinstance(one, OfMoments) else (rows, NO_MASK) for one in accumulators.all)
    return Results(words[order], list(found))


def fused(schema: pa.Schema, keys: tuple[str, ...], accumulators: Accumulators) -> Fused | None:
    """Return the compiled pass of a window, or None where its keys or aggregates are others.

    Parameters
    ----------
    schema
        Schema of the events.
    keys
        Key columns.
    accumulators
        The state of the window.

    Examples
    --------
    >>> from eventide.model.aggregate import mean
    >>> schema = pa.schema([("k", pa.int64()), ("v", pa.float64())])
    >>> fused(schema, ("k",), Accumulators([("m", mean("v"))], schema, "t")) in (None, Fused("k", "v"))
    True
    """
    if not have_compiler() or len(keys) != 1 or schema.field(keys[0]).type not in _WORDS:
        return None
    if {type(s) for s in accumulators.stores} != {RowCount, Moments} or len(accumulators.stores) != 2:
        return None
    moments = _stores(accumulators)[1]
    return Fused(keys[0], moments.column) if schema.field(moments.column).type == pa.float64() else None


_WORDS = {pa.int64(), pa.uint64(), pa.timestamp("ns", "UTC")}


def _stores(accumulators: Accumulators) -> tuple[RowCount, Moments]:
    counts, moments = accumulators.stores
    assert isinstance(counts, RowCount)
    assert isinstance(moments, Moments)
    return counts, moments

"""The fastest way into a window: one compiled pass for keys of one 64-bit word and moments of one column.

Count, sum, mean, variance and standard deviation of a float64 column by an integer-like key are what most
windows compute. Other aggregates and keys take a pass each (`Block.add`); the results have the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from eventide.kernel.aggregates.binned import Moments
from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.aggregates.counts import Count
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys import KeyIndex
from eventide.kernel.keys_words import buffer_view
from eventide.model.batch import Int64Array

__all__ = ["PART", "Fused", "fused"]

PART = 1024
"""Rows that the compiled pass takes at a time: what is between its steps stays in the first-level cache."""

Held: TypeAlias = tuple[KeyIndex, Accumulators]

_NO_COUNTS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Fused:
    """Names of the key and the value column of windows that the compiled pass can fill."""

    key: str
    value: str

    def add(
        self,
        batch: pa.RecordBatch,
        times: Int64Array,
        span: tuple[int, int],
        *,
        index: KeyIndex,
        accumulators: Accumulators,
    ) -> bool:
        """Add rows and return True; or return False, with nothing done, when this batch has nulls.

        Parameters
        ----------
        batch
            Events.
        times, span
            Their event times, ns, and the half-open span of times that counts; no times: all rows do.
        index, accumulators
            The keys and the state of a block of one pane.
        """
        find = batch.schema.get_field_index
        keys, values = batch.column(find(self.key)), batch.column(find(self.value))
        if keys.null_count or values.null_count:
            return False
        from eventide.kernel.window.fused_loops import add_rows

        words: Int64Array = buffer_view(keys, "i8")  # type: ignore[assignment]
        numbers = buffer_view(values, "f8")
        counts, moments = _stores(accumulators)
        table = index.word_table
        row = 0
        while True:
            held = _NO_COUNTS if counts is None else counts.held
            row = add_rows(
                words, numbers, times, *span, index.groups.start, index.groups.stop, row,
                *table.arrays, held, moments.order, *moments.arrays,
            )  # fmt: skip
            if row == words.size:
                return True
            table.grow()
            accumulators.resize(index.capacity)

    def merge(self, into: Held, other: Held) -> bool:
        """Add all that another block holds and return True; or False, with nothing done, when a null key is there.

        Parameters
        ----------
        into, other
            Keys and state of two blocks of one pane.
        """
        from eventide.kernel.window.fused_loops import add_groups

        index, accumulators = into
        theirs = other[0].word_table
        words = theirs.dense
        if words is None:
            return False
        counts, moments = _stores(accumulators)
        other_counts, other_moments = _stores(other[1])
        table = index.word_table
        row = 0
        while True:
            row = add_groups(
                words, row, *table.arrays, _NO_COUNTS if counts is None else counts.held, moments.order,
                *moments.arrays, _NO_COUNTS if other_counts is None else other_counts.held, *other_moments.arrays,
            )  # fmt: skip
            if row == words.size:
                return True
            table.grow()
            accumulators.resize(index.capacity)

    def clear(self, index: KeyIndex, accumulators: Accumulators) -> None:
        """Make the state of a block empty and keep its memory."""
        index.word_table.clear()
        counts, moments = _stores(accumulators)
        moments.clear()
        if counts is not None:
            counts.clear()


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
    kinds = [type(s) for s in accumulators.stores]
    if kinds.count(Moments) != 1 or kinds.count(Count) > 1 or len(kinds) != 1 + kinds.count(Count):
        return None
    counts, moments = _stores(accumulators)
    if (counts is not None and counts.columns) or schema.field(moments.column).type != pa.float64():
        return None
    return Fused(keys[0], moments.column)


_WORDS = {pa.int64(), pa.uint64(), pa.timestamp("ns", "UTC")}


def _stores(accumulators: Accumulators) -> tuple[Count | None, Moments]:
    counts: Count | None = None
    for store in accumulators.stores:
        if isinstance(store, Moments):
            moments = store
        elif isinstance(store, Count):
            counts = store
    return counts, moments

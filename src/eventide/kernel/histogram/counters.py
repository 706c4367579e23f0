"""The counters of one product: exact integers, few bytes each, counted at the speed of the cache.

Small histograms have four copies of 64-bit counters. Others have one of 32 bits, and become 64-bit ones when a counter
could otherwise overflow. Of large ones the codes are first put with others of the same part of the counters (a radix
partition): a part fits into the cache, and its counters are met there by many events in turn.

The state is a table for each block of counters. A block that has not changed since the last snapshot is the same table
again, a block of zeros is none, and one of few counts lists these alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import CheckpointError
from eventide.kernel.histogram.codes import CLASSES, HEAD
from eventide.kernel.histogram.pages import zeros
from eventide.kernel.histogram.place import loops_of
from eventide.model.state import GROUP_COLUMN

__all__ = ["BLOCK", "Counters"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

BLOCK = 18
"""Counters of a block, and of a part: two to this power; 1 MB, half of a common second cache."""

_SPREAD = 1024
"""Counters up to which there are four copies: they fit into the first cache."""

_PARTED = 1 << 22
"""Counters from which on events are partitioned."""

_MOST_PARTS = 640

_ROOM = 1 << 15
"""Events of a part that wait: on average, two for each line of memory that they will touch."""

_FULL = 2**32 - 1
_NEVER = 2**62
_SPARSE = 4

_SCHEMA = pa.schema(
    [
        (GROUP_COLUMN, pa.int32()),
        ("first", pa.int64()),
        ("places", pa.list_(pa.int32())),
        ("counts", pa.list_(pa.int64())),
        ("narrow", pa.list_(pa.uint32())),
        ("sums", pa.list_(pa.float64())),
        ("squares", pa.list_(pa.float64())),
    ]
)


class Counters:
    """Counts events by bin, and those without a bin by class.

    Parameters
    ----------
    bins
        Number of bins.
    weighted
        Whether sums of weights and of their squares are kept too. They are added in the order of the events, so
        that another order may change the last digits.

    Examples
    --------
    >>> counters = Counters(3)
    >>> counters.add(np.array([0, 2, 2, -1], np.int32))
    >>> counters.counts().tolist(), counters.classes()["below"]
    ([1, 0, 2], 1)
    """

    def __init__(self, bins: int, *, weighted: bool = False) -> None:
        self.bins = bins
        self.weighted = weighted
        self._loops = loops_of("counters_loops")
        slots = bins + HEAD
        self._spread = slots <= _SPREAD
        self._shift = BLOCK
        while slots >> self._shift >= _MOST_PARTS:
            self._shift += 1
        blocks = (slots + (1 << self._shift) - 1) >> self._shift
        self._counts: Array = np.zeros((4, slots), np.int64) if self._spread else zeros(slots, np.uint32)
        self._room = _NEVER if self._spread else _FULL
        self._sums = zeros(slots if weighted else 0, np.float64)
        self._squares = zeros(slots if weighted else 0, np.float64)
        self._classes = np.zeros(HEAD, np.int64)  # moved here when 32 bits may not be enough
        self._parted = slots >= _PARTED and not weighted and self._loops is not None
        self._waiting = zeros(blocks * _ROOM if self._parted else 0, np.uint32)
        self._filled = np.zeros(blocks if self._parted else 0, np.uint32)
        self._changed = np.zeros(blocks, np.uint8)  # since the last snapshot
        self._used = np.zeros(blocks, np.bool_)  # since the last reset, up to the last snapshot
        self._saved: dict[int, pa.Table] = {}

    # -- counting

    def add(self, codes: Int32Array, weights: Array | None = None) -> None:
        """Count events.

        Parameters
        ----------
        codes
            int32, the bin of each event or the code of its class.
        weights
            Numbers, where this is weighted.
        """
        if codes.size > self._room:
            self._make_room(codes.size)
        self._room -= codes.size
        loops = self._loops
        if loops is None:
            self._add_plain(codes)
        else:
            if self._parted:
                loops.scatter(codes, self._shift, _ROOM, self._waiting, self._filled, self._counts, self._changed)
                return
            if self._spread:
                loops.count_spread(codes, self._counts)
            else:
                loops.count(codes, self._counts)
        self._changed[:] = 1
        if self.weighted and weights is not None:
            self._weigh(codes, weights)

    def _add_plain(self, codes: Int32Array) -> None:
        if self._spread:
            self._counts[0] += np.bincount(codes + HEAD, minlength=self.bins + HEAD)
        else:
            np.add.at(self._counts, codes.astype(np.int64) + HEAD, self._counts.dtype.type(1))

    def _weigh(self, codes: Int32Array, weights: Array) -> None:
        if self._loops is not None:
            self._loops.weigh(codes, weights, self._sums, self._squares)
            return
        at, w = codes.astype(np.int64) + HEAD, weights.astype(np.float64)
        np.add.at(self._sums, at, w)
        np.add.at(self._squares, at, w * w)

    def _make_room(self, events: int) -> None:
        """See how far the counters are from their limit, and make them wider where that is too near."""
        self.settle()
        self._classes += self._counts[:HEAD]
        self._counts[:HEAD] = 0
        self._changed[0] = 1
        self._room = _FULL - int(self._counts.max())
        if events > self._room:
            wide = zeros(self._counts.size, np.int64)
            wide[:] = self._counts
            self._counts, self._room = wide, _NEVER

    def settle(self) -> None:
        """Count what waits."""
        if self._parted and self._filled.any():
            self._loops.settle(self._shift, _ROOM, self._waiting, self._filled, self._counts, self._changed)

    def reset(self) -> None:
        """Forget all events."""
        self._filled[:] = 0
        self._classes[:] = 0
        for number in np.flatnonzero(self._used | (self._changed != 0)).tolist():
            part = self._block(number)
            for array in (self._counts, self._sums, self._squares):
                array[..., part] = 0
        self._changed |= self._used
        self._used[:] = False
        if self._room != _NEVER:
            self._room = _FULL

    # -- results

    def counts(self) -> Int64Array:
        """Return the number of events in each bin, int64."""
        self.settle()
        whole = self._counts.sum(axis=0) if self._spread else self._counts
        out: Int64Array = whole[HEAD:].astype(np.int64)
        return out

    def sparse(self) -> tuple[Int64Array, Int64Array]:
        """Return the bins that have events, ascending, and how many."""
        self.settle()
        places, values = [], []
        whole = self._counts.sum(axis=0) if self._spread else self._counts
        for number in np.flatnonzero(self._used | (self._changed != 0)).tolist():
            part = self._block(number)
            at = np.flatnonzero(whole[part]) + part.start
            at = at[at >= HEAD]
            places.append(at - HEAD)
            values.append(whole[at].astype(np.int64))
        none = np.empty(0, np.int64)
        return np.concatenate([none, *places]), np.concatenate([none, *values])

    def weights(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sum of weights in each bin, and that of their squares."""
        return self._sums[HEAD:].copy(), self._squares[HEAD:].copy()

    def classes(self) -> dict[str, int]:
        """Return the number of events of each class without a bin."""
        self.settle()
        head = self._counts[:, :HEAD].sum(axis=0) if self._spread else self._counts[:HEAD]
        head = head.astype(np.int64) + self._classes
        return {name: int(head[HEAD + code]) for name, code in CLASSES.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(a.nbytes for a in (self._counts, self._sums, self._squares, self._waiting))

    # -- state

    def _block(self, number: int) -> slice:
        begin = number << self._shift
        return slice(begin, min(begin + (1 << self._shift), self.bins + HEAD))

    def snapshot(self, group: int) -> Iterator[tuple[int, pa.Table]]:
        """Return the blocks that are not zero as tables of one row, by number; unchanged ones as the very same tables.

        Parameters
        ----------
        group
            The key group that they belong to.
        """
        self.settle()
        whole = self._counts.sum(axis=0) if self._spread else self._counts
        for number in np.flatnonzero(self._changed).tolist():
            part = self._block(number)
            table = self._table(whole[part], part, group)
            before = self._saved.pop(number, None)
            if table is not None:
                self._saved[number] = before if before is not None and before.equals(table) else table
                self._used[number] = True
        self._changed[:] = 0
        yield from sorted(self._saved.items())

    def _table(self, counts: Array, part: slice, group: int) -> pa.Table | None:
        if part.start == 0:
            counts = counts.astype(np.int64)
            counts[:HEAD] += self._classes
        places: Array | None = np.flatnonzero(counts)
        if places is None or not places.size:
            return None
        sums, squares = self._sums[part], self._squares[part]
        if places.size * _SPARSE <= counts.size:
            counts = counts[places]
            sums, squares = (sums[places], squares[places]) if self.weighted else (sums, squares)
        else:
            places = None
        wide = int(counts.max()) > _FULL
        columns = [
            pa.array([group], pa.int32()),
            pa.array([part.start], pa.int64()),
            _one(places, pa.int32()),
            _one(counts if wide else None, pa.int64()),
            _one(None if wide else counts, pa.uint32()),
            _one(sums if self.weighted else None, pa.float64()),
            _one(squares if self.weighted else None, pa.float64()),
        ]
        return pa.Table.from_arrays(columns, schema=_SCHEMA)

    def restore(self, tables: Mapping[int, pa.Table]) -> None:
        """Take over the blocks of a snapshot, in place of what is held.

        Raises
        ------
        CheckpointError
            They are of a histogram with other bins.
        """
        self.reset()
        for table in tables.values():
            self._load(table)
        self._changed[:] = 0
        self._saved = dict(tables)
        head = self._counts[0] if self._spread else self._counts
        self._classes[:] = head[:HEAD]
        head[:HEAD] = 0
        if self._room != _NEVER:
            self._room = _FULL - int(self._counts.max())

    def _load(self, table: pa.Table) -> None:
        first, places = int(table.column("first")[0].as_py()), _values(table, "places")
        narrow = _values(table, "narrow")
        counts = _values(table, "counts") if narrow is None else narrow
        if counts is None:
            counts = np.empty(0, np.int64)
        at = np.arange(counts.size) if places is None else places.astype(np.int64)
        at = at + first
        if at.size and not (at.min() >= 0 and at.max() < self.bins + HEAD):
            msg = f"the state has counts of bin {int(at.max()) - HEAD}, and the histogram has {self.bins} bins"
            raise CheckpointError(msg, hint="its axes have changed: begin anew with --fresh")
        if not self._spread and counts.size and int(counts.max()) > _FULL and self._counts.dtype == np.uint32:
            # Counts of classes are kept apart, and may be larger than those of bins.
            wide = zeros(self._counts.size, np.int64)
            wide[:] = self._counts
            self._counts, self._room = wide, _NEVER
        (self._counts[0] if self._spread else self._counts)[at] = counts
        self._used[first >> self._shift] = True
        if self.weighted:
            for into, name in ((self._sums, "sums"), (self._squares, "squares")):
                values = _values(table, name)
                if values is not None:
                    into[at] = values


def _one(values: Array | None, kind: pa.DataType) -> pa.Array:
    """Return a column of one list, or of one null."""
    if values is None:
        return pa.nulls(1, pa.list_(kind))
    # Copied, as the state must not change when the counters do.
    flat = pa.array(values.astype(np.dtype(str(kind)), copy=True))
    return pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat)


def _values(table: pa.Table, name: str) -> Array | None:
    column = table.column(name)
    scalar = column[0]
    return scalar.values.to_numpy() if scalar.is_valid else None

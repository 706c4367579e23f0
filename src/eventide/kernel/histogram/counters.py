"""The counters of one product: exact integers, few bytes each, counted at the speed of the cache.

Counters have 32 bits, and are added to others of 64 bits before one could overflow. Small histograms have four copies.
Of large ones the codes are first put with others of the same part of the counters (a radix partition): a part fits
into the cache, and its counters are met there by many events in turn.

The state is a table for each block of counters. A block that has not changed since the last snapshot is the same table
again, a block of zeros is none, and one of few counts lists these alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import CheckpointError
from eventide.kernel.histogram.codes import CLASSES, HEAD
from eventide.kernel.histogram.pages import zeros
from eventide.kernel.histogram.place import loops_of
from eventide.kernel.recycled import Recycled
from eventide.model.state import GROUP_COLUMN

__all__ = ["BLOCK", "Counters", "Layout", "layout_of"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

BLOCK = 18
"""Counters of a block, and of a part: two to this power; 1 MB, half of a common second cache."""

_SPREAD = 2048
"""Counters up to which there are four copies: they fit into the first cache."""

_PARTED = 1 << 24
"""Counters from which on events are partitioned."""

_MOST_PARTS = 640

_ROOM = 1 << 15
"""Events of a part that wait: on average, two for each line of memory that they will touch."""

_FULL = 2**32 - 1
_SPARSE = 4
_WIDTHS = {"one_byte": 2**8 - 1, "two_bytes": 2**16 - 1, "four_bytes": 2**32 - 1, "eight_bytes": 2**63 - 1}

_SCHEMA = pa.schema(
    [
        (GROUP_COLUMN, pa.int32()),
        ("first", pa.int64()),
        ("places", pa.list_(pa.int32())),
        ("one_byte", pa.list_(pa.uint8())),
        ("two_bytes", pa.list_(pa.uint16())),
        ("four_bytes", pa.list_(pa.uint32())),
        ("eight_bytes", pa.list_(pa.int64())),
        ("sums", pa.list_(pa.float64())),
        ("squares", pa.list_(pa.float64())),
    ]
)


class Layout(NamedTuple):
    """Where the counters of a product lie.

    Attributes
    ----------
    copies, slots
        How many copies there are, and counters of one.
    shift, blocks
        A block has ``1 << shift`` counters, and how many there are.
    """

    copies: int
    slots: int
    shift: int
    blocks: int

    @property
    def size(self) -> int:
        """Counters of all copies."""
        return self.copies * self.slots

    @property
    def large(self) -> bool:
        """Whether events are partitioned before they are counted."""
        return self.slots >= _PARTED


def layout_of(bins: int) -> Layout:
    """Return how the counters of so many bins lie.

    Examples
    --------
    >>> layout_of(100)
    Layout(copies=4, slots=108, shift=18, blocks=1)
    """
    slots = bins + HEAD
    shift = BLOCK
    while slots >> shift >= _MOST_PARTS:
        shift += 1
    return Layout(4 if slots <= _SPREAD else 1, slots, shift, (slots + (1 << shift) - 1) >> shift)


class Counters:
    """Counts events by bin, and those without a bin by class.

    Parameters
    ----------
    bins
        Number of bins.
    weighted
        Whether sums of weights and of their squares are kept too. They are added in the order of the events, so
        that another order may change the last digits.
    parted
        Whether events are partitioned where there are many bins; needless where they come with those of near bins.
    memory
        Where to count: zeros of uint32 (`Layout.size`) and of uint8 (`Layout.blocks`); left out, memory of its own.

    Examples
    --------
    >>> counters = Counters(3)
    >>> counters.add(np.array([0, 2, 2, -1], np.int32))
    >>> counters.counts().tolist(), counters.classes()["below"]
    ([1, 0, 2], 1)
    """

    def __init__(
        self, bins: int, *, weighted: bool = False, parted: bool = True, memory: tuple[Array, Array] | None = None
    ) -> None:
        self.bins = bins
        self.weighted = weighted
        self._loops = loops_of("counters_loops")
        self._layout = lay = layout_of(bins)
        counts, changed = memory or (zeros(lay.size, np.uint32), np.zeros(lay.blocks, np.uint8))
        self._counts = counts.reshape(lay.copies, lay.slots)
        self._base: Array | None = None  # what is counted besides, where 32 bits were not enough
        self._room = _FULL
        self._sums = zeros(lay.slots if weighted else 0, np.float64)
        self._squares = zeros(lay.slots if weighted else 0, np.float64)
        self._parted = parted and lay.large and not weighted and self._loops is not None
        self._waiting = zeros(lay.blocks * _ROOM if self._parted else 0, np.uint32)
        self._filled = np.zeros(lay.blocks if self._parted else 0, np.uint32)
        self._changed = changed  # since the last snapshot
        self._used = np.zeros(lay.blocks, np.bool_)  # since the last reset, up to the last snapshot
        self._saved: dict[int, pa.Table] = {}
        self._memory: dict[tuple[int, str], Recycled] = {}

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
        self.reserve(codes.size)
        loops, lay = self._loops, self._layout
        if loops is None and lay.copies > 1:
            self._counts[0] += np.bincount(codes + HEAD, minlength=lay.slots).astype(np.uint32)
        elif loops is None:
            np.add.at(self._counts[0], codes.astype(np.int64) + HEAD, np.uint32(1))
        elif self._parted:
            loops.scatter(codes, lay.shift, _ROOM, self._waiting, self._filled, self._counts[0], self._changed)
            return
        elif lay.copies > 1:
            loops.count_spread(codes, self._counts)
        else:
            loops.count(codes, self._counts[0])
        if loops is None or lay.blocks == 1:
            self._changed[:] = 1
        else:
            loops.mark(codes, lay.shift, self._changed)
        if self.weighted and weights is not None:
            self._weigh(codes, weights)

    def short(self, events: int) -> bool:
        """Tell whether `reserve` has to look at the counters for so many events."""
        return events > self._room

    def reserve(self, events: int) -> None:
        """See to it that so many events can be counted without an overflow, by whoever counts them."""
        if events > self._room:
            self.settle()
            self._room = _FULL - int(self._counts.max())
            if events > self._room:
                if self._base is None:
                    self._base = zeros(self._layout.slots, np.int64)
                self._base += self._counts.sum(axis=0, dtype=np.int64)
                self._counts[:] = 0
                self._room = _FULL
        self._room -= events

    def _weigh(self, codes: Int32Array, weights: Array) -> None:
        if self._loops is not None:
            self._loops.weigh(codes, weights, self._sums, self._squares)
            return
        at, w = codes.astype(np.int64) + HEAD, weights.astype(np.float64)
        np.add.at(self._sums, at, w)
        np.add.at(self._squares, at, w * w)

    def settle(self) -> None:
        """Count what waits."""
        if self._parted and self._filled.any():
            shift, counts = self._layout.shift, self._counts[0]
            self._loops.settle(shift, _ROOM, self._waiting, self._filled, counts, self._changed)

    def reset(self) -> None:
        """Forget all events."""
        self._filled[:] = 0
        for number in self._touched():
            part = self._block(number)
            for array in (self._counts, self._sums, self._squares):
                array[..., part] = 0
        self._changed |= self._used
        self._used[:] = False
        self._base, self._room = None, _FULL

    # -- results

    def counts(self) -> Int64Array:
        """Return the number of events in each bin, int64."""
        out = np.empty(self.bins, np.int64)
        self.write(out)
        return out

    def write(self, out: Int64Array) -> None:
        """Write the number of events in each bin."""
        self.settle()
        narrow = self._counts[:, HEAD:]
        if narrow.shape[0] > 1:
            narrow.sum(axis=0, dtype=np.int64, out=out)
        else:
            out[:] = narrow[0]
        if self._base is not None:
            out += self._base[HEAD:]

    def _of(self, part: slice) -> Array:
        """Return counters, of 32 bits where these are enough; perhaps the very memory that is counted in."""
        narrow = self._counts[:, part]
        if self._base is None and narrow.shape[0] == 1:
            first: Array = narrow[0]
            return first
        if self._base is None:
            return np.asarray(narrow.sum(axis=0, dtype=np.int64))
        out: Int64Array = narrow.sum(axis=0, dtype=np.int64) + self._base[part]
        return out

    def _touched(self) -> list[int]:
        """Return the numbers of the blocks that may have counts."""
        out: list[int] = np.flatnonzero(self._used | (self._changed != 0)).tolist()
        return out

    def sparse(self) -> tuple[Int64Array, Int64Array]:
        """Return the bins that have events, ascending, and how many."""
        size = self.filled()
        places, values = np.empty(size, np.int64), np.empty(size, np.int64)
        self.write_sparse(places, values)
        return places, values

    def filled(self) -> int:
        """Return the number of bins that have events."""
        self.settle()
        return sum(int(np.count_nonzero(counts)) for _, counts in self._filled_blocks())

    def write_sparse(self, places: Int64Array, values: Int64Array) -> None:
        """Write the bins that have events, and how many, into memory for `filled` numbers."""
        at = 0
        for first, counts in self._filled_blocks():
            own = int(np.count_nonzero(counts))
            part = slice(at, at + own)
            if self._loops is not None:
                self._loops.pick(counts, first, places[part], values[part])
            else:
                found = np.flatnonzero(counts)
                places[part], values[part] = found + first, counts[found]
            at += own

    def _filled_blocks(self) -> Iterator[tuple[int, Array]]:
        """Return the blocks of bins that may have counts, with the first bin of each."""
        for number in self._touched():
            part = self._block(number)
            part = slice(max(part.start, HEAD), part.stop)
            yield part.start - HEAD, self._of(part)

    def weights(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sum of weights in each bin, and that of their squares."""
        return self._sums[HEAD:].copy(), self._squares[HEAD:].copy()

    def classes(self) -> dict[str, int]:
        """Return the number of events of each class without a bin."""
        self.settle()
        head = self._of(slice(0, HEAD))
        return {name: int(head[HEAD + code]) for name, code in CLASSES.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        base = 0 if self._base is None else self._base.nbytes
        return base + sum(a.nbytes for a in (self._counts, self._sums, self._squares, self._waiting))

    # -- state

    def _block(self, number: int) -> slice:
        begin = number << self._layout.shift
        return slice(begin, min(begin + (1 << self._layout.shift), self._layout.slots))

    def snapshot(self, group: int) -> Iterator[tuple[int, pa.Table]]:
        """Return the blocks that are not zero as tables of one row, by number; unchanged ones as the very same tables.

        Parameters
        ----------
        group
            The key group that they belong to.
        """
        self.settle()
        for number in np.flatnonzero(self._changed).tolist():
            table = self._table(number, group)
            before = self._saved.pop(number, None)
            if table is not None:
                self._saved[number] = before if before is not None and before.equals(table) else table
                self._used[number] = True
        self._changed[:] = 0
        yield from sorted(self._saved.items())

    def _table(self, number: int, group: int) -> pa.Table | None:
        part = self._block(number)
        counts = self._of(part)
        filled = int(np.count_nonzero(counts))
        if not filled:
            return None
        places: Array | None = None
        sums, squares = self._sums[part], self._squares[part]
        if filled * _SPARSE <= counts.size:
            places = np.flatnonzero(counts)
            counts = counts[places]
            sums, squares = (sums[places], squares[places]) if self.weighted else (sums, squares)
        most = int(counts.max())
        width = next(name for name, limit in _WIDTHS.items() if most <= limit)
        columns = {
            GROUP_COLUMN: pa.array([group], pa.int32()),
            "first": pa.array([part.start], pa.int64()),
            "places": self._one(number, "places", places),
            width: self._one(number, width, counts),
        }
        if self.weighted:
            columns |= {"sums": self._one(number, "sums", sums), "squares": self._one(number, "squares", squares)}
        return pa.table([columns.get(f.name, pa.nulls(1, f.type)) for f in _SCHEMA], schema=_SCHEMA)

    def _one(self, number: int, name: str, values: Array | None) -> pa.Array:
        """Return a column of one list, or of one null."""
        kind = _SCHEMA.field(name).type.value_type
        if values is None:
            return pa.nulls(1, pa.list_(kind))
        # Copied, as the state must not change when the counters do; the memory comes back after a later snapshot.
        memory = self._memory.setdefault((number, name), Recycled()).take(values.size * kind.bit_width // 8)
        memory.view(np.dtype(str(kind)))[:] = values
        flat = pa.Array.from_buffers(kind, values.size, [None, pa.py_buffer(memory)])
        return pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat)

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
        self._room = _FULL - int(self._counts.max())

    def _load(self, table: pa.Table) -> None:
        first, places = int(table.column("first")[0].as_py()), _values(table, "places")
        counts = next((v for v in (_values(table, name) for name in _WIDTHS) if v is not None), np.empty(0, np.int64))
        at = np.arange(counts.size) if places is None else places.astype(np.int64)
        at = at + first
        if at.size and not (at.min() >= 0 and at.max() < self.bins + HEAD):
            msg = f"the state has counts of bin {int(at.max()) - HEAD}, and the histogram has {self.bins} bins"
            raise CheckpointError(msg, hint="its axes have changed: begin anew with --fresh")
        if counts.size and int(counts.max()) > _FULL:
            if self._base is None:
                self._base = zeros(self._layout.slots, np.int64)
            self._base[at] = counts
        else:
            self._counts[0, at] = counts
        self._used[first >> self._layout.shift] = True
        if self.weighted:
            for into, name in ((self._sums, "sums"), (self._squares, "squares")):
                values = _values(table, name)
                if values is not None:
                    into[at] = values


def _values(table: pa.Table, name: str) -> Array | None:
    column = table.column(name)
    scalar = column[0]
    return scalar.values.to_numpy() if scalar.is_valid else None

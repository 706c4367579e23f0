"""Blocks: the state of a run of panes, one table that is dropped whole when the last of them is done.

A block of one pane is the usual case: the slots of its key index are the slots of its accumulators. Where
panes hold few events, a block takes many of them, so that a pane costs rows and not a table; then a second
table goes from (key slot, pane) to slots.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import State
from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys import KeyIndex
from eventide.kernel.keys_plain import PlainWordTable
from eventide.kernel.keys_words import NO_MASK, Mask
from eventide.kernel.window.fused import PART, Fused, Results
from eventide.kernel.window.roster import Roster, roster_of
from eventide.model.state import ALL_GROUPS

__all__ = ["MOST_PANES", "Block", "Groups", "Lender"]

Int64Array = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

MOST_PANES = 4_096
"""A block has at most so many panes."""

_SHIFT = 12

MOST_SPARE = 16_384
"""Blocks with room for more groups than this are given back to the system."""

_SPARES = 24

_stamps = itertools.count()


class Lender(Protocol):
    """Who has other threads fill twins of blocks."""

    def finish(self, pane: int) -> None:
        """Have all rows of the panes up to this one added."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Some slots of a block: the slot, its pane, and the slot of its key."""

    slots: Slots
    panes: Int64Array
    keys: Slots


class Block:
    """State of the panes `first` to `stop`.

    Parameters
    ----------
    first, stop
        The run of panes, at most `MOST_PANES`.
    start, pane
        Time of the first pane and length of a pane, ns.
    make_keys
        Makes an empty key index with room for some keys.
    accumulators
        Empty.
    fused
        The compiled pass for a block of one pane, where there is one.
    spares
        Empty blocks that may be used again.
    roster
        Keys that a block of one pane with a compiled pass begins with.
    capacity
        How many groups to make room for at once.
    """

    def __init__(
        self,
        first: int,
        stop: int,
        *,
        start: int,
        pane: int,
        make_keys: Callable[[int], KeyIndex],
        accumulators: Accumulators,
        fused: Fused | None = None,
        spares: list[Block] | None = None,
        roster: Roster | None = None,
        capacity: int = 256,
    ) -> None:
        self.first, self.stop = first, stop
        self._start, self._pane = start, pane
        self._fused = fused if stop - first == 1 else None
        self._make_keys = make_keys
        self._spares: list[Block] = [] if spares is None else spares
        if self._fused is not None:
            # Room for a whole part of the compiled pass, which else would grow every new table once.
            capacity = max(capacity, roster.size if roster is not None else 0) + PART
        self._twins: list[Block] = []
        self._idle: list[Block] = []  # twins that nobody fills at the moment
        self._lender: Lender | None = None
        self.keys = make_keys(capacity)
        self.accumulators = accumulators
        self._pairs = _pairs(capacity) if stop - first > 1 else None
        self._counted = 0
        self._occupied = np.zeros(stop - first, np.bool_)
        self._saved: pa.Table | None = None
        self.roster: Roster | None = None
        self._begin(roster)

    def changed(self) -> None:
        """Say that something was added."""
        self.stamp = next(_stamps)
        self._saved = None

    def _begin(self, roster: Roster | None) -> None:
        self.changed()
        self.roster = roster if self._fused is not None else None
        if self.roster is not None:
            self.roster.enter(self.keys)
        self._resize()

    def again(self, first: int, *, start: int, pane: int, roster: Roster | None) -> Block:
        """Return this empty block of one pane as that of another pane."""
        self.first, self.stop, self._start, self._pane = first, first + 1, start, pane
        self._begin(roster)
        return self

    def drop(self) -> None:
        """Be done: a small block of one pane is emptied and kept, as new memory costs more than clearing old."""
        if self._fused is None or self.keys.capacity > MOST_SPARE or len(self._spares) >= _SPARES:
            return
        self._fused.clear(self.keys, self.accumulators)
        self._saved = None
        self._counted = 0
        self._occupied[:] = False
        self._spares.append(self)

    def _resize(self) -> None:
        capacity = self.keys.capacity if self._pairs is None else self._pairs.capacity
        if capacity > self.accumulators.capacity:
            self.accumulators.resize(capacity)

    @property
    def size(self) -> int:
        """Number of groups, and keys of the roster without rows."""
        self.settle()
        return self.keys.size if self._pairs is None else self._pairs.size

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        pairs = 0 if self._pairs is None else self._pairs.nbytes
        return self.keys.nbytes + pairs + self.accumulators.nbytes

    def add(self, batch: pa.RecordBatch, times: Int64Array, select: Mask = NO_MASK) -> int:
        """Add the selected rows, all of them in panes of this block; return how many belong to the groups owned.

        Parameters
        ----------
        batch
            Events.
        times
            Their event times, ns.
        select
            Which rows; left out: all.
        """
        self.changed()
        slots = self.keys.slots(batch, select)
        if self._pairs is not None:
            slots = self._pairs.assign(self._words_at(slots, times), NO_MASK, slots >= 0, insert=True)
        self._resize()
        self.accumulators.update(slots, batch, times)
        return int(np.count_nonzero(slots >= 0))

    def lend(self, lender: Lender, threads: int) -> None:
        """Say who has so many other threads at most fill twins of this block, which `settle` merges."""
        self._lender = lender
        while len(self._twins) < threads:
            self._twins.append(twin := self._twin())
            self._idle.append(twin)

    def take(self) -> Block:
        """Return a twin that nobody else fills until it is given back; in another thread."""
        return self._idle.pop()

    def give_back(self, twin: Block) -> None:
        """Say that nobody fills a twin any more."""
        self._idle.append(twin)

    def _twin(self) -> Block:
        if self._spares:
            return self._spares.pop().again(self.first, start=self._start, pane=self._pane, roster=self.roster)
        return Block(
            self.first,
            self.stop,
            start=self._start,
            pane=self._pane,
            make_keys=self._make_keys,
            accumulators=self.accumulators.another(),
            fused=self._fused,
            spares=self._spares,
            roster=self.roster,
            capacity=self.keys.capacity,
        )

    def settle(self) -> None:
        """Take over what other threads have added."""
        if self._lender is not None:
            self._lender.finish(self.first)
            self._lender = None
        if not self._twins:
            return
        twins, self._twins, self._idle = self._twins, [], []
        for twin in twins:
            self.absorb_all(twin)
            twin.drop()

    def _words_at(self, keys: Slots, times: Int64Array) -> Int64Array:
        if have_compiler():
            from eventide.kernel.window.blocks_loops import pair_times

            words = np.empty(keys.size, np.int64)
            pair_times(keys, times, self._start, self._pane, _SHIFT, words)
            return words
        return (keys.astype(np.int64) << _SHIFT) | ((times - self._start) // self._pane & (MOST_PANES - 1))

    def _pair(self, keys: Slots, panes: Int64Array) -> Slots:
        assert self._pairs is not None
        words = (keys.astype(np.int64) << _SHIFT) | ((panes - self.first) & (MOST_PANES - 1))
        return self._pairs.assign(words, NO_MASK, keys >= 0, insert=True)

    def occupied(self) -> Int64Array:
        """Return the panes that have groups, in order."""
        size = self.size
        if self.roster is not None:
            if not self._occupied[0]:
                self._occupied[0] = self.present().size > 0
        elif size > self._counted:
            places = 0 if self._pairs is None else self._words(self._counted, size) & (MOST_PANES - 1)
            self._occupied[places] = True
            self._counted = size
        return np.flatnonzero(self._occupied) + self.first

    def present(self) -> Slots:
        """Return the slots of a block of one pane that have rows."""
        slots = np.arange(self.size, dtype=np.int32)
        if self.roster is None or self._fused is None:
            return slots
        return slots[self._fused.rows(self.accumulators, slots) > 0]

    def results(self) -> Results | None:
        """Return the results of a block of one pane, or None where the compiled pass cannot say them."""
        self.settle()
        if self._fused is None:
            return None
        roster = self.roster
        order = roster.order if roster is not None and roster.size == self.keys.size else None
        return self._fused.results(self.keys, self.accumulators, order)

    def next_roster(self) -> Roster | None:
        """Return the roster that fits the keys of this block: its own where that does."""
        if self._fused is None:
            return self.roster
        present = self.present()
        roster = self.roster
        if roster is not None and (self.size - roster.size) * 8 <= roster.size <= present.size * 2:
            return roster
        return roster_of(self.keys, present)

    def _words(self, first: int, stop: int) -> Int64Array:
        assert self._pairs is not None
        return self._pairs.words(np.arange(first, stop, dtype=np.int32))

    def groups(self, first: int, stop: int) -> Groups:
        """Return the groups of the panes `first` to `stop` (of which some may lie outside)."""
        if self._pairs is None:
            slots = self.present()
            if not first <= self.first < stop:
                slots = slots[:0]
            return Groups(slots, np.full(slots.size, self.first, np.int64), slots)
        slots = np.arange(self.size, dtype=np.int32)
        words = self._words(0, slots.size)
        if have_compiler():
            from eventide.kernel.window.blocks_loops import pick

            places, keys = np.empty(slots.size, np.int64), np.empty(slots.size, np.int32)
            low, high = max(0, first - self.first), min(stop, self.stop) - self.first
            found = pick(words, low, high, _SHIFT, slots, places, keys)
            return Groups(slots[:found], places[:found] + self.first, keys[:found])
        panes = (words & (MOST_PANES - 1)) + self.first
        slots = np.flatnonzero((panes >= first) & (panes < stop)).astype(np.int32)
        return Groups(slots, panes[slots], (words[slots] >> _SHIFT).astype(np.int32))

    def absorb_all(self, other: Block) -> None:
        """Add everything of another block, both of one pane, to this one."""
        other.settle()
        self.changed()
        fast = self._fused if other._fused is not None else None
        same = self.roster.size if self.roster is not None and self.roster is other.roster else 0
        mine, theirs = (self.keys, self.accumulators), (other.keys, other.accumulators)
        if fast is None or not fast.merge(mine, theirs, same=same):
            groups = other.groups(other.first, other.stop)
            self.absorb(other, groups, np.full(groups.slots.size, self.first))

    def absorb(self, other: Block, groups: Groups, panes: Int64Array) -> None:
        """Add groups of another block to `panes` of this one, group by group."""
        self.changed()
        into = self.keys.adopt(other.keys, groups.keys)
        if self._pairs is not None:
            into = self._pair(into, panes)
        self._resize()
        self.accumulators.merge(into, other.accumulators, groups.slots)

    def restore(self, keys: dict[str, pa.Array], panes: Int64Array, columns: State) -> None:
        """Take over groups from a snapshot, of keys that are not here yet; those of other key groups are left out."""
        self.changed()
        slots = self.keys.restore(keys, panes.size)
        if self._pairs is not None:
            slots = self._pair(slots, panes)
        self._resize()
        self.accumulators.restore(slots, columns)

    def save(self) -> pa.Table:
        """Return a block of one pane as a table: the same as the last time where nothing was added since."""
        self.settle()
        if self._saved is None:
            slots = self.present()
            columns = {f"key.{n}": a for n, a in self.keys.snapshot(slots).items()}
            columns |= {f"state.{n}": a for n, a in self.accumulators.compact(slots).items()}
            self._saved = pa.table(columns)
        return self._saved

    def load(self, keys: dict[str, pa.Array], columns: State, rows: int) -> None:
        """Take over what `save` has returned into this empty block; other key groups are left out."""
        self.changed()
        slots = self.keys.load(keys, rows)
        self.accumulators = self.accumulators.another()  # new memory is zero, old would have to be cleared
        self._resize()
        self.accumulators.restore(slots, columns)


def _pairs(capacity: int) -> PlainWordTable:
    if have_compiler():
        from eventide.kernel.keys_table import WordTable

        return WordTable(ALL_GROUPS, capacity)  # type: ignore[return-value]
    return PlainWordTable(ALL_GROUPS, capacity)

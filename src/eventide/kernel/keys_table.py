"""Hash tables from keys to dense slots, compiled: open addressing with linear probing, keys kept natively.

A table holds slot numbers only (int32); the keys lie in arrays by slot, so that doubling the table moves
four bytes a key. A slot that is released is given to the next new key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.kernel import keys_loops as loops
from eventide.kernel.hashing import NULL_HASH, hash_words
from eventide.kernel.keys_words import NO_MASK, Mask, TextColumn

__all__ = ["BytesTable", "WordTable", "larger"]

Slots = npt.NDArray[np.int32]

_NULL_GROUP = int(NULL_HASH >> np.uint64(56))


_SPREAD = 100_000
"""Tables of more keys than this are filled part by part."""

_PARTS = 8


def larger(capacity: int) -> int:
    """Return the next capacity of a growing array: doubling while small, then in steps that take a few ms."""
    return capacity + max(256, min(capacity, 65_536), capacity >> 2)


def _table_for(capacity: int) -> npt.NDArray[np.int32]:
    # Small tables are kept sparse: a probe that goes on is a branch mispredicted.
    return np.full(1 << max(9, ((4 if capacity < 65_536 else 2) * capacity - 1).bit_length()), -1, np.int32)


class _Slots:
    """The part that both kinds of table share: slot numbers, free slots and the slot of null."""

    def __init__(self, groups: range, capacity: int) -> None:
        self._low, self._high = groups.start, groups.stop
        self._meta = np.zeros(6, np.int64)
        self._meta[loops.NULL] = -1
        self._free = np.empty(0, np.int32)
        self._table = _table_for(capacity)
        self.capacity = capacity

    @property
    def size(self) -> int:
        """Number of keys held."""
        return int(self._meta[loops.NEXT] - self._meta[loops.FREE])

    def _live(self) -> Slots:
        live = np.ones(int(self._meta[loops.NEXT]), np.bool_)
        live[self._free[: int(self._meta[loops.FREE])]] = False
        null = int(self._meta[loops.NULL])
        if null >= 0:
            live[null] = False
        return np.flatnonzero(live).astype(np.int32)

    def _room_to_free(self) -> None:
        if self._free.size < self.capacity:
            self._free = np.resize(self._free, self.capacity) if self._free.size else np.empty(self.capacity, np.int32)

    def _load(self, hashes: npt.NDArray[np.uint64], null: int) -> None:
        """Enter distinct keys, key i with slot i, into an empty table with room for them."""
        self._meta[loops.NEXT] = hashes.size
        self._meta[loops.NULL] = null
        self._table = _table_for(self.capacity)
        loops.fill_spread(self._table, hashes, null, 0 if hashes.size < _SPREAD else _PARTS)

    def is_null(self, slots: Slots) -> Mask:
        """Tell which slots are the null key's; `NO_MASK` when none is."""
        null = int(self._meta[loops.NULL])
        return NO_MASK if null < 0 else slots == null


class WordTable(_Slots):
    """From 64-bit words (and null) to slots.

    Examples
    --------
    >>> t = WordTable(range(256))
    >>> t.assign(np.array([7, 9, 7]), NO_MASK, NO_MASK, insert=True).tolist()
    [0, 1, 0]
    """

    def __init__(self, groups: range, capacity: int = 256) -> None:
        super().__init__(groups, capacity)
        self._keys = np.empty(capacity, np.int64)

    def assign(self, words: npt.NDArray[np.int64], valid: Mask, select: Mask, *, insert: bool) -> Slots:
        """Return the slot of every row; -1 for rows of other groups, not selected, or not found."""
        out = np.empty(words.size, np.int32)
        row = 0
        while True:
            row = loops.assign_words(
                words, valid, select, self._low, self._high, insert, _NULL_GROUP, row,
                self._table, self._keys, self._free, self._meta, out,
            )  # fmt: skip
            if row == words.size:
                return out
            self.grow()

    def load(self, words: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], null: int) -> None:
        """Take over distinct keys into this empty table: key i gets slot i.

        Parameters
        ----------
        words, hashes
            The keys and their hashes.
        null
            Which of them is null, or -1.
        """
        self.capacity = max(self.capacity, larger(words.size))
        self._keys = np.empty(self.capacity, np.int64)
        self._keys[: words.size] = words
        if null >= 0:
            self._keys[null] = 0
        self._load(hashes, null)

    @property
    def dense(self) -> npt.NDArray[np.int64] | None:
        """The keys by slot, where every slot from the first on is a key; None when there are gaps or a null."""
        meta = self._meta
        return None if meta[loops.NULL] >= 0 or meta[loops.FREE] else self._keys[: int(meta[loops.NEXT])]

    def clear(self) -> None:
        """Forget all keys and keep the memory."""
        self._table.fill(-1)
        self._meta[:] = 0
        self._meta[loops.NULL] = -1

    def begin_with(self, table: npt.NDArray[np.int32], words: npt.NDArray[np.int64]) -> None:
        """Take over keys, of which word i has slot i, into this empty table.

        Parameters
        ----------
        table
            A hash table of these slots.
        words
            The keys, none of them null.
        """
        while self.capacity < words.size:
            self.grow()
        self._keys[: words.size] = words
        self._meta[loops.NEXT] = words.size
        if table.size == self._table.size:
            self._table[:] = table
        else:
            loops.fill_words(self._table, self._keys, words.size, -1)

    @property
    def arrays(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], Slots, npt.NDArray[np.int64]]:
        """The table, the keys by slot, the free slots and the counters, for loops that fill it themselves."""
        return self._table, self._keys, self._free, self._meta

    def grow(self) -> None:
        """Make room for more keys."""
        # No slot is free when a table is full, so that all below NEXT are in use.
        self.capacity = larger(self.capacity)
        self._keys.resize(self.capacity, refcheck=False)
        if 2 * self.capacity > self._table.size:
            self._table = _table_for(self.capacity + (self.capacity >> 1))
            count, null = int(self._meta[loops.NEXT]), int(self._meta[loops.NULL])
            if count < _SPREAD:
                loops.fill_words(self._table, self._keys, count, null)
            else:
                loops.fill_spread(self._table, hash_words(self._keys[:count]), null, _PARTS)

    def release(self, slots: Slots) -> None:
        """Free slots for other keys."""
        self._room_to_free()
        loops.release_words(slots, self._keys, self._table, self._free, self._meta)

    def words(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return the words of slots."""
        return self._keys[slots]

    def hashes(self, slots: Slots) -> npt.NDArray[np.uint64]:
        """Return the hashes of slots."""
        out = hash_words(self._keys[slots])
        null = self.is_null(slots)
        if null.size:
            out[null] = NULL_HASH
        return out

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._table.nbytes + self._keys.nbytes + self._free.nbytes


class BytesTable(_Slots):
    """From rows of bytes (and null) to slots; a hash only points the way, the bytes decide.

    Examples
    --------
    >>> rows = TextColumn(np.array([0, 1, 2]), np.frombuffer(b"ab", np.uint8))
    >>> t = BytesTable(range(256))
    >>> t.assign(rows, np.array([1, 1], np.uint64), NO_MASK, NO_MASK, insert=True).tolist()
    [0, 1]
    """

    def __init__(self, groups: range, capacity: int = 256) -> None:
        super().__init__(groups, capacity)
        self._hashes = np.empty(capacity, np.uint64)
        self._starts = np.empty(capacity, np.int64)
        self._lengths = np.empty(capacity, np.int32)
        self._arena = np.empty(16 * capacity, np.uint8)

    def assign(
        self, rows: TextColumn, hashes: npt.NDArray[np.uint64], valid: Mask, select: Mask, *, insert: bool
    ) -> Slots:
        """Return the slot of every row; -1 for rows of other groups, not selected, or not found."""
        out = np.empty(hashes.size, np.int32)
        row = 0
        while True:
            self._meta[loops.NEED] = 0
            row = loops.assign_bytes(
                hashes, rows.offsets, rows.data, valid, select, self._low, self._high, insert, row,
                self._table, self._hashes, self._starts, self._lengths, self._arena, self._free, self._meta, out,
            )  # fmt: skip
            if row == hashes.size:
                return out
            self._grow()

    def load(self, rows: TextColumn, hashes: npt.NDArray[np.uint64], null: int) -> None:
        """Take over distinct keys into this empty table: key i gets slot i.

        Parameters
        ----------
        rows, hashes
            The keys and their hashes.
        null
            Which of them is null, or -1.
        """
        n = hashes.size
        self.capacity = max(self.capacity, larger(n))
        self._hashes = np.empty(self.capacity, np.uint64)
        self._starts = np.empty(self.capacity, np.int64)
        self._lengths = np.empty(self.capacity, np.int32)
        begin, end = int(rows.offsets[0]), int(rows.offsets[-1])
        self._arena = np.empty(max(16 * self.capacity, end - begin), np.uint8)
        self._arena[: end - begin] = rows.data[begin:end]
        self._hashes[:n] = hashes
        np.subtract(rows.offsets[:-1], begin, out=self._starts[:n])
        self._lengths[:n] = np.diff(rows.offsets)
        self._meta[loops.USED] = end - begin
        self._load(hashes, null)

    def _grow(self) -> None:
        meta = self._meta
        need = int(meta[loops.NEED])
        if need:
            self._arena.resize(max(need, 2 * self._arena.size), refcheck=False)
            return
        self.capacity = larger(self.capacity)
        for array in (self._hashes, self._starts, self._lengths):
            array.resize(self.capacity, refcheck=False)
        if 2 * self.capacity > self._table.size:
            self._table = _table_for(self.capacity + (self.capacity >> 1))
            count, null = int(meta[loops.NEXT]), int(meta[loops.NULL])
            loops.fill_spread(self._table, self._hashes[:count], null, 0 if count < _SPREAD else _PARTS)

    def release(self, slots: Slots) -> None:
        """Free slots for other keys; the bytes are given back when half of them are unused."""
        self._room_to_free()
        meta = self._meta
        meta[loops.DEAD] += int(self._lengths[slots].sum())
        loops.release_slots(slots, self._hashes, self._table, self._free, meta)
        if 2 * meta[loops.DEAD] > meta[loops.USED] and meta[loops.USED] > 65_536:
            live = self._live()
            kept = self.rows(live)
            self._starts[live] = kept.offsets[:-1]
            self._arena = np.empty(max(4_096, 2 * kept.data.size), np.uint8)
            self._arena[: kept.data.size] = kept.data
            meta[loops.USED], meta[loops.DEAD] = kept.data.size, 0

    def rows(self, slots: Slots) -> TextColumn:
        """Return the bytes of slots; the null key has none."""
        n, used = slots.size, int(self._meta[loops.USED])
        whole = n == self._meta[loops.NEXT] and not self._meta[loops.FREE] and not self._meta[loops.DEAD]
        if whole and n and np.array_equal(slots, np.arange(n)):  # then they lie in the arena one after another
            return TextColumn(np.append(self._starts[:n], used), self._arena[:used].copy())
        lengths = self._lengths[slots]
        offsets = np.zeros(slots.size + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(int(offsets[-1]), np.uint8)
        loops.take_bytes(self._starts[slots], lengths, self._arena, data)
        return TextColumn(offsets, data)

    def hashes(self, slots: Slots) -> npt.NDArray[np.uint64]:
        """Return the hashes of slots."""
        return self._hashes[slots]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = (self._table, self._hashes, self._starts, self._lengths, self._arena, self._free)
        return sum(a.nbytes for a in held)

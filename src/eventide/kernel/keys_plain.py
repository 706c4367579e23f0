"""The tables of `keys_table` without a compiler: the same slots for the same rows, in numpy.

Words are found by binary search in a sorted copy; bytes through a dictionary of Python's, asked once per
distinct row of a batch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.hashing import NULL_HASH, hash_words, key_groups
from eventide.kernel.keys_words import NO_MASK, Mask, TextColumn

__all__ = ["PlainBytesTable", "PlainWordTable", "join_rows"]

Slots = npt.NDArray[np.int32]


def join_rows(parts: list[bytes]) -> TextColumn:
    """Return byte strings as one text column."""
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(p) for p in parts], out=offsets[1:])
    return TextColumn(offsets, np.frombuffer(b"".join(parts), np.uint8))


class _PlainSlots:
    """Slot numbers, free slots and the slot of null."""

    def __init__(self, groups: range, capacity: int) -> None:
        self._low, self._high = groups.start, groups.stop
        self._next = 0
        self._free: list[int] = []
        self._null = -1
        self.capacity = capacity

    @property
    def size(self) -> int:
        """Number of keys held."""
        return self._next - len(self._free)

    def _new(self) -> int:
        if self._free:
            return self._free.pop()
        self._next += 1
        while self._next > self.capacity:
            self.capacity += max(256, min(self.capacity, 65_536), self.capacity >> 2)
        return self._next - 1

    def is_null(self, slots: Slots) -> Mask:
        """Tell which slots are the null key's; `NO_MASK` when none is."""
        return NO_MASK if self._null < 0 else slots == self._null

    def _ours(self, hashes: npt.NDArray[np.uint64], select: Mask) -> Mask:
        groups = key_groups(hashes)
        mine: Mask = (groups >= self._low) & (groups < self._high)
        return mine & select if select.size else mine


class PlainWordTable(_PlainSlots):
    """From 64-bit words (and null) to slots.

    Examples
    --------
    >>> t = PlainWordTable(range(256))
    >>> t.assign(np.array([7, 9, 7]), NO_MASK, NO_MASK, insert=True).tolist()
    [0, 1, 0]
    """

    def __init__(self, groups: range, capacity: int = 256) -> None:
        super().__init__(groups, capacity)
        self._keys = np.zeros(capacity, np.int64)
        self._sorted = np.empty(0, np.int64)
        self._order = np.empty(0, np.int32)

    def assign(self, words: npt.NDArray[np.int64], valid: Mask, select: Mask, *, insert: bool) -> Slots:
        """Return the slot of every row; -1 for rows of other groups, not selected, or not found."""
        hashes = hash_words(words)
        if valid.size:
            hashes[~valid] = NULL_HASH
        ours = self._ours(hashes, select)
        out = np.full(words.size, -1, np.int32)
        if valid.size == 0:
            rows, nulls = np.flatnonzero(ours), np.empty(0, np.int64)
        else:
            rows, nulls = np.flatnonzero(ours & valid), np.flatnonzero(ours & ~valid)
        distinct, first, inverse = np.unique(words[rows], return_index=True, return_inverse=True)
        slots = self._find(distinct)
        if insert:
            self._insert(distinct, rows[first], slots, int(nulls[0]) if nulls.size else -1)
        out[rows] = slots[inverse.ravel()]
        out[nulls] = self._null
        return out

    def load(self, words: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], null: int) -> None:
        """Take over distinct keys into this empty table: key i gets slot i, but for the one that is null."""
        valid = np.arange(words.size) != null if null >= 0 else NO_MASK
        self.assign(words, valid, NO_MASK, insert=True)

    def _find(self, distinct: npt.NDArray[np.int64]) -> Slots:
        if self._sorted.size == 0:
            return np.full(distinct.size, -1, np.int32)
        at = np.minimum(np.searchsorted(self._sorted, distinct), self._sorted.size - 1)
        found: Slots = np.where(self._sorted[at] == distinct, self._order[at], -1).astype(np.int32)
        return found

    def _insert(
        self, distinct: npt.NDArray[np.int64], first: npt.NDArray[np.intp], slots: Slots, null_row: int
    ) -> None:
        # New keys take their slots in the order of their first rows, null among them, as in the compiled table.
        new = np.flatnonzero(slots < 0)
        where = [(int(first[i]), int(i)) for i in new]
        if null_row >= 0 and self._null < 0:
            where.append((null_row, -1))
        if not where:
            return
        for _, i in sorted(where):
            slot = self._new()
            if i < 0:
                self._null = slot
            else:
                slots[i] = slot
        if self._keys.size < self.capacity:
            self._keys = np.concatenate([self._keys, np.zeros(self.capacity - self._keys.size, np.int64)])
        self._keys[slots[new]] = distinct[new]
        if self._null >= 0:
            self._keys[self._null] = 0
        keys = np.concatenate([self._sorted, distinct[new]])
        order = np.argsort(keys, kind="stable")
        self._sorted = keys[order]
        self._order = np.concatenate([self._order, slots[new]])[order].astype(np.int32)

    def release(self, slots: Slots) -> None:
        """Free slots for other keys."""
        self._free.extend(int(s) for s in slots)
        keep = ~np.isin(self._order, slots)
        self._sorted, self._order = self._sorted[keep], self._order[keep]
        if self._null >= 0 and np.any(slots == self._null):
            self._null = -1

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
        return self._keys.nbytes + self._sorted.nbytes + self._order.nbytes


class PlainBytesTable(_PlainSlots):
    """From rows of bytes (and null) to slots.

    Examples
    --------
    >>> t = PlainBytesTable(range(256))
    >>> t.assign(join_rows([b"a", b"b"]), np.array([1, 1], np.uint64), NO_MASK, NO_MASK, insert=True).tolist()
    [0, 1]
    """

    def __init__(self, groups: range, capacity: int = 256) -> None:
        super().__init__(groups, capacity)
        self._slot_of: dict[bytes, int] = {}
        self._kept: list[bytes] = []
        self._hash_of: list[int] = []

    def assign(
        self, rows: TextColumn, hashes: npt.NDArray[np.uint64], valid: Mask, select: Mask, *, insert: bool
    ) -> Slots:
        """Return the slot of every row; -1 for rows of other groups, not selected, or not found."""
        out = np.full(hashes.size, -1, np.int32)
        chosen = np.flatnonzero(self._ours(hashes, select))
        if chosen.size == 0:
            return out
        # A dictionary is in order of first appearance, which is the order of the compiled table.
        coded = rows.array(valid, pa.binary()).take(pa.array(chosen)).dictionary_encode(null_encoding="encode")
        codes = coded.indices.to_numpy()
        first = np.empty(len(coded.dictionary), np.int64)
        first[codes[::-1]] = chosen[::-1]
        slots = [
            self._slot_of_key(key, int(h), insert=insert)
            for key, h in zip(coded.dictionary.to_pylist(), hashes[first], strict=True)
        ]
        out[chosen] = np.array(slots, np.int32)[codes]
        return out

    def load(self, rows: TextColumn, hashes: npt.NDArray[np.uint64], null: int) -> None:
        """Take over distinct keys into this empty table: key i gets slot i, but for the one that is null."""
        valid = np.arange(hashes.size) != null if null >= 0 else NO_MASK
        self.assign(rows, hashes, valid, NO_MASK, insert=True)

    def _slot_of_key(self, key: bytes | None, hashed: int, *, insert: bool) -> int:
        if key is None:
            if self._null < 0 and insert:
                self._null = self._keep(b"", hashed)
            return self._null
        slot = self._slot_of.get(key, -1)
        if slot < 0 and insert:
            slot = self._keep(key, hashed)
            self._slot_of[key] = slot
        return slot

    def _keep(self, key: bytes, hashed: int) -> int:
        slot = self._new()
        if slot == len(self._kept):
            self._kept.append(key)
            self._hash_of.append(hashed)
        else:
            self._kept[slot], self._hash_of[slot] = key, hashed
        return slot

    def release(self, slots: Slots) -> None:
        """Free slots for other keys."""
        for slot in slots.tolist():
            self._free.append(slot)
            if slot == self._null:
                self._null = -1
            else:
                del self._slot_of[self._kept[slot]]
            self._kept[slot] = b""

    def rows(self, slots: Slots) -> TextColumn:
        """Return the bytes of slots; the null key has none."""
        return join_rows([self._kept[s] for s in slots.tolist()])

    def hashes(self, slots: Slots) -> npt.NDArray[np.uint64]:
        """Return the hashes of slots."""
        return np.array([self._hash_of[s] for s in slots.tolist()], np.uint64)

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        return sum(map(len, self._kept)) + 120 * len(self._kept)

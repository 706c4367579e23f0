"""Keys of a stream: their hashes, their key groups, and the index from key values to dense slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError, near_names
from eventide.kernel.compiled import have_compiler
from eventide.kernel.hashing import Hashes, hash_columns, key_groups, key_hashes
from eventide.kernel.keys_pack import pack, unpack
from eventide.kernel.keys_plain import PlainBytesTable, PlainWordTable
from eventide.kernel.keys_words import (
    NO_MASK,
    Mask,
    plain_key,
    text_of,
    validity,
    word_type,
    words_of,
    words_to_array,
)
from eventide.model.state import ALL_GROUPS

if TYPE_CHECKING:
    from eventide.kernel.keys_table import WordTable

__all__ = ["KeyIndex", "key_groups", "key_hashes"]

Slots = npt.NDArray[np.int32]


class KeyIndex:
    """From the key values of rows to dense slots, exactly: keys are kept and compared, a hash only finds them.

    New keys take slots 0, 1, 2 ... in order of appearance; a released slot goes to the next new key. All
    arrays by slot can be dimensioned by `capacity`, which only grows. Without keys there is one slot, 0,
    of key group 0.

    Parameters
    ----------
    schema
        Schema of the batches.
    keys
        Names of the key columns; integers, floats, booleans, times, text or bytes, nulls included.
    groups
        The key groups that are held; rows of others get slot -1.
    capacity
        How many keys to make room for at once.

    Raises
    ------
    SchemaError
        A key column is missing, or its type cannot be a key.

    Examples
    --------
    >>> index = KeyIndex(pa.schema([("id", pa.string())]), ("id",))
    >>> index.slots(pa.record_batch({"id": ["b", "a", "b"]})).tolist()
    [0, 1, 0]
    >>> index.key_columns(np.array([1, 0], np.int32))[0].to_pylist()
    ['a', 'b']
    """

    def __init__(
        self, schema: pa.Schema, keys: Sequence[str], groups: range = ALL_GROUPS, *, capacity: int = 256
    ) -> None:
        for name in keys:
            if name not in schema.names:
                msg = f"there is no column {name!r} to key by"
                raise SchemaError(msg, hint=near_names(name, schema.names))
        self.keys = tuple(keys)
        self.groups = groups
        self.types = [schema.field(name).type for name in keys]
        self._plain = [plain_key(pa.array([], t), what=n).type for n, t in zip(keys, self.types, strict=True)]
        self._words: PlainWordTable | None = None
        self._bytes: PlainBytesTable | None = None
        self._used = False
        if len(keys) == 1 and word_type(self._plain[0]):
            self._words = _word_table(groups, capacity)
        elif keys:
            self._bytes = _bytes_table(groups, capacity)

    def slots(self, batch: pa.RecordBatch, select: Mask = NO_MASK) -> Slots:
        """Return the slot of every row (int32), inserting new keys; -1 for rows of other key groups.

        Parameters
        ----------
        batch
            Events.
        select
            Rows to look at, bool; the others get -1. Left out: all.
        """
        return self._assign(self._key_arrays(batch), batch.num_rows, select, insert=True)

    def lookup(self, batch: pa.RecordBatch) -> Slots:
        """Return the slot of every row (int32); -1 for keys that are not held."""
        return self._assign(self._key_arrays(batch), batch.num_rows, NO_MASK, insert=False)

    def _key_arrays(self, batch: pa.RecordBatch) -> list[pa.Array]:
        find = batch.schema.get_field_index
        places = [find(name) for name in self.keys]
        if -1 in places:
            msg = f"there is no column {self.keys[places.index(-1)]!r} to key by"
            raise SchemaError(msg, hint=near_names(self.keys[places.index(-1)], batch.schema.names))
        return [batch.column(at) for at in places]

    def _assign(self, columns: Sequence[pa.Array], rows: int, select: Mask, *, insert: bool) -> Slots:
        if not self.keys:
            return self._constant(rows, select, insert=insert)
        arrays = [
            c if c.type == plain else plain_key(c, what=n)
            for c, n, plain in zip(columns, self.keys, self._plain, strict=True)
        ]
        if self._words is not None:
            return self._words.assign(words_of(arrays[0]), validity(arrays[0]), select, insert=insert)
        assert self._bytes is not None
        hashes = hash_columns(arrays)
        if len(arrays) == 1:
            return self._bytes.assign(text_of(arrays[0]), hashes, validity(arrays[0]), select, insert=insert)
        return self._bytes.assign(pack(arrays), hashes, NO_MASK, select, insert=insert)

    def _constant(self, rows: int, select: Mask, *, insert: bool) -> Slots:
        held = 0 in self.groups and (insert or self._used)
        self._used |= held and rows > 0
        out = np.full(rows, 0 if held else -1, np.int32)
        if select.size:
            out[~select] = -1
        return out

    def key_columns(self, slots: Slots) -> list[pa.Array]:
        """Return the key values of slots, in key order and in the types of the schema."""
        if self._words is not None:
            out = [words_to_array(self._words.words(slots), _valid(self._words, slots), self._plain[0])]
        elif self._bytes is None:
            return []
        elif len(self.keys) > 1:
            out = unpack(self._bytes.rows(slots), self._plain)
        else:
            out = [self._bytes.rows(slots).array(_valid(self._bytes, slots), self._plain[0])]
        return [_as(a, t) for a, t in zip(out, self.types, strict=True)]

    def column_of(self, words: npt.NDArray[np.int64]) -> pa.Array:
        """Return keys of one 64-bit word as the column of the schema."""
        return _as(words_to_array(words, NO_MASK, self._plain[0]), self.types[0])

    @property
    def word_table(self) -> WordTable:
        """The compiled table of keys that are one 64-bit word, for loops that fill it themselves."""
        from eventide.kernel.keys_table import WordTable

        assert isinstance(self._words, WordTable)
        return self._words

    def hashes_of(self, slots: Slots) -> Hashes:
        """Return the hashes of the keys of slots (see `key_hashes`)."""
        if self._words is not None:
            return self._words.hashes(slots)
        return np.zeros(slots.size, np.uint64) if self._bytes is None else self._bytes.hashes(slots)

    def groups_of(self, slots: Slots) -> npt.NDArray[np.int32]:
        """Return the key groups of slots."""
        return key_groups(self.hashes_of(slots))

    def release(self, slots: Slots) -> None:
        """Forget the keys of slots and give the slots to later keys.

        Parameters
        ----------
        slots
            Slots in use, each once.
        """
        if self._words is not None:
            self._words.release(np.asarray(slots, np.int32))
        elif self._bytes is not None:
            self._bytes.release(np.asarray(slots, np.int32))
        elif len(slots):
            self._used = False

    def snapshot(self, slots: Slots) -> dict[str, pa.Array]:
        """Return the keys of slots as columns by name."""
        return dict(zip(self.keys, self.key_columns(slots), strict=True))

    def restore(self, columns: Mapping[str, pa.Array], rows: int) -> Slots:
        """Take over keys from a snapshot and return their slots; -1 for those of other key groups.

        Parameters
        ----------
        columns
            Key columns by name.
        rows
            How many keys these are (a stream without keys has no column that would say it).
        """
        return self._assign([_flat(columns[k]) for k in self.keys], rows, NO_MASK, insert=True)

    def load(self, columns: Mapping[str, pa.Array], rows: int) -> Slots:
        """Do what `restore` does for keys that are all different, which is much faster where there are many.

        Parameters
        ----------
        columns
            Key columns by name.
        rows
            How many keys these are.
        """
        table = self._table
        if table is None or table.size:
            return self.restore(columns, rows)
        arrays = [plain_key(_flat(columns[k]), what=k) for k in self.keys]
        hashes = hash_columns(arrays)
        out = np.arange(rows, dtype=np.int32)
        if self.groups != ALL_GROUPS:
            groups = key_groups(hashes)
            mine = np.flatnonzero((groups >= self.groups.start) & (groups < self.groups.stop))
            out = np.full(rows, -1, np.int32)
            out[mine] = np.arange(mine.size, dtype=np.int32)
            arrays, hashes = [a.take(pa.array(mine)) for a in arrays], hashes[mine]
        single = len(arrays) == 1
        null = int(np.flatnonzero(~validity(arrays[0]))[0]) if single and arrays[0].null_count else -1
        if self._words is not None:
            self._words.load(words_of(arrays[0]), hashes, null)
        elif self._bytes is not None:
            self._bytes.load(text_of(arrays[0]) if single else pack(arrays), hashes, null)
        return out

    def adopt(self, other: KeyIndex, slots: Slots) -> Slots:
        """Take over the keys of some slots of another index of the same keys, and return their slots here.

        Parameters
        ----------
        other
            An index of the same key columns.
        slots
            Slots in use there.
        """
        if self._words is not None and other._words is not None:
            return self._words.assign(other._words.words(slots), _valid(other._words, slots), NO_MASK, insert=True)
        if self._bytes is not None and other._bytes is not None:
            theirs = other._bytes
            rows, hashes = theirs.rows(slots), theirs.hashes(slots)
            return self._bytes.assign(rows, hashes, _valid(theirs, slots), NO_MASK, insert=True)
        return self._constant(slots.size, NO_MASK, insert=True)

    @property
    def _table(self) -> PlainWordTable | PlainBytesTable | None:
        return self._words if self._words is not None else self._bytes

    @property
    def size(self) -> int:
        """Number of keys held."""
        table = self._table
        return int(self._used) if table is None else table.size

    @property
    def capacity(self) -> int:
        """All slots are below this; it only grows."""
        table = self._table
        return 1 if table is None else table.capacity

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        table = self._table
        return 0 if table is None else table.nbytes


def _valid(table: PlainWordTable | PlainBytesTable, slots: Slots) -> Mask:
    null = table.is_null(slots)
    return ~null if null.size and null.any() else NO_MASK


def _flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    return array.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else array.cast(kind)


def _word_table(groups: range, capacity: int) -> PlainWordTable:
    if have_compiler():
        from eventide.kernel.keys_table import WordTable

        return WordTable(groups, capacity)  # type: ignore[return-value]
    return PlainWordTable(groups, capacity)


def _bytes_table(groups: range, capacity: int) -> PlainBytesTable:
    if have_compiler():
        from eventide.kernel.keys_table import BytesTable

        return BytesTable(groups, capacity)  # type: ignore[return-value]
    return PlainBytesTable(groups, capacity)

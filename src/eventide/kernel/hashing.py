"""Hashes of keys: the same on every machine, in every version, compiled or not, because they decide where state lives.

64-bit words (integers, times, booleans, floats by their canonical bits) go through the finaliser of
SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA); text
and bytes through FNV-1a 64 (Fowler, Noll and Vo), finished by the same mixer. Integers of all widths
that are equal have equal hashes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import NO_MASK, Mask, TextColumn, is_text, plain_key, text_of, validity, words_of
from eventide.model.batch import column

__all__ = ["NULL_HASH", "combine", "hash_text", "hash_words", "key_groups", "key_hashes"]

Hashes = npt.NDArray[np.uint64]

NULL_HASH = np.uint64(0x6E756C6C5F6B6579)
"""Hash of a null."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


def _mix(z: Hashes) -> Hashes:
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _M1
    z = (z ^ (z >> np.uint64(27))) * _M2
    return z ^ (z >> np.uint64(31))


def hash_words(words: npt.NDArray[np.int64]) -> Hashes:
    """Hash 64-bit words.

    Examples
    --------
    >>> hash_words(np.array([0])).tolist()
    [16294208416658607535]
    """
    if have_compiler():
        from eventide.kernel.keys_loops import mix_words

        out = np.empty(words.size, np.uint64)
        mix_words(words, out)
        return out
    return _mix(words.view(np.uint64))


def hash_text(rows: TextColumn) -> Hashes:
    """Hash rows of bytes."""
    count = rows.offsets.size - 1
    out = np.empty(count, np.uint64)
    if have_compiler():
        from eventide.kernel.keys_loops import fnv

        fnv(rows.offsets, rows.data, out)
        return out
    lengths = np.diff(rows.offsets)
    order = np.argsort(lengths, kind="stable")
    starts = rows.offsets[:-1][order]
    ends = np.searchsorted(lengths[order], np.arange(int(lengths.max(initial=0))), side="right")
    h = np.full(count, _FNV_START)
    for position, first in enumerate(ends):
        h[first:] = (h[first:] ^ rows.data[starts[first:] + position].astype(np.uint64)) * _FNV_PRIME
    out[order] = _mix(h)
    return out


def combine(first: Hashes, second: Hashes) -> Hashes:
    """Hash of a pair of hashes; the order of the two matters."""
    return _mix((first * np.uint64(31)) ^ second)


def _hash_column(array: pa.Array) -> Hashes:
    valid: Mask = validity(array)
    hashes = hash_text(text_of(array)) if is_text(array.type) else hash_words(words_of(array))
    if valid is not NO_MASK:
        hashes[~valid] = NULL_HASH
    return hashes


def key_hashes(batch: pa.RecordBatch, keys: Sequence[str]) -> Hashes:
    """Return a 64-bit hash of the key of every row; all rows of a stream without keys have hash 0.

    Parameters
    ----------
    batch
        Events.
    keys
        Names of the key columns.

    Raises
    ------
    SchemaError
        A key column is missing, or its type cannot be a key.

    Examples
    --------
    >>> b = pa.record_batch({"id": pa.array([7, 8, 7]), "site": ["a", "b", "a"]})
    >>> h = key_hashes(b, ["id", "site"])
    >>> bool(h[0] == h[2]), bool(h[0] == h[1])
    (True, False)
    """
    if not keys:
        return np.zeros(batch.num_rows, np.uint64)
    return hash_columns([plain_key(column(batch, name, where="to key by"), what=name) for name in keys])


def hash_columns(columns: Sequence[pa.Array]) -> Hashes:
    """Return a 64-bit hash of every row of plain key columns."""
    total = _hash_column(columns[0])
    for array in columns[1:]:
        total = combine(total, _hash_column(array))
    return total


def key_groups(hashes: Hashes) -> npt.NDArray[np.int32]:
    """Return the key group, 0 to 255, of hashes: their top eight bits.

    Examples
    --------
    >>> key_groups(np.array([0, 2**63], np.uint64)).tolist()
    [0, 128]
    """
    return (hashes >> np.uint64(56)).astype(np.int32)

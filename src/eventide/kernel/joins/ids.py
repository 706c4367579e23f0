"""Ids by which the rows of two sides are compared: the key itself where it is one 64-bit word, else its hash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eventide.kernel.joins.pairs import Pairs
from eventide.kernel.joins.side import Side
from eventide.kernel.keys import key_hashes
from eventide.kernel.keys_words import plain_key, word_type, words_of
from eventide.model.batch import Int64Array

__all__ = ["Ids"]


def _same(left: pa.Array, right: pa.Array, pairs: Pairs) -> bool:
    """Tell whether a key column has equal values in both rows of every pair."""
    paired = pairs.right >= 0
    rows = pairs.left[paired], pairs.right[paired]
    left, right = plain_key(left), plain_key(right)
    if word_type(left.type):
        return bool((words_of(left)[rows[0]] == words_of(right)[rows[1]]).all())
    same = pc.equal(left.take(pa.array(rows[0])), right.take(pa.array(rows[1])))
    return not len(same) or bool(pc.all(same).as_py())


def _codes(left: pa.Array, right: pa.Array) -> tuple[Int64Array, Int64Array]:
    """Return numbers of the values of two arrays, equal exactly where the values are."""
    left, right = plain_key(left), plain_key(right)
    if word_type(left.type):
        return words_of(left), words_of(right)
    both = pa.concat_arrays([left, right]).dictionary_encode(null_encoding="encode")
    codes: Int64Array = both.indices.to_numpy().astype(np.int64)
    return codes[: len(left)], codes[len(left) :]


class Ids:
    """Make ids of keys, and see to it that only rows with equal keys pair."""

    def __init__(self, sides: tuple[Side, Side]) -> None:
        self._keys = tuple(zip(sides[0].keys, sides[1].keys, strict=True))
        self._exact = len(self._keys) == 1 and bool(word_type(sides[0].schema.field(sides[0].keys[0]).type))

    def pairs(
        self, left: pa.RecordBatch, right: pa.RecordBatch, find: Callable[[Int64Array, Int64Array], Pairs]
    ) -> Pairs:
        """Return what `find` makes of the ids of two batches; where two keys have one hash it is asked again."""
        if self._exact:
            one, other = self._keys[0]
            return find(words_of(left.column(one)), words_of(right.column(other)))
        lefts, rights = zip(*self._keys, strict=True)
        pairs = find(key_hashes(left, lefts).view(np.int64), key_hashes(right, rights).view(np.int64))
        if all(_same(left.column(a), right.column(b), pairs) for a, b in self._keys):
            return pairs
        return find(*self._numbers(left, right))

    def _numbers(self, left: pa.RecordBatch, right: pa.RecordBatch) -> tuple[Int64Array, Int64Array]:
        """Return ids that are equal only for equal keys: slow, and only needed when hashes collide."""
        ids = np.zeros(left.num_rows + right.num_rows, np.int64)
        for one, other in self._keys:
            codes = np.concatenate(_codes(left.column(one), right.column(other)))
            both = np.stack([ids, codes], axis=1)
            ids = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return ids[: left.num_rows], ids[left.num_rows :]

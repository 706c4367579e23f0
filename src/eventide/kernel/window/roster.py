"""Rosters: the keys that a pane begins with, so that equal keys have equal slots in neighbouring panes.

The keys of a stream seldom change from one pane to the next. Panes that begin with the same roster are merged slot by
slot, without looking up a key, and their results need no sorting, because a roster is in the order of key hashes. A
key of the roster that a pane never meets stays without rows and is not emitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.kernel.hashing import hash_words
from eventide.kernel.keys import KeyIndex
from eventide.kernel.keys_words import NO_MASK
from eventide.kernel.window.order import hash_order
from eventide.model.batch import Int64Array
from eventide.model.state import ALL_GROUPS

__all__ = ["MOST_KEYS", "Roster", "roster_of"]

MOST_KEYS = 16_384
"""Larger rosters would cost more memory than they save time."""


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """Keys in the order of their hashes: key i has slot i.

    Parameters
    ----------
    table
        The hash table of the slots.
    words
        The keys.
    order
        The slots by hash: 0, 1, 2 ...
    """

    table: npt.NDArray[np.int32]
    words: Int64Array
    order: npt.NDArray[np.int32]

    @property
    def size(self) -> int:
        """Number of keys."""
        return self.words.size

    def enter(self, index: KeyIndex) -> None:
        """Put the keys into an empty index."""
        index.word_table.begin_with(self.table, self.words)


def roster_of(index: KeyIndex, present: npt.NDArray[np.int32]) -> Roster | None:
    """Return the roster of some keys of an index, or None where they are none, too many, or one of them is null.

    Parameters
    ----------
    index
        Keys of one 64-bit word.
    present
        Their slots.
    """
    from eventide.kernel.keys_table import WordTable

    words = index.word_table.dense
    if words is None or not 0 < present.size <= MOST_KEYS:
        return None
    words = words[present]
    words = words[hash_order(hash_words(words))]
    table = WordTable(ALL_GROUPS, words.size + (words.size >> 2))
    order = table.assign(words, NO_MASK, NO_MASK, insert=True)
    return Roster(table.arrays[0], words, order)

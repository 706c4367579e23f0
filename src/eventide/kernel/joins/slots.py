"""One slot per key for both sides of a join, and slots given back when no row uses them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.joins.order import Slots
from eventide.kernel.joins.side import Side
from eventide.kernel.keys import KeyIndex

__all__ = ["SharedSlots"]

_SLACK = 1024


class SharedSlots:
    """Slots of the keys of both sides; rows that come here belong to groups owned and have no null in a key."""

    def __init__(self, sides: tuple[Side, Side]) -> None:
        self._names = sides[0].keys
        self._schema = pa.schema([sides[0].schema.field(name) for name in self._names])
        self._index = KeyIndex(self._schema, self._names)
        self._held: npt.NDArray[np.bool_] = np.zeros(self._index.capacity, np.bool_)
        self._live = 0

    @property
    def capacity(self) -> int:
        """All slots are below this."""
        return self._index.capacity

    def slots(self, side: Side, rows: pa.RecordBatch) -> Slots:
        """Return the slot of each row."""
        keys = [rows.column(name) for name in side.keys]
        slots = self._index.slots(pa.RecordBatch.from_arrays(keys, schema=self._schema))
        if self._index.capacity > len(self._held):
            grown = np.zeros(self._index.capacity, np.bool_)
            grown[: len(self._held)] = self._held
            self._held = grown
        self._held[slots] = True
        return slots

    def tidy(self, used: Iterable[Slots]) -> None:
        """Give back slots that are not in use, once that is at least half of them."""
        if self._index.size <= 2 * self._live + _SLACK:
            return
        live = np.zeros(len(self._held), np.bool_)
        for slots in used:
            live[slots] = True
        self._live = int(live.sum())
        free = np.flatnonzero(self._held & ~live).astype(np.int32)
        if len(free):
            self._index.release(free)
            self._held[free] = False

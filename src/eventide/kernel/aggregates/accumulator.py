"""What the kernel of an aggregate looks like to a window: state by slot, updated, merged, finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Accumulator", "Slots", "State", "Store", "Times", "grown", "plain_array"]

Slots = npt.NDArray[np.int32]
Times = npt.NDArray[np.int64]
State = dict[str, pa.Array]

A = TypeVar("A", bound=np.generic)


class Store(Protocol):
    """State by slot. Slots are whatever the window says: a key, a key in a pane, a session."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`; new slots are empty. Never shrinks."""

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots.

        Parameters
        ----------
        slots
            Slot of every row, int32; rows with -1 are ignored.
        batch
            Events.
        times
            Event times, ns.
        """

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots `source` of `other` (of the same kind, or this very one) to slots `into`, pair by pair.

        A source may not be a target of the same call; it keeps what it has.
        """

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns with one row per slot."""

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots; rows with slot -1 are ignored."""


class Accumulator(Store, Protocol):
    """The kernel of one aggregate."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""

    @property
    def type(self) -> pa.DataType:
        """Type of the results."""

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots and leave their state as it is.

        Parameters
        ----------
        slots
            Slots, int32, each once.
        starts
            Start of each slot's window, ns; only a fit over time asks for it. Left out: 1970.
        """


def grown(array: npt.NDArray[A], capacity: int) -> npt.NDArray[A]:
    """Return an array with zeros appended up to `capacity` rows.

    The memory is moved by the allocator where it can be, which for large arrays costs no copy; the
    array that was passed must not be used any more.
    """
    if array.shape[0] == 0:
        return np.zeros((capacity, *array.shape[1:]), array.dtype)
    if capacity > array.shape[0]:
        array.resize((capacity, *array.shape[1:]), refcheck=False)
    return array


def plain_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of a table as one array."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array

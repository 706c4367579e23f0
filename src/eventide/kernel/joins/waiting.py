"""Left rows of an as-of join that wait for their answer, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from eventide.kernel.joins.order import Slots
from eventide.kernel.joins.side import BoolArray, rows_where
from eventide.model.batch import Int64Array, concat
from eventide.model.time import MAX_TIME

__all__ = ["Waiting", "concat_waiting", "tidy_waiting"]


@dataclass(slots=True)
class Waiting:
    """Rows that wait.

    Parameters
    ----------
    rows
        The rows.
    slots, times
        Slot of the key and event time (ns) of each row.
    deadline
        For each row the time up to which all right rows must be known before another look is of use, ns,
        unless right rows of its key become known before.
    """

    rows: pa.RecordBatch
    slots: Slots
    times: Int64Array
    deadline: Int64Array
    oldest: int = field(init=False)
    first_deadline: int = field(init=False)

    def __post_init__(self) -> None:
        self.oldest = int(self.times.min(initial=MAX_TIME))
        self.first_deadline = int(self.deadline.min(initial=MAX_TIME))

    def due(self, horizon: int, touched: BoolArray | None) -> BoolArray | None:
        """Return which rows need a look, or None when none does.

        Parameters
        ----------
        horizon
            All right rows up to this time are known, ns.
        touched
            For each slot whether right rows of it have become known; None when that makes no difference.
        """
        due: BoolArray | None = None
        if self.first_deadline <= horizon:
            due = self.deadline <= horizon
        if touched is not None and touched.any():
            hit = touched[self.slots]
            due = hit if due is None else due | hit
        return due if due is not None and due.any() else None

    def where(self, mask: BoolArray) -> Waiting:
        """Return the rows for which the mask is true."""
        if mask.all():
            return self
        return Waiting(rows_where(self.rows, mask), self.slots[mask], self.times[mask], self.deadline[mask])

    def after(self, looked: BoolArray, final: BoolArray, deadline: Int64Array) -> Waiting:
        """Return what still waits after a look at some rows.

        Parameters
        ----------
        looked
            The rows that were looked at.
        final, deadline
            Of those rows: which need not wait any more, and the new deadlines.
        """
        new = self.deadline.copy()
        new[looked] = deadline
        stay = np.ones(len(new), np.bool_)
        stay[looked] = ~final
        return Waiting(self.rows, self.slots, self.times, new).where(stay)


def concat_waiting(waiting: list[Waiting]) -> Waiting:
    """Return rows one after the other as one."""
    if len(waiting) == 1:
        return waiting[0]
    return Waiting(
        concat([w.rows for w in waiting]),
        np.concatenate([w.slots for w in waiting]),
        np.concatenate([w.times for w in waiting]),
        np.concatenate([w.deadline for w in waiting]),
    )


def tidy_waiting(waiting: list[Waiting]) -> list[Waiting]:
    """Return the same rows in few pieces, whose sizes fall off geometrically."""
    pieces: list[Waiting] = []
    for piece in waiting:
        while pieces and len(pieces[-1].times) <= 2 * len(piece.times):
            piece = concat_waiting([pieces.pop(), piece])
        pieces.append(piece)
    return pieces

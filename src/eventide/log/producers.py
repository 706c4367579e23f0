"""Which sequences of which producers a partition holds: the memory behind idempotent appends."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KEPT", "ProducerTable"]

KEPT = 64
"""Latest sequences remembered for each producer; older repeats are looked up in the segments."""


class ProducerTable:
    """Latest sequences of every producer and the offsets they were given.

    Examples
    --------
    >>> table = ProducerTable()
    >>> table.add(1, 10, 500)
    >>> table.offset(1, 10), table.offset(1, 11), table.is_old(1, 9)
    (500, None, True)
    """

    __slots__ = ("_recent",)

    def __init__(self, state: Mapping[int, list[tuple[int, int]]] | None = None) -> None:
        self._recent: dict[int, dict[int, int]] = {p: dict(pairs) for p, pairs in (state or {}).items()}

    def add(self, producer: int, sequence: int, offset: int) -> None:
        """Remember that `sequence` of `producer` was appended at `offset`."""
        recent = self._recent.setdefault(producer, {})
        recent[sequence] = offset
        if len(recent) > KEPT:
            del recent[next(iter(recent))]

    def offset(self, producer: int, sequence: int) -> int | None:
        """Return the offset of a remembered sequence."""
        return self._recent.get(producer, {}).get(sequence)

    def is_old(self, producer: int, sequence: int) -> bool:
        """Tell whether a sequence comes before the latest of its producer and must be a repeat."""
        recent = self._recent.get(producer)
        return recent is not None and sequence <= next(reversed(recent))

    def state(self) -> dict[int, list[tuple[int, int]]]:
        """Return everything as plain data, for the header of the next segment."""
        return {producer: list(recent.items()) for producer, recent in self._recent.items()}

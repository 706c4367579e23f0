"""Functions that look at each row alone, done in parts of a batch by whichever thread is free.

Parts of a batch may also be begun before its turn comes, while the one before it is worked on: what is made of a row
does not depend on what else happened.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from eventide.engines.local.chain import MapStage
from eventide.engines.local.spare import Spare
from eventide.kernel.parts import Parts
from eventide.model.batch import concat

__all__ = ["Ahead", "SplitStage", "quick_turns"]

_ROWS = 4_096
_BYTES = 1 << 23
"""A part has at least so many rows, or bytes: calls have a price."""

_FAR = 3
"""So many batches for each thread are begun before their turn."""

_SWITCH = 0.000_2
"""Seconds after which a thread that computes lets another have the interpreter: that one only has to begin a part."""


@contextlib.contextmanager
def quick_turns() -> Iterator[None]:
    """Let threads wait for the interpreter less long than Python's five milliseconds, which many a part takes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(frozen=True, slots=True)
class _Part:
    """What functions one after the other made of some rows, and how many more rows each returned."""

    batches: list[pa.RecordBatch]
    more: list[int]


Ahead: TypeAlias = "Parts[_Part]"
"""A batch on which work has begun before its turn."""


def _worth(batch: pa.RecordBatch) -> int:
    """Return how many parts of a batch are worth it."""
    found: int = max(batch.num_rows // _ROWS, batch.nbytes // _BYTES)
    return found


class SplitStage:
    """Neighbouring functions of a chain, all of which say that they may be given parts of a batch.

    Parameters
    ----------
    stages
        In order.
    spare
        Who helps.
    """

    def __init__(self, stages: Sequence[MapStage], spare: Spare) -> None:
        self._stages, self._spare = list(stages), spare
        self._coming: deque[Ahead] = deque()  # in the order of their turns, not offered yet
        self._offered: list[Ahead] = []
        self._change = threading.Lock()

    def __call__(self, batch: pa.RecordBatch, ahead: Ahead | None = None) -> list[pa.RecordBatch]:
        """Return what the functions make of a batch; `ahead`: what `begin` returned for it."""
        parts = self._cut(batch) if ahead is None or ahead.take_back() else ahead
        parts.over = True  # its turn is now: another one may be begun in its place
        self._offer()
        if parts is not ahead and parts.count > 1:
            self._spare.offer(parts, first=True)
        found = parts.finish(self._spare.assist)
        for number, stage in enumerate(self._stages):
            stage.count(sum(part.more[number] for part in found))
        batches = [b for part in found for b in part.batches]
        return [concat(batches)] if len(batches) > 1 else batches

    def begin(self, batch: pa.RecordBatch) -> Ahead | None:
        """Let others begin with a batch whose turn will come; None where that is not worth it.

        It is one part: parts cost time, and while there are batches for every thread nobody has to share one.
        """
        if not self._spare.others or _worth(batch) < 2:
            return None
        parts = Parts(self._make, [batch])
        self._coming.append(parts)
        self._offer()
        return parts

    def _offer(self) -> None:
        """Offer what comes next. Who is far ahead had better share the batch whose turn it is."""
        with self._change:
            self._offered = [parts for parts in self._offered if not parts.over]
            new: list[Ahead] = []
            while self._coming and len(self._offered) + len(new) < _FAR * self._spare.others:
                parts = self._coming.popleft()
                new += [] if parts.over else [parts]
            self._offered += new
        for parts in new:
            self._spare.offer(parts)

    def _cut(self, batch: pa.RecordBatch) -> Parts[_Part]:
        """Return a part for each thread that has nothing else to do."""
        count = min(self._spare.free + 1, batch.num_rows)
        if count > 1:
            count = min(count, _worth(batch))
        if count < 2:
            return Parts(self._make, [batch])
        edges = [batch.num_rows * k // count for k in range(count + 1)]
        return Parts(self._make, [batch.slice(a, b - a) for a, b in itertools.pairwise(edges)])

    def _make(self, batch: pa.RecordBatch) -> _Part:
        batches, more = [batch], []
        for stage in self._stages:
            came = sum(b.num_rows for b in batches)
            batches = [made for b in batches for made in stage.make(b)]
            more.append(sum(b.num_rows for b in batches) - came)
        return _Part(batches, more)

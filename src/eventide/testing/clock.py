"""Processing time under control: a clock that stands until it is told, and sources whose events bring their time.

The embedded engine takes a clock by its option ``clock``; a source that recorded when its events arrived says so in
each chunk. With both, whatever depends on processing time gives the same result in every run:

>>> import eventide as ev
>>> clock = ManualClock()
>>> rows = pa.record_batch({"t": ["2026-01-01", "2026-01-01"], "v": [1, 2]})
>>> source = ClockedSource([(0, rows.slice(0, 1)), (20, rows.slice(1, 1))])
>>> every_ten_s = ev.trigger.at_watermark(early=ev.trigger.after_processing_time("10s"))
>>> counts = ev.read(source).event_time("t").window(ev.tumbling("1d"), trigger=every_ten_s).aggregate(n=ev.count())
>>> ev.fetch(counts, clock=clock)["n"].to_pylist()
[1, 2]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pyarrow as pa

from eventide.errors import UsageError
from eventide.model.protocols import Chunk, Position
from eventide.model.time import duration, instant

__all__ = ["START", "ClockedReader", "ClockedSource", "ManualClock"]

START = instant("2000-01-01T00:00:00Z")
"""What a clock says first, ns since 1970."""


class ManualClock:
    """A clock that stands until it is told to go on.

    Parameters
    ----------
    start
        What it says first, ns since 1970.

    Examples
    --------
    >>> clock = ManualClock(start=0)
    >>> clock.advance("1.5s")
    >>> clock()
    1500000000
    """

    def __init__(self, start: int = START) -> None:
        self._now = start

    def __call__(self) -> int:
        """Return the processing time, ns since 1970."""
        return self._now

    def advance(self, by: str | timedelta) -> None:
        """Go on by a duration."""
        self._now += duration(by, what="step of the clock", zero=True)


class ClockedSource:
    """A bounded source of one partition that recorded when its batches arrived.

    Parameters
    ----------
    arrivals
        For each batch when it arrived, seconds after `START`, in order.

    Raises
    ------
    UsageError
        There is no batch, or the times go back.

    Examples
    --------
    >>> source = ClockedSource([(0, pa.record_batch({"a": [1]})), (5, pa.record_batch({"a": [2]}))])
    >>> [(c.clock - START) // 10**9 for c in source.open({}).read(max_rows=9, timeout=0)]
    [0, 5]
    """

    def __init__(self, arrivals: Sequence[tuple[float, pa.RecordBatch]]) -> None:
        times = [START + round(seconds * 10**9) for seconds, _ in arrivals]
        if not times or times != sorted(times):
            msg = f"a clocked source needs batches whose arrivals do not go back, not {[s for s, _ in arrivals]}"
            raise UsageError(msg, hint="for example ClockedSource([(0, first), (2.5, second)])")
        self._batches = [(time, batch) for time, (_, batch) in zip(times, arrivals, strict=True)]

    def schema(self) -> pa.Schema:
        """Return the schema of the first batch."""
        return self._batches[0][1].schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def open(self, positions: Mapping[str, Position]) -> ClockedReader:
        """Open at ``{"batch": n}``, or at the first."""
        return ClockedReader(self._batches, int(positions.get("0", {}).get("batch", 0)))


class ClockedReader:
    """Reads one batch after the other, each a chunk with its recorded time."""

    def __init__(self, batches: Sequence[tuple[int, pa.RecordBatch]], at: int) -> None:
        self._batches, self._at = batches, at

    @property
    def finished(self) -> bool:
        """Whether all batches were read."""
        return self._at >= len(self._batches)

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next batches, whole ones; at least one."""
        chunks: list[Chunk] = []
        rows = 0
        while not self.finished and (not chunks or rows + self._batches[self._at][1].num_rows <= max_rows):
            time, batch = self._batches[self._at]
            self._at += 1
            rows += batch.num_rows
            chunks.append(Chunk("0", batch, {"batch": self._at}, clock=time))
        return chunks

    def backlog(self) -> int:
        """Return how many rows were not read yet."""
        return sum(batch.num_rows for _, batch in self._batches[self._at :])

    def close(self) -> None:
        """Nothing is open."""

"""Feeds: one thread a source that reads ahead into a bounded queue, so that a slow pipeline slows its sources."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from eventide.engines.local.joining import joined
from eventide.engines.local.spare import Spare
from eventide.engines.local.split import Ahead, SplitStage
from eventide.engines.local.times import Times
from eventide.model.protocols import Chunk, Position, Source, SourceReader
from eventide.retry import Circuit, RetryPolicy

__all__ = ["WAKE", "Feed", "Item", "Items"]

_WAIT = 0.05


@dataclass(frozen=True, slots=True)
class Item:
    """What a feed brings: chunks, their bytes and when they came (`time.perf_counter`); or the end, or an error.

    `ahead` has for each chunk what has been begun of it, and nothing where work is not begun early.
    """

    read: str
    chunks: tuple[Chunk, ...] = ()
    finished: bool = False
    error: BaseException | None = None
    size: int = 0
    arrived: float = 0.0
    ahead: tuple[Ahead | None, ...] = ()

    @property
    def rows(self) -> int:
        """How many events it brings."""
        return sum(c.batch.num_rows for c in self.chunks)


WAKE = Item("")
"""Brings nothing; wakes the loop."""

Items: TypeAlias = "queue.SimpleQueue[Item]"


class Feed:
    """Reads one source in a thread of its own.

    Reading ahead is bounded: it stops while `max_items` items, or `max_bytes` bytes (but at least one item), were
    read and not yet taken and processed. A read that fails for a passing reason is tried again where it stood.

    Parameters
    ----------
    read
        Label of the source's node.
    source, positions
        The source, and where to begin.
    items
        Where items go; shared by all feeds of a run.
    max_rows
        Most events taken at once.
    max_items, max_bytes
        How much may wait.
    policy
        How a failed read is tried again.
    spare
        Work for the time in which the queue is full.
    early
        What may be begun of a batch before its turn comes.
    """

    def __init__(
        self,
        read: str,
        source: Source,
        positions: Mapping[str, Position],
        *,
        items: Items,
        max_rows: int,
        max_items: int = 2,
        max_bytes: int = 1 << 26,
        policy: RetryPolicy | None = None,
        spare: Spare | None = None,
        early: SplitStage | None = None,
    ) -> None:
        self.read = read
        self.reader: SourceReader = source.open(positions)
        self.circuit = Circuit(policy or RetryPolicy())
        self.times = Times()
        self._source = source
        self._positions = {**(self.reader.began() if hasattr(self.reader, "began") else {}), **positions}
        self._owed: dict[str, Mapping[str, Position]] = {}
        self._items = items
        self._max_rows, self._max_items, self._max_bytes = max_rows, max_items, max_bytes
        self._stop = threading.Event()
        self._swap = threading.Lock()  # held while the reader is replaced, and while the loop asks it something
        self._room = threading.Condition()
        self._spare, self._early = spare, early
        if spare is not None:
            spare.attend(self._notify)
        self._waiting_items = self._waiting_bytes = 0
        self._thread = threading.Thread(target=self._loop, name=f"eventide-{read}", daemon=True)

    @property
    def positions(self) -> dict[str, Position]:
        """Where reading goes on (before `start`: where it begins), as far as that is known."""
        return dict(self._positions)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def taken(self, item: Item) -> None:
        """Say that an item was processed, which makes room for the next."""
        with self._room:
            self._waiting_items -= 1
            self._waiting_bytes -= item.size
            self._room.notify()

    def backlog(self) -> int | None:
        """Return how many events wait; None when that cannot be known, or not now."""
        with self._swap:
            return self.reader.backlog() if self.circuit.state == "closed" else None

    def release(self, owner: str, positions: Mapping[str, Position]) -> None:
        """Tell the source that `owner` will never again read before `positions`, if it wants to know."""
        with self._swap:
            if not hasattr(self.reader, "release"):
                return
            # While the source is away it cannot be told: it is with the next checkpoint, a savepoint's hold too.
            self._owed[owner] = positions
            if self.circuit.state == "closed":
                owed, self._owed = self._owed, {}
                for one, at in owed.items():
                    self.reader.release(one, at)

    def stop(self) -> None:
        """Stop reading and close the source."""
        self._stop.set()
        with self._room:
            self._room.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self.reader.close()

    def _loop(self) -> None:
        try:
            while not self._stop.is_set():
                begun = time.thread_time()  # of the processor: a read also waits for events
                chunks = joined(self._next(), max_rows=self._max_rows)
                arrived = time.perf_counter()
                if self._stop.is_set():
                    return
                if not chunks:
                    self._items.put(Item(self.read, finished=True))
                    return
                size = sum(c.batch.nbytes + sum(len(b.data) for b in c.bad) for c in chunks)
                ahead = () if self._early is None else tuple(self._early.begin(c.batch) for c in chunks)
                item = Item(self.read, tuple(chunks), size=size, arrived=arrived, ahead=ahead)
                for chunk in chunks:
                    self._positions[chunk.partition] = chunk.position
                self._make_room(size)
                self.times.busy += time.thread_time() - begun
                self.times.blocked += time.perf_counter() - arrived
                if not self._stop.is_set():
                    self._items.put(item)
        except BaseException as error:
            self._items.put(Item(self.read, error=error))

    def _notify(self) -> None:
        with self._room:
            self._room.notify()

    def _make_room(self, size: int) -> None:
        """Wait until so many bytes may wait too, and do other work meanwhile."""
        with contextlib.nullcontext() if self._spare is None else self._spare.idle():
            while True:
                with self._room:
                    self._room.wait_for(lambda: self._has_room(size) or self._spare)
                    if self._has_room(size):
                        self._waiting_items += 1
                        self._waiting_bytes += size
                        return
                if self._spare is not None:
                    self._spare.help()

    def _has_room(self, size: int) -> bool:
        if not self._waiting_items or self._stop.is_set():
            return True
        return self._waiting_items < self._max_items and self._waiting_bytes + size <= self._max_bytes

    def _next(self) -> list[Chunk]:
        """Return the next chunks; none means that the source is finished or the feed was stopped."""
        while not self._stop.is_set():
            try:
                if self.circuit.state != "closed":
                    self._reopen()
                chunks = self.reader.read(max_rows=self._max_rows, timeout=_WAIT)
                finished = not chunks and self.reader.finished
            except Exception as error:
                self._stop.wait(self.circuit.failed(error))
                continue
            if self.circuit.state != "closed":
                self.circuit.worked()
            if chunks or finished:
                return chunks
        return []

    def _reopen(self) -> None:
        """Open the source anew where it stood: a reader that failed may be in any state."""
        self.circuit.trying()
        with self._swap:
            self.reader.close()
            self.reader = self._source.open(self._positions)

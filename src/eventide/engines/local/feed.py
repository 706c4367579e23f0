"""Feeds: one thread a source that reads ahead into a bounded queue, so that a slow pipeline slows its sources."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TypeAlias

from eventide.model.protocols import Chunk, SourceReader

__all__ = ["Feed", "Item", "Items"]

_AHEAD = 4
_WAIT = 0.05


@dataclass(frozen=True, slots=True)
class Item:
    """What a feed brings: chunks, or the end, or what went wrong."""

    read: str
    chunks: tuple[Chunk, ...] = ()
    finished: bool = False
    error: BaseException | None = None


Items: TypeAlias = "queue.Queue[Item]"


class Feed:
    """Reads one source in a thread of its own.

    Parameters
    ----------
    read
        Label of the source's node.
    reader
        The open source.
    items
        Where items go; shared by all feeds of a run.
    max_rows
        Most events taken at once.
    """

    def __init__(self, read: str, reader: SourceReader, *, items: Items, max_rows: int) -> None:
        self.read = read
        self.reader = reader
        self._items = items
        self._max_rows = max_rows
        self._stop = threading.Event()
        # At most so many items of this feed wait at a time: the bound on what is read ahead.
        self._room = threading.Semaphore(_AHEAD)
        self._thread = threading.Thread(target=self._loop, name=f"eventide-{read}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def taken(self) -> None:
        """Say that one item was taken from the queue."""
        self._room.release()

    def stop(self) -> None:
        """Stop reading and close the source."""
        self._stop.set()
        self._room.release()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self.reader.close()

    def _loop(self) -> None:
        try:
            while not self._stop.is_set():
                self._room.acquire()
                chunks = self._next()
                if self._stop.is_set():
                    return
                finished = not chunks
                self._items.put(Item(self.read, tuple(chunks), finished=finished))
                if finished:
                    return
        except BaseException as error:
            self._items.put(Item(self.read, error=error))

    def _next(self) -> list[Chunk]:
        """Return the next chunks; none means that the source is finished or the feed was stopped."""
        while not self._stop.is_set():
            chunks = self.reader.read(max_rows=self._max_rows, timeout=_WAIT)
            if chunks or self.reader.finished:
                return chunks
        return []

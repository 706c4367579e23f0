"""A source that says so when nothing comes: what waits for its next message need not wait for ever.

Messages of runs and values of motors are rare. A join cannot know that none is on its way; this source promises it:
where nothing came, no message comes any more whose time lies further back than `behind`, by the clock of this machine.
So it is for messages that tell of now, not for old ones that are played back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from eventide import registry
from eventide.model.batch import empty
from eventide.model.protocols import Chunk, Position
from eventide.model.stream import Stream, read

__all__ = ["AwakeSource", "rare"]


def rare(uri: str, options: Mapping[str, Any], *, silent: int, name: str) -> Stream:
    """Return the stream of messages (a column ``value``) that come rarely.

    Parameters
    ----------
    uri, options
        As for `ev.read`.
    silent
        How far back the time of a message may lie when it comes, ns; 0: nothing is promised.
    name
        Of the node.
    """
    raw = {"format": "raw", "timestamp": "timestamp"} if uri.startswith("kafka://") else {}
    if not silent:
        return read(uri, name=name, **raw, **options)
    return read(AwakeSource(uri, {**raw, **options}, behind=silent), name=name)


class AwakeSource:
    """A source by its address, with heartbeats.

    Parameters
    ----------
    uri, options
        As for `ev.read`.
    behind
        How far back the time of a message may lie when it comes, ns.
    clock
        The time now, ns since 1970; for tests.

    Examples
    --------
    >>> made = AwakeSource("generator://events", {"rows": 3}, behind=10**9)
    >>> made.partitions()
    ['0']
    """

    def __init__(
        self, uri: str, options: Mapping[str, Any], *, behind: int, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._inner = registry.open_source(uri, options)
        self._behind, self._clock = behind, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def open(self, positions: Mapping[str, Position]) -> Any:
        """Open the source."""
        return _Reader(self._inner, positions, self._behind, clock=self._clock)


class _Reader:
    def __init__(
        self, source: Any, positions: Mapping[str, Position], behind: int, *, clock: Callable[[], int]
    ) -> None:
        self._reader = source.open(positions)
        self._nothing = empty(source.schema())
        self._behind, self._clock = behind, clock
        began = getattr(self._reader, "began", None)
        self._positions: dict[str, Position] = {**(began() if began is not None else {}), **positions}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return what came; where nothing did, the promise."""
        before = self._clock() - self._behind
        found: list[Chunk] = self._reader.read(max_rows=max_rows, timeout=timeout)
        for chunk in found:
            self._positions[chunk.partition] = chunk.position
        if found or self._reader.finished:
            return found
        return [Chunk(p, self._nothing, at, heartbeat=before) for p, at in self._positions.items()]

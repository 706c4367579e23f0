"""Work for threads that have nothing better to do."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from eventide.engines.local.lanes import Workers
from eventide.kernel.parts import Parts

__all__ = ["Spare"]


class Spare:
    """Helpers of the thread that runs the operators: feeds that are ahead, and where there are more cores, workers.

    A feed that has filled its queue would only wait. On two cores a third thread would take turns with it, and
    whoever waited for the one would wait for the other's turn; so there the feed is all the help there is. What
    it is given may never begin, when the source is slow or at its end: nobody may wait for it.

    Parameters
    ----------
    lanes
        How many threads may work at a time, the feeds and the thread that runs the operators among them.
    workers
        Threads that have nothing else to do.
    """

    def __init__(self, lanes: int, workers: Workers) -> None:
        self.others = lanes - 1
        self._workers = workers
        self._work: deque[Callable[[], Any]] = deque()
        self._offers: deque[Parts[Any]] = deque()
        self._idle = self._turns = self._busy = 0
        self._counting = threading.Lock()
        self._wake: list[Callable[[], None]] = []

    @property
    def free(self) -> int:
        """How many threads have nothing to do just now, about: it changes while one asks."""
        return min(self.others, self._idle + self._workers.others) - self._busy

    def attend(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when there is work."""
        self._wake.append(wake)

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Give work to whoever is free next."""
        if self._workers.others and len(self._work) >= len(self._wake):
            self._workers.start(function, *arguments)
            return
        self._work.append(lambda: function(*arguments))
        for wake in self._wake:
            wake()

    def offer(self, parts: Parts[Any], *, first: bool = False) -> None:
        """Let feeds that wait, and workers in place of those that do not, take parts; `first`: before earlier offers.

        Who has offered them does those that nobody takes.
        """
        self._tidy()
        if first:
            self._offers.appendleft(parts)
        else:
            self._offers.append(parts)
        with self._counting:
            more = max(0, min(self.others - self._idle, self._workers.others) - self._turns)
            self._turns += more
        for _ in range(more):
            self._workers.start(self._turn)
        for wake in self._wake:
            wake()

    def _turn(self) -> None:
        """Do a part in a worker; the next one after what else the worker has been given meanwhile."""
        self.help()
        if self:
            self._workers.start(self._turn)
        else:
            with self._counting:
                self._turns -= 1

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """A feed waits, and will help."""
        with self._counting:
            self._idle += 1
        try:
            yield
        finally:
            with self._counting:
                self._idle -= 1

    def _tidy(self) -> None:
        """Let go of offers of which nothing waits: they come to their end in about the order of the queue."""
        with contextlib.suppress(IndexError):  # another thread was faster
            while not self._offers[0].waiting:
                self._offers.popleft()

    def __bool__(self) -> bool:
        """Whether there is work, and not as many threads at it as there may be."""
        self._tidy()
        return bool(self._work or self._offers) and self._busy < self.others

    def help(self) -> None:
        """Do some of the work, if there is any, and not as many threads are at it as there may be."""
        with self._counting:
            if self._busy >= self.others:
                return
            self._busy += 1
        try:
            try:
                work = self._work.popleft()
            except IndexError:
                self.assist()
            else:
                work()
        finally:
            with self._counting:
                self._busy -= 1
        if self:
            for wake in self._wake:
                wake()

    def assist(self) -> bool:
        """Do a part that was offered; False where there is none to begin."""
        with contextlib.suppress(IndexError):  # another thread was faster
            while True:
                if self._offers[0].work():
                    return True
                self._tidy()
        return False

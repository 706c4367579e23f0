"""Work for threads that have nothing better to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from eventide.engines.local.lanes import Workers

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
        self._wake: list[Callable[[], None]] = []

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

    def __bool__(self) -> bool:
        return bool(self._work)

    def help(self) -> None:
        """Do some of the work, if there is any."""
        try:
            work = self._work.popleft()
        except IndexError:  # another thread was faster
            return
        work()

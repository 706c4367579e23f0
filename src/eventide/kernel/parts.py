"""Work in parts, each done once, by whichever thread comes for it first."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Helpers", "Parts", "in_parts"]

P = TypeVar("P")
T = TypeVar("T")


class Parts(Generic[T]):
    """Calls of a function, one for each part.

    Nobody waits for a thread that has not begun: who needs the results makes the calls that are left.

    Parameters
    ----------
    function
        Called with each part, by several threads at a time.
    parts
        What to call it with.

    Examples
    --------
    >>> parts = Parts(abs, [-1, -2])
    >>> parts.work()
    True
    >>> parts.finish(), parts.waiting
    ([1, 2], False)
    """

    def __init__(self, function: Callable[[P], T], parts: Iterable[P]) -> None:
        self._function: Callable[[Any], T] = function
        self._waiting: deque[tuple[int, Any]] = deque(enumerate(parts))
        self._results: dict[int, T] = {}
        self._errors: dict[int, BaseException] = {}
        self.count = self._open = len(self._waiting)
        self._done = threading.Condition()
        self.over = False
        """Whether it waits for its turn no more: that has come, or it was taken back or dropped."""

    @property
    def waiting(self) -> bool:
        """Whether there is a part that nobody has begun."""
        return bool(self._waiting)

    def work(self) -> bool:
        """Do one part; False where there is none to begin."""
        try:
            at, part = self._waiting.popleft()
        except IndexError:
            return False
        try:
            self._results[at] = self._function(part)
        except BaseException as error:
            self._errors[at] = error
        with self._done:
            self._open -= 1
            if not self._open:
                self._done.notify_all()
        return True

    def drain(self) -> None:
        """Do parts while there are any."""
        while self.work():
            pass

    def finish(self, meanwhile: Callable[[], bool] | None = None) -> list[T]:
        """Do what is left, wait for what others have begun, and return the results, or raise the first part's error.

        Parameters
        ----------
        meanwhile
            Called again and again instead of waiting, until it says that there was nothing to do.
        """
        self.drain()
        while meanwhile is not None and self._open and meanwhile():
            pass
        with self._done:
            self._done.wait_for(lambda: not self._open)
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._results[at] for at in sorted(self._results)]

    def take_back(self) -> bool:
        """Let nobody begin any part, unless somebody has begun one; tell whether that is so."""
        mine: list[tuple[int, Any]] = []
        with contextlib.suppress(IndexError):
            while True:
                mine.append(self._waiting.popleft())
        if len(mine) == self.count:
            self.over = True
            return True
        self._waiting.extend(mine)
        return False

    def drop(self) -> None:
        """Let nobody begin another part."""
        self.over = True
        while self._waiting:
            try:
                self._waiting.popleft()
            except IndexError:
                return
            with self._done:
                self._open -= 1


class Helpers(Protocol):
    """Other threads that can take over a part of the work."""

    @property
    def others(self) -> int:
        """How many there are."""

    @property
    def free(self) -> int:
        """How many have nothing to do just now, about."""

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called there when a thread is free, which may be never."""

    def offer(self, parts: Parts[Any], *, first: bool = False) -> None:
        """Let threads that are free take parts; `first`: before those of earlier offers."""


def in_parts(helpers: Helpers | None, function: Callable[[P], T], parts: Iterable[P]) -> list[T]:
    """Return what a function makes of each part, with the help of others where there are any.

    Examples
    --------
    >>> in_parts(None, abs, [-1, -2])
    [1, 2]
    """
    every = list(parts)
    if helpers is None or not helpers.free or len(every) < 2:
        return [function(part) for part in every]
    work = Parts(function, every)
    helpers.offer(work, first=True)
    return work.finish()

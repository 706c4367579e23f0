"""What ends a command that goes on for ever: SIGINT and SIGTERM, cleanly."""

from __future__ import annotations

import signal
import threading

__all__ = ["Stop"]


class Stop:
    """An event that is set when a signal comes, while the body of ``with`` runs.

    Examples
    --------
    >>> with Stop() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> stop.event.is_set(), stop.exit_code
    (True, 143)
    """

    def __init__(self) -> None:
        self.event, self._number = threading.Event(), 0

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal; 0 where none came."""
        return 128 + self._number if self._number else 0

    def __enter__(self) -> Stop:
        self._before = {n: signal.signal(n, self._came) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: object) -> None:
        self._number = number
        self.event.set()

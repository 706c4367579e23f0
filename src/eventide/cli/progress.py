"""Progress of a run on a terminal, and clean stops by signals."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from eventide.cli.output import colour
from eventide.model.time import MAX_TIME, MIN_TIME, format_time

if TYPE_CHECKING:
    from eventide.engines.local.result import Progress

__all__ = ["ProgressLine", "Stopper"]

# Programs that start programs (timeout, make, container runtimes) often pass on a signal that the terminal has
# sent to the whole group already.
_SAME_SECONDS = 0.5


class ProgressLine:
    """One line on standard error, rewritten in place; nothing when that is not a terminal or `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._on = not quiet and sys.stderr.isatty()
        self._last = 0

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        if not self._on:
            return
        rate = progress.rows_in / progress.seconds if progress.seconds else 0.0
        parts = [
            f"{progress.seconds:6.1f} s",
            f"{progress.rows_in:,} events in",
            f"{rate:,.0f}/s",
            f"{progress.rows_out:,} out",
        ]
        if MIN_TIME < progress.watermark < MAX_TIME:
            parts.append(f"watermark {format_time(progress.watermark // 10**9 * 10**9)}")
        parts += [f"{n:,} {what}" for n, what in ((progress.late, "late"), (progress.quarantined, "quarantined")) if n]
        if progress.backlog:
            parts.append(f"{progress.backlog:,} waiting")
        # One line, also on a narrow terminal: a wrapped line could not be written over.
        line = "  ".join(parts)[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + colour(line.ljust(self._last), "dim", to=sys.stderr))
        sys.stderr.flush()
        self._last = len(line)

    def done(self) -> None:
        """Take the line away: what follows says more."""
        if self._on and self._last:
            sys.stderr.write("\r" + " " * self._last + "\r")
            sys.stderr.flush()
            self._last = 0


class Stopper:
    """Turns SIGINT and SIGTERM into a clean stop; a second one ends the process at once.

    Parameters
    ----------
    note
        What to say at the first one.
    """

    def __init__(self, note: str = "") -> None:
        self._note = note
        self.event = threading.Event()
        self.signal = 0
        self._when = 0.0

    @contextmanager
    def installed(self) -> Iterator[threading.Event]:
        """Handle the signals while the body runs."""
        before = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self.event
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal and now - self._when > _SAME_SECONDS:
            raise KeyboardInterrupt
        if self.signal:
            return
        self.signal, self._when = number, now
        self.event.set()
        if self._note:
            # Not sys.stderr: a signal may come in the middle of a write to it.
            os.write(2, f"\n{self._note}\n".encode())

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, 0 when none came."""
        return 128 + self.signal if self.signal else 0

"""How far a command of an application is, on a terminal."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["ProgressLine"]


class ProgressLine:
    """One line on standard error, written over again and again; nothing where that is no terminal.

    Parameters
    ----------
    what
        Of which there are more and more.
    quiet
        Say nothing.
    """

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what, self._width = what, 0
        self._on = not quiet and sys.stderr.isatty()

    def __call__(self, progress: Any) -> None:
        """Show how far a run is; an engine calls it (``on_progress``)."""
        if self._on:
            rate = progress.rows_in / progress.seconds if progress.seconds else 0.0
            self._write(f"{progress.seconds:6.1f} s  {progress.rows_in:,} {self._what}  {rate:,.0f}/s")

    def done(self) -> None:
        """Take the line away."""
        if self._width:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

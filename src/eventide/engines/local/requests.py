"""Requests to a running pipeline from outside its process: files in a folder beside its checkpoints.

A request for a savepoint is an empty file ``requests/savepoint-<name>``. The run answers it after its next
checkpoint by removing the file; where it could not, by a file ``failed-<name>`` with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from eventide.errors import CheckpointError, EventideError

__all__ = ["Requests", "ask_savepoint", "withdraw_savepoint"]

_ASKED, _FAILED = "savepoint-", "failed-"


class Requests:
    """The requests of one pipeline, as its run sees them.

    Parameters
    ----------
    folder
        The folder of the pipeline's checkpoints; None: nobody can ask.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder / "requests" if folder else None
        self.waiting: list[str] = []
        self.begun: list[str] = []

    def look(self) -> None:
        """See what is asked."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):  # nobody has asked yet, or it cannot be seen just now
            found = sorted(p.name for p in self._folder.iterdir())
            names = [n.removeprefix(_ASKED) for n in found if n.startswith(_ASKED)]
            self.waiting = [n for n in names if n not in self.begun]

    def begin(self) -> None:
        """Say that the checkpoint which answers all that is asked up to now has begun."""
        self.look()
        self.begun, self.waiting = self.begun + self.waiting, []

    def answer(self, name: str, do: Callable[[], object]) -> None:
        """Do what was asked, and say so."""
        assert self._folder is not None
        try:
            do()
        except EventideError as error:
            (self._folder / f"{_FAILED}{name}").write_text(str(error), "utf-8")
        (self._folder / f"{_ASKED}{name}").unlink(missing_ok=True)
        self.begun = [n for n in self.begun if n != name]


def ask_savepoint(folder: Path, name: str) -> Callable[[], bool]:
    """Ask the run whose checkpoints are in `folder` for a savepoint; what is returned tells whether it is made.

    Raises
    ------
    CheckpointError
        (By what is returned) it could not be made; says why.
    """
    requests = folder / "requests"
    requests.mkdir(parents=True, exist_ok=True)
    asked, failed = requests / f"{_ASKED}{name}", requests / f"{_FAILED}{name}"
    failed.unlink(missing_ok=True)
    asked.touch()

    def made() -> bool:
        if failed.exists():
            reason = failed.read_text("utf-8")
            failed.unlink(missing_ok=True)
            raise CheckpointError(reason)
        return not asked.exists()

    return made


def withdraw_savepoint(folder: Path, name: str) -> None:
    """Take a request back."""
    (folder / "requests" / f"{_ASKED}{name}").unlink(missing_ok=True)

"""What every suite needs: a folder with input, what an undisturbed run makes of it, and the comparison with that."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from eventide.testing.crash.children import in_child
from eventide.testing.crash.outputs import Difference, compare, read_outputs
from eventide.testing.crash.produce import make_topics, produce
from eventide.testing.crash.victim import live

__all__ = ["Place", "verdict"]

_CALM = "30s"
_CALM_ROWS = 1000


class Place:
    """A folder for a suite: the folders of its rounds, and of the undisturbed runs that they are compared with.

    Parameters
    ----------
    keep
        Whether the folder stays when all went well.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="eventide-torture-"))
        self._keep = keep
        self._expected: dict[tuple[int, int], dict[str, Counter[str]]] = {}

    def round(self, name: str, *, seed: int, batches: int, end: bool = True) -> Path:
        """Return a new folder whose log has the first `batches` batches of the input of a seed."""
        folder = self.folder / name
        folder.mkdir(parents=True)

        def write() -> None:
            make_topics(folder)
            produce(folder, seed=seed, first=0, last=batches, end=end)

        in_child(write, folder=folder)
        return folder

    def expected(self, seed: int, batches: int) -> dict[str, Counter[str]]:
        """Return what an undisturbed run writes for an input; it is run at the first call.

        Raises
        ------
        RunError
            The undisturbed run failed.
        """
        if (seed, batches) not in self._expected:
            folder = self.round(f"calm-{seed}-{batches}", seed=seed, batches=batches)
            in_child(lambda: live(folder, interval=_CALM, rows=_CALM_ROWS), folder=folder)
            self._expected[seed, batches] = outputs_of(folder)
            self.done(folder)
        return self._expected[seed, batches]

    def compare(self, folder: Path, *, seed: int, batches: int) -> list[Difference]:
        """Compare what a round wrote with what the undisturbed run wrote."""
        return compare(outputs_of(folder), self.expected(seed, batches))

    def done(self, folder: Path) -> None:
        """Remove the folder of a round that went well."""
        if not self._keep:
            shutil.rmtree(folder)

    def close(self, *, ok: bool) -> str:
        """Remove the folder if all went well, else return where it is."""
        if ok and not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            return ""
        return str(self.folder)


def outputs_of(folder: Path) -> dict[str, Counter[str]]:
    """Return the outputs of a folder, read by a child so that this process stays without threads."""
    found = folder / "outputs.json"

    def read() -> None:
        found.write_text(json.dumps(read_outputs(folder)), "utf-8")

    in_child(read, folder=folder)
    return {name: Counter(rows) for name, rows in json.loads(found.read_text("utf-8")).items()}


def verdict(differences: list[Difference]) -> dict[str, Any]:
    """Return the sums over all outputs, as every suite reports them.

    Examples
    --------
    >>> verdict([Difference("a", 5), Difference("b", 2)])
    {'rows': 7, 'lost': 0, 'doubled': 0, 'wrong': 0}
    """
    names = ("rows", "lost", "doubled", "wrong")
    return {name: sum(getattr(d, name) for d in differences) for name in names}

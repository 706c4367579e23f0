"""What a crash suite has done so far and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventide.testing.crash.rounds import Place, verdict

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """What a suite has done so far.

    Parameters
    ----------
    kills, stops, restarts
        Ends by SIGKILL, by SIGTERM, and how often the pipeline was started after one.
    rounds, rows
        Inputs that were run to their end, rows that were compared.
    lost, doubled, wrong
        Rows that differ; the suite holds when all are 0 and there is no failure.
    phases
        Kills by what the victim was doing.
    failures
        What went wrong, in words.
    """

    kills: int = 0
    stops: int = 0
    restarts: int = 0
    rounds: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.doubled or self.wrong or self.failures)

    def judge(
        self, place: Place, folder: Path, *, seed: int, batches: int, problem: str = "", lives: Sequence[str] = ()
    ) -> bool:
        """Compare what a round wrote with what it should have written, and tell whether all is well.

        Parameters
        ----------
        place, folder
            Of the suite and of the round; the latter is removed when all is well.
        seed, batches
            The input.
        problem
            What went wrong already: then nothing is compared.
        lives
            What was done to the pipeline; kept in the folder as ``lives.txt``.
        """
        if not problem:
            self.rounds += 1
            differences = place.compare(folder, seed=seed, batches=batches)
            for name, number in verdict(differences).items():
                setattr(self, name, getattr(self, name) + number)
            problem = "; ".join(f"{d.output}: {', '.join(d.examples)}" for d in differences if d)
        if problem:
            (folder / "lives.txt").write_text("\n".join(lives), "utf-8")
            self.failures.append(f"{folder} (input seed {seed}, {batches} batches): {problem}")
        else:
            place.done(folder)
        return not problem

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data with stable names."""
        plain = {n: getattr(self, n) for n in ("kills", "stops", "restarts", "rounds", "rows")}
        wrong = {n: getattr(self, n) for n in ("lost", "doubled", "wrong", "failures")}
        return {"ok": self.ok, **plain, **wrong, "phases": dict(self.phases)}

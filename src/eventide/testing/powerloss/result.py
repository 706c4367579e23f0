"""What the suite found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Result"]


@dataclass(slots=True)
class Result:
    """What the suite found.

    Parameters
    ----------
    states
        How many different states were recovered and checked.
    operations
        How many operations the traces had, by kind.
    models
        How many states by model and style.
    twice
        How many of the states were those of a second loss of power, during the recovery from a first.
    problems
        What was wrong, one line each, with the state's name.
    seconds
        How long it took, s.
    """

    states: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every state was recovered."""
        return self.states > 0 and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "suite": "powerloss",
            "ok": self.ok,
            "states": self.states,
            "operations": dict(self.operations),
            "twice": self.twice,
            "models": dict(self.models),
            "problems": self.problems[:20],
            "problem_count": len(self.problems),
            "seconds": round(self.seconds, 1),
            "states_per_second": round(self.states / max(self.seconds, 1e-9), 1),
        }

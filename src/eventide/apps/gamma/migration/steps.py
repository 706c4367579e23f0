"""What became of a step of another program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = ["State", "Step", "as_json", "as_table", "short"]

State: TypeAlias = Literal["mapped", "partly", "unmapped"]

_LONGEST = 60


class Step(NamedTuple):
    """A step and what became of it.

    Attributes
    ----------
    place
        Where it is in the file: a line, or the path of a setting.
    theirs
        What it is called there.
    state
        ``mapped``: ours does it. ``partly``: not all of it, or something has to be given. ``unmapped``: nothing does
        it.
    ours
        What does it here, and what is different.
    """

    place: str
    theirs: str
    state: State
    ours: str


def as_table(steps: Sequence[Step]) -> str:
    """Return steps as lines of text, one for each.

    Examples
    --------
    >>> print(as_table([Step("line 4", "TailCut", "mapped", "compat")]))
    mapped    line 4  TailCut  compat
    1 step: 1 mapped, 0 partly, 0 unmapped
    """
    wide = max((len(s.place) for s in steps), default=0)
    named = min(max((len(s.theirs) for s in steps), default=0), _LONGEST)
    lines = [f"{s.state:<8}  {s.place:<{wide}}  {short(s.theirs):<{named}}  {s.ours}" for s in steps]
    counts = ", ".join(f"{n} {state}" for state, n in _counts(steps).items())
    return "\n".join([*lines, f"{len(steps)} step{'s' * (len(steps) != 1)}: {counts}"])


def as_json(steps: Sequence[Step]) -> dict[str, Any]:
    """Return steps and their numbers as plain values.

    Examples
    --------
    >>> as_json([Step("line 4", "TailCut", "mapped", "compat")])["mapped"]
    1
    """
    return {**_counts(steps), "steps": [s._asdict() for s in steps]}


def short(text: str) -> str:
    """Return text in one line that is not too long.

    Examples
    --------
    >>> short(90 * "a")[-4:]
    'a...'
    """
    one = " ".join(text.split())
    return one if len(one) <= _LONGEST else one[: _LONGEST - 3] + "..."


def _counts(steps: Sequence[Step]) -> dict[str, int]:
    return {state: sum(s.state == state for s in steps) for state in ("mapped", "partly", "unmapped")}

"""The kill suite at chosen points: the pipeline ends itself at each hit of each point, before and after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from eventide.errors import UsageError, near_names
from eventide.testing.crash.children import in_child, spawn, tail_of
from eventide.testing.crash.kill import HUNG
from eventide.testing.crash.points import POINTS, phase_of, reset
from eventide.testing.crash.rounds import Place
from eventide.testing.crash.tally import Tally
from eventide.testing.crash.victim import live
from eventide.testing.crash.warm import warm_up

__all__ = ["torture_points"]

_BATCHES = 30
_INTERVAL = "10ms"


def torture_points(
    points: Sequence[str] = (),
    *,
    hits: int = 4,
    seed: int = 1,
    keep: bool = False,
    on_case: Callable[[Tally], None] | None = None,
) -> dict[str, Any]:
    """End the pipeline at chosen points and compare what it wrote in the end with an undisturbed run.

    Parameters
    ----------
    points
        Of `eventide.testing.crash.points.POINTS`, or ``point:before:n`` for one hit only; none is all.
    hits
        How many hits of each point, spread over those that one undisturbed run has.
    seed
        Of the input.
    keep
        Whether the folders stay.
    on_case
        Called after every kill.

    Returns
    -------
    As `eventide.testing.crash.kill.torture_kill`, and ``missed``: what no run came to.

    Raises
    ------
    UsageError
        There is no such point.
    """
    begun = time.monotonic()
    for point in points:
        if point.partition(":")[0] not in POINTS:
            msg = f"there is no point {point!r}"
            raise UsageError(msg, hint=near_names(point, POINTS))
    warm_up()
    place = Place(keep=keep)
    suite = _Suite(place, seed)
    for at in suite.cases(points, hits):
        suite.case(at)
        if on_case is not None:
            on_case(suite.tally)
        if len(suite.tally.failures) > 2:
            break
    suite.finish()
    tally, seconds = suite.tally, round(time.monotonic() - begun, 1)
    result = {**tally.to_dict(), "missed": suite.missed, "seed": seed, "seconds": seconds}
    return {**result, "folder": place.close(ok=tally.ok)}


class _Suite:
    """Goes through the cases; one input serves many of them, until it has ended."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place, self._seed = place, seed
        self._folder: Path | None = None
        self._lives: list[str] = []
        self._number = 0
        self.tally = Tally()
        self.missed: list[str] = []

    def cases(self, points: Sequence[str], hits: int) -> Iterator[str]:
        """Return ``point:when:n`` for every point asked for and some of the hits that an undisturbed run has."""
        whole = [p for p in points if ":" in p]
        named = [p for p in points if ":" not in p] or ([] if whole else list(POINTS))
        yield from whole
        counts = self._counts() if named else {}
        for point, count in counts.items():
            if point.partition(":")[0] in named:
                yield from (f"{point}:{n}" for n in _spread(count, hits))

    def _counts(self) -> dict[str, int]:
        folder = self._place.round("counted", seed=self._seed, batches=_BATCHES)
        found = folder / "count"
        in_child(lambda: live(folder, interval=_INTERVAL, count=found), folder=folder)
        lines = [line.split() for line in found.read_text("utf-8").splitlines()]
        return {point: int(number) for point, number in lines}

    def case(self, at: str) -> None:
        """Let the pipeline end itself at a point; where its input ends before that, once more with a fresh input."""
        for fresh in (False, True):
            folder = self._folder or self._begin()
            code = self._life(folder, at)
            if code == -9:
                self.tally.kills += 1
                self.tally.phases[phase_of(folder)] += 1
                return
            self._judge(folder, code)
            if code:
                return
            if fresh:
                self.missed.append(at)

    def finish(self) -> None:
        """Run the last input to its end."""
        if self._folder is not None:
            self._judge(self._folder, self._life(self._folder, ""))

    def _begin(self) -> Path:
        self._number += 1
        self._lives = []
        name = f"round-{self._number}"
        self._folder = self._place.round(name, seed=self._seed, batches=_BATCHES)
        return self._folder

    def _life(self, folder: Path, at: str) -> int:
        self.tally.restarts += bool(self._lives)
        reset(folder)
        victim = spawn(lambda: live(folder, interval=_INTERVAL, at=at), folder=folder)
        code = victim.wait(HUNG)
        if code is None:
            code = victim.abort()
        self._lives.append(f"{at or 'undisturbed'} -> {code}")
        return code

    def _judge(self, folder: Path, code: int) -> None:
        problem = "" if code == 0 else f"a run ended with {code} ({self._lives[-1]}): {tail_of(folder)}"
        self.tally.judge(self._place, folder, seed=self._seed, batches=_BATCHES, problem=problem, lives=self._lives)
        self._folder = None


def _spread(count: int, hits: int) -> list[int]:
    """Return some numbers from 1 to `count`, the first and the last among them."""
    if count <= hits:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / (hits - 1)) for i in range(hits)}) if hits > 1 else [1]

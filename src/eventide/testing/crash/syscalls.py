"""The system-call suite: every n-th write, sync, rename and removal of a whole run goes wrong once."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventide.testing.crash import strace
from eventide.testing.crash.children import spawn, tail_of
from eventide.testing.crash.rounds import Place
from eventide.testing.crash.tally import Tally
from eventide.testing.crash.victim import live
from eventide.testing.crash.warm import warm_up

__all__ = ["PASSES", "torture_syscalls"]

PASSES = ("kill", "enospc", "eio")
_BATCHES = 6
_INTERVAL = "0s"
_HUNG = 90.0
_UNCLEAR = ("Traceback", "this should not happen")


@dataclass(slots=True)
class _Case:
    how: str
    group: str
    calls: strace.Calls
    number: int

    def __str__(self) -> str:
        return f"{self.how} {self.group} {self.number}"


@dataclass(slots=True)
class _Suite:
    """The state of one torture."""

    place: Place
    seed: int
    tally: Tally = field(default_factory=Tally)
    ends: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    missed: Counter[str] = field(default_factory=Counter)

    def run(self, case: _Case) -> None:
        """Let one call go wrong, run the pipeline once more, and compare."""
        self.cases += 1
        folder = self.place.folder / "case"
        shutil.copytree(self.place.folder / "input", folder)
        code = strace.disturbed(
            lambda: live(folder, interval=_INTERVAL, watched=False),
            folder=folder, how=case.how, calls=case.calls, number=case.number, timeout=_HUNG,
        )  # fmt: skip
        if case.how == "kill" and code == 0:
            self.missed[case.group] += 1
        else:
            self.ends[f"{case.how}: {_end(code)}"] += 1
        problem = _problem(case, code, folder)
        if not problem:
            self.tally.restarts += 1
            self.tally.kills += code == -9
            again = spawn(lambda: live(folder, interval=_INTERVAL, watched=False), folder=folder)
            after = again.wait(_HUNG)
            if after is None:
                after = again.abort()
            problem = "" if after == 0 else f"the run after that ended with {after}: {tail_of(folder)}"
        problem = problem and f"{case}: {problem}"
        ok = self.tally.judge(
            self.place, folder, seed=self.seed, batches=_BATCHES, problem=problem, lives=[f"{case} -> {code}"]
        )
        if not ok:
            kept = folder.with_name(f"case-{self.cases}")
            folder.rename(kept)
            self.tally.failures[-1] = self.tally.failures[-1].replace(str(folder), f"{kept}, {case}", 1)
        elif folder.exists():
            shutil.rmtree(folder)


def torture_syscalls(
    passes: tuple[str, ...] = PASSES,
    *,
    every: int = 1,
    seed: int = 1,
    keep: bool = False,
    most: int = 10,
    on_case: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Disturb every call of a run, one at a time, and compare what is written in the end with an undisturbed run.

    Parameters
    ----------
    passes
        ``"kill"``: SIGKILL instead of the call. ``"enospc"``, ``"eio"``: the call fails with that error; the run must
        recover by itself or end with an error that says so, and nothing may be lost after it is started again.
    every
        Only every so many calls.
    seed
        Of the input.
    keep
        Whether the folders stay.
    most
        End after so many failures.
    on_case
        Called after each call, with what was done so far.

    Returns
    -------
    ``ok`` and the figures of `eventide.testing.crash.tally.Tally`; ``cases``; ``calls`` of the whole run by
    name; ``ends``: how the disturbed runs ended; ``missed``: kills that no run came to, because it made fewer calls
    than the one that was counted (how many checkpoints there are is a matter of time); ``seconds``, in all and by pass.

    Raises
    ------
    MissingDependencyError
        strace is missing or may not be used.
    """
    strace.check()
    begun = time.monotonic()
    warm_up()
    place = Place(keep=keep)
    suite = _Suite(place, seed)
    place.round("input", seed=seed, batches=_BATCHES)
    groups = _count(place)
    seconds: dict[str, float] = {}
    for how in passes:
        start = time.monotonic()
        chosen = {group: calls for group, calls in sorted(groups.items()) if calls.name in strace.SETS[how]}
        cases = [_Case(how, group, calls, n) for group, calls in chosen.items() for n in range(1, calls.count + 1)]
        chosen_cases = cases[(every - 1) // 2 :: every]
        for number, case in enumerate(chosen_cases, 1):
            suite.run(case)
            if on_case is not None:
                on_case(f"{how}: {number:,} of {len(chosen_cases):,} ({case}), {len(suite.tally.failures)} failures")
            if len(suite.tally.failures) >= most:
                break
        seconds[how] = round(time.monotonic() - start, 1)
    tally = suite.tally
    calls = Counter({c.name: 0 for c in groups.values()})
    for found in groups.values():
        calls[found.name] += sum(found.threads.values())
    shutil.rmtree(place.folder / "input")
    return {
        **tally.to_dict(),
        "cases": suite.cases,
        "every": every,
        "calls": dict(calls),
        "ends": dict(suite.ends),
        "missed": dict(suite.missed),
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "seconds_by_pass": seconds,
        "folder": place.close(ok=tally.ok),
    }


def _count(place: Place) -> dict[str, strace.Calls]:
    folder = place.folder / "case"
    shutil.copytree(place.folder / "input", folder)
    found = strace.count_calls(lambda: live(folder, interval=_INTERVAL, watched=False), folder=folder, timeout=_HUNG)
    shutil.rmtree(folder)
    return found


def _end(code: int | None) -> str:
    if code is None:
        return "hung"
    if code == 0:
        return "went on by itself"
    return "killed" if code == -9 else f"exit code {code}" if code > 0 else f"signal {-code}"


def _problem(case: _Case, code: int | None, folder: Path) -> str:
    """Return what is wrong with how a disturbed run ended; a call that no run came to is no problem."""
    if code is None:
        return f"it did not end within {_HUNG:g} s: {tail_of(folder, characters=6000)}"
    if code == 0 or (case.how == "kill" and code == -9):
        return ""
    said = tail_of(folder)
    if code < 0 or case.how == "kill":
        return f"it ended with {code}: {said}"
    if "error:" not in said or any(word in said for word in _UNCLEAR):
        return f"it ended with {code} and did not say clearly why: {said}"
    return ""

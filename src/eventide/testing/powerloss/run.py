"""The suite: record the workload, take the power away at every place, recover, look."""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from eventide import registry
from eventide.errors import EventideError, RunError
from eventide.log import Log
from eventide.log import head as head_module
from eventide.testing.powerloss.check_log import check_log
from eventide.testing.powerloss.check_sinks import check_sinks, recover_sinks
from eventide.testing.powerloss.disk import MODELS, STYLES, CrashState, Disk, Model
from eventide.testing.powerloss.oracle import Oracle
from eventide.testing.powerloss.place import as_trace, digest_parts, place, scratch
from eventide.testing.powerloss.record import Recorder
from eventide.testing.powerloss.result import Result
from eventide.testing.powerloss.trace import Operation, load_trace
from eventide.testing.powerloss.workload import LOGS, command

__all__ = ["check_states", "record", "run"]

_PROCESSES = 3
_PER_TRACE = 1000
_TWICE = 0.05
_THIRD_BOOT = 8
_OF_STRICT = ""
_PARTS = (_OF_STRICT, *(f"data/{log}" for log in LOGS if log != "strict"))
"""The folders that have nothing to do with each other; the first is all the rest: sinks, checkpoints, one log."""


def record(folder: Path, *, seed: int, processes: int = _PROCESSES) -> list[Operation]:
    """Run the workload in `folder`, one process after another, and return the trace of what it did.

    Raises
    ------
    RunError
        The workload failed.
    """
    root, path = folder / "root", folder / "trace"
    root.mkdir(parents=True)
    for generation in range(processes):
        one = command(root, path, seed=seed, generation=generation)
        ended = subprocess.run(one, capture_output=True, text=True, check=False)
        if ended.returncode:
            msg = f"the workload of the power-loss suite failed (seed {seed}): {ended.stderr.strip()[-2000:]}"
            raise RunError(msg, hint="call main of eventide.testing.powerloss.workload by hand")
    return load_trace(path)


def check_states(
    trace: list[Operation],
    *,
    states: int,
    seed: int,
    report: Callable[[str], None] = print,
    most_problems: int = 1000,
) -> Result:
    """Choose states of a trace, recover each, and return what was found.

    Parameters
    ----------
    trace
        What the workload did.
    states
        How many different ones to check.
    seed
        Which ones.
    report
        Gets a line for every problem.
    most_problems
        Stop when so many were found.
    """
    result = Result(operations=Counter(type(o).__name__ for o in trace))
    began = time.monotonic()
    folder = scratch("eventide-powerloss-")
    checker = _Checker(Oracle(trace), folder)
    rng = random.Random(seed)
    # Which plug-ins are installed does not change meanwhile, and asking takes longer than all the rest of a recovery.
    known = mock.patch.object(registry, "names", cache(registry.names))
    quiet = logging.getLogger("eventide")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # that a hole was cut is what it warns of, thousands of times
    try:
        with known:
            for state in _choose(trace, rng, states):
                if len(result.problems) >= most_problems:
                    break
                _look(checker, state, result, report=report)
                if rng.random() < _TWICE:
                    for again in checker.again(state, rng):
                        _look(checker, again, result, report=report, while_recovering=state)
    finally:
        quiet.setLevel(level)
        shutil.rmtree(folder, ignore_errors=True)
    result.seconds = time.monotonic() - began
    return result


def _look(
    checker: _Checker,
    state: CrashState,
    result: Result,
    *,
    report: Callable[[str], None],
    while_recovering: CrashState | None = None,
) -> None:
    if not checker.new(state):
        return
    result.states += 1
    result.models[f"{state.model} {state.style}"] += 1
    result.twice += while_recovering is not None
    name = f"{while_recovering.name}, while recovering " if while_recovering else ""
    for problem in checker.check(state):
        result.problems.append(f"{name}{state.name}: {problem}")
        report(result.problems[-1])


def _choose(trace: list[Operation], rng: random.Random, states: int) -> Iterator[CrashState]:
    """Yield states, evenly over the trace; more than asked for, because some are equal."""
    per_cut = Counter(rng.choices(range(len(trace) + 1), k=states))
    disks = {model: Disk(model) for model in MODELS}
    for cut in range(len(trace) + 1):
        following = trace[cut] if cut < len(trace) else None
        for _ in range(per_cut[cut]):
            model: Model = "posix" if rng.random() < 0.75 else "ordered"
            style = rng.choice(STYLES)
            yield from disks[model].states(following, styles=[(style, rng.randrange(1 << 30))])
        if following is not None:
            for disk in disks.values():
                disk.feed(following)


class _Checker:
    """Recovers states. What lies apart is looked at again only when it is not as in a state before."""

    def __init__(self, oracle: Oracle, folder: Path) -> None:
        self._oracle, self._folder = oracle, folder
        self._seen: set[Any] = set()
        self._parts: list[tuple[str, Any]] = []

    def new(self, state: CrashState) -> bool:
        """Tell whether there was no such state with the same promises yet."""
        digests = digest_parts(state.tree, _PARTS)
        promises = {log: bisect_left(self._oracle.marks[log], state.cut) for log in LOGS}
        self._parts = []
        for log in LOGS:
            key = (log, digests[_OF_STRICT if log == "strict" else f"data/{log}"], promises[log])
            if key not in self._seen:
                self._parts.append((log, key))
        return bool(self._parts)

    def check(self, state: CrashState) -> list[str]:
        """Recover the state that `new` was asked about last."""
        root = self._folder / "root"
        place(state.tree, root)
        problems: list[str] = []
        for log, key in self._parts:
            self._seen.add(key)
            if log == "strict":
                problems += check_sinks(root, self._oracle, cut=state.cut)
            problems += check_log(root, log, self._oracle, cut=state.cut, seed=state.seed)
        return problems

    def again(self, state: CrashState, rng: random.Random) -> list[CrashState]:
        """Return states in which the folder may be if the power goes again, while a state is being recovered."""
        root = self._folder / "root"
        place(state.tree, root)
        before = as_trace(state.tree)
        with mock.patch.object(head_module, "boot_id", lambda: _THIRD_BOOT), Recorder(root, before) as recorder:
            recover(root)
        trace, disk = recorder.trace, Disk("posix")
        cuts = sorted(rng.choices(range(len(before), len(trace) + 1), k=3))
        found: list[CrashState] = []
        for at, operation in enumerate([*trace, None]):
            for _ in range(cuts.count(at)):
                found += disk.states(operation, styles=[(rng.choice(STYLES), rng.randrange(1 << 30))])
            if operation is not None:
                disk.feed(operation)
        return [replace(s, cut=state.cut) for s in found]


def recover(root: Path) -> None:
    """Open everything as programs do when the power comes back: partitions for writing, sinks from their checkpoint."""
    with suppress(EventideError, OSError):  # an error is found when the state is checked
        recover_sinks(root)
    for name in LOGS:
        path = root / "data" / name
        with suppress(EventideError, OSError), Log(path, create=False) as log:
            for topic in log.topics():
                for partition in range(topic.partitions):
                    log.writer(topic.name, partition)


def run(*, states: int = 10_000, seed: int = 1, report: Callable[[str], None] = print) -> Result:
    """Run the suite.

    Parameters
    ----------
    states
        How many states to recover.
    seed
        Which workloads, and which states of theirs.
    report
        Gets lines about progress and problems.
    """
    total = Result()
    began = time.monotonic()
    number = 0
    while total.states < states:
        folder = scratch("eventide-powerloss-")
        try:
            trace = record(folder, seed=seed + number)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        wanted = min(_PER_TRACE, states - total.states)
        found = check_states(trace, states=wanted, seed=seed + number, report=report)
        number += 1
        total.states += found.states
        total.operations += found.operations
        total.models += found.models
        total.twice += found.twice
        total.problems += [f"workload {seed + number - 1}: {line}" for line in found.problems]
        total.seconds = time.monotonic() - began
        report(f"{total.states} states of {number} workloads, {len(total.problems)} problems, {total.seconds:.0f} s")
    return total

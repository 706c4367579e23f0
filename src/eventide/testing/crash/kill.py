"""The kill suite: a pipeline is ended by SIGKILL at random instants of its life until its input has ended."""

from __future__ import annotations

import itertools
import math
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventide.testing.crash.children import Child, spawn, tail_of
from eventide.testing.crash.points import phase_of, reset
from eventide.testing.crash.produce import produce, produced
from eventide.testing.crash.rounds import Place
from eventide.testing.crash.tally import Tally
from eventide.testing.crash.victim import live
from eventide.testing.crash.warm import warm_up

__all__ = ["HUNG", "torture_kill"]

_BATCHES = 60
_FIRST = 20
_PAUSE = 0.03
_INTERVALS = ("20ms", "50ms", "120ms")
_SAME_INPUT = 6
HUNG = 120.0
_LONGEST = 30.0
_STOPPED = 128 + signal.SIGTERM


def torture_kill(
    kills: int, *, seed: int = 1, keep: bool = False, on_round: Callable[[Tally], None] | None = None
) -> dict[str, Any]:
    """Kill the pipeline so many times, and compare what it wrote with an undisturbed run.

    Parameters
    ----------
    kills
        How often; the round that is on then goes on to its end undisturbed.
    seed
        Of inputs and instants. The instants are times on the clock: a second run kills elsewhere.
    keep
        Whether the folders of the rounds stay.
    on_round
        Called after every round with what was done so far.

    Returns
    -------
    ``ok`` and the figures of `Tally`, ``seconds``, and ``folder``, which holds what failed.
    """
    begun = time.monotonic()
    warm_up()
    place, tally = Place(keep=keep), Tally()
    for number in itertools.count():
        if tally.kills >= kills or len(tally.failures) > 2:
            break
        _Round(place, tally, number=number, seed=seed, kills=kills).run()
        if on_round is not None:
            on_round(tally)
    seconds = round(time.monotonic() - begun, 1)
    return {**tally.to_dict(), "seed": seed, "seconds": seconds, "folder": place.close(ok=tally.ok)}


class _Round:
    """One input, from its first event to its end."""

    def __init__(self, place: Place, tally: Tally, *, number: int, seed: int, kills: int) -> None:
        self._place, self._tally, self._kills = place, tally, kills
        self._input = seed * 1000 + number // _SAME_INPUT
        self._random = random.Random(f"{seed}/{number}")
        self._name = f"round-{number}"
        self._interval = _INTERVALS[number % len(_INTERVALS)]
        self._horizon = 0.5
        self._lives: list[str] = []

    def run(self) -> None:
        """Kill and start the pipeline until its input has ended, then compare."""
        folder = self._place.round(self._name, seed=self._input, batches=_FIRST, end=False)
        producer = self._producer(folder)
        try:
            problem = self._until_the_end(folder, producer)
        finally:
            producer.kill()
        self._tally.judge(self._place, folder, seed=self._input, batches=_BATCHES, problem=problem, lives=self._lives)

    def _producer(self, folder: Path) -> Child:
        """Write the rest of the input while the pipeline runs."""
        seed, pause = self._input, self._random.choice([_PAUSE / 4, _PAUSE, 2 * _PAUSE])
        return spawn(lambda: _go_on(folder, seed=seed, pause=pause), folder=folder)

    def _until_the_end(self, folder: Path, producer: Child) -> str:
        producer_dies = self._random.uniform(0.0, 3.0)
        begun = time.monotonic()
        while True:
            if producer.code is None and time.monotonic() - begun > producer_dies:
                producer.kill()
                producer_dies = math.inf
            if producer.wait(0.0) not in (None, 0):
                producer = self._producer(folder)
            ended = self._life(folder)
            if ended == 0:
                producer.kill()
                return self._once_more(folder)
            if ended > 0 and ended != _STOPPED:
                return f"a run ended with exit code {ended}: {tail_of(folder)}"
            if ended == -signal.SIGABRT:
                return f"a run did not end within {HUNG:g} s: {tail_of(folder, characters=6000)}"
            if self._horizon >= _LONGEST:
                return f"no run came as far as its first checkpoint: {tail_of(folder)}"
            self._tally.restarts += 1

    def _life(self, folder: Path) -> int:
        """Start the pipeline, and end it after a random time unless it has ended by itself; return its exit code."""
        before = _newest(folder)
        reset(folder)
        victim = spawn(lambda: live(folder, interval=self._interval), folder=folder)
        undisturbed = self._tally.kills >= self._kills
        delay = HUNG if undisturbed else self._random.uniform(0.0, self._horizon)
        stop = not undisturbed and self._random.random() < 0.1
        code = victim.wait(delay)
        if code is None and stop:
            victim.send(signal.SIGTERM)
            patience = self._random.choice([0.02, 0.05, HUNG])
            code = victim.wait(patience)
            self._tally.stops += code is not None
            if code is None and patience == HUNG:
                code = victim.abort()
        if code is None and undisturbed:
            code = victim.abort()
        elif code is None:
            code = victim.kill()
            self._tally.kills += 1
            self._tally.phases[phase_of(folder)] += 1
        self._lives.append(f"{delay:.4f} {'TERM' if stop else 'KILL'} -> {code} {phase_of(folder)}")
        # A slow machine must come as far as its first checkpoint at times, or a round would never end.
        self._horizon = 0.5 if _newest(folder) > before else self._horizon * 1.1
        return code

    def _once_more(self, folder: Path) -> str:
        """Start a pipeline whose input has ended, at times: that must change nothing."""
        if self._random.random() < 0.5:
            return ""
        victim = spawn(lambda: live(folder, interval=self._interval), folder=folder)
        code = victim.wait(HUNG)
        if code is None:
            code = victim.abort()
        return "" if code == 0 else f"a run after the end ended with {code}: {tail_of(folder)}"


def _go_on(folder: Path, *, seed: int, pause: float) -> None:
    produce(folder, seed=seed, first=produced(folder), last=_BATCHES, end=True, pause=pause)


def _newest(folder: Path) -> str:
    return max((p.name for p in folder.glob("checkpoints/*/chk-????????")), default="")

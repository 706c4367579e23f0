"""The soak: a pipeline runs for minutes or hours under random faults, and what it writes is checked meanwhile."""

from __future__ import annotations

import json
import random
import resource
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventide.testing.crash.children import Child, in_child, spawn, tail_of
from eventide.testing.crash.faults import Faults
from eventide.testing.crash.kill import HUNG
from eventide.testing.crash.model import Model, check
from eventide.testing.crash.outputs import topic_table
from eventide.testing.crash.produce import end_input, produce_until_ended, produced
from eventide.testing.crash.rounds import Place
from eventide.testing.crash.tally import Tally
from eventide.testing.crash.victim import live
from eventide.testing.crash.warm import warm_up

__all__ = ["torture_soak"]

_EPOCH = 600.0
_PAUSE = 0.08
_LOOK = 5.0
_UNCLEAR = ("Traceback", "this should not happen")
_MEBI = 1 << 20


@dataclass(slots=True)
class _Soak:
    """What a soak has seen, over all its epochs."""

    tally: Tally = field(default_factory=Tally)
    faults: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    batches: int = 0
    checks: int = 0
    rss: int = 0


def torture_soak(
    seconds: float,
    *,
    seed: int = 1,
    keep: bool = False,
    memory: int = 1024,
    on_look: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Disturb a running pipeline for so long, checking all the time.

    Parameters
    ----------
    seconds
        How long. After ten minutes the input ends, everything is compared with an undisturbed run, and the next one
        begins.
    seed
        Of inputs and faults.
    keep
        Whether the folders stay.
    memory
        Resident memory that a run may take, MiB.
    on_look
        Called every few seconds with what was done so far.

    Returns
    -------
    ``ok`` and the figures of `eventide.testing.crash.tally.Tally`; ``faults`` by kind; ``refused``: runs that could not
    begin and said why; ``checks`` of the output while it grew; ``batches`` of input; ``max_rss_mib``; ``seconds``.
    """
    begun = time.monotonic()
    warm_up()
    place, soak = Place(keep=keep), _Soak()
    number = 0
    while (left := seconds - (time.monotonic() - begun)) > 0 and soak.tally.ok:
        epoch = _Epoch(place, soak, seed=seed * 1000 + number)
        epoch.run(min(left, _EPOCH), on_look=on_look or (lambda text: None))
        number += 1
    if soak.rss > memory * _MEBI:
        soak.tally.failures.append(f"a run took {soak.rss // _MEBI} MiB of memory, more than {memory}")
    tally = soak.tally
    return {
        **tally.to_dict(),
        "faults": dict(sorted(soak.faults.items())),
        "refused": soak.refused,
        "batches": soak.batches,
        "checks": soak.checks,
        "max_rss_mib": soak.rss // _MEBI,
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "folder": place.close(ok=tally.ok),
    }


class _Epoch:
    """One input under faults, from its first event to its end."""

    def __init__(self, place: Place, soak: _Soak, *, seed: int) -> None:
        self._place, self._soak, self._seed = place, soak, seed
        self._chance = random.Random(seed)
        self._folder = place.round(f"epoch-{seed}", seed=seed, batches=5, end=False)
        self._problem = ""

    def run(self, seconds: float, *, on_look: Callable[[str], None]) -> None:
        """Disturb, check, and compare everything at the end."""
        faults = Faults(self._folder, self._chance)
        producer, victim = self._producer(), self._victim()
        until, looked = time.monotonic() + seconds, time.monotonic()
        due = time.monotonic() + 1.0
        while time.monotonic() < until and not self._problem:
            time.sleep(0.05)
            self._sample(victim)
            if producer.wait(0.0) is not None:
                producer = self._producer()
            if victim.wait(0.0) is not None:
                victim = self._again(victim)
            if time.monotonic() >= due:
                faults.disturb(victim, producer)
                due = time.monotonic() + self._chance.uniform(0.5, 3.0)
            if time.monotonic() - looked > _LOOK:
                self._look()
                looked = time.monotonic()
                on_look(self._said(faults))
        faults.close()
        for kind, number in faults.done.items():
            self._soak.faults[kind] = self._soak.faults.get(kind, 0) + number
        self._soak.tally.kills += faults.done["kill"]
        self._soak.tally.stops += faults.done["stop"]
        self._finish(victim, producer)

    def _finish(self, victim: Child, producer: Child) -> None:
        end_input(self._folder)
        while not self._problem and producer.wait(HUNG) != 0:
            producer.kill()
            producer = self._producer()
        producer.kill()
        until, newest = time.monotonic() + HUNG, self._newest()
        while not self._problem and victim.wait(0.05) != 0:
            self._sample(victim)
            if victim.code is not None:
                victim = self._again(victim)
            if newest != self._newest():  # slow sinks and much to catch up with are no standstill
                until, newest = time.monotonic() + HUNG, self._newest()
            if time.monotonic() > until:
                victim.abort()  # it says where its threads are
                self._problem = f"the run did not come to its end: {tail_of(self._folder, characters=6000)}"
        victim.kill()
        batches = produced(self._folder)
        self._soak.batches += batches
        lives = [f"epoch of input seed {self._seed}"]
        self._soak.tally.judge(
            self._place, self._folder, seed=self._seed, batches=batches, problem=self._problem, lives=lives
        )

    def _newest(self) -> str:
        return max((path.name for path in (self._folder / "checkpoints").glob("*/chk-????????")), default="")

    def _producer(self) -> Child:
        folder, seed = self._folder, self._seed
        return spawn(lambda: produce_until_ended(folder, seed=seed, pause=_PAUSE), folder=folder)

    def _victim(self) -> Child:
        slow = self._chance.choice([0.0, 0.0, 0.0, 0.03])
        interval = self._chance.choice(["50ms", "200ms", "1s"])
        return spawn(lambda: live(self._folder, interval=interval, slow=slow), folder=self._folder)

    def _again(self, victim: Child) -> Child:
        """Start the next run; one that ended by itself must have said why."""
        code = victim.code or 0
        if code > 0 and code != 143:
            said = tail_of(self._folder)
            self._soak.refused += 1
            if "error:" not in said or any(word in said for word in _UNCLEAR):
                self._problem = f"a run ended with {code} and did not say clearly why: {said}"
            time.sleep(0.2)
        elif code < 0 and code not in (-9, -15):
            self._problem = f"a run ended by signal {-code}: {tail_of(self._folder, characters=6000)}"
        self._soak.tally.restarts += 1
        return self._victim()

    def _sample(self, victim: Child) -> None:
        try:
            pages = int(Path(f"/proc/{victim.pid}/statm").read_text("ascii").split()[1])
        except (OSError, IndexError):
            return
        self._soak.rss = max(self._soak.rss, pages * resource.getpagesize())

    def _look(self) -> None:
        """Check what is visible now against the model, in a child."""
        found = self._folder / "wrong.json"
        in_child(lambda: _look(self._folder, found, seed=self._seed), folder=self._folder)
        wrong = json.loads(found.read_text("utf-8"))
        self._soak.checks += 1
        if wrong:
            self._problem = f"while it ran: {'; '.join(wrong[:5])}"

    def _said(self, faults: Faults) -> str:
        done = ", ".join(f"{n} {kind}" for kind, n in sorted(faults.done.items()))
        return f"{produced(self._folder):,} batches, {self._soak.checks} checks, {done}, {self._soak.rss // _MEBI} MiB"


def _look(folder: Path, found: Path, *, seed: int) -> None:
    bursts = topic_table(folder, "bursts")
    columns = [bursts[n].to_pylist() for n in ("sensor", "timestamp", "ids")] if bursts is not None else [[], [], []]
    rows = [((sensor, time_), ids) for sensor, time_, ids in zip(*columns, strict=True)]
    wrong = check(Model.of(produced(folder), seed=seed), counts=_counts(folder), bursts=rows)
    found.write_text(json.dumps(wrong), "utf-8")


def _counts(folder: Path) -> list[tuple[tuple[int, int], int, float]]:
    path = folder / "tables.sqlite"
    if not path.exists():
        return []
    query = "SELECT sensor, window_end, n, total FROM counts"
    with sqlite3.connect(path, timeout=30) as db:
        rows = db.execute(query).fetchall()
    db.close()
    return [((sensor, end), n, total) for sensor, end, n, total in rows]

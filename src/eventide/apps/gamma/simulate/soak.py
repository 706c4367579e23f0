"""A soak: the whole pipeline in real time, how long results take, whether images are lost, whether memory grows."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.apps.gamma.pipeline import Analysis, Results, analyse
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate.night import CRAB
from eventide.apps.gamma.simulate.rush import Pattern, Rush, pattern
from eventide.apps.gamma.site import Site, made
from eventide.model.pipeline import pipeline
from eventide.model.protocols import Delivery
from eventide.model.stream import read
from eventide.model.time import instant

__all__ = ["LIMITS", "Delays", "soak"]

LIMITS: Final = {"event_p99_ms": 250.0, "alert_max_ms": 1000.0, "growth": 0.05}
"""What is asked for: from the last image to the array event, from the deciding event to its alert, growth of memory."""

_START: Final = "2026-01-01T00:30"
_ENDS: Final = ("parameters", "orphans", "duplicates", "late", "excluded")
_SAMPLE: Final = 1.0  # s
_BINS: Final = 60_001  # of a ms
_MORE: Final = 1.005  # times the rate: some events are left out of the stretch
_WARM: Final = 0.2  # share of the run before memory counts
_BEGIN: Final = 5.0  # s, or a fifth of a shorter run, before delays count: the process begins, kernels are loaded


class Delays:
    """Counts of delays in bins of a millisecond, so that they take no more memory however many there are.

    Examples
    --------
    >>> delays = Delays()
    >>> delays.add(np.array([0.0101, 0.0202, 2.0]))
    >>> delays.quantile(0.5), delays.quantile(1.0), delays.count
    (21.0, 2001.0, 3)
    """

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self._bins.sum())

    def add(self, seconds: np.ndarray) -> None:
        """Count some, s."""
        at = np.clip(np.floor(seconds * 1000.0), 0, _BINS - 1).astype(np.int64)
        self._bins += np.bincount(at, minlength=_BINS)

    def quantile(self, share: float) -> float:
        """Return what so large a share is below, ms; NaN where there were none."""
        if not self.count:
            return float("nan")
        return float(np.searchsorted(np.cumsum(self._bins), share * self.count) + 1)


class _Sink:
    """Counts rows, and hands batches to whoever looks at them."""

    delivery: Delivery = "at_least_once"

    def __init__(self, look: Callable[[pa.RecordBatch, float], None] | None = None) -> None:
        self._look = look
        self.rows = 0

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Get ready."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        now = time.monotonic()
        self.rows += batch.num_rows
        if self._look is not None and batch.num_rows:
            self._look(batch, now)

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Nothing is kept."""
        return {}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is kept."""


class _Watcher(threading.Thread):
    """Looks at the memory of the process, and says how it goes."""

    def __init__(self, rush: Rush, delays: Delays, say: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self.memory: list[float] = []
        self._stop_it = threading.Event()
        self._rush, self._delays, self._say = rush, delays, say

    def run(self) -> None:
        """Look until told to stop."""
        begin = last = time.monotonic()
        sent = 0
        while not self._stop_it.wait(_SAMPLE):
            self.memory.append(_resident())
            now = time.monotonic()
            if now - last >= 10:
                rate = (self._rush.sent - sent) / (now - last)
                self._say(
                    f"{now - begin:6.0f} s  {rate:9,.0f} images/s  p99 {self._delays.quantile(0.99):5.0f} ms  "
                    f"{self.memory[-1]:7.1f} MiB"
                )
                last, sent = now, self._rush.sent

    def finish(self) -> None:
        """Stop looking."""
        self._stop_it.set()
        self.join()


def soak(
    *,
    rate: float = 20_000.0,
    telescopes: int = 100,
    seconds: float = 1800.0,
    jitter: float = 0.05,
    late_by: float = 2.0,
    seed: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run the pipeline on images that come in real time, and return what happened.

    The last telescope's images come `late_by` later than all others. A flare of the source comes every minute and takes
    six seconds, so that there are alerts. Delays are those from when an image is due, not from when the source had time
    for it; those of the first five seconds, in which the process begins, do not count.

    Parameters
    ----------
    rate
        Images a second.
    telescopes
        Of a made array.
    seconds
        For how long.
    jitter
        Standard deviation of the time that images take to come, s.
    late_by
        How much later the images of one telescope come, s.
    seed
        The same for the same images.
    say
        Takes lines of text while it runs.

    Returns
    -------
    dict
        ``images``, ``rate``, ``events``, ``whole`` (events with all of their images), ``event_p50_ms`` and so on from
        the last image to the event, ``alerts``, ``alert_max_ms`` from the last image of the deciding event to the
        alert, ``lost``, ``memory_mib`` and ``growth`` after the first fifth, ``cpu`` (cores used), ``load``,
        ``missed`` (what is not as it should be) and ``ok``.
    """
    site = made(telescopes)
    position = OnOff(*CRAB, radius=0.17, name="Crab")
    how = Analysis(
        site,
        position,
        lateness=f"{round((late_by + 6 * jitter) * 1000) + 200}ms",
        alert_lateness=f"{round(6 * jitter * 1000) + 100}ms",
        triggered=True,
    )
    late = {site.telescopes[-1].tel_id: late_by}
    quiet = _without_excess(_fitting(site, rate=_MORE * rate, jitter=jitter, late=late, seed=seed), how)
    length = quiet.length / 1e9
    flare = pattern(
        site,
        rate=rate,
        jitter=jitter,
        late=late,
        hadrons=0.0,
        gammas=max(30.0, 150.0 * length),
        length=length,
        seed=seed + 1,
    )
    since = min(_BEGIN, _WARM * seconds)
    flaring = (int(since / length) + 1, max(1, round(6.0 / length)), max(1, round(60.0 / length)))
    rush = Rush(quiet, flare, stretches=max(1, round(seconds / length)), flaring=flaring, start=instant(_START))
    whole, alerts = Delays(), Delays()
    partly = [0]

    def counted(delays: Delays, due: np.ndarray, now: float) -> None:
        delays.add(now - due[due - rush.began >= since])

    def events(batch: pa.RecordBatch, now: float) -> None:
        due, sizes = rush.arrival(batch.column("event_id").to_numpy())
        found = batch.column("telescopes").value_lengths().to_numpy()
        all_there = found == sizes
        counted(whole, due[all_there], now)
        partly[0] += int((~all_there).sum())

    decided = _Deciding(rush)

    def alert(batch: pa.RecordBatch, now: float) -> None:
        due = decided.due(batch.column("time").cast(pa.int64()).to_numpy())
        counted(alerts, due, now)

    sinks = {name: _Sink() for name in Results._fields}
    sinks["events"], sinks["alerts"] = _Sink(events), _Sink(alert)
    found = analyse(read(rush, name="images"), how)
    job = pipeline(*(s.write(sinks[n]) for n, s in found._asdict().items()), name="soak")
    watcher = _Watcher(rush, whole, say)
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    watcher.start()
    try:
        registry.resolve("engine", "local").run(job)
    finally:
        watcher.finish()
    took = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    counts = {name: sinks[name].rows for name in Results._fields}
    figures: dict[str, Any] = {
        "images": rush.sent,
        "seconds": round(took, 1),
        "rate": round(rush.sent / (rush.stretches * length)),
        "telescopes": telescopes,
        "events": counts["events"],
        "whole": whole.count,
        "partly": partly[0],
        **{f"event_p{round(100 * q)}_ms": whole.quantile(q) for q in (0.5, 0.99)},
        "event_max_ms": whole.quantile(1.0),
        "alerts": counts["alerts"],
        "alert_max_ms": alerts.quantile(1.0),
        **{name: counts[name] for name in (*_ENDS[1:], "gammas", "unwatched")},
        "lost": rush.sent - sum(counts[name] for name in _ENDS),
        **_memory(watcher.memory),
        "cpu": round((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / took, 2),
        "load": os.getloadavg()[0],
    }
    missed = [name for name, most in LIMITS.items() if not figures[name] <= most]
    missed += (
        ["lost"] * (figures["lost"] != 0) + ["late"] * (figures["late"] != 0) + ["alerts"] * (not counts["alerts"])
    )
    return {**figures, "missed": missed, "ok": not missed}


class _Deciding:
    """Which event an alert names by its time, and when that event's last image was due."""

    def __init__(self, rush: Rush) -> None:
        self._rush = rush
        patterns = [p for p in (rush.quiet, rush.flare) if p is not None]
        firsts, bases = [], 0
        self._numbers = np.arange(rush.events)
        for given in patterns:
            first = np.full(given.sizes.size, np.iinfo(np.int64).max)
            np.minimum.at(first, given.trigger, given.times)
            firsts.append(first)
            bases += first.size
        self._first = np.concatenate(firsts)
        order = np.argsort(self._first, kind="stable")
        self._first, self._numbers = self._first[order], self._numbers[order]

    def due(self, times: np.ndarray) -> np.ndarray:
        """Return when the last image of the events of these times was due."""
        length = self._rush.quiet.length
        # An image may have a clock a few ns behind the beginning of its stretch.
        stretch, since = np.divmod(times - self._rush.start - int(self._first[0]), length)
        at = np.searchsorted(self._first, since + int(self._first[0]))
        at = np.minimum(at, self._first.size - 1)
        return self._rush.arrival(stretch * self._rush.events + self._numbers[at])[0]


def _fitting(site: Site, *, rate: float, jitter: float, late: Mapping[int, float], seed: int) -> Pattern:
    """Return a stretch of a quarter of a second at least, of as many hadrons as that takes."""
    hadrons = 100.0
    while True:
        found = pattern(site, rate=rate, jitter=jitter, late=late, hadrons=hadrons, seed=seed)
        if found.times.size >= 0.25 * rate or hadrons >= 50_000:
            return found
        hadrons *= 1.2 * max(1.5, 0.3 * rate / found.times.size)


def _without_excess(given: Pattern, how: Analysis) -> Pattern:
    """Return a stretch without the events in the on region: over and over, they would be an excess of their own."""
    memory = registry.resolve("connector", "memory")
    sink = memory.MemorySink()
    found = analyse(read(memory.MemorySource(given.rows)), how)
    registry.resolve("engine", "local").run(found.gammas.write(sink))
    gammas = sink.table()
    columns = (gammas[n].to_numpy() for n in ("ra", "dec"))
    pointing = {n: gammas[n].to_numpy() for n in ("ra_pnt", "dec_pnt")}
    region = how.position.regions(*columns, **pointing)
    bad = gammas["event_id"].to_numpy()[region == 0]
    kept = ~np.isin(given.trigger, bad)
    rows = given.rows.filter(pa.array(kept))
    return Pattern(
        rows, given.length, given.times[kept], given.arrival[kept], given.trigger[kept], given.last, given.sizes
    )


def _memory(samples: list[float]) -> dict[str, float]:
    """Return the memory at the end, MiB, and by which share it has grown since the first fifth of the run."""
    if len(samples) < 5:
        return {"memory_mib": samples[-1] if samples else _resident(), "growth": 0.0}
    rest = np.array(samples[int(_WARM * len(samples)) :])
    part = max(1, rest.size // 4)
    begin, end = float(np.median(rest[:part])), float(np.median(rest[-part:]))
    return {"memory_mib": round(end, 1), "growth": round(end / begin - 1.0, 4)}


def _resident() -> float:
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

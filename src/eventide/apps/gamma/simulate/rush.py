"""Images as fast as an array makes them, in real time: a stretch of a night over and over, late by what links take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.building.coincidence import coincide
from eventide.apps.gamma.schema import DL1_IMAGE, TRIGGERED
from eventide.apps.gamma.simulate.night import Night
from eventide.apps.gamma.site import Site
from eventide.errors import UsageError
from eventide.model.protocols import Chunk, Position
from eventide.model.time import EVENT_TIME

__all__ = ["Pattern", "Rush", "pattern"]

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_SECOND: Final = 1_000_000_000
_TICK: Final = 0.03  # s: how often it is looked what has come
_WINDOW: Final = 1_000  # ns, of an event's triggers
_FAR: Final = 3.0  # times the jitter, at most


@dataclass(frozen=True, slots=True)
class Pattern:
    """A stretch of a night in order of arrival.

    Attributes
    ----------
    rows
        `DL1_IMAGE` and `TRIGGERED`.
    length
        Of the stretch, ns.
    times, arrival
        Of every row since the stretch began, ns: when the telescope triggered, and when its image comes.
    trigger
        Number of its event, from 0.
    last
        By event: when its last image comes, ns since the stretch began.
    sizes
        By event: how many images it has.
    """

    rows: pa.RecordBatch = field(repr=False)
    length: int
    times: Int64Array = field(repr=False)
    arrival: Int64Array = field(repr=False)
    trigger: Int64Array = field(repr=False)
    last: Int64Array = field(repr=False)
    sizes: Int64Array = field(repr=False)


def pattern(
    site: Site,
    *,
    rate: float,
    jitter: float,
    late: Mapping[int, float],
    gammas: float = 0.0,
    hadrons: float = 400.0,
    length: float = 0.0,
    seed: int = 1,
) -> Pattern:
    """Make a stretch of a night that has `rate` images a second.

    Parameters
    ----------
    site
        The array.
    rate
        Images a second; the stretch is as long as that takes, unless `length` says otherwise.
    jitter
        Standard deviation of the time that images take to come, s; at most three times as much.
    late
        By telescope, how much longer its images take, s.
    gammas, hadrons
        Showers of which the stretch is made.
    length
        Of the stretch, s.
    seed
        The same for the same stretch.

    Raises
    ------
    UsageError
        There are no images in it.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> found = pattern(made(4), rate=1000.0, jitter=0.05, late={4: 2.0})
    >>> bool((np.diff(found.arrival % found.length) >= 0).all()), int(found.sizes.sum()) == found.times.size
    (True, True)
    """
    images = Night(site, seed=seed, hadrons=hadrons, gammas=gammas, singles=0.0).second(0)
    count = images.num_rows
    if not count:
        msg = f"{hadrons:g} hadrons and {gammas:g} gamma rays over {len(site.telescopes)} telescopes make no image"
        raise UsageError(msg, hint="give more of them, or more telescopes")
    times = images.column("time").cast(pa.int64()).to_numpy()
    tels = images.column("tel_id").to_numpy()
    found = coincide(times, tels, window=_WINDOW)
    trigger = np.empty(count, np.int64)
    trigger[found.order] = np.repeat(np.arange(found.sizes.size), found.sizes)
    stretch = round((length or count / rate) * _SECOND)
    first = found.first - times.min()
    # Events come closer together; their images keep their distances.
    squeezed = first * (max(stretch - 2 * _WINDOW, 1)) // max(int(first.max(initial=0)), 1)
    since = squeezed[trigger] + times - found.first[trigger]
    random = np.random.default_rng([seed, 1])
    takes = np.minimum(np.abs(random.standard_normal(count)), _FAR) * jitter
    takes += np.array([late.get(int(t), 0.0) for t in tels])
    arrival = since + np.rint(takes * _SECOND).astype(np.int64)
    order = np.argsort(arrival % stretch, kind="stable")
    sizes = found.sizes
    rows = pa.RecordBatch.from_arrays(
        [*images.columns, pa.array(trigger), pa.array(sizes[trigger].astype(np.int32))],
        schema=pa.schema([*DL1_IMAGE, *TRIGGERED]),
    ).take(pa.array(order))
    last = np.zeros(sizes.size, np.int64)
    np.maximum.at(last, trigger, arrival)
    return Pattern(rows, stretch, since[order], arrival[order], trigger[order], last, sizes)


class Rush:
    """A source that plays patterns in real time.

    Parameters
    ----------
    quiet
        Played all the time.
    flare
        Played in some of the stretches too; as long as `quiet`.
    stretches
        How many are played.
    flaring
        Which of them have the flare: from which one on, how many, and after how many again.
    start
        Event time of the beginning, ns.

    Attributes
    ----------
    began
        When it was opened, s of the monotonic clock: event time `start` is now.
    sent
        How many images have been handed out.
    """

    def __init__(
        self, quiet: Pattern, flare: Pattern | None, *, stretches: int, flaring: tuple[int, int, int], start: int
    ) -> None:
        self.quiet, self.flare, self.stretches, self.start = quiet, flare, stretches, start
        self._flaring = flaring
        self.began = 0.0
        self.sent = 0

    @property
    def events(self) -> int:
        """Numbers of triggers of a stretch: first those of `quiet`, then those of `flare`."""
        return self.quiet.sizes.size + (0 if self.flare is None else self.flare.sizes.size)

    def has_flare(self, stretch: Int64Array) -> npt.NDArray[np.bool_]:
        """Return which stretches have the flare."""
        first, count, every = self._flaring
        return (stretch >= first) & ((stretch - first) % every < count) & (self.flare is not None)

    def arrival(self, trigger: Int64Array) -> tuple[FloatArray, Int64Array]:
        """Return when the last image of triggers was due (s of the monotonic clock), and how many images they have."""
        stretch, number = np.divmod(trigger, self.events)
        last, sizes = self.quiet.last, self.quiet.sizes
        if self.flare is not None:
            last, sizes = np.concatenate([last, self.flare.last]), np.concatenate([sizes, self.flare.sizes])
        return self.began + (stretch * self.quiet.length + last[number]) / _SECOND, sizes[number]

    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return self.quiet.rows.schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def open(self, positions: Mapping[str, Position]) -> _Reader:
        """Open at the beginning, which is now."""
        self.began = time.monotonic()
        return _Reader(self)


class _Reader:
    def __init__(self, rush: Rush) -> None:
        self._rush = rush
        self._done = 0  # ns since the beginning: what came before has been handed out
        self.finished = False
        longest = max(int((p.arrival // p.length).max(initial=0)) for p in self._patterns())
        self._end = (rush.stretches + longest + 1) * rush.quiet.length

    def _patterns(self) -> list[Pattern]:
        return [p for p in (self._rush.quiet, self._rush.flare) if p is not None]

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return what has come since the last call, or by the end of the timeout."""
        rush = self._rush
        due = rush.began + self._done / _SECOND + _TICK
        time.sleep(max(0.0, min(due - time.monotonic(), timeout)))
        now = min(int((time.monotonic() - rush.began) * _SECOND), self._end)
        chunks: list[Chunk] = []
        while self._done < now:
            stretch, begin = divmod(self._done, rush.quiet.length)
            end = min(now - stretch * rush.quiet.length, rush.quiet.length)
            base = 0
            for pattern_ in self._patterns():
                rows = self._rows(pattern_, stretch, begin, end=end, base=base)
                base += pattern_.sizes.size
                if rows is not None and rows.num_rows:
                    chunks.append(Chunk("0", rows, {"done": self._done}))
                    rush.sent += rows.num_rows
            self._done = stretch * rush.quiet.length + end
        self.finished = self._done >= self._end
        return chunks

    def _rows(self, given: Pattern, stretch: int, begin: int, *, end: int, base: int) -> pa.RecordBatch | None:
        """Return the rows that come in a part of a stretch; they may be of earlier ones."""
        rush = self._rush
        phase = given.arrival % given.length
        one, two = np.searchsorted(phase, [begin, end])
        if one == two:
            return None
        of = stretch - given.arrival[one:two] // given.length
        kept = (of >= 0) & (of < rush.stretches)
        if given is rush.flare:
            kept &= rush.has_flare(of)
        if not kept.any():
            return None
        names = given.rows.schema.names
        columns = dict(zip(names, given.rows.slice(one, two - one).columns, strict=True))
        columns["time"] = pa.array(rush.start + of * given.length + given.times[one:two]).cast(EVENT_TIME)
        columns["tel_event_id"] = pa.array(of * (2 * len(phase)) + np.arange(one, two))
        columns["trigger_id"] = pa.array(of * rush.events + base + given.trigger[one:two])
        rows = pa.RecordBatch.from_arrays([columns[n] for n in names], schema=given.rows.schema)
        return rows if kept.all() else rows.filter(pa.array(kept))

    def backlog(self) -> int | None:
        """Nobody knows."""
        return None

    def close(self) -> None:
        """There is nothing to let go of."""
        self.finished = True

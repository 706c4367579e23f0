"""Runs: beginnings (pl72) and ends (6s4t) in, intervals of event time out.

What arrives may be late, repeated, or contradict what came before. A run is named by its job, else by its name:

- a beginning with a stop time ends by itself then; an end may move that time, earlier or later;
- an end that names no time ends the run when it arrives; one that names a run that is not there changes nothing;
- a beginning inside another run ends that one there: an instrument measures one run at a time;
- the same message again changes nothing.

Intervals are half-open: an event at the stop time belongs to no run, or to the next.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eventide.formats.pl72 import RunStart, RunStop

__all__ = ["NO_RUN", "Run", "Runs"]

NO_RUN = -1
_MS = 1_000_000
_OPEN = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; times in ns since 1970, `stop` None while it is open.

    Examples
    --------
    >>> Run(name="42", start=5, stop=9).holds(8), Run(name="42", start=5, stop=9).holds(9)
    (True, False)
    """

    name: str
    job: str = ""
    instrument: str = ""
    start: int
    stop: int | None = None
    periods: int = 1

    def holds(self, time: int) -> bool:
        """Tell whether a time is in the run."""
        return self.start <= time and (self.stop is None or time < self.stop)


class Runs:
    """The runs of one instrument.

    Examples
    --------
    >>> runs = Runs()
    >>> runs.begin(RunStart(run_name="42", job_id="a", start_time=1000, n_periods=2), now=0)
    True
    >>> runs.end(RunStop(job_id="a", stop_time=3000), now=0)
    True
    >>> [(run.name, run.start, run.stop) for run in runs]
    [('42', 1000000000, 3000000000)]
    >>> runs.of([999_999_999, 1_000_000_000, 3_000_000_000]).tolist()
    [-1, 0, -1]
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs: list[Run] = sorted(runs, key=_start)

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs))

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, number: int) -> Run:
        return self._runs[number]

    def current(self, now: int) -> Run | None:
        """Return the run that a time (ns since 1970) is in."""
        number = int(self.of([now])[0])
        return None if number == NO_RUN else self._runs[number]

    def begin(self, one: RunStart, *, now: int) -> bool:
        """Take the beginning of a run; tell whether that changed anything.

        Parameters
        ----------
        one
            The message; without a start time, the run begins `now`.
        now
            Time of the message, ns since 1970.
        """
        start = one.start_time * _MS or now
        stop = one.stop_time * _MS or None
        if stop is not None and stop <= start:
            return False  # ends before it begins
        known = self._find(one.job_id, one.run_name)
        if known is not None and (one.job_id or self._runs[known].start == start or not one.start_time):
            return False
        made = Run(
            name=one.run_name,
            job=one.job_id,
            instrument=one.instrument_name,
            start=start,
            stop=stop,
            periods=max(1, one.n_periods),
        )
        at = bisect.bisect_left(self._runs, start, key=_start)
        if at < len(self._runs) and self._runs[at].start == start:
            return False  # two runs cannot begin at one time: the first one that was told of stays
        if at and self._runs[at - 1].holds(start):
            self._runs[at - 1] = replace(self._runs[at - 1], stop=start)
        if at < len(self._runs):  # one told of late: it ends where the next one began
            end = self._runs[at].start
            made = replace(made, stop=end if made.stop is None else min(made.stop, end))
        self._runs.insert(at, made)
        return True

    def end(self, one: RunStop, *, now: int) -> bool:
        """Take the end of a run; tell whether that changed anything.

        Parameters
        ----------
        one
            The message; with no stop time, the run ends `now`.
        now
            Time of the message, ns since 1970.
        """
        at = self._find(one.job_id, one.run_name)
        if at is None:
            return False
        run = self._runs[at]
        stop = one.stop_time * _MS or now
        if not one.stop_time and run.stop is not None and run.stop <= stop:
            return False  # over already: the message came again
        if at + 1 < len(self._runs):
            stop = min(stop, self._runs[at + 1].start)
        if stop <= run.start or stop == run.stop:
            return False
        self._runs[at] = replace(run, stop=stop)
        return True

    def of(self, times: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the number of the run that each time is in, `NO_RUN` for none.

        Parameters
        ----------
        times
            ns since 1970.
        """
        when = np.asarray(times, np.int64)
        if not self._runs:
            return np.full(when.shape, NO_RUN, np.int64)
        starts = np.array([run.start for run in self._runs], np.int64)
        stops = np.array([_OPEN if run.stop is None else run.stop for run in self._runs], np.int64)
        at = np.searchsorted(starts, when, side="right") - 1
        return np.where((at >= 0) & (when < stops[np.maximum(at, 0)]), at, NO_RUN)

    def forget(self, before: int) -> int:
        """Drop runs that ended before a time, ns since 1970; return how many."""
        kept = [run for run in self._runs if run.stop is None or run.stop > before]
        dropped = len(self._runs) - len(kept)
        self._runs = kept
        return dropped

    def _find(self, job: str, name: str) -> int | None:
        """Return the newest run of a job, or of a name where no job is given; the open one where neither is."""
        for at in range(len(self._runs) - 1, -1, -1):
            run = self._runs[at]
            if job:
                if run.job == job:
                    return at
            elif name:
                if run.name == name:
                    return at
            elif run.stop is None:
                return at
        return None


def _start(run: Run) -> int:
    return run.start

"""Hindsight: histograms since the run began, made anew from the log with other bins or masks, while data go on coming.

Each way of counting is a version with topics of its own: the first has the names as they are, another one a name
before them (``fine-histograms``). Which version holds from when on is a row of the topic ``versions``, written when it
is decided: up to the boundary publications are those of the version before, and after it those of the new one, whose
counts hold everything since its beginning. So every interval has the publications of one version, whichever is ahead.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.apps.neutron.pipeline import pipeline
from eventide.errors import DataError, EventideError, LogError, UsageError
from eventide.log import Log
from eventide.model.batch import event_times
from eventide.model.stream import read
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME, duration, instant

__all__ = ["VERSIONS", "Rebuilt", "Version", "held", "published", "rebin", "switch", "versions"]

VERSIONS: Final = pa.schema(
    [
        pa.field(
            "event_time", EVENT_TIME, metadata={"meaning": "publications until later than this are of the version"}
        ),
        pa.field("version", pa.string(), metadata={"meaning": "name before the topics"}),
    ]
)
"""Which version holds from when on."""

_TOPIC = "versions"
_LOOK = 0.2
_LAST = 8


@dataclass(frozen=True, slots=True)
class Version:
    """A version, and the boundaries (ns) after which and up to which publications are its own."""

    name: str
    after: int
    up_to: int

    def topic(self, kind: str) -> str:
        """Return the name of one of its topics, such as ``histograms``."""
        return f"{self.name}-{kind}" if self.name else kind


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How fast a version was counted anew, from the call to the switch, with the start of the pipeline.

    Parameters
    ----------
    events
        Events that came in it up to the switch.
    covered
        Of the time of the events, how much they span, s.
    seconds
        How long it took, s.
    cpu
        How much of that this process computed, on all cores together, s: where others compute too, it waited as long.
    live
        By how much of its time the version before went on meanwhile, s.

    Examples
    --------
    >>> made = Rebuilt(events=6_000_000, covered=60.0, seconds=2.0, cpu=1.0, live=1.9)
    >>> made.rate, made.times_real_time
    (3000000.0, 30.0)
    """

    events: int
    covered: float
    seconds: float
    cpu: float
    live: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def times_real_time(self) -> float:
        """How many times as fast as the events came."""
        return self.covered / self.seconds


def versions(log: str = "") -> list[Version]:
    """Return the versions of a log, in order; the first is the one without a name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     versions(folder)
    [Version(name='', after=-9223372036854775807, up_to=9223372036854775807)]
    """
    names, bounds = [""], [MIN_TIME]
    found = held(_TOPIC, log)
    if found is not None:
        names += found["version"].to_pylist()
        bounds += found["event_time"].cast(pa.int64()).to_pylist()
    return [Version(n, b, e) for n, b, e in zip(names, bounds, [*bounds[1:], MAX_TIME], strict=True)]


def published(kind: str = "histograms", log: str = "") -> Iterator[tuple[Version, pa.Table]]:
    """Yield the publications of a kind, of each version those between its boundaries.

    Parameters
    ----------
    kind
        ``histograms``, ``volumes`` or ``monitors``.
    log
        Folder of the log; left out, the configured one.
    """
    for version in versions(log):
        table = held(version.topic(kind), log)
        if table is not None:
            until = table["until"].cast(pa.int64()).to_numpy()
            yield version, table.filter(pa.array((until > version.after) & (until <= version.up_to)))


def switch(name: str, at: int, log: str = "") -> Version:
    """Let a version hold from a boundary on: one row, written or not written.

    Parameters
    ----------
    name
        Of the version.
    at
        The boundary, ns: publications until later than this are those of the version.
    log
        Folder of the log; left out, the configured one.

    Raises
    ------
    UsageError
        The boundary lies before that of the version that holds.
    """
    newest = versions(log)[-1]
    if at < newest.after:
        msg = f"the version {newest.name!r} holds from later on than the boundary of {name!r}"
        raise UsageError(msg, hint="choose a later boundary")
    row = pa.table({"event_time": pa.array([at], EVENT_TIME), "version": [name]}, schema=VERSIONS)
    source = registry.resolve("connector", "memory").MemorySource(row.to_batches())
    _run(read(source).write(f"log://{_TOPIC}", **_place(log)), log)
    return Version(name, at, MAX_TIME)


def rebin(
    name: str,
    *,
    checkpoint: str,
    every: str = "1s",
    interval: str = "2s",
    stop: threading.Event | None = None,
    on_switch: Callable[[Version, Rebuilt], None] | None = None,
    log: str = "",
    **parameters: str,
) -> Any:
    """Count anew from the log, switch to that when it has caught up, and go on until told to stop.

    What the version before has published already it does not publish once more: those intervals are not its own.

    Parameters
    ----------
    name
        Of the new version.
    checkpoint
        Folder of its checkpoints: stopped, it goes on from there when called again.
    every
        Interval of publications; that of the version before.
    interval
        Time between two checkpoints: at each, what was published becomes visible, and so whether it has caught up.
    stop
        Ends it when it is set.
    on_switch
        Called when the new version holds, with how fast that was: the pipeline of the one before may be stopped once
        it has published up to the boundary.
    log
        Folder of the log; left out, the configured one.
    parameters
        More of `eventide.apps.neutron.pipeline.pipeline`: ``bins``, ``mask``, ``since``, ``instrument``, ...; with
        ``publish_from`` earlier intervals are published too.

    Returns
    -------
    The result of the run.

    Raises
    ------
    UsageError
        The name cannot be one.
    DataError
        Pulses that would count were deleted by the retention of the topic.
    """
    if not name or not name.replace("_", "").isalnum():
        msg = f"a version cannot be called {name!r}"
        raise UsageError(msg, hint="letters, numbers and _, for example fine")
    began, computed = time.monotonic(), time.process_time()
    known = versions(log)
    held = any(v.name == name for v in known)
    at_first = _newest(known[-1], log)
    if not held and _newest(Version(name, MIN_TIME, MAX_TIME), log) is None:
        _check_there(parameters.get("source", "log://pulses"), parameters.get("since", ""), log)
    begin = np.datetime64(0 if held or at_first is None else at_first.until // 1000, "us")
    given = {"publish_from": str(begin), **parameters}
    job = pipeline(sink=f"log://{name}-", every=every, follow="true", log=log, **given).named(f"neutron-{name}")
    ended = stop or threading.Event()
    step = duration(every, what="every")
    failed: list[EventideError] = []

    def watch() -> None:
        # Caught up: the new version has published what the old one has. The boundary is one interval further on,
        # so that neither has published anything beyond it when the row is written.
        look = _Looker(log)
        while not held and not ended.wait(_LOOK):
            old = versions(log)[-1]
            theirs, ours = (look.newest(v) for v in (old, Version(name, MIN_TIME, MAX_TIME)))
            if ours is not None and (theirs is None or ours.until >= theirs.until):
                try:
                    made = switch(name, ours.until + step, log)
                except EventideError as error:
                    failed.append(error)
                    ended.set()
                    return
                if on_switch is not None:
                    before = at_first.until if at_first else theirs.first if theirs else 0
                    live = (theirs.until - before) / 1e9 if theirs else 0.0
                    covered = (ours.until - ours.first) / 1e9
                    spent = time.monotonic() - began, time.process_time() - computed
                    on_switch(made, Rebuilt(ours.events, covered, *spent, live))
                return

    watcher = threading.Thread(target=watch, name="switch")
    watcher.start()
    try:
        result = _run(job, log, stop=ended, checkpoint=checkpoint, checkpoint_interval=interval)
    finally:
        ended.set()
        watcher.join()
    if failed:
        raise failed[0]
    return result


def _check_there(source: str, since: str, log: str) -> None:
    """Refuse to count what is no longer there: the counts would be less than they say."""
    topic = source.removeprefix("log://")
    if topic == source:
        return
    with Log(_root(log), create=False) as opened, opened.reader(topic) as reader:
        if all(p.earliest == 0 for p in opened.describe(topic)):
            return
        frames = reader.read(1)
    first = event_times(frames[0].batch, "event_time")[0] if frames else MAX_TIME
    if not since or instant(since, what="since=") < first:
        msg = f"pulses before {np.datetime64(int(first), 'ns')} were deleted from the topic {topic!r}"
        raise DataError(msg, hint="name a later beginning with since=, or keep more: `eventide log retention`")


def _root(log: str) -> str | Path:
    return log or os.environ.get("EVENTIDE_LOG") or Path(".eventide", "log")


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest publication: until when it is, ns, the time of its first event, ns, and how many came in it."""

    until: int
    first: int
    events: int


class _Looker:
    """Looks for the newest publications again and again, and reads them only where there are more than before."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._seen: dict[str, tuple[int, _Newest | None]] = {}

    def newest(self, version: Version) -> _Newest | None:
        """Return what a version has published last."""
        topic = version.topic("histograms")
        end = _end(topic, self._log)
        if topic not in self._seen or self._seen[topic][0] != end:
            self._seen[topic] = end, _newest(version, self._log)
        return self._seen[topic][1]


def _end(topic: str, log: str) -> int:
    """Return the offset after the last row of a topic, -1 where there is none."""
    try:
        with Log(_root(log), create=False) as opened:
            return opened.describe(topic)[0].latest if topic in {t.name for t in opened.topics()} else -1
    except LogError:
        return -1


def _newest(version: Version, log: str) -> _Newest | None:
    """Return what a version has published last, None where that is nothing."""
    table = held(version.topic("histograms"), log, last=True)
    if table is None or not table.num_rows:
        return None
    until, first = (np.asarray(table[n].cast(pa.int64()).fill_null(MAX_TIME)) for n in ("until", "first"))
    newest = until == until.max()
    events = int(np.asarray(table["events"])[newest].max())
    return _Newest(int(until.max()), min(int(first[newest].min()), int(until.max())), events)


def held(topic: str, log: str = "", *, last: bool = False) -> pa.Table | None:
    """Return what a topic holds, None where there is none.

    Parameters
    ----------
    topic
        Its name.
    log
        Folder of the log; "": the configured one.
    last
        Only its last rows.
    """
    try:
        with Log(_root(log), create=False) as opened:
            if topic not in {t.name for t in opened.topics()}:
                return None
            (partition,) = opened.describe(topic)[:1]
    except LogError:
        return None
    begin: dict[str, Any] = {"offsets": {0: max(partition.earliest, partition.latest - _LAST)}} if last else {}
    sink = registry.resolve("connector", "memory").MemorySink()
    _run(read(f"log://{topic}", follow=False, **begin, **_place(log)).write(sink), log)
    table: pa.Table = sink.table()
    return table


def _place(log: str) -> dict[str, str]:
    return {"log": log} if log else {}


def _run(job: Any, log: str, **options: Any) -> Any:
    return registry.resolve("engine", "local").run(job, **({"quarantine": log} if log else {}), **options)

"""What a run measures of itself: counts of its tasks, where time goes, how old what it writes is.

The loop takes note of a few floats a batch; everything else is read from tasks, feeds and connections when somebody
asks. Times of operators are exclusive: a task passes on its output inside its own push, and what that takes counts as
*backpressured*, what is left as *busy*.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventide.engines.local.counts import Counts
from eventide.engines.local.plan import Plan
from eventide.engines.local.tasks import AssignTask, MachineTask, Target, Task
from eventide.engines.local.times import Meter, Metered, Times
from eventide.logs import RunLog, redact
from eventide.metrics import CIRCUIT_STATES, RUN_STATES, Histogram, Sample, to_plain
from eventide.model.state import State
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.retry import Circuit

__all__ = ["RunMetrics"]

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WINDOW = 10.0
_BETWEEN = 1.0
_FEW = 65_536
_SECOND = 10**9


@dataclass(frozen=True, slots=True)
class _Mark:
    """Seconds of everything, and events read, at one moment."""

    when: float
    seconds: Mapping[str, tuple[float, float]]
    read: int


class RunMetrics:
    """The figures of one run, also over restarts inside its process.

    One thread, the loop's, calls everything but `samples`, `state` and `waits_for`, which any thread may ask.

    Parameters
    ----------
    pipeline
        Its name.
    run
        Id of the run.

    Examples
    --------
    >>> metrics = RunMetrics("hot", "20261120T230501-3f2a")
    >>> metrics.enter("running")
    >>> metrics.checkpointed(7, seconds=0.02, nbytes=4096)
    >>> [s.value for s in metrics.samples() if s.name == "eventide_checkpoint_bytes"]
    [4096]
    """

    def __init__(self, pipeline: str, run: str) -> None:
        self.pipeline = pipeline
        self.run = run
        self.log = RunLog({"pipeline": pipeline, "run": run})
        self.started = time.time()
        self.attempts = 0
        self.address = ""
        self.places: dict[str, Path] = {}
        self.on_state: Callable[[str], None] | None = None
        self._labels = {"pipeline": pipeline, "run": run}
        self._refused: dict[str, int] = {}
        self._looked = 0.0
        self._state = self._told = "starting"
        self._plan: Plan | None = None
        self._meter = Meter()
        self._times: dict[str, Times] = {}
        self._latency: dict[str, Histogram] = {}
        self._circuits: dict[str, Circuit] = {}
        self._backlogs: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._checkpoint: tuple[float, float, int, int] | None = None
        self._marks: deque[_Mark] = deque([_Mark(time.perf_counter(), {}, 0)])
        self._lock = threading.Lock()

    # -- what the run tells

    def attach(self, plan: Plan) -> None:
        """Measure the pushes of a plan's tasks: once for every plan, before its first event; the next is a restart."""
        metered: dict[int, Task] = {}
        for label, task in plan.tasks.items():
            times = self._times.setdefault(label, Times())
            latency = self._latency.setdefault(label, Histogram(_LATENCIES)) if label in plan.sinks else None
            metered[id(task)] = Metered(task, self._meter, times=times, latency=latency)
        outputs = [*plan.entries.values(), *(ts for t in plan.tasks.values() for ts in t.targets.values())]
        for targets in outputs:
            targets[:] = [Target(metered[id(t.task)], t.port) for t in targets]
        self._meter.inner = self._meter.arrived = 0.0
        self._plan = plan
        self.attempts += 1

    def source(self, label: str, times: Times, circuit: Circuit) -> None:
        """Follow a feed: the seconds that it adds up, and its connection."""
        before = self._times.get(label)
        if before is not None and before is not times:  # a new feed after a restart goes on counting
            times.busy += before.busy
            times.blocked += before.blocked
        self._times[label] = times
        self.circuit(label, circuit)

    def circuit(self, label: str, circuit: Circuit) -> None:
        """Follow the connection of a source, a sink, or anything else that the run may wait for."""
        before = self._circuits.get(label)
        if before is not None and before is not circuit:
            circuit.retries += before.retries
        self._circuits[label] = circuit

    def took(self, arrived: float = 0.0) -> None:
        """Say when (`time.perf_counter`) a source handed out what is processed from now on.

        Left out, only time passes, or an input ends: what is written then came of no new event.
        """
        self._meter.arrived = arrived

    def resumed(self, number: int) -> None:
        """Say from which checkpoint the run goes on; what went to quarantine before it is known."""
        self.log.tell("resumed", f"goes on from checkpoint {number}", number=number)
        self._refused = {c.label: c.quarantined for c in self._counts()}

    def checkpointed(self, number: int, *, seconds: float, nbytes: int) -> None:
        """Say that a checkpoint is durable, how long it took and what it wrote."""
        before = self._checkpoint[3] if self._checkpoint else 0
        self._checkpoint = (time.monotonic(), seconds, nbytes, before + 1)
        self.log.tell("checkpoint", f"checkpoint {number}: {nbytes} bytes in {seconds:.3f} s", number=number)

    def snapshotted(self, label: str, state: State) -> None:
        """Say what an operator's state was at a checkpoint; its size is shown until the next."""
        if state:
            self._sizes[label] = (sum(t.nbytes for t in state.values()), sum(t.num_rows for t in state.values()))

    def look(self, backlogs: Mapping[str, int | None]) -> None:
        """Take note of what only the loop's thread may ask; meant for about once a second."""
        self._backlogs = {label: n for label, n in backlogs.items() if n is not None}
        for label, task in self._plan.tasks.items() if self._plan else ():
            if isinstance(task, MachineTask):
                machines = [lane.machine for lane in task.lanes]
                if all(hasattr(m, "nbytes") for m in machines):  # others show what the last checkpoint held
                    nbytes: int = sum(m.nbytes for m in machines)  # type: ignore[attr-defined]
                    self._sizes[label] = (nbytes, self._sizes.get(label, (0, -1))[1])
        self._tell()
        if time.monotonic() - self._looked >= _BETWEEN:
            self._looked = time.monotonic()
            self._tell_refused()

    def _tell_refused(self) -> None:
        for counts in self._counts():
            new = counts.quarantined - self._refused.get(counts.label, 0)
            if new:
                self._refused[counts.label] = counts.quarantined
            if new > 0:
                self.log.tell("quarantine", f"{new} events went to quarantine", operator=counts.label, events=new)

    def _counts(self) -> list[Counts]:
        if self._plan is None:
            return []
        return [*(t.counts for t in self._plan.reads.values()), *(t.counts for t in self._plan.tasks.values())]

    def enter(self, state: str) -> None:
        """Enter a state, one of `eventide.metrics.RUN_STATES`."""
        assert state in RUN_STATES, state
        self._state = state
        self._tell()

    def _tell(self) -> None:
        state = self.state
        if state != self._told:
            self._told = state
            if self.on_state is not None:
                self.on_state(state)

    # -- what others ask

    @property
    def state(self) -> str:
        """The state of the run; `waiting` while a connection is open, as an electrician says: does not work."""
        broken = any(c.state == "open" for c in list(self._circuits.values()))
        return "waiting" if broken and self._state in ("running", "stopping") else self._state

    def waits_for(self) -> list[str]:
        """Return why results are not up to date; empty when the pipeline is at its watermark."""
        state = self.state
        why = [] if state in ("running", "waiting") else [f"the run is {state}"]
        for label, circuit in sorted(self._circuits.items()):
            if circuit.state != "closed":
                what = "fails" if circuit.state == "open" else "is tried again"
                why.append(f"{label} {what} after {circuit.failures} failures: {redact(circuit.reason)}")
        with self._lock:
            mark = self._mark(time.perf_counter())
            recent = self._events_read() - mark.read
        for label, waiting in sorted(self._backlogs.items()):
            if waiting > max(_FEW, recent):
                why.append(f"{label} is behind: {waiting} events wait, more than are read in {_WINDOW:.0f} s")
        return why

    def samples(self) -> list[Sample]:
        """Return all figures as they are now."""
        out = list(self._run_samples())
        out += self._source_samples()
        if self._plan is not None:
            for counts in self._counts():
                out += self._count_samples(counts)
            for label, task in self._plan.tasks.items():
                out += self._task_samples(label, task)
        out += self._ratio_samples()
        return out

    def stored(self) -> list[dict[str, Any]]:
        """Return all figures as plain data for a checkpoint, which says itself of which pipeline and run it is."""
        common = set(self._labels)
        return [
            {**plain, "labels": {k: v for k, v in plain["labels"].items() if k not in common}}
            for plain in to_plain(self.samples())
        ]

    def _sample(self, name: str, value: float, **labels: str) -> Sample:
        return Sample(f"eventide_{name}", value, {**self._labels, **labels})

    def _run_samples(self) -> Iterator[Sample]:
        now = self.state
        yield self._sample("run_started_seconds", self.started)
        yield self._sample("run_restarts_total", max(0, self.attempts - 1))
        for state in RUN_STATES:
            yield self._sample("run_state", int(state == now), state=state)
        yield self._sample("checkpoints_total", self._checkpoint[3] if self._checkpoint else 0)
        if self._checkpoint is not None:
            when, seconds, nbytes, _ = self._checkpoint
            yield self._sample("checkpoint_duration_seconds", seconds)
            yield self._sample("checkpoint_bytes", nbytes)
            yield self._sample("checkpoint_age_seconds", time.monotonic() - when)
        for place, path in sorted(self.places.items()):
            try:
                usage = shutil.disk_usage(path)
            except OSError:
                continue  # a folder that is not there yet, or a disk that is gone: there is no figure
            yield self._sample("disk_free_bytes", usage.free, place=place)
            yield self._sample("disk_size_bytes", usage.total, place=place)

    def _events_read(self) -> int:
        return sum(task.counts.rows_in for task in self._plan.reads.values()) if self._plan else 0

    def _source_samples(self) -> Iterator[Sample]:
        for label, events in list(self._backlogs.items()):
            yield self._sample("source_backlog_events", events, source=label)
        for label, circuit in list(self._circuits.items()):
            yield self._sample("retries_total", circuit.retries, operator=label)
            for state in CIRCUIT_STATES:
                yield self._sample("circuit_state", int(circuit.state == state), operator=label, state=state)

    def _count_samples(self, counts: Counts) -> Iterator[Sample]:
        label = counts.label
        yield self._sample("operator_events_in_total", counts.rows_in, operator=label)
        yield self._sample("operator_events_out_total", counts.rows_out, operator=label)
        yield self._sample("operator_events_filtered_total", counts.filtered, operator=label)
        yield self._sample("late_events_total", counts.late, operator=label)
        yield self._sample("quarantined_events_total", counts.quarantined, operator=label)
        yield self._sample("duplicate_events_total", counts.duplicates, operator=label)

    def _task_samples(self, label: str, task: Task) -> Iterator[Sample]:
        yield from self._time_samples(label, task)
        if label in self._sizes:
            nbytes, rows = self._sizes[label]
            yield self._sample("state_bytes", nbytes, operator=label)
            if rows >= 0:
                yield self._sample("state_keys", rows, operator=label)
        if label in self._latency:
            labels = {**self._labels, "operator": label}
            yield self._latency[label].sample("eventide_end_to_end_latency_seconds", labels)

    def _time_samples(self, label: str, task: Task) -> Iterator[Sample]:
        watermark = getattr(task, "watermark", MIN_TIME)
        if watermark > MIN_TIME:
            seconds = math.inf if watermark >= MAX_TIME else watermark / _SECOND
            yield self._sample("watermark_seconds", seconds, operator=label)
            if watermark < MAX_TIME:
                yield self._sample("event_time_lag_seconds", time.time() - seconds, operator=label)
        if isinstance(task, AssignTask):
            for name, partition in list(task.partitions.items()):
                source = next((s for s in self._plan.reads if name.startswith(f"{s}/")), "") if self._plan else ""
                if MIN_TIME < partition.watermark < MAX_TIME:
                    labels = {"operator": label, "source": source, "partition": name.removeprefix(f"{source}/")}
                    yield self._sample("partition_watermark_seconds", partition.watermark / _SECOND, **labels)

    # -- shares of time

    def _mark(self, now: float) -> _Mark:
        """Return the mark to compare with: the oldest of the last seconds, else the newest there is."""
        while len(self._marks) > 1 and now - self._marks[0].when > _WINDOW:
            self._marks.popleft()
        before = self._marks[0]
        if now - self._marks[-1].when >= _BETWEEN:
            seconds = {label: (t.busy, t.blocked) for label, t in list(self._times.items())}
            self._marks.append(_Mark(now, seconds, self._events_read()))
        return before

    def _ratio_samples(self) -> Iterator[Sample]:
        now = time.perf_counter()
        with self._lock:
            mark = self._mark(now)
        span = max(now - mark.when, 1e-9)
        for label, times in list(self._times.items()):
            busy_before, blocked_before = mark.seconds.get(label, (0.0, 0.0))
            busy = _share(times.busy - busy_before, span)
            blocked = min(_share(times.blocked - blocked_before, span), 1.0 - busy)
            yield self._sample("operator_busy_seconds_total", times.busy, operator=label)
            yield self._sample("operator_busy_ratio", busy, operator=label)
            yield self._sample("operator_idle_ratio", 1.0 - busy - blocked, operator=label)
            yield self._sample("operator_backpressured_ratio", blocked, operator=label)


def _share(seconds: float, span: float) -> float:
    return min(max(seconds / span, 0.0), 1.0)

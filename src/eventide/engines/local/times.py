"""Where the time of a run goes: pushes of tasks are measured, without those that they make themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass

from eventide.engines.local.counts import Counts
from eventide.engines.local.tasks import Flow, Saved, Target, Task
from eventide.metrics import Histogram

__all__ = ["Meter", "Metered", "Times"]


@dataclass(slots=True)
class Times:
    """Seconds that something was at work itself, and that it waited for what comes after it."""

    busy: float = 0.0
    blocked: float = 0.0


@dataclass(slots=True)
class Meter:
    """What the tasks of one run share: seconds spent in pushes made by the current one, when its input was read."""

    inner: float = 0.0
    arrived: float = 0.0


class Metered:
    """Stands for a task where others send to it, and measures its pushes.

    Parameters
    ----------
    task
        The task.
    meter
        Shared by the tasks of a run.
    times
        Where the seconds go.
    latency
        Of a sink: where it is noted how old its input was when it was written.
    """

    __slots__ = ("_latency", "_meter", "_push", "_task", "_times", "counts", "targets")

    def __init__(self, task: Task, meter: Meter, *, times: Times, latency: Histogram | None = None) -> None:
        self.counts: Counts = task.counts
        self.targets: dict[str, list[Target]] = task.targets
        self._task = task
        self._push = task.push
        self._meter = meter
        self._times = times
        self._latency = latency

    def push(self, port: int, flow: Flow) -> None:
        """Push into the task."""
        meter = self._meter
        outer, meter.inner = meter.inner, 0.0
        written = self.counts.rows_out
        begun = time.perf_counter()
        self._push(port, flow)
        now = time.perf_counter()
        times = self._times
        times.busy += now - begun - meter.inner
        times.blocked += meter.inner
        meter.inner = outer + now - begun
        if self._latency is not None and meter.arrived and self.counts.rows_out > written:
            self._latency.add(now - meter.arrived, count=self.counts.rows_out - written)

    def save(self) -> Saved:
        """Return what the task must remember."""
        return self._task.save()

    def load(self, saved: Saved) -> None:
        """Let the task take over what was remembered."""
        self._task.load(saved)

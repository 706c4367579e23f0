"""Options of the embedded engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventide.engines._options import check_savepoint, checked
from eventide.model.time import duration
from eventide.retry import RetryPolicy

__all__ = ["LocalOptions", "options_of"]


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How the embedded engine runs.

    Parameters
    ----------
    lanes
        Workers of a stateful operator. 0 lets the engine choose: all processors where they can share the rows
        of a batch, else half of them, which share the keys (the others read and decode). Results do not
        depend on it.
    batch_rows
        Most events taken at once under load; 0 lets the engine choose. An idle engine never waits for more.
    checkpoint
        Folder for checkpoints; None keeps none.
    checkpoint_interval
        Between two checkpoints.
    keep
        How many checkpoints are kept.
    resume
        Go on from the newest checkpoint when there is one.
    from_savepoint
        Begin from this savepoint (its name, ``pipeline/name``, or the folder of a savepoint or checkpoint) and not
        from the newest checkpoint.
    quarantine
        Root of the log whose topic ``quarantine`` takes what cannot be processed; None is the default log.
    tick
        How often the processing-time clock ticks, where anything listens.
    clock
        What the clock says, ns since 1970; None is that of the system. For tests.
    queue_bytes
        How much each source may read ahead, in bytes (one batch at least). The memory of a run is bounded by this
        for each source, what its operators remember, and what its sinks hold back until a checkpoint.
    retries
        How many failures in a row of a source, a sink or the disk are borne before the run fails; 0: any number.
    longest_wait
        Between two tries; waits begin at a tenth of a second and double.
    metrics
        ``HOST:PORT`` where the figures of the run are served over HTTP; "" serves none, port 0 takes a free one.
    metrics_remote
        Whether `metrics` may be an address that other machines can reach.
    """

    lanes: int = 0
    batch_rows: int = 0
    checkpoint: str | Path | None = None
    checkpoint_interval: str | timedelta = "10s"
    keep: int = 3
    resume: bool = True
    quarantine: str | Path | None = None
    tick: str | timedelta = "100ms"
    clock: Callable[[], int] | None = None
    from_savepoint: str | Path | None = None
    queue_bytes: int = 1 << 26
    retries: int = 0
    longest_wait: str | timedelta = "30s"
    metrics: str = ""
    metrics_remote: bool = False

    @property
    def lane_count(self) -> int:
        """Number of workers."""
        if self.lanes:
            return self.lanes
        # What this process may use, where the system tells: a container often has fewer than the machine.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def key_lanes(self) -> int:
        """Number of workers that share the keys of an operator whose rows cannot be shared."""
        return self.lanes or max(1, self.lane_count // 2)

    @property
    def interval_seconds(self) -> float:
        """Seconds between two checkpoints."""
        return duration(self.checkpoint_interval, what="checkpoint_interval", zero=True) / 1e9

    @property
    def tick_seconds(self) -> float:
        """Seconds between two ticks of the clock."""
        return duration(self.tick, what="tick") / 1e9

    @property
    def retry_policy(self) -> RetryPolicy:
        """How what fails for a passing reason is tried again."""
        return RetryPolicy(longest=duration(self.longest_wait, what="longest_wait") / 1e9, attempts=self.retries)


def options_of(values: dict[str, Any]) -> LocalOptions:
    """Return checked options.

    Raises
    ------
    ConfigError
        An option is unknown or out of range.

    Examples
    --------
    >>> options_of({"lanes": 2}).lane_count
    2
    """
    least = {"lanes": 0, "batch_rows": 0, "keep": 1, "queue_bytes": 1, "retries": 0}
    options = checked(LocalOptions, values, engine="the local engine", least=least)
    _ = options.interval_seconds, options.tick_seconds, options.retry_policy
    check_savepoint(options)
    return options

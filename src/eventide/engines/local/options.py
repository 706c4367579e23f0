"""Options of the embedded engine."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventide.errors import ConfigError, near_names
from eventide.model.time import duration

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
    quarantine
        Root of the log whose topic ``quarantine`` takes what cannot be processed; None is the default log.
    tick
        How often the processing-time clock ticks, where anything listens.
    """

    lanes: int = 0
    batch_rows: int = 0
    checkpoint: str | Path | None = None
    checkpoint_interval: str | timedelta = "10s"
    keep: int = 3
    resume: bool = True
    quarantine: str | Path | None = None
    tick: str | timedelta = "100ms"

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
    known = [f.name for f in fields(LocalOptions)]
    for name in values:
        if name not in known:
            msg = f"the local engine has no option {name!r}"
            raise ConfigError(msg, hint=near_names(name, known))
    options = LocalOptions(**values)
    for name in ("lanes", "batch_rows", "keep"):
        value = getattr(options, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < (name == "keep"):
            msg = f"{name}={value!r} is not a whole number of {'1' if name == 'keep' else '0'} or more"
            raise ConfigError(msg, hint="leave it out for the default")
    _ = options.interval_seconds, options.tick_seconds
    return options

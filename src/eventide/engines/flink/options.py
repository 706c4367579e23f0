"""Options of the Flink engine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from eventide.engines._options import check_savepoint, checked
from eventide.errors import ConfigError
from eventide.model.time import duration

__all__ = ["FlinkOptions", "options_of"]

_ADDRESS = re.compile(r"(?:https?://)?([^/:]+):([0-9]+)/?")
_LEAST_INTERVAL = 10  # ms; Flink refuses less


@dataclass(frozen=True, slots=True)
class FlinkOptions:
    """How the Flink engine runs.

    Parameters
    ----------
    url
        ``HOST:PORT`` of a cluster's REST address; "" runs a cluster inside this program's own Java process.
    lanes
        Parallelism of what is behind the first key; 0 lets the engine choose. Results do not depend on it, and a job
        may go on from its checkpoint with another.
    buckets
        Most workers that the keys can ever be shared by. Fixed while a job lives: a checkpoint can only be read with
        the number that it was written with.
    batch_rows
        Most events that a source brings at a time; 0 lets the engine choose.
    checkpoint
        Folder for checkpoints and for results on their way to the sinks. A cluster's machines must all see it under
        this name. None keeps none, and uses a temporary folder.
    checkpoint_interval
        Between two checkpoints. Results become visible at checkpoints, and at the end of the input.
    keep
        How many checkpoints are kept.
    resume
        Go on from the newest checkpoint when there is one.
    from_savepoint
        Begin from this savepoint (its name, or its folder) and not from the newest checkpoint.
    savepoint
        Name or folder of a savepoint that a run leaves when it is stopped.
    quarantine
        Root of the log whose topic ``quarantine`` takes what cannot be processed; None is the default log.
    tick
        How often processing time is told, where anything listens.
    clock
        What the clock says, ns since 1970; None is that of the workers' systems. For tests.
    retries
        How many failures of machines in a row are borne before the run fails; 0: any number. A function that
        fails ends the run at once.
    longest_wait
        Between two tries.
    mode
        ``"process"`` runs Python beside each task, ``"thread"`` inside Flink's own process: quicker to start, but all
        tasks of a machine share one interpreter.
    python
        The Python of the workers; "" is the one that runs this.
    jars
        Files of Java libraries that the cluster shall load.
    settings
        Flink's own configuration, which wins over ours.
    metrics, metrics_remote
        Not served by this engine: Flink has reporters of its own.
    """

    url: str = ""
    lanes: int = 0
    buckets: int = 8
    batch_rows: int = 0
    checkpoint: str | Path | None = None
    checkpoint_interval: str | timedelta = "10s"
    keep: int = 3
    resume: bool = True
    from_savepoint: str | Path | None = None
    savepoint: str | Path | None = None
    quarantine: str | Path | None = None
    tick: str | timedelta = "100ms"
    clock: Callable[[], int] | None = None
    retries: int = 10
    longest_wait: str | timedelta = "10s"
    mode: Literal["process", "thread"] = "process"
    python: str = ""
    jars: Sequence[str | Path] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    metrics: str = ""
    metrics_remote: bool = False

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of the cluster; None is a cluster of our own."""
        found = _ADDRESS.fullmatch(self.url)
        return (found[1], int(found[2])) if found else None

    @property
    def interval_ms(self) -> int:
        """Milliseconds between two checkpoints."""
        return max(_LEAST_INTERVAL, duration(self.checkpoint_interval, what="checkpoint_interval", zero=True) // 10**6)

    @property
    def longest_wait_ms(self) -> int:
        """Most milliseconds between two tries."""
        return max(1, duration(self.longest_wait, what="longest_wait") // 10**6)

    def parallelism(self, buckets: int) -> int:
        """Return how many workers share so many buckets."""
        return min(buckets, self.lanes or (os.cpu_count() or 1))


def options_of(values: dict[str, Any]) -> FlinkOptions:
    """Return checked options.

    Raises
    ------
    ConfigError
        An option is unknown or out of range.

    Examples
    --------
    >>> options_of({"lanes": 16}).parallelism(8)
    8
    """
    least = {"lanes": 0, "buckets": 1, "batch_rows": 0, "keep": 1, "retries": 0}
    options = checked(FlinkOptions, values, engine="the flink engine", least=least)
    _ = options.interval_ms, options.longest_wait_ms
    _check_words(options)
    return options


def _check_words(options: FlinkOptions) -> None:
    if options.mode not in ("process", "thread"):
        msg = f"mode={options.mode!r} is not a way to run Python in Flink"
        raise ConfigError(msg, hint="'process' or 'thread'")
    if options.url and options.address is None:
        msg = f"url={options.url!r} is not the address of a cluster"
        raise ConfigError(msg, hint="HOST:PORT of its REST address, such as 127.0.0.1:8081")
    check_savepoint(options)
    if options.savepoint and options.checkpoint is None:
        msg = "savepoint needs a folder for checkpoints"
        raise ConfigError(msg, hint="give checkpoint='folder' too")
    if options.metrics:
        msg = "the flink engine serves no figures of its own"
        raise ConfigError(
            msg, hint="give settings={'metrics.reporter...': ...}: Flink has reporters, one for Prometheus"
        )
